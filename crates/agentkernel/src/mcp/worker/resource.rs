//! What is read of a sandbox by its address.

use super::{Worker, files::ReadFile, kept::Kept, of_store};
use crate::{
    mcp::address::{self, Resource, SANDBOX},
    store::{LogData, Tail},
};
use serde::{Deserialize, Serialize};
use wire::Failure;

/// What the server calls it. No tool of a client's has this name.
pub(in crate::mcp) const TOOL: &str = "(resource)";
/// Bytes of a log that are given back.
const LOG: usize = 256 << 10;

/// What is wanted.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::mcp) struct Wanted {
    /// Its address.
    pub(in crate::mcp) uri: String,
}

/// What was found.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::mcp) enum Found {
    Text(String),
    Base64(String),
}

impl Worker<'_> {
    pub(super) fn resource(&self, Wanted { uri }: Wanted) -> Result<Found, Failure> {
        let (sandbox, resource) = address::parse(&uri).ok_or_else(|| Failure {
            cause: format!("There is no resource '{uri}'"),
            hint: format!("'{SANDBOX}ID/' is followed by 'log', 'policy' or 'files/PATH'"),
        })?;
        match resource {
            Resource::Log => self.log(sandbox).map(Found::Text),
            Resource::Policy => self.policy(sandbox).map(Found::Text),
            Resource::File(path) => {
                let wanted = ReadFile { sandbox: sandbox.to_owned(), path, offset: 0, limit: Some(u32::MAX) };
                let contents = self.read_file(wanted)?;
                Ok(match (contents.text, contents.base64) {
                    (Some(text), _) => Found::Text(text),
                    (None, base64) => Found::Base64(base64.unwrap_or_default()),
                })
            }
        }
    }

    /// What a kept sandbox's programs have written.
    fn log(&self, sandbox: &str) -> Result<String, Failure> {
        let (entry, _) = self.find(sandbox)?;
        let mut reader = entry.log_reader(Tail::default()).map_err(of_store)?;
        let mut kept = Kept::new(LOG);
        while let Some(record) = reader.next_record().map_err(of_store)? {
            match record.data {
                LogData::Output(_, bytes) => kept.push(&bytes),
                LogData::Notice(words) => kept.push(format!("[agentkernel: {words}]\n").as_bytes()),
                LogData::Lost(count) => kept.push(format!("[agentkernel: {count} bytes are missing]\n").as_bytes()),
            }
        }
        Ok(kept.text())
    }

    /// What a sandbox may reach, in words.
    fn policy(&self, sandbox: &str) -> Result<String, Failure> {
        let (_, spec) = self.find(sandbox)?;
        let rules = &spec.network.policy.rules;
        let mut text = format!("mode {}\n", rules.mode);
        let allowed = rules.allow.iter().map(|rule| format!("allow {rule}\n"));
        let denied = rules.deny.iter().map(|rule| format!("deny {rule}\n"));
        let services = rules.services.iter().map(|service| format!("service {service}\n"));
        let secrets = spec.network.secrets.iter().map(|secret| format!("secret {}\n", secret.name));
        let ports = spec.network.ports.iter().map(|port| format!("port {port}\n"));
        text.extend(allowed.chain(denied).chain(services).chain(secrets).chain(ports));
        if spec.network.policy.ceiling.is_some() {
            text.push_str("within the user's own limits\n");
        }
        Ok(text)
    }
}
