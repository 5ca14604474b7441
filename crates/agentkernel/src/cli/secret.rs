//! `secret`: what never enters a sandbox, and where it may go.

use super::{Failure, Status, for_each, print, print_json, report, table};
use crate::{
    SecretSource, client,
    config::{self, Forgotten, HostFacts, Recorded, Secrets},
};
use clap::{ArgGroup, Args, Subcommand};
use egress::Pattern;
use std::{collections::BTreeMap, path::PathBuf};

/// Secrets that sandboxes may use and never see.
#[derive(Debug, Args)]
pub(super) struct Secret {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Record a secret, or change one that is recorded
    Set(Set),
    /// List the secrets that are recorded, without their values
    List(List),
    /// Remove secrets
    Rm(Rm),
}

impl Secret {
    pub(super) fn run(self) -> Status {
        let secrets = Secrets::of(&HostFacts::read()?);
        match self.command {
            SecretCommand::Set(set) => set.run(&secrets),
            SecretCommand::List(list) => list.run(&secrets),
            SecretCommand::Rm(rm) => rm.run(&secrets),
        }
    }
}

/// Record a secret, or change one that is recorded.
///
/// A value that is typed or read from standard input lies in clear in a file beside your configuration, readable by you
/// alone, or with --keyring in the desktop's keyring. What is not said stays as it was recorded.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source"))]
struct Set {
    /// What to call it: letters, digits and '_'
    #[arg(value_parser = config::parse_secret_name)]
    name: String,
    /// Take its value from this variable of your environment whenever a sandbox starts
    #[arg(long, value_name = "VARIABLE", group = "source", value_parser = config::parse_source_variable)]
    from_env: Option<String>,
    /// Take its value from this file whenever a sandbox starts
    #[arg(long, value_name = "FILE", group = "source")]
    from_file: Option<PathBuf>,
    /// Take its value from what the desktop's keyring has with this attribute, or these, whenever a sandbox starts
    #[arg(long, value_name = "ATTRIBUTE=VALUE", group = "source", value_parser = config::parse_attribute)]
    from_keyring: Vec<(String, String)>,
    /// Put the value that is typed or read into the desktop's keyring
    #[arg(long, conflicts_with_all = ["from_env", "from_file", "from_keyring"])]
    keyring: bool,
    /// Read its value from standard input; without a source it is asked for
    #[arg(long, group = "source")]
    stdin: bool,
    /// Let it go to this host, or to all below one: '*.example.org'
    #[arg(long, value_name = "HOST", value_parser = config::parse_secret_host)]
    host: Vec<Pattern>,
    /// Put its placeholder in this variable inside, in place of the one of its name
    #[arg(long, value_name = "VARIABLE", value_parser = config::parse_variable)]
    env: Option<String>,
}

impl Set {
    fn run(self, secrets: &Secrets) -> Status {
        let Self { name, from_env, from_file, from_keyring, keyring, stdin, host, env } = self;
        let before = secrets.read(&name)?;
        let old_env = before.as_ref().and_then(|(recorded, _)| recorded.env.as_ref());
        if let Err(error) = config::parse_variable(env.as_ref().or(old_env).unwrap_or(&name)) {
            return Err(Failure::chain(&error).hint(error.hint));
        }
        let changes_rest = !host.is_empty() || env.is_some();
        let (source, value) = match (from_env, from_file, before.as_ref()) {
            (Some(variable), ..) => (SecretSource::Env(variable), None),
            (_, Some(path), _) => {
                let path = std::path::absolute(&path).map_err(|error| Failure::chain(&error))?;
                (SecretSource::File(path), None)
            }
            _ if !from_keyring.is_empty() => (SecretSource::Keyring(attributes(from_keyring)?), None),
            (.., Some((recorded, value))) if changes_rest && !keyring && !stdin => {
                let stored = recorded.source == SecretSource::Store;
                (recorded.source.clone(), stored.then(|| value.clone()))
            }
            _ => match typed(&name, keyring, stdin)? {
                Some((source, value)) => (source, Some(value)),
                None => return Ok(130),
            },
        };
        let (hosts, old_env) = before.map(|(recorded, _)| (recorded.hosts, recorded.env)).unwrap_or_default();
        let hosts = if host.is_empty() { hosts } else { host };
        let recorded = Recorded { name, source, hosts, env: env.or(old_env) };
        record(secrets, &recorded, value.as_ref())
    }
}

/// Records a secret, and says so.
pub(super) fn record(secrets: &Secrets, recorded: &Recorded, value: Option<&egress::Secret>) -> Status {
    warn(secrets.record(recorded, value)?);
    print(&told(recorded, secrets))?;
    Ok(0)
}

/// Reads a value, or asks for it, and where it is put; `None`: whoever was asked does not want to say.
pub(super) fn typed(name: &str, keyring: bool, stdin: bool) -> Result<Option<(SecretSource, egress::Secret)>, Failure> {
    let value = if stdin {
        Some(config::read_secret(std::io::stdin().lock())?)
    } else if client::is_terminal().input {
        client::ask_hidden(&format!("Value of {name}: "))?
    } else {
        return Err(Failure::new(format!("Where secret '{name}' comes from is not said")).hint(
            "--stdin reads its value from standard input; --from-env, and what --help tells besides, name where it is kept",
        ));
    };
    let place = if keyring { Recorded::in_keyring(name) } else { SecretSource::Store };
    Ok(value.map(|value| (place, value)))
}

/// What a value is found by: an attribute has one value.
fn attributes(named: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut attributes = BTreeMap::new();
    for (attribute, value) in named {
        if attributes.contains_key(&attribute) {
            let cause = format!("--from-keyring names attribute '{attribute}' twice");
            return Err(Failure::new(cause).hint("Name it once: what is looked for must have all that are named"));
        }
        attributes.insert(attribute, value);
    }
    Ok(attributes)
}

/// Tells of a value that lies where nothing uses it any more.
fn warn(forgotten: Forgotten) {
    if let Forgotten::ButKeyring(error) = forgotten {
        report(&error.into());
    }
}

/// What was recorded, in words.
fn told(recorded: &Recorded, secrets: &Secrets) -> String {
    let Recorded { name, source, hosts, .. } = recorded;
    let place = match source {
        SecretSource::Env(variable) => format!("its value is that of your variable {variable} when a sandbox starts"),
        SecretSource::File(path) => format!("its value is read from {} when a sandbox starts", path.display()),
        SecretSource::Field { .. } => format!("its value is read from {source} when a sandbox starts"),
        SecretSource::Store => format!(
            "its value lies in clear in {}, readable by you alone (--keyring puts it into the desktop's keyring)",
            secrets.path().join(name).display()
        ),
        keyring if *keyring == Recorded::in_keyring(name) => "its value lies in your desktop's keyring".to_owned(),
        SecretSource::Keyring(_) => format!("its value is read from {source} when a sandbox starts"),
    };
    let hosts = match &hosts[..] {
        [] => "It may go nowhere yet: name hosts with --host, or in [secrets] of a project".to_owned(),
        hosts => format!("It may go to {}", joined(hosts)),
    };
    format!("{}\n{}\n", table::printable(&format!("Secret {name} is recorded: {place}")), table::printable(&hosts))
}

fn joined(hosts: &[Pattern]) -> String {
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// List the secrets that are recorded, without their values.
#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self, secrets: &Secrets) -> Status {
        let (list, unreadable) = secrets.list()?;
        if self.json {
            let row = |recorded: &Recorded| {
                let Recorded { name, source, hosts, env } = recorded;
                let env = env.as_ref().unwrap_or(name);
                serde_json::json!({ "name": name, "source": source.to_string(), "hosts": hosts, "env": env })
            };
            print_json(&list.iter().map(row).collect::<Vec<_>>())?;
        } else {
            let row = |recorded: Recorded| {
                let hosts = if recorded.hosts.is_empty() { "-".into() } else { joined(&recorded.hosts) };
                let env = recorded.env.unwrap_or_else(|| recorded.name.clone());
                vec![recorded.name, recorded.source.to_string(), env, hosts]
            };
            let rows: Vec<_> = list.into_iter().map(row).collect();
            print(&table::render(&["NAME", "SOURCE", "VARIABLE", "HOSTS"], &rows))?;
        }
        let status = u8::from(!unreadable.is_empty());
        for error in unreadable {
            report(&error.into());
        }
        Ok(status)
    }
}

/// Remove secrets.
#[derive(Debug, Args)]
struct Rm {
    /// What they are called
    #[arg(required = true, value_name = "NAME", value_parser = config::parse_secret_name)]
    names: Vec<String>,
}

impl Rm {
    fn run(self, secrets: &Secrets) -> Status {
        for_each(&self.names, |name| match secrets.forget(name)? {
            Some(forgotten) => {
                warn(forgotten);
                print(&format!("{name}\n"))
            }
            None => Err(secrets.unknown(name)?.into()),
        })
    }
}
