//! The registries that this machine's own tools are told to use, as their configuration names them when the test runs:
//! whether a policy made from it lets them through. Nothing leaves the machine: in the test's internet there is no such
//! host, and that is what whoever was let through is told.

use crate::ground::Ground;
use std::process::Command;

/// What a program prints, if it is there and succeeds.
fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The hosts in a text of URLs.
fn hosts(text: &str) -> Vec<String> {
    let rest = text.split("://").skip(1);
    let host = |rest: &str| {
        let authority = rest.split(['/', '\'', '"', ' ', '\n']).next()?;
        let host = authority.rsplit('@').next()?.split(':').next()?;
        (!host.is_empty()).then(|| host.to_owned())
    };
    rest.filter_map(host).collect()
}

/// Tools, and how each is asked for its registry.
fn registries() -> Vec<(&'static str, Option<String>)> {
    let pip = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
    // Cargo keeps the index of each registry that it has used under the registry's name.
    let cargo =
        "ls ${CARGO_HOME:-$HOME/.cargo}/registry/index | sed -n 's,^\\(.*\\.[a-z]*\\)-[0-9a-f]*$,https://\\1/,p'";
    vec![
        ("npm", says("npm", &["config", "get", "registry"])),
        (
            "pip",
            says("pip3", &["config", "get", "global.index-url"]).or_else(|| says("/usr/bin/python3", &["-c", pip])),
        ),
        ("cargo", says("sh", &["-c", cargo])),
        ("apt", says("apt-get", &["indextargets", "--format", "$(SITE)"])),
    ]
}

#[test]
fn a_policy_of_the_tools_own_configuration() {
    for ground in Ground::all() {
        for (tool, text) in registries() {
            let Some(host) = text.as_deref().and_then(|text| hosts(text).into_iter().next()) else {
                support::skipped(&format!("the registry of {tool}"), "it is not installed, or names none");
                continue;
            };
            let reason = |rule: &str| {
                let before = ground.log(&[]).len();
                let _ = ground.attack(&["--allow", rule], &format!("assert ask('{host}', 443, b'x') == b''"));
                let log = ground.log(&[]);
                let event = log[before..].iter().find(|event| event["event"] == "refused").unwrap();
                assert_eq!(event["host"], host);
                event["reason"].as_str().unwrap().to_owned()
            };
            // Judged, and looked up: only the test's internet has none.
            assert_eq!(reason(&host), "no-such-host", "{tool}");
            assert_eq!(reason("elsewhere.example.com"), "not-allowed", "{tool}");
            assert_eq!(reason(&format!("*.{host}")), "not-allowed", "{tool}");
        }
        assert_eq!(ground.internet.requests(), [""; 0]);
    }
}
