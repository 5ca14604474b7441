use super::*;
use std::path::PathBuf;

fn target(text: &str) -> Target {
    Target::parse(text, Some(443)).unwrap()
}

/// serde knows every variant, and says so to whoever writes another.
#[test]
fn the_list_has_every_reason_in_order() {
    let told = serde_json::from_str::<Reason>("\"?\"").unwrap_err().to_string();
    let known: Vec<&str> = told.split('`').skip(3).step_by(2).collect();
    assert_eq!(Reason::ALL.map(Reason::code).to_vec(), known);
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
    }
}

#[test]
fn every_reason_is_told_in_words_and_with_its_code() {
    for reason in Reason::ALL {
        for to in ["a.example:22", "10.0.0.1", "[::1]"] {
            let detail = if reason == Reason::PrivateAddress { "10.1.2.3 is private" } else { "some detail" };
            let denial = Denial::new(reason, &target(to)).because(detail);
            let cause = denial.cause();
            assert!(!cause.is_empty() && !cause.ends_with('.') && !cause.contains('\n'), "{cause}");
            let words = denial.words("box");
            assert!(
                words.starts_with(&format!("agentkernel: {} refused: {cause} [{reason}].", denial.target)),
                "{words}"
            );
            assert!(!words.contains("()") && !words.ends_with('\n'));
            // Whoever pastes it means this sandbox.
            let remedy = denial.remedy("box");
            assert!(!remedy.contains("agentkernel net") || remedy.contains(" box "), "{remedy}");
            assert_eq!(!remedy.is_empty(), reason.is_denial(), "{reason}: {remedy}");
            for lift in [Lift::Limits(None), Lift::Limits(Some("*.x".to_owned())), Lift::Never] {
                let remedy = Denial { lift: lift.clone(), ..denial.clone() }.remedy("box");
                assert!(!remedy.contains("agentkernel net") && !remedy.is_empty(), "{remedy}");
                assert_eq!(remedy.contains("config.toml"), lift != Lift::Never, "{remedy}");
            }
        }
        assert!(!Denial::new(reason, &target("a")).cause().contains('('), "{reason}");
    }
}

#[test]
fn what_would_help_is_said() {
    let remedy = |reason, to| Denial::new(reason, &target(to)).remedy("box");
    for (reason, to, help) in [
        (Reason::NotAllowed, "a.example:22", "agentkernel net allow box a.example:22"),
        (Reason::NotAllowed, "[::1]:22", "agentkernel net allow box '[::1]:22'"),
        (Reason::NotAllowed, "host.agentkernel.internal:5432", "--open localhost:5432"),
        (Reason::NetworkNone, "host.agentkernel.internal:5432", "--open localhost:5432"),
        (Reason::PrivateAddress, "10.0.0.1:22", "agentkernel net allow box 10.0.0.1:22"),
        (Reason::Ceiling, "a.example", "config.toml"),
        (Reason::TokenLimit, "a.example", "--max-tokens"),
        (Reason::SecretInClear, "a.example:8080", "https://a.example:8080"),
    ] {
        assert!(remedy(reason, to).contains(help), "{}", remedy(reason, to));
    }
    // What no rule changes is not told to be allowed.
    for to in ["0.0.0.0:80", "[::]:80", "255.255.255.255:80", "224.0.0.1:80", "[ff02::1]:80"] {
        for lift in [Lift::Own, Lift::Within, Lift::Limits(None)] {
            let words = Denial { lift, ..Denial::new(Reason::NotAllowed, &target(to)) }.remedy("box");
            assert!(words.contains("of one host") || words.contains("the host that is meant"), "{words}");
        }
    }
    let nowhere =
        Denial::new(Reason::PrivateAddress, &target("a.example:22")).because("0.0.0.0 is an address of no host");
    assert_eq!(nowhere.remedy("box"), "Have who gives out the name correct its address: it is no host's");
    assert_eq!(remedy(Reason::SecretInClear, "[::1]:80"), "Use TLS: https://[::1]");
    let denied = Denial::new(Reason::Denied, &target("a.example")).because("*.example:*");
    assert!(denied.remedy("box").ends_with(" agentkernel net allow box '*.example:*'"), "{}", denied.remedy("box"));
    // That rule alone would open more than was asked for, which is said, or more than limits let.
    assert!(denied.remedy("box").contains("allow all that it is about"), "{}", denied.remedy("box"));
    let within = Denial { lift: Lift::Within, ..denied.clone() }.remedy("box");
    assert!(!within.contains("net allow") && within.contains("agentkernel net check a.example:443"), "{within}");
    let limited = Denial { lift: Lift::Limits(Some("*.org".to_owned())), ..denied }.remedy("box");
    assert!(limited.contains("'*.org'") && !limited.contains("*.example"), "{limited}");
    let unread = Denial::new(Reason::RequestNotAllowed, &target("a.example")).because(UNREAD);
    assert!(unread.remedy("box").ends_with(": agentkernel restart box"), "{}", unread.remedy("box"));
    let private = Denial::new(Reason::PrivateAddress, &target("a.example:22")).because("10.1.2.3 is a private address");
    assert!(private.remedy("box").ends_with("agentkernel net allow box 10.1.2.3:22"), "{}", private.remedy("box"));
    let denial =
        Denial { nearest: Some("*.example".to_owned()), ..Denial::new(Reason::NotAllowed, &target("a.example")) };
    assert!(denial.words("box").contains("\nAllowed is: *.example.\n"));
}

/// The page is written by hand; each reason has one row, which says what it means and what to do.
#[test]
fn the_reference_page_has_every_reason() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../docs/reference/denials.md"].iter().collect();
    let page = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.trim_end_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let codes = |denials: bool| Reason::ALL.into_iter().filter(move |reason| reason.is_denial() == denials);
    // First what a rule refused, then what failed.
    let expected: Vec<String> = codes(true).chain(codes(false)).map(|reason| format!("{reason}`")).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), expected);
    for row in rows {
        assert!(row.len() == 3 && row.iter().all(|cell| cell.len() > 4), "{row:?}");
    }
}
