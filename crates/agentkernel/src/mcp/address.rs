//! Addresses of what a sandbox has: `agentkernel://sandbox/ID/` and `log`, `policy` or `files/PATH`.

use super::roots::decoded;
use std::path::{Path, PathBuf};

/// Where each begins.
pub(super) const SANDBOX: &str = "agentkernel://sandbox/";

/// What is meant by one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Log,
    Policy,
    /// By its path from the sandbox's root.
    File(PathBuf),
}

/// The name or id of the sandbox, and what of it is meant.
pub(super) fn parse(uri: &str) -> Option<(&str, Resource)> {
    let (sandbox, rest) = uri.strip_prefix(SANDBOX)?.split_once('/')?;
    let resource = match rest {
        "log" => Resource::Log,
        "policy" => Resource::Policy,
        _ => Resource::File(Path::new("/").join(decoded(rest.strip_prefix("files/")?)?)),
    };
    Some((sandbox, resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        assert_eq!(parse("agentkernel://sandbox/box/log"), Some(("box", Resource::Log)));
        assert_eq!(parse("agentkernel://sandbox/box/policy"), Some(("box", Resource::Policy)));
        let file = |path: &str| Some(("box", Resource::File(path.into())));
        assert_eq!(parse("agentkernel://sandbox/box/files/tmp/a%20b"), file("/tmp/a b"));
        assert_eq!(parse("agentkernel://sandbox/box/files//etc/x"), file("/etc/x"));
        for none in
            ["", "agentkernel://sandbox/box", "agentkernel://sandbox/box/else", "agentkernel://sandbox/b/files/%0"]
        {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
