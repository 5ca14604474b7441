use super::*;
use crate::SandboxId;

fn sums(events: Vec<AuditEvent>) -> Sums {
    let mut sums = Sums::default();
    for event in events {
        let missing = matches!(event, AuditEvent::Missing { .. });
        let (host, port) = if missing { (String::new(), 0) } else { ("a.example.org".to_owned(), 443) };
        let sandbox = SandboxId::try_from("0123456789ab".to_owned()).unwrap();
        sums.add(AuditRecord { time_ms: 1, sandbox, name: None, flow: 1, host, port, event });
    }
    sums
}

/// Whoever relies on sums must know that something is not in them.
#[test]
fn missing_records_are_told_below_the_sums() {
    let opened = || AuditEvent::Opened { rule: "*".into(), address: "192.0.2.1:443".into() };
    let whole = sums(vec![opened()]);
    assert!(whole.json().len() == 1 && whole.table().lines().count() == 2);
    let one = sums(vec![AuditEvent::Missing { count: 1 }, opened()]);
    assert!(one.table().ends_with("\n1 record is missing\n") && one.table().lines().count() == 3);
    let more = sums(vec![AuditEvent::Missing { count: 1 }, opened(), AuditEvent::Missing { count: 41 }]);
    assert!(more.table().ends_with("\n42 records are missing\n"));
    let json = more.json();
    assert_eq!((json.len(), &json[0]["allowed"], &json[1]), (2, &1.into(), &json!({ "missing": 42 })));
    assert_eq!(sums(vec![AuditEvent::Missing { count: u64::MAX }, AuditEvent::Missing { count: 1 }]).missing, u64::MAX);
}
