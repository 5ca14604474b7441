//! A section of a text that people read and write: hides the marks around it.

use super::{Fault, Put, append, newline};

const BEGIN: &str = "<!-- agentkernel: begin. `agentkernel plugin` wrote this section; `agentkernel plugin remove` takes it out again. -->";
const BEGINS: &str = "<!-- agentkernel: begin";
const END: &str = "<!-- agentkernel: end -->";

/// Puts it at the end, or in the place of one that is there.
pub(super) fn put(text: &str, ours: &str) -> Result<Put, Fault> {
    match find(text)? {
        Some(_) if has(text, ours) => Ok(Put::There),
        Some((start, end)) => {
            let section = section(ours).replace('\n', newline(text));
            Ok(Put::Done(format!("{}{section}{}", &text[..start], &text[end..])))
        }
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

/// Takes it out, with the empty line in front.
pub(super) fn take(text: &str) -> Result<String, Fault> {
    let Some((start, end)) = find(text)? else { return Ok(text.to_owned()) };
    let before = &text[..start];
    let gap = ["\n\r\n", "\n\n"].into_iter().find(|gap| before.ends_with(gap));
    let before = gap.map_or(before, |gap| &before[..before.len() - gap.len() + 1]);
    Ok(format!("{before}{}", &text[end..]))
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
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}
