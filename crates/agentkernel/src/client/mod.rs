//! The only way that anything talks to a supervisor.
