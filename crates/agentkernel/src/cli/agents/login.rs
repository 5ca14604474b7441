//! `agents login`: hides where a key for an agent is recorded, and how what logs it in is told without being shown.

use super::super::{Failure, Status, print, print_json, run, secret, table};
use super::find;
use crate::{
    SecretSource,
    agents::{Adapter, Adapters, Credential, login},
    client,
    config::{self, HostFacts, Recorded, Secrets},
    store::Store,
};
use clap::{ArgGroup, Args};
use egress::Pattern;
use std::time::{SystemTime, UNIX_EPOCH};

/// Record a key that logs an agent in, or say what does.
///
/// The key is a secret as `secret set` records it: no sandbox has it. A login by subscription is the agent's own, made on
/// the host, and used and renewed from there.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what"))]
pub(super) struct Login {
    /// The name of an agent, or the path of an adapter
    #[arg(value_name = "AGENT")]
    agent: String,
    /// Tell what logs it in, and until when; nothing is recorded
    #[arg(long, group = "what")]
    check: bool,
    /// Print JSON
    #[arg(long, requires = "check")]
    json: bool,
    /// Read the key from standard input; without this it is asked for
    #[arg(long, group = "what")]
    stdin: bool,
    /// Take the key from this variable of your environment whenever a sandbox starts
    #[arg(long, value_name = "VARIABLE", group = "what", value_parser = config::parse_source_variable)]
    from_env: Option<String>,
    /// Put the key that is typed or read into the desktop's keyring
    #[arg(long, conflicts_with_all = ["check", "from_env"])]
    keyring: bool,
    /// Which of the keys that it takes, by the name of its variable; without this, the first
    #[arg(long, value_name = "VARIABLE", conflicts_with = "check")]
    variable: Option<String>,
}

impl Login {
    pub(super) fn run(self) -> Status {
        let host = HostFacts::read()?;
        let store = Store::open()?;
        let adapters = Adapters::of(&host, &run::project(&store, &host, true)?);
        let adapter = find(&store, &adapters, &self.agent)?;
        if self.check {
            return check(&adapter, &host, self.json);
        }
        let Credential { variable, env, hosts, .. } = self.credential(&adapter)?.clone();
        let (source, value) = match self.from_env {
            Some(from) => (SecretSource::Env(from), None),
            None => {
                if client::is_terminal().input && !self.stdin {
                    announce(&adapter, &hosts);
                }
                match secret::typed(&variable, self.keyring, self.stdin)? {
                    Some((source, value)) => (source, Some(value)),
                    None => return Ok(130),
                }
            }
        };
        let env = Some(env).filter(|env| !env.is_empty());
        secret::record(&Secrets::of(&host), &Recorded { name: variable, source, hosts, env }, value.as_ref())
    }

    /// The credential that the key is.
    fn credential<'a>(&self, adapter: &'a Adapter) -> Result<&'a Credential, Failure> {
        let keys = || adapter.credentials.iter().filter(|credential| !credential.variable.is_empty());
        let names = || keys().map(|key| key.variable.as_str()).collect::<Vec<_>>().join(", ");
        match &self.variable {
            Some(name) => keys().find(|key| key.variable == *name).ok_or_else(|| {
                Failure::new(format!("{} takes no key '{}'", adapter.title, name.escape_debug()))
                    .hint(format!("It takes: {}", names()))
            }),
            None => keys().next().ok_or_else(|| {
                let failure = Failure::new(format!("{} takes no key", adapter.title));
                match adapter.login.is_empty() {
                    true => failure,
                    false => failure.hint(format!("Log in with `{}` on the host", adapter.login)),
                }
            }),
        }
    }
}

/// Says, to whoever is asked, what for, and what there is besides.
fn announce(adapter: &Adapter, hosts: &[Pattern]) {
    let Adapter { title, login, renewals, .. } = adapter;
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    tell!("A key for {}, as {} gives it.", table::printable(title), hosts.join(", "));
    if !login.is_empty() && !renewals.is_empty() {
        tell!(
            "For a subscription, log in with `{}` on this host instead: sandboxes use that.",
            table::printable(login)
        );
    }
}

fn check(adapter: &Adapter, host: &HostFacts, json: bool) -> Status {
    let found = login::find(adapter, host)?;
    if found.is_empty() {
        return Err(Failure::new(format!("Nothing logs {} in", adapter.title)).hint(format!(
            "It takes {}; {}",
            login::accepted(adapter).join(", "),
            login::remedy(adapter)
        )));
    }
    let mut listed = Vec::new();
    for login in &found {
        let valid = login.valid_until()?;
        let until = valid.map(|(until, renewed)| (wire::rfc3339((until / 1000) as i64), renewed));
        if json {
            let (until, renewed) = until.map_or((None, false), |(until, renewed)| (Some(until), renewed));
            listed.push(serde_json::json!({ "login": login.to_string(), "valid_until": until, "renewed": renewed }));
            continue;
        }
        let until = match until {
            Some((until, _)) if valid.is_some_and(|(until, renewed)| renewed && until <= now()) => {
                format!(", valid until {until}, to be renewed when it is used")
            }
            Some((until, true)) => format!(", valid until {until}, and renewed then"),
            Some((until, false)) => format!(", valid until {until}"),
            None => String::new(),
        };
        print(&table::printable(&format!("{}: {login}{until}", adapter.title)).to_string())?;
        print("\n")?;
    }
    if json {
        print_json(&serde_json::json!({ "agent": adapter.name, "logins": listed }))?;
    }
    for login in &found {
        if let login::Login::Variable { unset: Some(unset), .. } = login {
            return Err(Failure::new(format!("The variable {unset} is not set"))
                .hint(format!("Set it, or {}", login::remedy(adapter))));
        }
        if let Some(over) = expired(adapter, login)? {
            return Err(over);
        }
    }
    Ok(0)
}

/// In milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What is to be said of a login that is over, and that nothing renews.
pub(super) fn expired(adapter: &Adapter, found: &login::Login) -> Result<Option<Failure>, Failure> {
    let over = found.valid_until()?.is_some_and(|(until, renewed)| !renewed && until <= now());
    Ok(over.then(|| {
        Failure::new(format!("The login of {} has expired", adapter.title))
            .hint(format!("To go on, {}", login::remedy(adapter)))
    }))
}
