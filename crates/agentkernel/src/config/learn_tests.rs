use super::*;
use crate::config::ProjectFile;

fn targets(texts: &[&str]) -> Vec<Target> {
    texts.iter().map(|text| Target::parse(text, None).unwrap()).collect()
}

/// The patch without its header, and the file that it makes.
fn learn(project: Option<&str>, texts: &[&str]) -> (String, String) {
    learn_with(project, texts, &[])
}

/// The same with what was refused, and why.
fn learn_with(project: Option<&str>, texts: &[&str], refused: &[(&str, &str)]) -> (String, String) {
    let refused: Vec<_> = refused.iter().map(|(text, why)| (Target::parse(text, None).unwrap(), *why)).collect();
    let refused: Vec<_> = refused.iter().map(|(target, why)| (target, *why)).collect();
    let patch = learned(project, &Learned { reached: targets(texts).iter().collect(), refused, ..Learned::default() });
    let old: String =
        body(&patch).filter(|line| !line.starts_with('+')).map(|line| line[1..].to_owned() + "\n").collect();
    let new: String =
        body(&patch).filter(|line| !line.starts_with('-')).map(|line| line[1..].to_owned() + "\n").collect();
    let before = project.unwrap_or_default();
    assert!(before.contains(&old), "{before}\n{patch}");
    let after = before.replacen(&old, &new, 1);
    let lines: Vec<&str> = patch.lines().filter(|line| !line.starts_with(['@', ' '])).skip(2).collect();
    if let Err(error) = ProjectFile::parse(FILE_NAME.into(), after.clone()) {
        panic!("{error}\n{after}");
    }
    (lines.iter().map(|line| format!("{line}\n")).collect(), after)
}

/// The patch for what was reached, and for what else than TLS and HTTP was spoken to.
fn patch(project: Option<&str>, texts: &[&str], other: &[&str]) -> String {
    let (reached, other) = (targets(texts), targets(other));
    let (reached, other) = (reached.iter().collect(), other.iter().collect());
    learned(project, &Learned { reached, other, ..Learned::default() })
}

fn body(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().skip(2).filter(|line| !line.starts_with('@') && !line.starts_with('\\'))
}

/// Only what is added is in the patch, and it ends as the other lines do.
#[test]
fn lines_end_as_they_did() {
    let patch =
        patch(Some("[sandbox]\r\nname = 'x'\r\n[network]\r\nallow = [\r\n    'a.b',\r\n]\r\n"), &["c.d:443"], &[]);
    let changed: Vec<_> = body(&patch).filter(|line| line.starts_with(['+', '-'])).collect();
    assert!(changed.len() == 1 && changed[0].starts_with("+    \"c.d:443\","), "{patch}");
    assert_eq!(patch.lines().count(), patch.matches("\r\n").count() + 3, "{patch}");
}

/// An address that a flag named must be named in the file as well, unless it is.
#[test]
fn an_address_that_was_named_is_in_the_patch() {
    let reached = targets(&["priv.example.org:80"]);
    let (rule, known) = (parse_rule("10.0.0.5:80").unwrap(), parse_rule("10.1.0.0/16:80").unwrap());
    let addresses = vec![&rule, &known];
    let learned = |project| {
        learned(
            project,
            &Learned { reached: reached.iter().collect(), addresses: addresses.clone(), ..Learned::default() },
        )
    };
    let patch = learned(Some("[network]\nallow = ['10.1.0.0/16:80']\n"));
    assert!(patch.contains("priv.example.org:80") && patch.contains("10.0.0.5:80"), "{patch}");
    assert_eq!(patch.matches("10.1.0.0/16").count(), 2, "{patch}");
}

#[test]
fn without_a_file_one_is_made() {
    let reached = ["b.example.org:443", "a.example.net:80", "a.example.net:443", "db.internal:5432"];
    let patch = patch(None, &reached, &[]);
    let expected = "--- /dev/null
+++ b/agentkernel.toml
@@ -0,0 +1,6 @@
+[network]
+allow = [
+    \"a.example.net\",
+    \"b.example.org:443\",
+    \"db.internal:5432\",
+]
";
    assert_eq!(patch, expected);
}

#[test]
fn what_is_there_stays_as_it_is() {
    let file = "# ours
[sandbox]
name = \"web\" # called so

[network]
mode = \"allow\"
allow = [
  # the forge
  \"github.com\",  # and git
  { host = \"api.example.org\", methods = [\"GET\"] }, # read only
  # end
]
deny = [\"x.y\"]
";
    let (patch, after) = learn(Some(file), &["github.com:443", "new.example.net:22", "host.agentkernel.internal:5432"]);
    let expected = "+  \"new.example.net:22\",\n+host_services = [\n+    \"localhost:5432\",\n+]\n";
    assert_eq!(patch, expected, "{after}");
    assert!(after.contains("# end\n  \"new.example.net:22\",\n]\n"), "{after}");
    assert_eq!(self::patch(Some(file), &["github.com:80"], &[]), "");
    assert_eq!(self::patch(Some(""), &[], &[]), "");
    // A restriction is not undone.
    assert_eq!(self::patch(Some(file), &["api.example.org:443"], &[]), "");
    assert_eq!(self::patch(Some("[[network.allow]]\nhost = \"a.b\"\n"), &["a.b:443"], &[]), "");
}

#[test]
fn lists_on_one_line_and_lists_of_tables() {
    let (patch, _) = learn(Some("[network]\nallow = [\"a.b\"]\n"), &["c.d:443"]);
    assert_eq!(patch, "-allow = [\"a.b\"]\n+allow = [\"a.b\", \"c.d:443\"]\n");
    let (patch, _) = learn(Some("[network]\nallow = [\"a.b\"]\n"), &["c.d:443", "e.f:443"]);
    assert_eq!(patch, "-allow = [\"a.b\"]\n+allow = [\"a.b\",\n+    \"c.d:443\",\n+    \"e.f:443\",\n+]\n");
    let (patch, _) = learn(Some("[[network.allow]]\nhost = \"a.b\"\n"), &["c.d:443"]);
    assert_eq!(patch, "+\n+[[network.allow]]\n+host = \"c.d:443\"\n");
    let (patch, _) = learn(Some("network = { bandwidth = \"1M\" }\n"), &["c.d:443"]);
    assert!(patch.contains("allow = [\n+    \"c.d:443\",\n+] }"), "{patch}");
}

#[test]
fn the_mode_lets_it_through_and_no_more() {
    let (patch, _) = learn(Some("[network]\nmode = 'none' # for now\n"), &["c.d:443"]);
    assert_eq!(patch, "-mode = 'none' # for now\n+mode = \"allow\" # for now\n+allow = [\n+    \"c.d:443\",\n+]\n");
    let (patch, _) = learn(Some("[network]\nmode = \"open\"\n"), &["c.d:443"]);
    assert!(patch.starts_with("-mode = \"open\"\n+mode = \"allow\"\n"), "{patch}");
}

#[test]
fn many_names_below_one_are_remarked_and_not_folded() {
    let (patch, _) = learn(
        None,
        &[
            "a.example.org:443",
            "b.example.org:443",
            "c.example.org:443",
            "d.example.org:80",
            "x.example.net:443",
            "10.0.0.1:443",
            "10.0.0.2:443",
            "10.0.0.3:443",
        ],
    );
    let remark = "+    # \"*.example.org:443\" would allow these 3, and all others below example.org\n+    \"a.example.org:443\",\n";
    assert!(
        patch.contains(remark) && patch.contains("\"b.example.org:443\"") && patch.matches('#').count() == 1,
        "{patch}"
    );
}

#[test]
fn the_ports_that_were_reached_and_no_others() {
    let (patch, _) = learn(None, &["a.b:443", "c.d:80", "e.f:80", "e.f:443", "e.f:22", "10.0.0.1:443"]);
    let rules: Vec<_> = patch.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(rules, ["a.b:443", "c.d:80", "e.f", "e.f:22", "10.0.0.1:443"]);
}

/// A rule without a port would let TLS and HTTP through, and nothing else.
#[test]
fn the_port_is_named_where_something_else_was_spoken() {
    let rules = |project: &str, reached: &[&str], other: &[&str]| {
        let patch = patch(Some(project), reached, other);
        let rules = patch.lines().filter(|line| line.starts_with('+')).filter_map(|line| line.split('"').nth(1));
        rules.map(str::to_owned).collect::<Vec<_>>()
    };
    let both = ["a.b:80", "a.b:443", "c.d:80", "c.d:443"];
    assert_eq!(rules("", &both, &["a.b:443"]), ["a.b:80", "a.b:443", "c.d"]);
    assert_eq!(rules("", &both, &["a.b:22"]), ["a.b", "c.d"]);
    let allowed = "[network]\nallow = [\n  \"a.b\",\n]\n";
    assert_eq!(rules(allowed, &both[..2], &["a.b:443"]), ["a.b:443"]);
    // Where it is named it is let through, and a restriction is not undone.
    for allowed in ["\"a.b\", \"a.b:443\"", "{ host = \"a.b\", methods = [\"GET\"] }"] {
        assert!(rules(&format!("[network]\nallow = [{allowed}]\n"), &both[..2], &["a.b:443"]).is_empty());
    }
}

#[test]
fn a_service_of_the_host_is_known_by_each_of_its_names() {
    for service in ["localhost:80", "127.0.0.1:80", "host.agentkernel.internal:80"] {
        let file = format!("[network]\nhost_services = [\"{service}\"]\n");
        assert_eq!(patch(Some(&file), &["host.agentkernel.internal:80"], &[]), "", "{service}");
        assert_ne!(patch(Some(&file), &["host.agentkernel.internal:81"], &[]), "", "{service}");
    }
}

#[test]
fn what_was_refused_is_there_to_be_reviewed() {
    let private = "db.internal has no address that may be reached without being named (10.1.2.3 is a private address)";
    let public = "x.example.org has no address that may be reached without being named (127.0.0.1 is an address of this machine)";
    let own =
        "own.internal has no address that may be reached without being named (10.9.9.9 is an address of this machine)";
    let cloud = "x.example.net has no address (169.254.169.254 is a link-local address)";
    let refused = [
        ("db.internal:5432", private),
        ("x.example.org:80", public),
        ("own.internal:5432", own),
        ("x.example.net:80", cloud),
        ("y.example.net:80", cloud),
        ("10.0.0.1:22", "it can only be reached if a rule names it"),
        ("93.184.216.34:80", "no rule names this address, which could be one of 'x.example.org'"),
        ("host.agentkernel.internal:4000", "no rule allows it"),
    ];
    let (patch, after) = learn_with(None, &["a.b:443"], &refused);
    let expected = r#"+[network]
+allow = [
+    "a.b:443",
+    # "db.internal:5432", # refused: 10.1.2.3 is a private address
+    # "x.example.net:80", # refused: 169.254.169.254 is a link-local address
+    # "169.254.169.254:80", # refused: 169.254.169.254 is a link-local address
+    # "y.example.net:80", # refused: 169.254.169.254 is a link-local address
+    # "10.0.0.1:22", # refused: it can only be reached if a rule names it
+    # "93.184.216.34:80", # refused: no rule names this address, which could be one of 'x.example.org'
+]
+host_services = [
+    # "x.example.org:80", # refused: 127.0.0.1 is an address of this machine
+    # "own.internal:5432", # refused: 10.9.9.9 is an address of this machine
+    # "localhost:4000", # refused: a service of the host
+]
"#;
    assert_eq!(patch, expected);
    // They stand once, and mean what they say when the sign is taken away.
    assert_eq!(learn_with(Some(&after), &["a.b:443"], &refused), (String::new(), after.clone()));
    let file = ProjectFile::parse(FILE_NAME.into(), after.replace("    # \"", "    \"")).unwrap();
    assert_eq!(file.settings.network.allow.iter().flatten().count(), 7);
    assert_eq!(file.settings.network.services.len(), 3);
    let one = &refused[..1];
    let comment = "# \"db.internal:5432\", # refused: 10.1.2.3 is a private address\n";
    for file in [
        "[network]\nallow = [\"a.b\"]\n",
        "[network]\nallow = [\n  \"a.b\", # a\n  # end\n]\n",
        "[[network.allow]]\nhost = \"a.b\" # a\n",
    ] {
        let (_, after) = learn_with(Some(file), &[], one);
        assert!(after.contains(comment) && (after.contains("# end") == file.contains("# end")), "{after}");
        assert!(after.contains("# a\n") == file.contains("# a\n"), "{after}");
    }
}
