//! Hides how rules lie within each other: whether what one is about is all, some or nothing of what another is.

use egress::{Pattern, Ports, Rule, WEB};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// A rule that denies, with the ports that it is about: without one, every port.
pub(super) fn denying(deny: &Rule) -> Rule {
    let ports = if deny.ports == Ports::Web { Ports::EVERY } else { deny.ports };
    Rule { ports, ..deny.clone() }
}

/// Whether every connection that `inner` is about, one of the `outer` is about, whichever that is. Names have no end, so
/// only networks can be covered piece by piece.
pub(super) fn covered<'a>(inner: &Rule, outer: impl IntoIterator<Item = &'a Rule>) -> bool {
    covered_pieces(&inner.pattern, inner.ports, Vec::new(), &outer.into_iter().collect::<Vec<_>>())
}

/// The same of a piece, with the ports of what covers the whole that it is a piece of.
fn covered_pieces(inner: &Pattern, ports: Ports, mut known: Vec<Ports>, outer: &[&Rule]) -> bool {
    let (whole, pieces): (Vec<&Rule>, Vec<&Rule>) = outer.iter().partition(|outer| covers(&outer.pattern, inner));
    known.extend(whole.iter().map(|outer| outer.ports));
    if Spans::of(known.iter().copied()).cover(ports) {
        return true;
    }
    let pieces: Vec<&Rule> = pieces.into_iter().filter(|outer| covers(inner, &outer.pattern)).collect();
    let halves = if pieces.is_empty() { None } else { halves(inner) };
    halves.is_some_and(|halves| halves.iter().all(|half| covered_pieces(half, ports, known.clone(), &pieces)))
}

/// The two networks that one consists of.
fn halves(pattern: &Pattern) -> Option<[Pattern; 2]> {
    let Pattern::Network(first, length) = *pattern else { return None };
    let (second, left): (IpAddr, u8) = match first {
        IpAddr::V4(first) => {
            let left = 31u8.checked_sub(length)?;
            (Ipv4Addr::from_bits(first.to_bits() | (1 << left)).into(), left)
        }
        IpAddr::V6(first) => {
            let left = 127u8.checked_sub(length)?;
            (Ipv6Addr::from_bits(first.to_bits() | (1 << left)).into(), left)
        }
    };
    let half =
        |first: IpAddr| if left == 0 { Pattern::Host(first.into()) } else { Pattern::Network(first, length + 1) };
    Some([half(first), half(second)])
}

/// Whether there can be a connection that both are about.
pub(super) fn meet(one: &Rule, other: &Rule) -> bool {
    // Of two patterns that share a host, one is always within the other.
    let hosts = covers(&one.pattern, &other.pattern) || covers(&other.pattern, &one.pattern);
    hosts && Spans::of([one.ports]).meet(other.ports)
}

/// Ports of any number of rules: from the first to the last, in order, and none that touches the next.
pub(super) struct Spans(Vec<(u16, u16)>);

impl Spans {
    pub(super) fn of(ports: impl IntoIterator<Item = Ports>) -> Self {
        let mut all: Vec<(u16, u16)> = ports.into_iter().flat_map(spans).collect();
        all.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// The one that has a port, or the next.
    fn at(&self, port: u16) -> Option<(u16, u16)> {
        self.0.get(self.0.partition_point(|(_, last)| *last < port)).copied()
    }

    /// Whether each of these ports is one of them.
    fn cover(&self, ports: Ports) -> bool {
        spans(ports).all(|(first, last)| self.at(first).is_some_and(|(from, to)| from <= first && last <= to))
    }

    /// Whether any of these ports is one of them.
    pub(super) fn meet(&self, ports: Ports) -> bool {
        spans(ports).any(|(first, last)| self.at(first).is_some_and(|(from, _)| from <= last))
    }
}

fn spans(ports: Ports) -> impl Iterator<Item = (u16, u16)> {
    let (one, other) = match ports {
        Ports::Web => ((WEB[0], WEB[0]), Some((WEB[1], WEB[1]))),
        Ports::Range(first, last) => ((first, last), None),
    };
    std::iter::once(one).chain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers_rule(outer: &Rule, inner: &Rule) -> bool {
        covered(inner, [outer])
    }

    fn denies(deny: &Rule, allow: &Rule) -> bool {
        covers_rule(&denying(deny), allow)
    }

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
        for (outer, inner, expected) in [
            (&["a.b:80", "*:443"][..], "a.b", true),
            (&["a.b:80", "b.b:443"], "a.b", false),
            (&["a.b:1-20", "a.b:40-*", "*.b:10-39"], "a.b:1-65535", true),
            (&["a.b:1-20", "a.b:40-*", "*.b:10-38"], "a.b:1-65535", false),
            (&["a.b", "a.b:81-442"], "a.b:80-443", true),
            (&[], "a.b:1", false),
            (&["10.0.0.0/9:5", "10.128.0.0/9:5"], "10.0.0.0/8:5", true),
            (&["10.0.0.0/9:5", "10.128.0.0/9:6"], "10.0.0.0/8:5-6", false),
            (&["10.0.0.0/9:5", "10.0.0.0/8:6", "10.128.0.0/9:5"], "10.0.0.0/8:5-6", true),
            (&["10.0.0.2", "10.0.0.0", "10.0.0.1", "10.0.0.3"], "10.0.0.0/30", true),
            (&["10.0.0.2", "10.0.0.0", "10.0.0.1"], "10.0.0.0/30", false),
            (&["0.0.0.0/1", "128.0.0.0/1"], "0.0.0.0/0", true),
            (&["[fd00::]", "[fd00::1]"], "[fd00::]/127", true),
            (&["[fd00::]/9", "[fd80::]/9"], "[fd00::]/8", true),
            (&["10.0.0.0/9", "10.128.0.0/9"], "*", false),
        ] {
            let outer: Vec<Rule> = outer.iter().map(|text| rule(&text.replace("-*", "-65535"))).collect();
            assert_eq!(covered(&rule(inner), &outer), expected, "{outer:?} {inner}");
        }
    }
}
