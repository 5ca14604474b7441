//! A section of a text that people read and write: hides the marks around it.

use super::{Fault, MARK, Put, append, detach, newline};

const BEGIN: &str = "<!-- agentkernel: begin. `agentkernel plugin` wrote this section; `agentkernel plugin remove` takes it out again. -->";
const BEGINS: &str = "<!-- agentkernel: begin";
const END: &str = "<!-- agentkernel: end -->";

/// Puts it at the end.
pub(super) fn put(text: &str, ours: &str) -> Result<Put, Fault> {
    match find(text)? {
        Some(_) if has(text, ours) => Ok(Put::There),
        Some(_) => Ok(Put::Theirs),
        None => Ok(Put::Done(append(text, &section(ours)))),
    }
}

/// Whether it is there, as it is.
pub(super) fn has(text: &str, ours: &str) -> bool {
    match find(text) {
        Ok(Some((start, end))) => text[start..end].trim_end() == section(ours).replace('\n', newline(text)).trim_end(),
        _ => false,
    }
}

/// Takes it out, with the empty line in front that a text `kept` had not.
pub(super) fn take(text: &str, kept: Option<&str>) -> Result<String, Fault> {
    Ok(find(text)?.map_or_else(|| text.to_owned(), |(start, end)| detach(text, start..end, kept)))
}

fn section(ours: &str) -> String {
    format!("{BEGIN}\n{}\n{END}\n", ours.trim_end())
}

/// From the beginning of its first line to the end of its last.
fn find(text: &str) -> Result<Option<(usize, usize)>, Fault> {
    let Some(start) = lines(text).find(|(_, line)| line.starts_with(BEGINS)).map(|(at, _)| at) else {
        return Ok(None);
    };
    let end = lines(text).find(|(at, line)| *at > start && line.trim_end() == END);
    match end {
        Some((at, line)) => Ok(Some((start, at + line.len()))),
        None => Err(Fault::new(start, format!("the section that begins here has no end, a line `{END}`"))),
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let body = text.trim_start_matches(MARK);
    body.split_inclusive('\n').scan(text.len() - body.len(), |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}
