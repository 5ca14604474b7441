//! Secrets on the host: recorded, listed, removed, and never shown.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
};
use support::{Who, World, stdout, told};

const VALUE: &str = "s3cr3t-value";

fn set(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut command = world.agentkernel(["secret", "set"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(!told(&output).contains(VALUE), "{}", told(&output));
    output
}

#[test]
fn from_its_record_to_its_end() {
    for who in Who::all() {
        let world = World::new(who);
        let file = world.home().join(".config/agentkernel/secrets/TOKEN");
        let output = set(&world, &["TOKEN", "--stdin", "--host", "api.example.org"], &format!("{VALUE}\n"));
        let place = format!("its value lies in clear in {}, readable by you alone", file.display());
        assert!(output.status.success() && told(&output).contains(&place), "{}", told(&output));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert!(fs::read_to_string(&file).unwrap().ends_with(&format!("\n{VALUE}\n")));
        // Where it may go is changed, and the value stays.
        let output = set(&world, &["TOKEN", "--host", "*.example.org", "--env", "INSIDE"], "");
        assert!(output.status.success() && told(&output).contains("It may go to *.example.org"), "{}", told(&output));
        assert!(fs::read_to_string(&file).unwrap().ends_with(&format!("\n{VALUE}\n")));
        // The value is changed, and where it may go stays.
        assert!(set(&world, &["TOKEN", "--stdin"], "another").status.success());
        assert!(fs::read_to_string(&file).unwrap().ends_with("\nanother\n"));

        fs::write(world.project().join("value"), VALUE).unwrap();
        assert!(set(&world, &["FILED", "--from-file", "value"], "").status.success());
        let mut from_env = world.agentkernel(["secret", "set", "NAMED", "--from-env", "V", "--host", "a.b"]);
        assert!(!stdout(from_env.env("V", VALUE)).contains(VALUE));
        for name in ["NAMED", "FILED"] {
            assert!(!fs::read_to_string(file.with_file_name(name)).unwrap().contains(VALUE));
        }
        let list = stdout(&mut world.agentkernel(["secret", "list"]));
        let list = list.replace(world.project().to_str().unwrap(), "PROJECT");
        let expected = "NAME    SOURCE               VARIABLE   HOSTS
FILED   file:PROJECT/value   FILED      -
NAMED   env:V                NAMED      a.b
TOKEN   store                INSIDE     *.example.org
";
        // The column is as wide as the real path.
        let narrow = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(narrow(&list), narrow(expected));
        // One that can't be read hides none of the others.
        assert!(set(&world, &["BROKEN", "--stdin"], "a").status.success());
        fs::write(file.with_file_name("BROKEN"), "").unwrap();
        let output = world.agentkernel(["secret", "list"]).output().unwrap();
        let text = told(&output);
        assert!(
            output.status.code() == Some(1) && text.contains("BROKEN is no secret that this version knows"),
            "{text}"
        );
        assert!(["FILED", "NAMED", "TOKEN"].iter().all(|name| text.contains(name)), "{text}");
        assert!(world.agentkernel(["secret", "rm", "BROKEN"]).output().unwrap().status.success());
        let json: serde_json::Value =
            serde_json::from_str(&stdout(&mut world.agentkernel(["secret", "list", "--json"]))).unwrap();
        assert_eq!(
            json[2],
            serde_json::json!({ "name": "TOKEN", "source": "store", "env": "INSIDE", "hosts": ["*.example.org"] })
        );

        let output = world.agentkernel(["secret", "rm", "TOKNE", "TOKEN"]).output().unwrap();
        let expected = "agentkernel: No secret 'TOKNE' is recorded\n  hint: Did you mean 'TOKEN'?\n";
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"TOKEN\n"[..]), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert!(!file.exists());
    }
}

#[test]
fn what_cannot_be_recorded() {
    let world = World::new(Who::Me);
    let fails = |arguments: &[&str], input: &str, cause: &str| {
        let output = set(&world, arguments, input);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(cause), "{}", told(&output));
    };
    fails(&["TOKEN", "--stdin"], &format!("{VALUE}\nmore\n"), "it has more than one line");
    fails(&["TOKEN", "--stdin"], "", "it is empty");
    fails(&["TOKEN", "--stdin"], &VALUE.repeat(6000), "it is longer than 65536 bytes");
    fails(&["TOKEN", "--stdin"], &format!("{VALUE}\0"), "it has a control character");
    fails(&["TOKEN"], VALUE, "Where secret 'TOKEN' comes from is not said");
    assert!(!world.home().join(".config/agentkernel/secrets/TOKEN").exists());
    // In a directory that others can read nothing is put.
    let dir = world.home().join(".config/agentkernel/secrets");
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fails(&["TOKEN", "--stdin"], VALUE, "holds secrets, and is open to others (mode 755)");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

/// A record of a sandbox says where a value comes from, and not what it is.
#[test]
fn no_record_has_a_value() {
    for who in Who::all() {
        let world = World::new(who);
        assert!(set(&world, &["TOKEN", "--stdin", "--host", "api.example.org"], VALUE).status.success());
        fs::write(world.project().join("agentkernel.toml"), "[secrets]\nOTHER = ['api.example.org']\n").unwrap();
        let _ = stdout(&mut world.agentkernel(["trust"]));
        let create = ["create", "--name", "box", "--secret", "TOKEN"];
        let _ = stdout(world.agentkernel(create).env("OTHER", VALUE));
        let inspect = stdout(&mut world.agentkernel(["inspect", "box"]));
        assert!(!inspect.contains(VALUE));
        let inspect: serde_json::Value = serde_json::from_str(&inspect).unwrap();
        let secrets = &inspect[0]["spec"]["network"]["secrets"];
        assert_eq!((&secrets[0]["name"], &secrets[0]["source"]["env"]), (&"OTHER".into(), &"OTHER".into()));
        assert_eq!((&secrets[1]["name"], &secrets[1]["source"]), (&"TOKEN".into(), &"store".into()));
        let search = world.command("grep").args(["-r", VALUE]).arg(world.state()).output().unwrap();
        assert_eq!(search.status.code(), Some(1), "{}", told(&search));
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
    }
}

/// A host that was taken from a secret is taken from sandboxes of before too: they do not start until that is mended.
#[test]
fn a_host_that_is_taken_away() {
    for who in Who::all() {
        let world = World::new(who);
        assert!(set(&world, &["TOKEN", "--stdin", "--host", "api.example.org"], VALUE).status.success());
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--secret", "TOKEN"]));
        assert!(set(&world, &["TOKEN", "--host", "www.example.org"], "").status.success());
        let output = world.agentkernel(["start", "box"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let cause = "Secret 'TOKEN' may not go to api.example.org any more\n  hint: Make the sandbox anew, or ";
        assert!(told(&output).contains(cause), "{}", told(&output));
        assert!(set(&world, &["TOKEN", "--host", "*.example.org"], "").status.success());
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}
