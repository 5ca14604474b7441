//! The table of escape attempts.

use crate::case::Case;

mod descriptors;
mod devices;
mod files;
mod filter;
mod handshakes;
mod ipc;
mod kernel;
mod mounts;
mod names;
mod namespaces;
mod neighbours;
mod network;
mod options;
mod privileges;
mod processes;
mod procsys;
mod protected;
mod requests;
mod resources;
mod terminal;

pub use neighbours::listen;

/// Every case, in the order of reports: what could end the run early comes last.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        files::CASES,
        protected::CASES,
        descriptors::CASES,
        processes::CASES,
        privileges::CASES,
        filter::CASES,
        namespaces::CASES,
        mounts::CASES,
        kernel::CASES,
        procsys::CASES,
        devices::CASES,
        terminal::CASES,
        ipc::CASES,
        network::CASES,
        names::CASES,
        requests::CASES,
        handshakes::CASES,
        options::CASES,
        neighbours::CASES,
        resources::CASES,
    ]
    .into_iter()
    .flatten()
}

/// The case of that name.
pub fn find(name: &str) -> Option<&'static Case> {
    all().find(|case| case.name == name)
}
