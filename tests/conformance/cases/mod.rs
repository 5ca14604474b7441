//! The table.

mod files;
mod kept;
mod layers;
mod limits;
mod network;
mod programs;
mod walls;

use crate::Case;

pub fn all() -> Vec<Case> {
    [programs::CASES, files::CASES, layers::CASES, kept::CASES, limits::CASES, network::CASES, walls::CASES]
        .into_iter()
        .flatten()
        .map(|&(name, needs, proof)| Case { name, needs, proof })
        .collect()
}

/// A row: its name, what it needs, its proof.
type Row = (&'static str, &'static str, fn(&crate::Bench));
