//! Hides how rules lie within each other: whether what one is about is all, some or nothing of what another is.

use egress::{Pattern, Ports, Rule};

/// Whether everything that `inner` is about, `outer` is about as well.
pub(super) fn covers(outer: &Pattern, inner: &Pattern) -> bool {
    match (outer, inner) {
        (Pattern::Any, _) => true,
        (_, Pattern::Host(host)) => outer.matches(host),
        (Pattern::Below(outer), Pattern::Below(inner)) => {
            outer == inner || inner.strip_suffix(&**outer).is_some_and(|rest| rest.ends_with('.'))
        }
        (Pattern::Network(_, short), Pattern::Network(address, long)) => long >= short && outer.contains(*address),
        _ => false,
    }
}

/// Whether a rule that denies takes away all that another allows: without a port it is about every port.
pub(super) fn denies(deny: &Rule, allow: &Rule) -> bool {
    let ports = if deny.ports == Ports::Web { Ports::EVERY } else { deny.ports };
    covers_rule(&Rule { ports, ..deny.clone() }, allow)
}

/// Whether every connection that `inner` is about, `outer` is about as well.
fn covers_rule(outer: &Rule, inner: &Rule) -> bool {
    let ports = match inner.ports {
        Ports::Web => outer.ports.contains(80) && outer.ports.contains(443),
        Ports::Range(first, last) => match outer.ports {
            Ports::Web => first == last && outer.ports.contains(first),
            Ports::Range(from, to) => from <= first && last <= to,
        },
    };
    ports && covers(&outer.pattern, &inner.pattern)
}

/// Whether there can be a connection that both are about.
pub(super) fn meet(one: &Rule, other: &Rule) -> bool {
    // Of two patterns that share a host, one is always within the other.
    let hosts = covers(&one.pattern, &other.pattern) || covers(&other.pattern, &one.pattern);
    let ports = match (one.ports, other.ports) {
        (Ports::Web, ports) | (ports, Ports::Web) => ports.contains(80) || ports.contains(443),
        (Ports::Range(first, last), Ports::Range(from, to)) => first <= to && from <= last,
    };
    hosts && ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(text).unwrap()
    }

    #[test]
    fn within_and_beside() {
        for (outer, inner) in [
            ("*", "example.org"),
            ("*:*", "10.0.0.0/8:5432"),
            ("*.example.org", "a.b.example.org"),
            ("*.example.org", "*.b.example.org"),
            ("10.0.0.0/8:*", "10.1.0.0/16"),
            ("10.0.0.0/8:*", "10.1.2.3:22"),
            ("example.org", "example.org:443"),
            ("example.org:1-1000", "example.org"),
            ("example.org:80-443", "example.org:100-200"),
        ] {
            assert!(covers_rule(&rule(outer), &rule(inner)), "{outer} {inner}");
            assert!(meet(&rule(outer), &rule(inner)) && meet(&rule(inner), &rule(outer)), "{outer} {inner}");
            assert!(outer == inner || !covers_rule(&rule(inner), &rule(outer)), "{inner} {outer}");
        }
        for (one, other) in [
            ("example.org", "example.net"),
            ("*.example.org", "example.org"),
            ("*.example.org", "aexample.org"),
            ("*.xexample.org", "*.example.org"),
            ("10.0.0.0/8", "11.0.0.0/8"),
            ("10.0.0.0/8", "db.internal"),
            ("example.org", "example.org:22"),
            ("example.org:1-21", "example.org:22-23"),
        ] {
            assert!(!meet(&rule(one), &rule(other)) && !meet(&rule(other), &rule(one)), "{one} {other}");
            assert!(!covers_rule(&rule(one), &rule(other)) && !covers_rule(&rule(other), &rule(one)));
        }
        assert!(denies(&rule("example.org"), &rule("example.org:22")));
        assert!(!denies(&rule("example.org:443"), &rule("example.org")));
        assert!(meet(&rule("example.org"), &rule("example.org:443-9000")));
        assert!(!covers_rule(&rule("example.org"), &rule("example.org:443-9000")));
    }
}
