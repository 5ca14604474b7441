//! Configuration: TOML as written and flags as typed, resolved to a [`Spec`](crate::Spec). Hides every default, every
//! textual form and every rule about what a project may ask for.

mod agent;
mod backend;
mod build;
mod check;
mod credentials;
pub(crate) mod dotfiles;
mod environment;
mod error;
mod exec;
mod file;
pub(crate) mod follow;
mod forms;
mod git;
mod git_identity;
mod host;
mod identity;
mod image;
mod keyring;
mod learn;
mod limits;
mod lock;
mod mounts;
mod nested;
mod network;
mod overlap;
mod own;
mod parse;
pub(crate) mod passwd;
mod project;
pub(crate) mod protect;
mod reach;
mod recipe;
mod reference;
mod resolve;
mod schema;
mod secrets;
mod settings;
mod signal;
mod ssh;
mod user;
mod words;

pub use agent::{AgentUse, sets};
pub use backend::{WORDS as BACKENDS, backend};
pub use build::{BuildStep, resolve_build};
pub use check::{Check, Decision, Origin, check};
pub use credentials::read_document;
pub use environment::{exec_env, misled};
pub use error::ConfigError;
pub use exec::{ExecOverrides, resolve_exec};
pub use file::read_own;
pub use forms::{
    EnvVar, FormError, TmpfsArg, WorkspaceMode, absolute, beneath, format_size, parse_attribute, parse_backend,
    parse_bandwidth, parse_connections, parse_count, parse_cpus, parse_duration, parse_env, parse_env_file, parse_mode,
    parse_mount, parse_published, parse_rule, parse_runtime, parse_secret_host, parse_secret_name, parse_service,
    parse_size, parse_source_variable, parse_target, parse_tmpfs, parse_variable, parse_workspace, quoted,
};
pub use git::repository_elsewhere;
pub use git_identity::git_identity;
pub use host::HostFacts;
pub use identity::identity;
pub use image::{
    FoundEngine, FoundImage, FoundLayer, ImageArg, has_musl, named_image, own_layers, parse_image, parse_layer,
};
pub use learn::{Learned, learned};
pub use limits::{disk as check_disk, memory as check_memory, pids as check_pids};
pub use lock::LockFile;
pub(crate) use nested::{Many, One, document};
pub use network::{NetworkOverrides, narrowed};
pub use own::check_own;
pub use project::{FILE_NAME, Project, ProjectFile};
pub(crate) use project::{read as read_of_project, read_by_path};
pub use reach::{
    Idle, Left, MANY, ONE, SANDBOX_ITSELF, SERVICES, Why, idle_secrets, is_host, is_sandbox_itself, is_to_many,
    is_void, left, opened, regains, void_rules, why_void,
};
pub use recipe::{Base, Recipe, recipe};
pub use reference::{reference, schema};
pub use resolve::{Overrides, resolve};
pub(crate) use schema::{Form, Key};
pub use secrets::{Forgotten, Recorded, Secrets, Seen, gather, read_secret};
pub use signal::parse_signal;
pub use ssh::{parse_ssh_server, ssh_agent};
pub use user::UserConfig;
pub(crate) use user::read as read_of_user;
pub use words::generated_name;

/// The candidate that is most like what was typed, if any is like it at all.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing that we know is longer; what is typed may be a megabyte.
    let typed: String = typed.chars().take(64).flat_map(char::to_lowercase).collect();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&typed, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(typed.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
