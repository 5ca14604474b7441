//! Documents: every link inside the repository leads to something that is there.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{fs, path::PathBuf};

pub fn main() -> Result<()> {
    let mut folders = vec![run::root().to_owned(), run::root().join("docs")];
    let mut faults = Vec::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("Cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && folder != run::root() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {}", path.display()))?;
                seen += 1;
                for link in links(&text) {
                    let target: PathBuf = folder.join(link.split('#').next().unwrap_or(link));
                    if !target.try_exists()? {
                        faults.push(format!("{}: {link} leads nowhere", path.display()));
                    }
                }
            }
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} links lead nowhere", faults.len());
    }
    println!("documents: {seen} files, all links lead somewhere");
    Ok(())
}

/// The targets of Markdown links that are paths.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let link = &rest[..rest.find(')')?];
        let is_path = !link.contains("://") && !link.starts_with(['#', ' ']) && !link.starts_with("mailto:");
        is_path.then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn only_paths_are_links_to_check() {
        let text = "[a](b.md) [c](https://x/y) [d](#e) ![f](g/h.png) [i](j.md#k) f[0](";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "g/h.png", "j.md#k"]);
    }
}
