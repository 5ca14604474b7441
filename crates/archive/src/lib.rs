//! Packs and unpacks file trees as tar, by file descriptor, never outside the directory it was given.
#![forbid(unsafe_code)]
