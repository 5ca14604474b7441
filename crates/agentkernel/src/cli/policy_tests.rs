use super::*;

fn record(host: &str, event: AuditEvent) -> AuditRecord {
    let sandbox = SandboxId::try_from("0123456789ab".to_owned()).unwrap();
    let subject = Subject::Connection { flow: 1, host: host.into(), port: 443 };
    AuditRecord { time_ms: 1, sandbox, name: None, subject, event }
}

fn folded(verdict: Verdict, reason: Option<&str>) -> AuditEvent {
    let (closed, sent, received, requests, tokens, since_ms) = Default::default();
    let reason = reason.map(str::to_owned);
    AuditEvent::Folded { verdict, reason, count: 3, closed, sent, received, requests, tokens, since_ms }
}

fn seen(records: Vec<AuditRecord>) -> Seen {
    let mut seen = Seen::default();
    records.into_iter().for_each(|record| seen.add(record));
    seen
}

#[test]
fn sums_count_as_well() {
    let seen = seen(vec![
        record("a.example.org", folded(Verdict::Allowed, None)),
        record("10.1.2.3", folded(Verdict::Denied, Some("private-address"))),
        record("b.example.org", folded(Verdict::Failed, Some("unreachable"))),
        // The sandbox had ended before.
        record("c.example.org", folded(Verdict::Failed, Some("lost"))),
    ]);
    let reached: Vec<_> = seen.reached.iter().map(ToString::to_string).collect();
    assert_eq!(reached, ["a.example.org:443", "c.example.org:443"]);
    let (target, why) = seen.refused.first_key_value().unwrap();
    assert!(seen.refused.len() == 1 && target.to_string() == "10.1.2.3:443" && why.can_be_named(target));
    assert!(!seen.incomplete);
}

#[test]
fn what_is_not_on_record_is_known_to_be_missing() {
    for verdict in [Verdict::Allowed, Verdict::Denied] {
        let others = seen(vec![record(Subject::OTHERS, folded(verdict, None))]);
        assert!(others.incomplete && others.reached.is_empty() && others.refused.is_empty());
    }
}

#[test]
fn requests_that_limits_refuse_are_told() {
    let refused = |reason: &str, request: Option<&str>| {
        let (reason, request) = (reason.to_owned(), request.map(str::to_owned));
        record("a.example.org", AuditEvent::Refused { reason, denied: true, cause: String::new(), request })
    };
    let seen = seen(vec![
        refused("ceiling", Some("POST /x")),
        refused("ceiling", Some("POST /x")),
        refused("request-not-allowed", Some("PUT /x")),
    ]);
    assert_eq!(seen.limited.into_iter().collect::<Vec<_>>(), ["POST /x at a.example.org:443"]);
    assert_eq!(seen.restricted.into_iter().collect::<Vec<_>>(), ["PUT /x at a.example.org:443"]);
    assert!(seen.refused.is_empty());
}

#[test]
fn what_was_neither_tls_nor_http_is_known() {
    let (reason, cause) = (Reason::NotHttp.code().to_owned(), String::new());
    let refused = AuditEvent::Refused { reason, denied: true, cause, request: None };
    let opened = AuditEvent::Opened { rule: "mode open".into(), address: "192.0.2.1:443".into() };
    let seen = seen(vec![
        record("a.example.org", opened),
        record("a.example.org", refused),
        record("b.example.org", folded(Verdict::Denied, Some("not-http"))),
    ]);
    let names = |list: &BTreeSet<Target>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&seen.other), ["a.example.org:443", "b.example.org:443"]);
    assert!(names(&seen.reached) == ["a.example.org:443"] && seen.refused.is_empty());
}

#[test]
fn limits_say_whether_a_rule_could_let_it_be_spoken() {
    let target = Target::parse("a.example.org:443", None).unwrap();
    let limits = |mode, allow: &[&str]| {
        let allow = allow.iter().map(|text| Rule::parse(text).unwrap()).collect();
        any_protocol(&target, Some(&Rules { mode, allow, ..Rules::default() }))
    };
    assert!(any_protocol(&target, None) && limits(Mode::Open, &[]) && limits(Mode::Allow, &["*.example.org:443"]));
    assert!(!limits(Mode::Allow, &["a.example.org"]) && !limits(Mode::None, &[]));
}
