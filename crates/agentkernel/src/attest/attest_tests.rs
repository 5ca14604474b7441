use super::{CaseReport, Control, Report, Verdict, host};

fn case(name: &str, control: Control, result: Verdict) -> CaseReport {
    CaseReport {
        name: name.into(),
        class: "files".into(),
        means: "it can be read".into(),
        reference: "CVE-0".into(),
        control,
        result,
        detail: "why".into(),
    }
}

fn report(cases: &[(Control, Verdict)]) -> Report {
    let cases = cases.iter().enumerate();
    Report { cases: cases.map(|(at, (control, result))| case(&format!("c{at}"), control.clone(), *result)).collect() }
}

#[test]
fn only_walls_that_were_shown_to_hold_are_a_success() {
    use {Control::*, Verdict::*};
    let not_run = NotRun("needs root".into());
    let failed = Failed("EPERM".into());
    assert_eq!(report(&[(Proved, Held), (not_run.clone(), Held)]).status(), 0);
    assert_eq!(report(&[]).status(), 2);
    assert_eq!(report(&[(Proved, Held), (Proved, Skipped)]).status(), 2);
    assert_eq!(report(&[(Proved, Held), (failed.clone(), Held)]).status(), 2);
    assert_eq!(report(&[(failed, Skipped), (not_run, Escaped)]).status(), 1);
}

#[test]
fn the_report_is_loud_about_what_did_not_hold() {
    let report = report(&[
        (Control::Proved, Verdict::Held),
        (Control::Proved, Verdict::Escaped),
        (Control::Failed("EPERM".into()), Verdict::Held),
        (Control::NotRun("needs root".into()), Verdict::Skipped),
    ]);
    assert_eq!(
        report.to_string(),
        "files    2 held, 1 escaped, 1 not made\n\
         ESCAPED  c1: it can be read (CVE-0)\n         why\n\
         NOT MADE c3: why\n\
         UNPROVED c2: it should escape outside a sandbox, and did not: EPERM\n\
         walls held: 2 of 4; shown to fall outside a sandbox: 2\n"
    );
    let json: serde_json::Value = serde_json::from_str(&report.to_json().expect("JSON")).expect("JSON");
    assert_eq!((json["held"].as_u64(), json["escaped"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["cases"][2]["control"], serde_json::json!({"state": "failed", "reason": "EPERM"}));
    assert_eq!(json["cases"][0]["control"], serde_json::json!({"state": "proved"}));
    assert_eq!(json["cases"][1]["result"], "escaped");
}

#[test]
fn only_one_exact_answer_counts() {
    let good = br#"{"name":"a","class":"x","result":"held","detail":"d"}"#;
    assert!(host::answer(good, "a").is_some());
    assert!(host::answer(good, "b").is_none());
    let twice = [good.as_slice(), b"\n", good.as_slice()].concat();
    assert!(host::answer(&twice, "a").is_none());
    assert!(host::answer(b"", "a").is_none());
    assert!(host::answer(br#"{"name":"a","result":"perhaps","detail":""}"#, "a").is_none());
}
