//! `net check`: what `run` would do with one connection.

use super::{Status, args::NetworkArgs, failure::OWN, print, print_json, run, table::printable};
use crate::{
    config::{self, Check as Judged, Decision, HostFacts, UserConfig},
    store::Store,
};
use clap::Args;
use egress::{Denial, HOST_NAME, Lift, Mode, Reason, Requests, Rule, Target, address};
use serde::Serialize;
use std::{fmt::Write as _, net::IpAddr};
use wire::shell_word;

/// Tell what 'run' would do with a connection, and which rule decides: status 0 if it is allowed, 1 if it is refused.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Where to: on port 443 without one
    #[arg(value_name = "HOST[:PORT]", value_parser = config::parse_target)]
    target: Target,
    #[command(flatten)]
    network: NetworkArgs,
    /// Judge by the name alone, without looking it up
    #[arg(long)]
    no_lookup: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Status {
        // A mistake must not be taken for an answer.
        self.judge().map_err(|failure| failure.status(OWN))
    }

    fn judge(self) -> Status {
        let host = HostFacts::read()?;
        let project = run::project(&Store::open()?, &host, false)?;
        let user = UserConfig::read(&host)?;
        let flags = self.network.overrides();
        let none = flags.mode == Some(Mode::None);
        let judged = config::check(flags, &project, &user, &host, self.target)?;
        let mut report = Report::new(&judged, !self.no_lookup);
        if let Some(help) = report.help.as_mut().filter(|help| none && help.starts_with('`')) {
            *help = format!("Without `--net none`, {help}");
        }
        if self.json {
            print_json(&report)?;
        } else {
            print(&report.text())?;
        }
        Ok(u8::from(!report.allowed))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    target: String,
    allowed: bool,
    /// The code of the denial or failure; none for what never leaves the sandbox.
    reason: Option<Reason>,
    /// The same in words.
    cause: Option<String>,
    /// What decides.
    decision: Option<By>,
    /// What of the user's limits lets it through.
    limit: Option<By>,
    /// What of the user's limits refuses it as well.
    obstacle: Option<By>,
    /// The allowed thing that is most like it.
    nearest: Option<String>,
    /// What would help.
    help: Option<String>,
    /// Requests that it is restricted to: of each list one must allow it.
    requests: &'a [Vec<Requests>],
    /// Whether the last of these lists is the user's limits.
    requests_limited: bool,
    /// Secrets that would be put in on the way.
    secrets: Vec<&'a str>,
    /// Its addresses, as this host knows them; none: nothing was looked up.
    addresses: Option<Vec<Address>>,
}

#[derive(Serialize)]
struct By {
    rule: String,
    /// `default`, `flag`, `project` or `user`.
    origin: &'static str,
    /// Where it stands, for people.
    place: String,
}

impl From<Decision> for By {
    fn from(Decision { rule, origin }: Decision) -> Self {
        Self { rule, origin: origin.kind(), place: origin.to_string() }
    }
}

#[derive(Serialize)]
struct Address {
    address: IpAddr,
    allowed: bool,
    reason: Option<Reason>,
    cause: Option<String>,
    /// What names it, where that must be.
    decision: Option<By>,
}

impl<'a> Report<'a> {
    fn new(judged: &'a Judged, lookup: bool) -> Self {
        let grant = judged.verdict.as_ref().ok();
        let mut report = Self {
            target: judged.target.to_string(),
            allowed: grant.is_some(),
            reason: None,
            cause: None,
            decision: Some(judged.decision.clone().into()),
            limit: judged.limit.clone().map(By::from),
            obstacle: None,
            nearest: None,
            help: None,
            requests: grant.map_or(&[], |grant| &grant.requests),
            requests_limited: grant.is_some_and(|grant| grant.limited),
            secrets: judged.secrets().collect(),
            addresses: None,
        };
        match &judged.verdict {
            // No rule is asked about these.
            _ if config::is_sandbox_itself(&judged.target.host) => {
                let port = judged.target.port;
                let help = match () {
                    () if judged.is_open(port) => format!("The host's is reached as {HOST_NAME}:{port}"),
                    () if judged.can_open(port) => {
                        format!("`--open localhost:{port}` would let it be reached, as {HOST_NAME}:{port}")
                    }
                    () => beyond(judged),
                };
                report.end_inside(config::SANDBOX_ITSELF, help);
            }
            _ if config::is_to_many(&Rule::exactly(&judged.target)) => {
                report.end_inside(config::MANY, config::ONE.to_owned())
            }
            Err(denial) => report.refuse(judged, denial),
            Ok(grant) if let Some(denial) = grant.obstacle(&judged.target) => report.refuse(judged, &denial),
            // An address is what it is.
            Ok(_) if lookup || judged.outside().host.name().is_none() => report.look_up(judged),
            Ok(_) => {}
        }
        report
    }

    fn end_inside(&mut self, cause: &str, help: String) {
        self.allowed = false;
        (self.cause, self.help) = (Some(cause.to_owned()), Some(help));
        (self.decision, self.limit) = (None, None);
    }

    fn refuse(&mut self, judged: &Judged, denial: &Denial) {
        self.allowed = false;
        (self.reason, self.cause, self.nearest) = (Some(denial.reason), Some(denial.cause()), denial.nearest.clone());
        self.obstacle = judged.obstacle(denial).map(By::from);
        self.help = help(denial, judged);
    }

    /// Says what becomes of each address, and of all of them.
    fn look_up(&mut self, judged: &Judged) {
        let addresses = match egress::look_up(&judged.outside().host) {
            Ok(addresses) => addresses,
            Err(reason) => {
                self.decision = None;
                return self.refuse(judged, &Denial::new(reason, &judged.target));
            }
        };
        if let Err(denial) = judged.admit(&addresses) {
            // Whose an address is, no rule decides.
            self.decision = (denial.reason == Reason::Denied).then(|| judged.denied(&denial).into());
            self.refuse(judged, &denial);
        }
        let of = |address: IpAddr| {
            let denial = judged.admit(&[address]).err();
            Address {
                address,
                allowed: denial.is_none(),
                reason: denial.as_ref().map(|denial| denial.reason),
                decision: if denial.is_some() { None } else { judged.namer(address).map(By::from) },
                cause: denial.map(|denial| if denial.detail.is_empty() { denial.cause() } else { denial.detail }),
            }
        };
        self.addresses = Some(addresses.into_iter().map(of).collect());
    }

    fn text(&self) -> String {
        let by = |by: &Option<By>| by.as_ref().map_or(String::new(), |by| format!(" by '{}' ({})", by.rule, by.place));
        let mut text = match (&self.cause, self.reason) {
            (Some(cause), Some(reason)) => {
                let verdict = if reason.is_denial() { "refused" } else { "would fail" };
                format!("{}: {verdict}{}: {cause} [{reason}]\n", self.target, by(&self.decision))
            }
            (Some(cause), None) => format!("{}: not reached: {cause}\n", self.target),
            _ => format!("{}: allowed{}\n", self.target, by(&self.decision)),
        };
        let mut line = |words: String| {
            let _ = writeln!(text, "  {}", printable(&words));
        };
        if self.limit.is_some() {
            line(format!("allowed{}", by(&self.limit)));
        }
        for (at, group) in self.requests.iter().enumerate() {
            let all: Vec<String> = group.iter().map(Requests::to_string).collect();
            let limits =
                if self.requests_limited && at + 1 == self.requests.len() { ", by your own limits" } else { "" };
            line(format!("these requests only{limits}: {}", all.join(", or ")));
        }
        if !self.secrets.is_empty() {
            line(format!("with secrets: {}", self.secrets.join(", ")));
        }
        for Address { address, cause, reason, decision, .. } in self.addresses.iter().flatten() {
            match (cause, reason) {
                (Some(cause), Some(reason)) => line(format!("{address}: refused: {cause} [{reason}]")),
                _ => line(format!("{address}: allowed{}", by(decision))),
            }
        }
        if let Some(nearest) = &self.nearest {
            line(format!("allowed is: {nearest}"));
        }
        if self.obstacle.is_some() {
            line(format!("refused as well{}", by(&self.obstacle)));
        }
        if let Some(help) = &self.help {
            line(help.clone());
        }
        text
    }
}

fn beyond(judged: &Judged) -> String {
    format!("[network] in {} must allow it first", judged.limits_file().display())
}

/// What would help against a denial, by a flag or in a file; `None` if nothing does that is not told already.
fn help(denial: &Denial, judged: &Judged) -> Option<String> {
    let Denial { reason, target, lift, .. } = denial;
    if denial.address().and_then(address::instead).is_some() {
        return Some(denial.remedy(""));
    }
    if *reason == Reason::Ceiling || matches!(lift, Lift::Limits(_)) {
        return Some(beyond(judged));
    }
    Some(match reason {
        Reason::NetworkNone | Reason::NotAllowed if target.host.name() == Some(HOST_NAME) => {
            format!("`--open localhost:{}` would allow it: it is the host", target.port)
        }
        Reason::NetworkNone | Reason::NotAllowed | Reason::UnnamedAddress => {
            format!("`--allow {}` would allow it by name", shell_word(&target.to_string()))
        }
        Reason::PrivateAddress => {
            let address = denial.address()?;
            let target = Target { host: address.into(), port: target.port };
            format!("`--allow {}` would allow the address", shell_word(&target.to_string()))
        }
        _ => return None,
    })
}
