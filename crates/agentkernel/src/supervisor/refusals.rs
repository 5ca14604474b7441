//! Connections and changes of files that were refused: what is told of them, in words and in `inspect`.
//!
//! Their names come from inside, in any number: few are remembered, and fewer told.

use std::collections::{BTreeMap, VecDeque};

/// Entries that are remembered.
const REMEMBERED: usize = 64;
/// Targets that one notice names.
const NAMED: usize = 5;
/// Causes that one notice names.
const CAUSES: usize = 3;

/// What was refused since the start.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    connections: List,
    changes: List,
    /// The last that was refused because a limit was reached.
    limit: Option<Limit>,
}

/// One kind of them.
#[derive(Debug, Default)]
struct List {
    /// The one that was refused last is the last. A target has one entry for each time between two [marks](Self::mark)
    /// in which it was refused.
    entries: VecDeque<Entry>,
    /// How many were refused.
    count: u64,
    /// `count` when the last mark was set.
    marked: u64,
    /// `count` when the newest was refused of those that are forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Limit {
    target: String,
    cause: String,
    /// The count of connections then.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    /// `host:port`, or a path.
    target: String,
    /// Why.
    cause: String,
    times: u64,
    /// [`List::count`] when it was refused first, and last.
    first: u64,
    last: u64,
}

/// A moment, to be told of what was refused since. The default is the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    connections: u64,
    changes: u64,
}

impl Refusals {
    /// A connection.
    pub(super) fn add(&mut self, target: String, cause: String) {
        self.connections.add(target, cause);
    }

    /// The same for one that has reached a limit of the sandbox's, which is what has ended an agent.
    pub(super) fn add_limit(&mut self, target: String, cause: String) {
        self.connections.count += 1;
        self.limit = Some(Limit { target, cause, last: self.connections.count });
    }

    /// A change of a path.
    pub(super) fn add_change(&mut self, path: String, cause: String) {
        self.changes.add(path, cause);
    }

    pub(super) fn mark(&mut self) -> Mark {
        Mark { connections: self.connections.mark(), changes: self.changes.mark() }
    }

    /// `host:port`, the newest last, for `inspect`.
    pub(super) fn targets(&self) -> Vec<String> {
        let of_limit = self.limit.iter().map(|limit| &limit.target);
        let others = self.connections.entries.iter().map(|entry| &entry.target);
        others.filter(|other| of_limit.clone().all(|it| it != *other)).chain(of_limit.clone()).cloned().collect()
    }

    /// What was refused since then, in a line for each kind, and in another and last one that a limit was reached, so that
    /// nothing hides that. Whose it was nobody knows out here: a flow has no exec.
    pub(super) fn since(&self, mark: Mark) -> Vec<String> {
        let limit = self.limit.as_ref().filter(|limit| limit.last > mark.connections);
        let limit = limit.map(|Limit { target, cause, .. }| connection(target, cause));
        let change = |path: &str, cause: &str| format!("A change of {path} was refused: {cause}");
        let changes = self.changes.since(mark.changes, change, "Changes of files were refused");
        changes.into_iter().chain(self.others(mark)).chain(limit).collect()
    }

    /// Connections.
    fn others(&self, mark: Mark) -> Option<String> {
        self.connections.since(mark.connections, connection, "Connections from the sandbox were refused")
    }
}

impl List {
    fn add(&mut self, target: String, cause: String) {
        self.count += 1;
        let same = |entry: &Entry| entry.first > self.marked && entry.target == target && entry.cause == cause;
        let (first, times) = match self.entries.iter().rposition(same).and_then(|at| self.entries.remove(at)) {
            Some(entry) => (entry.first, entry.times + 1),
            None => (self.count, 1),
        };
        if self.entries.len() == REMEMBERED
            && let Some(oldest) = self.entries.pop_front()
        {
            self.forgotten = oldest.last;
        }
        self.entries.push_back(Entry { target, cause, times, first, last: self.count });
    }

    fn mark(&mut self) -> u64 {
        self.marked = self.count;
        self.count
    }

    /// What was refused since then, in a line: the words for one, and those for more.
    fn since(&self, mark: u64, one: impl Fn(&str, &str) -> String, more_than_one: &str) -> Option<String> {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        let mut causes: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.first > mark) {
            *times.entry(&entry.target).or_default() += entry.times;
            *causes.entry(&entry.cause).or_default().entry(&entry.target).or_default() += entry.times;
        }
        let more = self.forgotten > mark || times.len() > NAMED;
        let cause = causes.first_key_value().map(|(cause, _)| cause).filter(|_| causes.len() == 1);
        // What has ended an agent must not be hidden by what it was refused besides.
        if (2..=CAUSES).contains(&causes.len()) && !more {
            let of_one = |(cause, times): (&&str, &BTreeMap<&str, u64>)| format!("{}, because {cause}", named(times));
            let all: Vec<String> = causes.iter().map(of_one).collect();
            return Some(format!("{more_than_one}: {}", all.join("; ")));
        }
        if let (Some((target, 1)), Some(cause), 1, false) = (times.first_key_value(), cause, times.len(), more) {
            return Some(one(target, cause));
        }
        let named = named(&times);
        let others = if more { " and others" } else { "" };
        let because = match cause {
            Some(cause) => format!(", because {cause}"),
            None => " ('agentkernel net log' tells why)".to_owned(),
        };
        (!named.is_empty()).then(|| format!("{more_than_one}{because}: {named}{others}"))
    }
}

fn connection(target: &str, cause: &str) -> String {
    format!("A connection from the sandbox to {target} was refused: {cause}")
}

/// Some targets, with how often.
fn named(times: &BTreeMap<&str, u64>) -> String {
    let named = times.iter().take(NAMED).map(|(target, times)| match times {
        1 => (*target).to_owned(),
        _ => format!("{target} ({times} times)"),
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(targets: impl IntoIterator<Item = &'static str>) -> Refusals {
        let mut refusals = Refusals::default();
        targets.into_iter().for_each(|target| add(&mut refusals, target));
        refusals
    }

    fn add(refusals: &mut Refusals, target: &str) {
        refusals.add(target.to_owned(), "the network mode is 'none'".to_owned());
    }

    #[test]
    fn a_few_causes_are_told_and_more_are_left_to_the_log() {
        let mut refusals = Refusals::default();
        refusals.add("a:1".into(), "no rule allows it".into());
        assert_eq!(
            refusals.others(Mark::default()).unwrap(),
            "A connection from the sandbox to a:1 was refused: no rule allows it"
        );
        refusals.add("a:1".into(), "a rule denies it (a)".into());
        assert_eq!(
            refusals.others(Mark::default()).unwrap(),
            "Connections from the sandbox were refused: a:1, because a rule denies it (a); a:1, because no rule allows it"
        );
        refusals.add("b:1".into(), "no rule allows it".into());
        assert!(refusals.others(Mark::default()).unwrap().ends_with("; a:1, b:1, because no rule allows it"));
        for cause in ["its tokens are used up", "the service is not there"] {
            refusals.add("a:1".into(), cause.into());
        }
        assert_eq!(
            refusals.others(Mark::default()).unwrap(),
            "Connections from the sandbox were refused ('agentkernel net log' tells why): a:1 (4 times), b:1"
        );
    }

    #[test]
    fn each_target_is_told_once_with_how_often() {
        let start = Mark::default();
        assert_eq!(refused([]).others(start), None);
        assert_eq!(
            refused(["a:1"]).others(start).unwrap(),
            "A connection from the sandbox to a:1 was refused: the network mode is 'none'"
        );
        let told = |refusals: &Refusals, since| {
            let text = refusals.others(since).unwrap();
            let (words, targets) = text.split_once(": ").unwrap();
            assert_eq!(words, "Connections from the sandbox were refused, because the network mode is 'none'");
            targets.to_owned()
        };
        assert_eq!(told(&refused(["a:1", "a:1"]), start), "a:1 (2 times)");
        assert_eq!(told(&refused(["b:1", "a:1", "b:1"]), start), "a:1, b:1 (2 times)");
        assert_eq!(
            told(&refused(["f:1", "e:1", "d:1", "c:1", "b:1", "a:1"]), start),
            "a:1, b:1, c:1, d:1, e:1 and others"
        );
    }

    #[test]
    fn a_limit_is_told_last_whatever_else_was_refused() {
        let start = Mark::default();
        let mut refusals = Refusals::default();
        refusals.add_limit("model:443".into(), "its tokens are used up".into());
        let limit = "A connection from the sandbox to model:443 was refused: its tokens are used up";
        assert_eq!(refusals.since(start), [limit]);
        for number in 0..1000 {
            add(&mut refusals, &format!("{number}:1"));
            refusals.add("model:443".into(), format!("cause {number}"));
        }
        assert!(refusals.since(start).len() == 2 && refusals.since(start)[1] == limit, "{:?}", refusals.since(start));
        assert_eq!(refusals.targets().iter().filter(|target| *target == "model:443").count(), 1);
        let later = refusals.mark();
        assert!(refusals.since(later).is_empty());
        refusals.add_limit("model:443".into(), "all is used up".into());
        assert_eq!(refusals.since(later).len(), 1);
    }

    #[test]
    fn changes_and_connections_do_not_hide_each_other() {
        let mut refusals = refused(["a:1"]);
        let start = Mark::default();
        refusals.add_change("/p/.git/config".into(), "it is protected".into());
        let connection = "A connection from the sandbox to a:1 was refused: the network mode is 'none'";
        let change = "A change of /p/.git/config was refused: it is protected";
        assert_eq!(refusals.since(start), [change, connection]);
        for number in 0..1000 {
            refusals.add_change(format!("/p/{number}"), "it is protected".into());
        }
        let told = refusals.since(start);
        let changes =
            "Changes of files were refused, because it is protected: /p/936, /p/937, /p/938, /p/939, /p/940 and others";
        assert_eq!(told, [changes, connection]);
        let exec = refusals.mark();
        refusals.add_change("/p/.git/config".into(), "it is protected".into());
        assert_eq!(refusals.since(exec), [change]);
    }

    #[test]
    fn an_exec_hears_of_its_own_time_only() {
        let mut refusals = refused(["a:1", "b:1"]);
        let exec = refusals.mark();
        assert_eq!(refusals.others(exec), None);
        add(&mut refusals, "a:1");
        assert!(refusals.others(exec).unwrap().contains("A connection from the sandbox to a:1 was"));
        let later = refusals.mark();
        add(&mut refusals, "a:1");
        assert!(refusals.others(later).unwrap().contains("to a:1 was"));
        assert!(refusals.others(exec).unwrap().ends_with(": a:1 (2 times)"));
        assert!(refusals.others(Mark::default()).unwrap().ends_with(": a:1 (3 times), b:1"));
    }

    #[test]
    fn names_without_end_are_bounded_and_told_as_others() {
        let mut refusals = Refusals::default();
        for number in 0..100_000 {
            add(&mut refusals, &format!("{number}:1"));
        }
        let exec = refusals.mark();
        assert_eq!(refusals.targets().len(), REMEMBERED);
        assert_eq!(refusals.targets().last().unwrap(), "99999:1");
        assert!(refusals.others(Mark::default()).unwrap().ends_with(" and others"));
        add(&mut refusals, "last:1");
        assert!(refusals.others(exec).unwrap().contains("to last:1 was refused"));
        // Were it the only one that is remembered, it was not the only one.
        for _ in 0..REMEMBERED {
            refusals.mark();
            add(&mut refusals, "last:1");
        }
        assert!(refusals.others(Mark::default()).unwrap().ends_with("last:1 (64 times) and others"));
    }
}
