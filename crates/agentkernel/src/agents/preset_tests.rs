use super::super::tests::embedded;
use super::*;

const FILE: &str = ".gemini/settings.json";

fn gemini(text: Option<&str>, wishes: &[Wish], kept: bool) -> Option<serde_json::Value> {
    let preset = preset(&embedded("gemini"), Path::new(FILE), text, wishes, kept)?;
    // What was there stays as it was written.
    assert!(text.is_none_or(|text| preset.contains("// mine") == text.contains("// mine")), "{preset}");
    Some(serde_json::from_str(&preset.replace("// mine", "")).unwrap())
}

#[test]
fn what_the_user_has_not_set_is_set() {
    let all = gemini(None, &[], true).unwrap();
    assert_eq!(all["privacy"]["usageStatisticsEnabled"], false);
    assert_eq!(all["general"]["enableAutoUpdate"], false);
    assert_eq!(all["security"]["auth"]["selectedType"], "gemini-api-key");
    let text = "{ // mine\n  \"ui\": { \"theme\": \"Light\" }, \"general\": { \"enableAutoUpdate\": true }\n}";
    let some = gemini(Some(text), &[], false).unwrap();
    assert_eq!((&some["ui"]["theme"], &some["general"]["enableAutoUpdate"]), (&"Light".into(), &true.into()));
    assert_eq!(some["privacy"]["usageStatisticsEnabled"], false);
    // Once is enough; what is no settings is left alone.
    let whole = preset(&embedded("gemini"), Path::new(FILE), None, &[], true).unwrap();
    assert_eq!(gemini(Some(&whole), &[], true), None);
    assert_eq!(gemini(Some("{ broken"), &[], true), None);
    assert_eq!(preset(&embedded("gemini"), Path::new(".gemini/other.json"), None, &[], true), None);
}

#[test]
fn what_is_wished_is_not_set() {
    let none = gemini(None, &[Wish::Telemetry, Wish::Updates], true).unwrap();
    assert_eq!(none, serde_json::json!({"security": {"auth": {"selectedType": "gemini-api-key"}}}));
    let whole = preset(&embedded("gemini"), Path::new(FILE), None, &[], true).unwrap();
    let less = gemini(Some(&whole), &[Wish::Telemetry], true).unwrap();
    assert!(less["privacy"]["usageStatisticsEnabled"].is_null() && less["general"]["enableAutoUpdate"] == false);
    // What the user has set himself is his.
    assert_eq!(gemini(Some(&whole), &[Wish::Telemetry], false), None);
}

#[test]
fn an_empty_variable_is_taken_out() {
    let keys = |name: &str| ["env".to_owned(), name.to_owned()];
    let text = "{ \"env\": { \"A\": \"\", \"B\": \"b\" } }".to_owned();
    let value: serde_json::Value = serde_json::from_str(&without_empty(text.clone(), &keys("A"))).unwrap();
    assert_eq!(value, serde_json::json!({"env": {"B": "b"}}));
    assert_eq!(without_empty(text.clone(), &keys("B")), text);
}
