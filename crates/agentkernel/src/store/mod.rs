//! State on disk: one directory per sandbox, locks, atomic records, garbage collection.
