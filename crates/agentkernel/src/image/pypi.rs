//! Hides how an index of Python's packages is asked where files of it are: the page of each project (PEP 503, which every
//! index has), read where it comes from the internet.

use super::{
    ImageError,
    fetch::{FileLogins, hint, internet_with},
    pull::in_runtime,
    worker::{self, Reach},
};
use std::collections::BTreeMap;
use wire::Failure;

/// The form of a page.
const FORM: &str = "text/html";
/// The longest page: a project with thousands of files has less.
const LONGEST: u64 = 16 << 20;

/// Asks an index, whose address ends with a slash, where wheels are: their addresses, in the same order.
///
/// # Errors
/// [`ImageError`], also if it does not have one.
pub fn located(index: &str, wheels: &[&str], logins: &FileLogins) -> Result<Vec<String>, ImageError> {
    let settings = internet_with(logins);
    let work = || {
        let ask = async |client: oci::registry::Client| {
            let mut pages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let mut found = Vec::new();
            for wheel in wheels {
                let page = format!("{index}{}/", project(wheel));
                if !pages.contains_key(&page) {
                    pages.insert(page.clone(), client.document_at(&page, FORM, LONGEST).await?);
                }
                found.push(pages.get(&page).and_then(|text| address(&String::from_utf8_lossy(text), &page, wheel)));
            }
            Ok(found)
        };
        let found = in_runtime(&settings, hint, ask)?;
        let missing = |wheel: &str| Failure {
            cause: format!("The index of Python's packages has no {wheel}"),
            hint: "Check what pip's configuration says of it (pip.conf, PIP_INDEX_URL)".to_owned(),
        };
        found.into_iter().zip(wheels).map(|(address, wheel)| address.ok_or_else(|| missing(wheel))).collect()
    };
    worker::start(&[], Reach::Internet, work)?.wait()
}

/// The project of a wheel, as its page is called.
fn project(wheel: &str) -> String {
    let name = wheel.split('-').next().unwrap_or(wheel).to_ascii_lowercase();
    let parts: Vec<&str> = name.split(['_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// Where a page says that a file is.
fn address(text: &str, page: &str, file: &str) -> Option<String> {
    let links = text.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let mut places = links.filter_map(|link| {
        let link = link.replace("&amp;", "&");
        let place = link.split('#').next()?.trim();
        let name = place.split('?').next()?.rsplit('/').next()?.replace("%2B", "+").replace("%2b", "+");
        (name == file).then(|| joined(page, place))
    });
    places.next()?
}

/// Where a link leads from a page.
fn joined(page: &str, link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return Some(link.to_owned());
    }
    let (scheme, rest) = page.split_once("://")?;
    if let Some(link) = link.strip_prefix("//") {
        return Some(format!("{scheme}://{link}"));
    }
    let (host, folder) = rest.split_once('/')?;
    // A page ends with a slash.
    let mut path: Vec<&str> = if link.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    path.pop();
    for part in link.trim_start_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    Some(format!("{scheme}://{host}/{}", path.join("/")))
}

#[cfg(test)]
#[path = "pypi_tests.rs"]
mod tests;
