//! Hides how an image's own package manager installs something, and which hosts its configuration names.

use super::{ImageError, Images, Record};
use oci::Digest;

/// A package manager.
struct Manager {
    /// By this program it is known.
    program: &'static str,
    /// Files, and directories of files, that say where packages come from.
    sources: &'static [&'static str],
    /// What installs; the packages come behind it.
    install: &'static str,
    /// What removes what only the installation needed.
    clear: &'static str,
}

const DNF: &[&str] = &["etc/yum.repos.d"];

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "usr/bin/apt-get",
        sources: &["etc/apt/sources.list", "etc/apt/sources.list.d"],
        install: "/usr/bin/apt-get update && DEBIAN_FRONTEND=noninteractive /usr/bin/apt-get install -y --no-install-recommends",
        clear: "rm -rf /var/lib/apt/lists/*",
    },
    Manager {
        program: "sbin/apk",
        sources: &["etc/apk/repositories"],
        install: "/sbin/apk add --no-cache",
        clear: "true",
    },
    Manager {
        program: "usr/bin/dnf",
        sources: DNF,
        install: "/usr/bin/dnf install -y",
        clear: "/usr/bin/dnf clean all",
    },
    Manager {
        program: "usr/bin/microdnf",
        sources: DNF,
        install: "/usr/bin/microdnf install -y",
        clear: "/usr/bin/microdnf clean all",
    },
    Manager {
        program: "usr/bin/yum",
        sources: DNF,
        install: "/usr/bin/yum install -y",
        clear: "/usr/bin/yum clean all",
    },
];

/// The longest file that says where packages come from.
const LONGEST: u64 = 1 << 20;

/// How packages are installed in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// A line for the shell.
    pub command: String,
    /// What it reaches, as the image says: `HOST` or `HOST:PORT`.
    pub hosts: Vec<String>,
}

impl Images {
    /// How an image's own package manager installs these; `None` if it has none that is known.
    ///
    /// # Errors
    /// If a layer can't be read.
    pub fn install(&self, record: &Record, packages: &[String]) -> Result<Option<Install>, ImageError> {
        let layers: Vec<Digest> = record.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let view = self.view(&layers)?;
        let read = |path: &str| view.read(path.as_bytes(), LONGEST).map_err(|errno| self.failed("read", path, errno));
        for Manager { program, sources, install, clear } in &MANAGERS {
            if read(program)?.is_none() {
                continue;
            }
            let mut hosts = Vec::new();
            for source in *sources {
                let mut texts: Vec<Vec<u8>> = read(source)?.into_iter().collect();
                let found = view.resolve(source.as_bytes(), true).ok().and_then(|(path, found)| Some((path, found?)));
                if let Some((path, found)) = found.filter(|(_, found)| found.is_dir()) {
                    let names = view.list(&path, &found).map_err(|errno| self.failed("read", *source, errno))?;
                    for name in names {
                        texts.extend(read(&format!("{source}/{}", String::from_utf8_lossy(&name)))?);
                    }
                }
                texts.iter().for_each(|text| named(&String::from_utf8_lossy(text), &mut hosts));
            }
            let command = format!("{install} {} && {clear}", packages.join(" "));
            return Ok(Some(Install { command, hosts }));
        }
        Ok(None)
    }
}

/// The hosts of the addresses in a text, but in comments.
fn named(text: &str, hosts: &mut Vec<String>) {
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for scheme in ["http://", "https://"] {
            for (at, _) in line.match_indices(scheme) {
                let rest = line.get(at + scheme.len()..).unwrap_or_default();
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-:".contains(c))).unwrap_or(rest.len());
                let host = rest.get(..end).unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
                // What has somebody's name and password before it is read by whoever reads it.
                if !host.is_empty()
                    && !rest.get(end..).is_some_and(|rest| rest.starts_with('@'))
                    && !hosts.contains(&host)
                {
                    hosts.push(host);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn hosts_are_those_of_the_addresses_that_count() {
        let mut hosts = Vec::new();
        named(
            "# http://comment.example/\ndeb http://deb.example/debian x main\nURIs: https://a.example:8443/x http://deb.example/y\n\
             deb [signed-by=/x] https://B.example. x\nbaseurl=https://c.example/$releasever/\n",
            &mut hosts,
        );
        assert_eq!(hosts, ["deb.example", "a.example:8443", "b.example", "c.example"]);
        named("https://$mirror/x file:///y ftp://z", &mut hosts);
        assert_eq!(hosts.len(), 4);
    }
}
