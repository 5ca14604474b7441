//! What was reached becomes a patch of `agentkernel.toml`: hides how the smallest list that allows it is written, so
//! that what stands there already stays as it is.

use super::{
    FILE_NAME,
    forms::{parse_rule, parse_service},
    reach::is_here,
};
use egress::{
    HOST_NAME, Host, Mode, Policy, Ports, Rule, Rules, Target, WEB,
    address::{self, Class},
};
use similar::TextDiff;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// So many names below one are worth a remark.
const MANY: usize = 3;

/// What a command reached, and what it did not.
#[derive(Clone, Debug, Default)]
pub struct Learned<'a> {
    /// What is to be allowed.
    pub reached: Vec<&'a Target>,
    /// Of that, where something else than TLS and HTTP was spoken: a rule must name the port.
    pub other: Vec<&'a Target>,
    /// What was refused, and why.
    pub refused: Vec<(&'a Target, &'a str)>,
    /// Rules about addresses by which a flag let something be reached.
    pub addresses: Vec<&'a Rule>,
}

/// A unified diff of the project's file that allows what was reached, and nothing else; empty if it is allowed. What was
/// refused, with the cause, stands there as a comment, to be reviewed. Without a file it makes one.
#[must_use]
pub fn learned(project: Option<&str>, Learned { reached, other, refused, addresses }: &Learned<'_>) -> String {
    let before = project.unwrap_or_default();
    // Nobody calls this with a file that has mistakes: the project was read before.
    let mut document: DocumentMut = before.parse().unwrap_or_default();
    let Some(network) = document.entry("network").or_insert_with(|| Item::Table(Table::new())).as_table_like_mut()
    else {
        return String::new();
    };
    let (services, hosts): (Vec<&Target>, Vec<&Target>) =
        reached.iter().partition(|target| target.host.name() == Some(HOST_NAME));
    let services: BTreeSet<u16> = services.iter().map(|target| target.port).collect();
    let known: Vec<Target> =
        texts(network.get("host_services")).iter().filter_map(|(text, _)| parse_service(text).ok()).collect();
    let known = |port: &u16| known.iter().any(|known| is_here(&known.host) && known.port == *port);
    let services: Vec<String> =
        services.into_iter().filter(|port| !known(port)).map(|port| format!("localhost:{port}")).collect();
    let allow = texts(network.get("allow"));
    let allowed: Vec<(Rule, bool)> =
        allow.iter().filter_map(|(text, table)| Some((parse_rule(text).ok()?, *table))).collect();
    let is_allowed = |target: &Target| {
        allowed.iter().any(|(rule, table)| {
            // What is allowed in part stays so: whoever wrote that meant it.
            rule.matches(target) && (*table || rule.ports != Ports::Web || !other.contains(&target))
        })
    };
    let mut rules = fold(hosts.into_iter().filter(|target| !is_allowed(target)), other);
    let named = addresses.iter().filter(|rule| !allowed.iter().any(|(allowed, _)| allowed == **rule));
    rules.extend(named.map(ToString::to_string));
    // The mode 'none' would hold all of it back; 'open' allows more than what was seen.
    let other_mode = network.get("mode").is_some_and(|mode| mode.as_str() != Some("allow"));
    let mut review: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (target, cause) in refused {
        for (key, line) in reviewed(target, cause) {
            let lines = review.entry(key).or_default();
            // Whoever has left it a comment has seen it; and names can share an address.
            if !before.contains(&line) && !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    if rules.is_empty() && services.is_empty() && review.values().all(Vec::is_empty) && !other_mode {
        return String::new();
    }
    if other_mode && let Some(mode) = network.get_mut("mode").and_then(Item::as_value_mut) {
        let decor = mode.decor().clone();
        *mode = Value::from("allow");
        *mode.decor_mut() = decor;
    }
    let remarks = remarks(&rules);
    let rules = rules.into_iter().map(|rule| (remarks.get(&rule).cloned(), rule)).collect();
    let services = services.into_iter().map(|service| (None, service)).collect();
    for (key, texts) in [("allow", rules), ("host_services", services)] {
        add(network, key, texts, &review.remove(key).unwrap_or_default());
    }
    let mut after = document.to_string();
    // Whose lines end otherwise has each of them as it was.
    if before.contains("\r\n") && !before.replace("\r\n", "").contains('\n') {
        after = after.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    let old = if project.is_some() { format!("a/{FILE_NAME}") } else { "/dev/null".to_owned() };
    TextDiff::from_lines(before, after.as_str()).unified_diff().header(&old, &format!("b/{FILE_NAME}")).to_string()
}

/// The texts of a list and the hosts of its tables, and which they are.
fn texts(item: Option<&Item>) -> Vec<(String, bool)> {
    let tables = item.and_then(Item::as_array_of_tables).into_iter().flatten();
    let hosts = tables.filter_map(|table| Some((table.get("host")?.as_str()?.to_owned(), true)));
    let list = item.and_then(Item::as_array).into_iter().flatten();
    let texts = list.filter_map(|value| match value.as_inline_table() {
        Some(table) => Some((table.get("host")?.as_str()?.to_owned(), true)),
        None => Some((value.as_str()?.to_owned(), false)),
    });
    hosts.chain(texts).collect()
}

/// The rules for targets: one for both ports of the web unless something `other` was spoken there, and one for each
/// other port.
fn fold<'a>(targets: impl Iterator<Item = &'a Target>, other: &[&Target]) -> Vec<String> {
    let mut ports: BTreeMap<&Host, BTreeSet<u16>> = BTreeMap::new();
    for target in targets {
        ports.entry(&target.host).or_default().insert(target.port);
    }
    let rules = |(host, ports): (&Host, BTreeSet<u16>)| {
        let other = other.iter().any(|other| other.host == *host && WEB.contains(&other.port));
        let web = !other && WEB.iter().all(|port| ports.contains(port));
        let others = ports.iter().filter(move |port| !web || !WEB.contains(port));
        let rules = web.then(|| host.to_string()).into_iter().chain(others.map(|port| format!("{host}:{port}")));
        rules.collect::<Vec<_>>()
    };
    ports.into_iter().flat_map(rules).collect()
}

/// Which list something could be allowed in that was refused because it is private or the host's, and the comments that
/// say so there: all of them together let it be reached.
fn reviewed(target: &Target, cause: &str) -> Vec<(&'static str, String)> {
    let detail = cause.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let comment = |key, text: String, why: &str| (key, format!("# \"{text}\", # refused: {why}"));
    if target.host.name() == Some(HOST_NAME) {
        return vec![comment("host_services", format!("localhost:{}", target.port), "a service of the host")];
    }
    let why = detail.unwrap_or(cause);
    let (first, class) = why.split_once(" is ").unwrap_or((why, ""));
    let address: Option<IpAddr> = first.parse().ok();
    // Which addresses are this machine's is known to whoever refused them.
    let own = class == Class::Loopback.words();
    // By its name, if that is enough.
    let by_name = Rules { mode: Mode::Allow, allow: vec![Rule::exactly(target)], ..Rules::default() };
    let by_name = Policy { rules: by_name, ceiling: None };
    match address {
        Some(address) if by_name.admit(target, &[address], |_| own).is_err() => match address::class(address) {
            Class::LinkLocal | Class::Metadata | Class::NoHost if !own => {
                let named = Target { host: address.into(), port: target.port };
                [target, &named].map(|target| comment("allow", target.to_string(), why)).into()
            }
            _ => vec![comment("host_services", target.to_string(), why)],
        },
        _ => vec![comment("allow", target.to_string(), why)],
    }
}

/// What could be said of rules, before which of them: many names below one are perhaps all meant.
fn remarks(rules: &[String]) -> BTreeMap<String, String> {
    let mut below: BTreeMap<(&str, &str), Vec<&String>> = BTreeMap::new();
    for rule in rules {
        let (host, port) = rule.split_once(':').unwrap_or((rule, ""));
        if let Some((_, parent)) = host.split_once('.').filter(|(_, parent)| parent.contains('.'))
            && !rule.starts_with(|first: char| first.is_ascii_digit() || first == '[')
        {
            below.entry((parent, port)).or_default().push(rule);
        }
    }
    let many = below.into_iter().filter(|(_, rules)| rules.len() >= MANY);
    many.map(|((parent, port), rules)| {
        let colon = if port.is_empty() { "" } else { ":" };
        let wildcard = format!("*.{parent}{colon}{port}");
        (rules[0].clone(), format!("\"{wildcard}\" would allow these {}, and all others below {parent}", rules.len()))
    })
    .collect()
}

/// Adds texts to a list, each on a line of its own after its remark, unless there are lines to follow that are not so;
/// and comments behind them.
fn add(network: &mut dyn toml_edit::TableLike, key: &str, texts: Vec<(Option<String>, String)>, comments: &[String]) {
    const INDENT: &str = "\n    ";
    if texts.is_empty() && comments.is_empty() {
        return;
    }
    let list = network.entry(key).or_insert_with(|| Item::Value(Value::Array(Array::new())));
    // `[[network.allow]]`, which is no array, is left alone by `or_insert_with`; its tables can't take a text.
    if let Item::ArrayOfTables(tables) = list {
        for (_, text) in texts {
            let mut table = Table::new();
            table.insert("host", toml_edit::value(text));
            tables.push(table);
        }
        let last = tables.iter_mut().last().and_then(|table| table.iter_mut().last().map(|(_, value)| value));
        if let Some(value) = last.and_then(Item::as_value_mut) {
            let suffix = value.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
            let comments: String = comments.iter().map(|comment| format!("\n{comment}")).collect();
            value.decor_mut().set_suffix(suffix + &comments);
        }
        return;
    }
    let Some(list) = list.as_array_mut() else { return };
    let indent = list.iter().find_map(|value| value.decor().prefix()?.as_str().filter(|prefix| prefix.contains('\n')));
    let indent = indent.and_then(|prefix| prefix.rfind('\n').map(|at| prefix[at..].to_owned()));
    let on_lines = !comments.is_empty()
        || indent.is_some()
        || list.is_empty()
        || texts.len() > 1
        || texts.iter().any(|(remark, _)| remark.is_some());
    if !on_lines {
        texts.into_iter().for_each(|(_, text)| list.push(text));
        return;
    }
    let indent = indent.unwrap_or_else(|| INDENT.to_owned());
    // What follows the last element, a comment perhaps, stays with it.
    let trailing = list.trailing().as_str().unwrap_or_default().trim_end().to_owned();
    let added = !texts.is_empty();
    for (at, (remark, text)) in texts.into_iter().enumerate() {
        let mut value = Value::from(text);
        let before = if at == 0 { trailing.as_str() } else { "" };
        let remark = remark.map_or(String::new(), |remark| format!("{indent}# {remark}"));
        value.decor_mut().set_prefix(format!("{before}{remark}{indent}"));
        value.decor_mut().set_suffix("");
        list.push_formatted(value);
    }
    let before = if added { "" } else { trailing.as_str() };
    let comments: String = comments.iter().map(|comment| format!("{indent}{comment}")).collect();
    list.set_trailing(format!("{before}{comments}\n"));
    list.set_trailing_comma(!list.is_empty());
}

#[cfg(test)]
#[path = "learn_tests.rs"]
mod tests;
