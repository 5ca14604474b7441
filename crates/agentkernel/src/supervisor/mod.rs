//! One process per sandbox, outside it.
