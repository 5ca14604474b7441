use super::{super::identity::tests::host as facts, *};
use std::os::unix::fs::{PermissionsExt, symlink};

fn scene() -> (tempfile::TempDir, HostFacts, Secrets) {
    let home = tempfile::tempdir().unwrap();
    let mut host = facts(rustix::process::geteuid().as_raw());
    host.home = home.path().to_owned();
    let secrets = Secrets::of(&host);
    (home, host, secrets)
}

fn recorded(name: &str, source: SecretSource) -> Recorded {
    Recorded { name: name.into(), source, hosts: vec![Pattern::parse("*.example.org").unwrap()], env: None }
}

fn wanted(name: &str, source: SecretSource) -> SecretUse {
    SecretUse { name: name.into(), source, hosts: Vec::new(), placeholder: "p".into(), env: None, file: None }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// The value, or the error with its hint.
fn value_of(source: SecretSource, host: &HostFacts) -> Result<String, String> {
    match gather(&[wanted("TOKEN", source)], &Seen::default(), host) {
        Ok(gathered) => Ok(String::from_utf8(gathered[0].1.expose().to_vec()).unwrap()),
        Err(error) => Err(format!("{error} | {}", error.hint())),
    }
}

#[test]
fn what_is_recorded_is_found() {
    let (_home, host, secrets) = scene();
    assert!(secrets.list().unwrap().0.is_empty() && secrets.find("TOKEN").unwrap().is_none());
    assert!(secrets.forget("TOKEN").unwrap().is_none());
    let token = recorded("TOKEN", SecretSource::Store);
    secrets.record(&token, Some(&secret("s3cr3t  x"))).unwrap();
    secrets.record(&Recorded { env: Some("B".into()), ..recorded("A", SecretSource::Env("V".into())) }, None).unwrap();
    std::fs::write(secrets.path().join("not-ours"), "").unwrap();
    let (listed, unreadable) = secrets.list().unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["A", "TOKEN"]);
    assert_eq!(listed[1], token);
    assert_eq!(value_of(SecretSource::Store, &host).unwrap(), "s3cr3t  x");

    secrets.record(&token, Some(&secret("another"))).unwrap();
    assert_eq!(value_of(SecretSource::Store, &host).unwrap(), "another");
    assert!(secrets.forget("TOKEN").unwrap().is_some() && secrets.forget("TOKEN").unwrap().is_none());
    let error = value_of(SecretSource::Store, &host).unwrap_err();
    assert_eq!(error, "Secret 'TOKEN' is not recorded | `agentkernel secret set TOKEN` records it");
    // Nothing is left of what was written.
    assert_eq!(std::fs::read_dir(secrets.path()).unwrap().count(), 2);
}

/// Whoever wants a secret gone need not have a keyring at hand.
#[test]
fn a_record_goes_also_without_the_keyring() {
    let (_home, _, secrets) = scene();
    let kept = recorded("TOKEN", SecretSource::Keyring(keyring::ours("TOKEN")));
    let left = |forgotten: Forgotten| match forgotten {
        Forgotten::ButKeyring(error) => format!("{error} | {}", error.hint()),
        Forgotten::All => String::new(),
    };
    let words = "The value of secret 'TOKEN' stays in the keyring: Can't reach the session bus";
    secrets.record(&kept, None).unwrap();
    let told = left(secrets.forget("TOKEN").unwrap().unwrap());
    assert!(told.starts_with(words), "{told}");
    assert!(told.ends_with("| It has the attributes application=agentkernel,secret=TOKEN: remove it there"), "{told}");
    assert_eq!(secrets.find("TOKEN").unwrap(), None);
    // One that is recorded elsewhere from now on is, whatever becomes of the old value.
    secrets.record(&kept, None).unwrap();
    let store = recorded("TOKEN", SecretSource::Store);
    let told = left(secrets.record(&store, Some(&secret("new"))).unwrap());
    assert!(told.starts_with(words), "{told}");
    assert_eq!(secrets.find("TOKEN").unwrap(), Some(store));
    assert_eq!(left(secrets.forget("TOKEN").unwrap().unwrap()), "");
}

#[test]
fn values_come_from_where_they_are_when_they_are_needed() {
    let (home, mut host, secrets) = scene();
    let file = home.path().join("value");
    let store = |source| {
        secrets.record(&recorded("TOKEN", source), None).unwrap();
        SecretSource::Store
    };
    let unset = value_of(SecretSource::Env("V".into()), &host).unwrap_err();
    assert!(unset.starts_with("Secret 'TOKEN': the variable V is not set | Set it, or"), "{unset}");
    host.env = vec![("V".into(), "from a variable".into())];
    assert_eq!(value_of(SecretSource::Env("V".into()), &host).unwrap(), "from a variable");
    // The end of a line is none of a value's, wherever it comes from.
    for value in ["a\n", "a\r\n"] {
        host.env[0].1 = value.into();
        assert_eq!(value_of(SecretSource::Env("V".into()), &host).unwrap(), "a");
    }
    host.env[0].1 = "a\n\n".into();
    assert!(value_of(SecretSource::Env("V".into()), &host).unwrap_err().contains("more than one line"));
    host.env[0].1 = "from a variable".into();
    assert_eq!(value_of(store(SecretSource::Env("V".into())), &host).unwrap(), "from a variable");

    let missing = value_of(SecretSource::File(file.clone()), &host).unwrap_err();
    assert!(missing.contains("Secret 'TOKEN': can't read") && missing.contains("--from-file"), "{missing}");
    assert!(value_of(SecretSource::File(home.path().into()), &host).unwrap_err().contains("is not a file"));
    for (written, value) in [("v\n", "v"), ("v\r\n", "v"), ("v", "v")] {
        std::fs::write(&file, written).unwrap();
        assert_eq!(value_of(store(SecretSource::File(file.clone())), &host).unwrap(), value);
    }
}

#[test]
fn what_no_header_can_carry_is_refused_and_not_shown() {
    let (home, host, secrets) = scene();
    let file = home.path().join("value");
    let long = "s3cr3t".repeat(MAX_SECRET / 6 + 1);
    for (value, cause) in [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("s3cr3t\nb", "more than one line"),
        ("s3cr3t\n\n", "more than one line"),
        ("s3cr3t\0", "a control character"),
        ("s3cr3t\x7f", "a control character"),
        (" s3cr3t", "begins or ends with a blank"),
        ("s3cr3t ", "begins or ends with a blank"),
        (&long, "longer than 65536 bytes"),
    ] {
        std::fs::write(&file, value).unwrap();
        let error = value_of(SecretSource::File(file.clone()), &host).unwrap_err();
        assert!(error.contains(cause) && !error.contains("s3cr3t"), "{error}");
        if value != "\n" && value != "s3cr3t\n\n" {
            let error = secrets.record(&recorded("TOKEN", SecretSource::Store), Some(&secret(value))).unwrap_err();
            assert!(error.to_string().contains(cause) && !error.to_string().contains("s3cr3t"), "{error}");
        }
    }
    assert_eq!(secrets.find("TOKEN").unwrap(), None);
    let longest = "s".repeat(MAX_SECRET);
    secrets.record(&recorded("TOKEN", SecretSource::Store), Some(&secret(&longest))).unwrap();
    assert_eq!(value_of(SecretSource::Store, &host).unwrap(), longest);
}

#[test]
fn others_can_neither_read_nor_replace_it() {
    let (_home, _, secrets) = scene();
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    secrets.record(&recorded("TOKEN", SecretSource::Store), Some(&secret("s3cr3t"))).unwrap();
    let path = secrets.path().join("TOKEN");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(secrets.path()), mode(&path)), (0o700, 0o600));
    for (place, mode, back) in [(path.as_path(), 0o640, 0o600), (secrets.path(), 0o755, 0o700)] {
        chmod(place, mode);
        let error = secrets.find("TOKEN").unwrap_err();
        assert!(error.to_string().contains("is open to others") && error.hint().contains("chmod go="), "{error}");
        chmod(place, back);
    }
    let stranger = Secrets { uid: secrets.uid + 1, ..secrets.clone() };
    assert!(stranger.find("TOKEN").unwrap_err().to_string().contains("belongs to user"));

    let elsewhere = secrets.path().join(".elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(secrets.find("TOKEN").unwrap_err().to_string().ends_with("is a symbolic link"));
    // A link is replaced, not followed.
    secrets.record(&recorded("TOKEN", SecretSource::Store), Some(&secret("new"))).unwrap();
    assert!(std::fs::read_to_string(&elsewhere).unwrap().ends_with("\ns3cr3t\n"));

    let moved = secrets.path().with_extension("moved");
    std::fs::rename(secrets.path(), &moved).unwrap();
    symlink(&moved, secrets.path()).unwrap();
    assert!(secrets.find("TOKEN").unwrap_err().to_string().ends_with("is not a directory"));
}

#[test]
fn files_of_another_form_are_refused() {
    let (_home, _, secrets) = scene();
    secrets.record(&recorded("TOKEN", SecretSource::Store), Some(&secret("s3cr3t"))).unwrap();
    let path = secrets.path().join("TOKEN");
    let good = std::fs::read_to_string(&path).unwrap();
    for text in ["", "\n", "s3cr3t", &good.replace("\"format\":1", "\"format\":2"), &good.replace("*.e", "**e")] {
        std::fs::write(&path, text).unwrap();
        let error = secrets.find("TOKEN").unwrap_err();
        assert!(error.to_string().ends_with("is no secret that this version knows"), "{text}: {error}");
        assert!(error.hint().contains("agentkernel secret set TOKEN"), "{}", error.hint());
    }
}
