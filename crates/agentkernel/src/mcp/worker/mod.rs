//! What tools do, each call in a process of its own.

pub(super) mod files;
mod grep;
mod kept;
pub(super) mod network;
pub(super) mod programs;
pub(super) mod resource;
pub(super) mod sandboxes;
pub(super) mod undo;

use super::{
    Starter,
    frames::{Order, Question, Word},
    roots::Root,
};
use crate::{
    Spec, Workspace,
    client::{Client, ClientError},
    config::{self, ConfigError, HostFacts, ImageArg, Overrides, Project, WorkspaceMode},
    store::{Entry, Store, StoreError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use wire::Failure;

/// A call.
struct Worker<'a> {
    starter: &'a dyn Starter,
    server: &'a UnixStream,
    store: Store,
    /// The projects that the client's roots are in, those of the first root first.
    projects: Vec<PathBuf>,
    roots: Vec<Root>,
    follow: bool,
    agreed: Option<Question>,
}

/// How a tool that did not fail ended.
enum Course {
    Done(Value),
    Asks(Question),
}

/// Does what is asked for.
pub(super) fn work(starter: &dyn Starter, server: &UnixStream, order: Order) -> Result<Word, Failure> {
    let Order { tool, arguments, roots, follow, agreed } = order;
    let projects = projects(&real(&roots)?)?;
    let worker = Worker { starter, server, store: Store::open().map_err(of_store)?, projects, roots, follow, agreed };
    let course = match tool.as_str() {
        "run" => done(worker.run(read(arguments)?)),
        "exec" => done(worker.exec(read(arguments)?)),
        "create" => done(worker.create(read(arguments)?)),
        "list" => done(worker.list()),
        "start" => done(worker.start(read(arguments)?)),
        "stop" => done(worker.stop(read(arguments)?)),
        "rm" => done(worker.rm(read(arguments)?)),
        "read_file" => done(worker.read_file(read(arguments)?)),
        "write_file" => done(worker.write_file(read(arguments)?)),
        "list_files" => done(worker.list_files(read(arguments)?)),
        "search_files" => done(worker.search_files(read(arguments)?)),
        "ports" => worker.ports(read(arguments)?),
        "net_log" => done(worker.net_log(read(arguments)?)),
        "net_check" => done(worker.net_check(read(arguments)?)),
        "net_allow" => worker.net_allow(read(arguments)?),
        "checkpoints" => done(worker.checkpoints(read(arguments)?)),
        "undo" => worker.undo(read(arguments)?),
        resource::TOOL => done(worker.resource(read(arguments)?)),
        _ => Err(Failure::from(format!("There is no tool '{tool}'"))),
    };
    Ok(match course? {
        Course::Done(value) => Word::Done(value),
        Course::Asks(question) => Word::Asks(question),
    })
}

impl Worker<'_> {
    /// Whether this is what a human has agreed to.
    fn is_agreed(&self, question: &Question) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.key() == question.key())
    }
}

/// A tool that asks nobody.
fn done<T: Serialize>(result: Result<T, Failure>) -> Result<Course, Failure> {
    let value = serde_json::to_value(result?);
    value.map(Course::Done).map_err(|error| Failure::from(error.to_string()))
}

/// What a client gave to a tool.
pub(super) fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    serde_json::from_value(arguments).map_err(|error| Failure {
        cause: format!("The tool can't be called so: {error}"),
        hint: "Its input schema says what it takes".into(),
    })
}

/// The paths of roots; those that are gone are left out.
pub(super) fn real(roots: &[Root]) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for root in roots.iter().filter(|root| root.path.symlink_metadata().is_ok()) {
        match root.is_at(&root.path) {
            true => paths.push(root.path.clone()),
            false => return Err(exchanged(root)),
        }
    }
    Ok(paths)
}

fn exchanged(root: &Root) -> Failure {
    Failure {
        cause: format!("{} is another directory now than when the client named it", root.path.display()),
        hint: "Have the human look who has put it there, and start the client again".into(),
    }
}

/// The projects that directories are in.
pub(super) fn projects(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut host = HostFacts::read().map_err(of_config)?;
    let mut projects = Vec::new();
    for root in roots {
        host.cwd.clone_from(root);
        let dir = Project::find_dir(&host).map_err(of_config)?;
        if !projects.contains(&dir) {
            projects.push(dir);
        }
    }
    Ok(projects)
}

impl Worker<'_> {
    /// Whether a sandbox is of one of the client's projects.
    fn is_ours(&self, spec: &Spec) -> bool {
        spec.project().is_some_and(|dir| self.projects.iter().any(|project| project == dir))
    }

    /// A sandbox of the client's projects. One of another is not told from one that is not there.
    fn find(&self, reference: &str) -> Result<(Entry, Spec), Failure> {
        let found = self.store.find(reference).and_then(|entry| entry.spec().map(|spec| (entry, spec)));
        match found {
            Ok((entry, spec)) if self.is_ours(&spec) => Ok((entry, spec)),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(Failure {
                cause: format!("There is no sandbox '{reference}' in this project"),
                hint: "'list' tells which there are, 'create' makes one".into(),
            }),
            Err(error) => Err(of_store(error)),
        }
    }

    /// Refuses a sandbox that was made for others, and can write what a client obeys that is started in one of the roots.
    fn protects_roots(&self, spec: &Spec) -> Result<(), Failure> {
        let Workspace::Direct { path, protected } = &spec.workspace else { return Ok(()) };
        let below = self.roots.iter().filter_map(|root| root.path.strip_prefix(path).ok());
        let open = below
            .filter(|below| !below.as_os_str().is_empty())
            .find(|below| !config::protect::has_all_of(below, protected));
        open.map_or(Ok(()), |open| {
            Err(Failure {
                cause: format!("Sandbox {} could write what is obeyed in {}", spec.id, open.display()),
                hint: "It does not protect all of that: make another one with 'create', which does".into(),
            })
        })
    }

    /// A running sandbox of the client's projects.
    fn connect(&self, reference: &str) -> Result<(Client, Spec), Failure> {
        let (entry, spec) = self.find(reference)?;
        match Client::connect(&entry) {
            Ok(client) => Ok((client, spec)),
            Err(ClientError::Store(StoreError::NotRunning { .. })) => {
                Err(Failure { cause: format!("Sandbox {reference} does not run"), hint: "'start' starts it".into() })
            }
            Err(error) => Err(of_client(error)),
        }
    }

    /// Goes where a new sandbox's project is.
    fn enter(&self, root: Option<&str>) -> Result<(), Failure> {
        let found = self.roots.iter().find(|known| root.is_none_or(|root| known.path == Path::new(root)));
        let found = found.ok_or_else(|| {
            let roots: Vec<_> = self.roots.iter().map(|root| root.path.display().to_string()).collect();
            match root {
                None => Failure::from("The client has no root that is a directory of this host".to_owned()),
                Some(root) => Failure {
                    cause: format!("'{root}' is not a root of the client"),
                    hint: format!("Roots are: {}", roots.join(", ")),
                },
            }
        })?;
        let path = &found.path;
        std::env::set_current_dir(path)
            .map_err(|error| Failure::from(format!("Cannot use {}: {}", path.display(), wire::cause(&error))))?;
        if found.is_at(Path::new(".")) { Ok(()) } else { Err(exchanged(found)) }
    }
}

/// What a new sandbox is made of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct MadeOf {
    /// Image that its programs come from, such as "debian:12" or "python:3.13"; "host" are those of this host. Without, what
    /// the project's agentkernel.toml says, else "host".
    #[serde(default)]
    image: Option<String>,
    /// How it sees the project, at the same path: "direct" is the real directory, "overlay" a copy that keeps what is
    /// written out of it. Without, what the project's agentkernel.toml says, else "direct".
    #[serde(default)]
    workspace: Option<View>,
    /// Environment variables.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Keep what the project's files are now, for 'undo'. Only "direct" changes them.
    #[serde(default)]
    checkpoint: bool,
    /// Which of the client's roots it is for, as an absolute path. Without, the first one.
    #[serde(default)]
    root: Option<String>,
}

/// How a sandbox sees its project.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum View {
    Direct,
    Overlay,
}

impl MadeOf {
    fn overrides(&self, roots: &[Root]) -> Result<Overrides, Failure> {
        let image = self.image.as_ref().map(|image| match config::parse_image(image.as_ref()) {
            // Whoever chooses a directory of the host can read it.
            Ok(ImageArg::Dir(_)) => Err(Failure::from("A directory can't be chosen as image here".to_owned())),
            Ok(image) => Ok(image),
            Err(error) => Err(Failure::from(error.to_string())),
        });
        let workspace = self.workspace.map(|view| match view {
            View::Direct => WorkspaceMode::Direct,
            View::Overlay => WorkspaceMode::Overlay,
        });
        let starts = roots.iter().map(|root| root.path.clone()).collect();
        Ok(Overrides {
            image: image.transpose()?,
            workspace,
            env: variables(&self.env)?,
            starts,
            ..Overrides::default()
        })
    }
}

/// Variables as they are set: with a value, so that nothing of this process's environment gets in.
fn variables(env: &BTreeMap<String, String>) -> Result<Vec<config::EnvVar>, Failure> {
    let parse = |(name, value): (&String, &String)| {
        if name.contains('=') {
            return Err(Failure::from(format!("'{name}' is not the name of a variable")));
        }
        let text = OsString::from(format!("{name}={value}"));
        config::parse_env(&text).map_err(|error| Failure::from(error.to_string()))
    };
    env.iter().map(parse).collect()
}

fn of_client(error: ClientError) -> Failure {
    Failure { cause: wire::cause(&error), hint: error.hint() }
}

fn of_store(error: StoreError) -> Failure {
    Failure { cause: wire::cause(&error), hint: error.hint() }
}

fn of_config(error: ConfigError) -> Failure {
    Failure { cause: wire::cause(&error), hint: error.hint() }
}
