use super::*;

const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";

fn known(text: &str, server: &str) -> Vec<String> {
    known_keys(text, &Target::parse(server, Some(22)).unwrap()).iter().map(ToString::to_string).collect()
}

#[test]
fn names_and_patterns() {
    let both = format!("git.example.org,10.0.0.7 {ONE} comment\n# one\n\n*.example.org,!old.example.org {TWO}\n");
    assert_eq!(known(&both, "git.example.org"), [ONE, TWO]);
    assert_eq!(known(&both, "10.0.0.7"), [ONE]);
    assert_eq!(known(&both, "www.example.org"), [TWO]);
    assert!(known(&both, "old.example.org").is_empty() && known(&both, "example.org").is_empty());
    // A port of its own is part of the name.
    assert!(known(&both, "10.0.0.7:2222").is_empty());
    let ports = format!("[git.example.org]:2222,[10.0.0.?]:2222 {ONE}\n");
    assert_eq!(known(&ports, "git.example.org:2222"), [ONE]);
    assert_eq!(known(&ports, "10.0.0.7:2222"), [ONE]);
    assert!(known(&ports, "git.example.org").is_empty());
    assert_eq!(known(&format!("Git.Example.ORG {ONE}"), "git.example.org"), [ONE]);
}

#[test]
fn hashed_names() {
    // printf git.example.org | openssl dgst -sha1 -hmac with a salt of twenty times the byte 1
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[1; 20]);
    let hash = STANDARD.encode(hmac::sign(&key, b"git.example.org"));
    let line = format!("|1|{}|{hash} {ONE}\n|1|broken {TWO}\n|1|!|! {TWO}\n", STANDARD.encode([1; 20]));
    assert_eq!(known(&line, "git.example.org"), [ONE]);
    assert!(known(&line, "www.example.org").is_empty());
}

#[test]
fn what_is_not_trusted() {
    let text = format!("a.example {ONE}\n@revoked * {ONE}\n@cert-authority a.example {TWO}\na.example {TWO}x\n");
    assert!(known(&text, "a.example").is_empty());
    assert_eq!(known(&format!("{text}a.example {TWO}\n"), "a.example"), [TWO]);
    // Nothing could be verified with it.
    assert!(known("a.example ssh-dss AAAAB3NzaC1kc3MAAAABAQ==", "a.example").is_empty());
}
