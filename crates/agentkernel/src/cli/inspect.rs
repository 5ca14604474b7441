//! `inspect`: all that is known of a sandbox.

use super::{
    Failure, Status, for_each, print, print_json,
    ps::{PATIENCE, mounts, word},
    table::rfc3339,
    template,
};
use crate::{
    SandboxId, Spec,
    client::{Client, ClientError},
    store::{State, Store},
};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use wire::api;

/// Show everything about sandboxes, as JSON.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Print each so: a path of names in braces, such as {spec.image} or {running.init_pid}, is filled in, and so is
    /// {{json .}}. What begins with a capital letter is Docker's: {{.Id}}, {{.Name}}, {{.Created}}, {{.Mounts}}; of
    /// {{.State}} Status, Running, Pid, ExitCode, OOMKilled, StartedAt, FinishedAt; of {{.Config}} Image, Env, Cmd,
    /// WorkingDir, User, Hostname
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print JSON, on one line
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Serialize)]
struct Details {
    id: SandboxId,
    name: Option<String>,
    /// Its state in one word.
    status: &'static str,
    /// As a shell would have it; `null` if it has not ended.
    exit_status: Option<u8>,
    /// Whether the kernel has killed a process of its present or last run because its memory limit was reached.
    oom_killed: bool,
    created_ms: u64,
    state: State,
    spec: Spec,
    directory: String,
    /// What its supervisor says; `null` if it is not running.
    running: Option<api::Status>,
    /// Why its supervisor says nothing, if it has one.
    unreachable: Option<String>,
}

impl Inspect {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let mut details = Vec::new();
        let status = for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let status = Client::connect_within(&entry, PATIENCE).and_then(|mut client| client.status());
            let (running, unreachable) = match status {
                Ok(status) => (Some(status), None),
                Err(ClientError::Gone | ClientError::Store(_)) => (None, None),
                Err(error) => (None, Some(wire::cause(&error))),
            };
            let state = entry.state()?;
            let oom_kills = match state {
                State::Exited { oom_kills, .. } => oom_kills,
                _ => running.as_ref().map_or(0, |running| running.oom_kills),
            };
            details.push(Details {
                id: entry.id().clone(),
                name: entry.name()?.map(String::from),
                status: word(&state),
                exit_status: if let State::Exited { exit, .. } = state { Some(exit.status()) } else { None },
                oom_killed: oom_kills > 0,
                created_ms: entry.created_ms(),
                state,
                spec: entry.spec()?,
                directory: entry.path().display().to_string(),
                running,
                unreachable,
            });
            Ok(())
        })?;
        let json = self.json || self.format.as_deref() == Some("json");
        if json {
            print_json(&details)?;
        } else if let Some(template) = &self.format {
            for details in &details {
                print(&format!("{}\n", details.fill(template)?))?;
            }
        } else {
            let text = serde_json::to_string_pretty(&details).map_err(|error| Failure::chain(&error))?;
            print(&format!("{text}\n"))?;
        }
        Ok(status)
    }
}

impl Details {
    fn fill(&self, template: &str) -> Result<String, Failure> {
        let (ours, docker) = (serde_json::to_value(self).map_err(|error| Failure::chain(&error))?, self.docker());
        template::fill(template, |field| {
            let (path, json) = template::asked(field);
            if !path.starts_with(|first: char| first.is_ascii_uppercase()) {
                return Ok(template::shown(template::value(&ours, path)?, json));
            }
            match template::value(&docker, path)? {
                // A script that was written for Docker does not expect that.
                Value::Null => Err(Failure::new(format!("Field '{path}' is not known of sandbox {}", self.id))
                    .hint(self.unreachable.clone().unwrap_or_else(|| "It is ending, or nobody saw it end".into()))),
                value => Ok(template::shown(value, json)),
            }
        })
    }

    /// What Docker's names stand for, as far as there is such a thing here; `null` is what is not known.
    fn docker(&self) -> Value {
        // Docker's for what has not happened.
        const NEVER: &str = "0001-01-01T00:00:00Z";
        let time = |ms: u64| Value::from(rfc3339(ms.saturating_mul(1_000_000)));
        let (running, started, finished) = match self.state {
            State::Created => (false, NEVER.into(), NEVER.into()),
            State::Running { started_ms, .. } => (true, time(started_ms), NEVER.into()),
            State::Exited { started_ms, ended_ms, .. } => (false, time(started_ms), ended_ms.map_or(Value::Null, time)),
        };
        let pid = match &self.running {
            Some(status) if running => Some(status.init_pid),
            _ => (!running).then_some(0),
        };
        let Spec { image, command, env, workdir, identity, hostname, .. } = &self.spec;
        let mounts = mounts(&self.spec).into_iter().map(|mount| {
            let (source, target) = (mount.source.display().to_string(), mount.target.display().to_string());
            json!({ "Type": "bind", "Source": source, "Destination": target, "RW": !mount.read_only })
        });
        json!({
            "Id": self.id,
            "Name": self.name.as_deref().unwrap_or_default(),
            "Created": time(self.created_ms),
            "State": {
                "Status": self.status,
                "Running": running,
                "Pid": pid,
                "ExitCode": self.exit_status.unwrap_or(0),
                "OOMKilled": self.oom_killed,
                "StartedAt": started,
                "FinishedAt": finished,
            },
            "Config": {
                "Image": image.to_string(),
                "Env": command.as_ref().map_or(env, |command| &command.env),
                "Cmd": command.as_ref().map_or(&[][..], |command| &command.argv),
                "WorkingDir": command.as_ref().map_or(workdir, |command| &command.cwd),
                "User": format!("{}:{}", identity.uid, identity.gid),
                "Hostname": hostname,
            },
            "Mounts": mounts.collect::<Vec<_>>(),
        })
    }
}
