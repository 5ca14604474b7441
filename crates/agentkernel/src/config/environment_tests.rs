use super::{super::identity::tests::host, *};

fn text(entries: &[OsBytes]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

#[test]
fn only_the_locale_comes_from_the_caller() {
    let mut facts = host(1000);
    let caller = [
        ("LANG", "C.UTF-8"),
        ("LC_TIME", "de_DE"),
        ("TZ", "Europe/Berlin"),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("LD_PRELOAD", "/x"),
        ("PATH", "/evil"),
        ("HOME", "/home/ann"),
    ];
    facts.env = caller.map(|(name, value)| (name.into(), value.into())).to_vec();
    let identity = super::super::identity(None, &Image::Host, None, &facts).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut env = Environment::base(&identity, &Image::Dir(dir.path().into()), None, &facts);
    let id = SandboxId::try_from("0123456789ab".to_owned()).unwrap();
    env.set("AGENTKERNEL", "no");
    env.mark(&id);
    assert_eq!(
        text(&env.entries()),
        [
            format!("PATH={PATH}").as_str(),
            "HOME=/home/ann",
            "USER=ann",
            "LOGNAME=ann",
            "SHELL=/bin/sh",
            "LANG=C.UTF-8",
            "LC_TIME=de_DE",
            "TZ=Europe/Berlin",
            "AGENTKERNEL=1",
            "AGENTKERNEL_SANDBOX=0123456789ab",
        ]
    );
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::write(dir.path().join("bin/bash"), "").unwrap();
    let env = Environment::base(&identity, &Image::Dir(dir.path().into()), None, &facts);
    assert!(text(&env.entries()).contains(&"SHELL=/bin/bash".into()));
}

#[test]
fn an_exec_adds_to_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("env"), "A=file\nTOKEN\nGONE\n").unwrap();
    let mut facts = host(1000);
    facts.cwd = dir.path().into();
    facts.env = vec![("TOKEN".into(), "t".into()), ("TERM".into(), "tmux".into())];
    let sandbox = ["A=1".into(), "B=x=y".into()];
    let variables = [EnvVar::Set("C".into(), "3".into()), EnvVar::Inherit("NONE".into())];
    let env = exec_env(&sandbox, &["env"], &[], &variables, true, &facts).unwrap();
    assert_eq!(text(&env), ["A=file", "B=x=y", "TERM=tmux", "TOKEN=t", "C=3"]);
    let plain = exec_env(&sandbox, &[] as &[&str], &[], &[], false, &facts).unwrap();
    assert_eq!(text(&plain), ["A=1", "B=x=y"]);
    facts.env.clear();
    let env = exec_env(&[], &[] as &[&str], &[], &[], true, &facts).unwrap();
    assert_eq!(text(&env), ["TERM=xterm-256color"]);
}

#[test]
fn a_bad_file_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env");
    std::fs::write(&path, "A=1\nexport B=2\n").unwrap();
    let error = read_env_file(&path, &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2:1: 'export B': a name can't have white space", path.display()));
    assert!(read_env_file(dir.path(), &[]).unwrap_err().to_string().ends_with("is not a file"));
    assert!(matches!(read_env_file(&dir.path().join("none"), &[]), Err(ConfigError::Io { .. })));
    std::fs::write(&path, vec![b'\n'; 3 << 20]).unwrap();
    assert!(read_env_file(&path, &[]).unwrap_err().to_string().contains("is longer than"));
}

#[test]
fn a_layer_adds_what_is_missing() {
    let mut env = Environment::default();
    for (name, value) in [("PATH", "/venv/bin:/bin"), ("HOME", "/root")] {
        env.set(name, value);
    }
    let lay = |env: &mut Environment, variables: &[&str]| {
        env.lay(&variables.iter().map(ToString::to_string).collect::<Vec<_>>());
    };
    lay(&mut env, &["PATH=/opt/one/bin:/bin::/one", "HOME=/evil", "ONE=1", "broken"]);
    lay(&mut env, &["PATH=/bin:/two", "ONE=2", "TWO="]);
    let wanted = ["PATH=/two:/opt/one/bin:/one:/venv/bin:/bin", "HOME=/root", "ONE=1", "TWO="];
    assert_eq!(text(&env.entries()), wanted);
}

#[test]
fn java_trusts_beside_its_other_options() {
    let ours = "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=/etc/agentkernel/ca-bundle.jks";
    for (own, wanted) in [
        (None, ours.to_owned()),
        (Some(""), ours.to_owned()),
        (Some("-Xmx1g -Da=b"), ours.replacen('=', "=-Xmx1g -Da=b ", 1)),
        (Some("-Xmx1g -Djavax.net.ssl.trustStore=/x"), "JAVA_TOOL_OPTIONS=-Xmx1g -Djavax.net.ssl.trustStore=/x".into()),
    ] {
        let mut env = Environment::default();
        own.iter().for_each(|own| env.set("JAVA_TOOL_OPTIONS", own));
        env.trust_in_java();
        assert_eq!(text(&env.entries()), [wanted]);
    }
}

/// An environment in which the sandbox's own authority is trusted.
fn trusting() -> Environment {
    let mut env = Environment::default();
    trust::VARIABLES.into_iter().for_each(|(name, value)| env.set(name, value));
    env.trust_in_java();
    env
}

#[test]
fn what_has_programs_trust_others_is_told() {
    assert_eq!(misled(&trusting().entries()), None);
    for (variables, told) in [
        (&[("SSL_CERT_FILE", "/own.pem")][..], Some("SSL_CERT_FILE names other certificates: ")),
        (&[("PIP_CERT", ""), ("DENO_CERT", "/x")], Some("PIP_CERT, DENO_CERT name other certificates: ")),
        (&[("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/x")], Some("JAVA_TOOL_OPTIONS names other")),
        // The authority is in these too.
        (&[("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt"), ("PIP_CERT", trust::CERTIFICATE)], None),
    ] {
        let mut env = trusting();
        variables.iter().for_each(|(name, value)| env.set(name, value));
        let found = misled(&env.entries());
        assert_eq!(found.is_some(), told.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().starts_with(told.unwrap_or_default()), "{told:?}");
    }
}

#[test]
fn an_exec_trusts_with_options_of_its_own_for_java() {
    let facts = host(1000);
    let own = [EnvVar::Set("JAVA_TOOL_OPTIONS".into(), "-Xmx1g".into())];
    let env = exec_env(&trusting().entries(), &[] as &[&str], &[], &own, false, &facts).unwrap();
    assert_eq!(misled(&env), None);
    assert!(text(&env).iter().any(|entry| entry.starts_with("JAVA_TOOL_OPTIONS=-Xmx1g -D")), "{env:?}");
    // One without an authority is left alone.
    let env = exec_env(&[], &[] as &[&str], &[], &own, false, &facts).unwrap();
    assert_eq!(text(&env), ["JAVA_TOOL_OPTIONS=-Xmx1g"]);
}
