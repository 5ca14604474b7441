use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn addresses_are_read_and_written_alike() {
    for (text, shown) in [
        ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ("tcp://build.example.com", "tcp://build.example.com:2375"),
        ("tcp://[::1]:7/", "tcp://[::1]:7"),
        ("tls://far:7/home/me/.docker", "tls://far:7/home/me/.docker"),
        ("ssh://far", "ssh://far"),
        ("ssh://far/", "ssh://far"),
        ("ssh://me@far:22/run/docker.sock", "ssh://me@far:22/run/docker.sock"),
        ("ssh://[fe80::1%eth0]:22", "ssh://[fe80::1%eth0]:22"),
    ] {
        assert_eq!(Endpoint::try_from(text.to_owned()).unwrap().to_string(), shown);
    }
    let wrong = ["", "unix://", "unix://run/x", "tcp://", "tcp://a:1/b", "tls://a:1", "https://a:1", "npipe:////./x"];
    for text in wrong {
        assert!(Endpoint::try_from(text.to_owned()).is_err(), "{text}");
    }
}

/// ssh would take some names for options, and hands others to shells.
#[test]
fn ssh_is_given_names_alone() {
    for text in [
        "ssh://",
        "ssh:///run/docker.sock",
        "ssh://-oProxyCommand=x",
        "ssh://-x@far",
        "ssh://me@-x",
        "ssh://[-x]:22",
        "ssh://me:secret@far",
        "ssh://far:x",
        "ssh://far:99999",
        "ssh://a b",
        "ssh://$(x)",
        "ssh://`x`@far",
        "ssh://far/a\nb",
        "ssh://@far",
        "ssh://me@",
        "ssh://[::1]22",
    ] {
        assert!(Endpoint::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn what_is_set_wins_over_contexts_and_sockets() {
    let home = tempfile::tempdir().unwrap();
    let docker = home.path().join(".docker");
    let hash: String = Sha256::digest("far").iter().map(|byte| format!("{byte:02x}")).collect();
    let meta = docker.join("contexts/meta").join(hash);
    fs::create_dir_all(&meta).unwrap();
    fs::write(docker.join("config.json"), r#"{"currentContext":"far","auths":{}}"#).unwrap();
    fs::write(meta.join("meta.json"), r#"{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far:2375"}}}"#).unwrap();
    let home = home.path().to_str().unwrap();

    let found = |pairs: &[(&str, &str)]| Endpoint::find(&env(pairs)).map(|endpoint| endpoint.to_string());
    assert_eq!(found(&[("HOME", home)]).unwrap(), "tcp://far:2375");
    assert_eq!(found(&[("HOME", home), ("DOCKER_HOST", "unix:///x")]).unwrap(), "unix:///x");
    let missing = found(&[("HOME", home), ("DOCKER_CONTEXT", "near")]).unwrap_err();
    assert_eq!(missing.to_string(), "Docker's context 'near' names no engine");
    // The default one is no context of its own.
    let own = home.to_owned() + "/docker.sock";
    fs::write(&own, "").unwrap();
    let default = found(&[("HOME", home), ("DOCKER_CONTEXT", "default"), ("XDG_RUNTIME_DIR", home)]).unwrap();
    assert!(default.starts_with("unix:///"), "{default}");
}

#[test]
fn what_wants_tls_is_not_spoken_to_in_clear() {
    let home = tempfile::tempdir().unwrap();
    let docker = home.path().join(".docker");
    let hash: String = Sha256::digest("far").iter().map(|byte| format!("{byte:02x}")).collect();
    let (meta, tls) =
        (docker.join("contexts/meta").join(&hash), docker.join("contexts/tls").join(&hash).join("docker"));
    fs::create_dir_all(&meta).unwrap();
    let write = |more: &str| {
        let text = format!(r#"{{"Name":"far","Endpoints":{{"docker":{{"Host":"tcp://far:2376"{more}}}}}}}"#);
        fs::write(meta.join("meta.json"), text).unwrap();
    };
    let home = home.path().to_str().unwrap();
    let found = |pairs: &[(&str, &str)]| {
        let pairs = [&[("HOME", home)], pairs].concat();
        Endpoint::find(&env(&pairs)).map(|endpoint| endpoint.to_string()).map_err(|error| error.to_string())
    };
    let host = ("DOCKER_HOST", "tcp://far:2376");
    for name in ["DOCKER_TLS_VERIFY", "DOCKER_TLS"] {
        for value in ["1", "0"] {
            assert_eq!(found(&[host, (name, value)]).unwrap(), format!("tls://far:2376{home}/.docker"));
            let own = ("DOCKER_CERT_PATH", "/certs");
            assert_eq!(found(&[host, (name, value), own]).unwrap(), "tls://far:2376/certs");
            let without_port = ("DOCKER_HOST", "tcp://far");
            assert_eq!(found(&[without_port, (name, value), own]).unwrap(), "tls://far:2376/certs");
            let nowhere = Endpoint::find(&env(&[host, (name, value)])).unwrap_err().to_string();
            assert!(nowhere.starts_with(&format!("{name} wants TLS")), "{nowhere}");
        }
        assert_eq!(found(&[host, (name, "")]).unwrap(), "tcp://far:2376");
        // What is on this machine needs none.
        assert_eq!(found(&[("DOCKER_HOST", "unix:///x"), (name, "1")]).unwrap(), "unix:///x");
    }
    let context = ("DOCKER_CONTEXT", "far");
    write("");
    assert_eq!(found(&[context]).unwrap(), "tcp://far:2376");
    let verified = found(&[context, ("DOCKER_TLS_VERIFY", "1")]).unwrap();
    assert_eq!(verified, format!("tls://far:2376{home}/.docker"));
    let own = format!("tls://far:2376{}", tls.display());
    write(r#","SkipTLSVerify":true"#);
    assert_eq!(found(&[context]).unwrap(), own);
    write(r#","SkipTLSVerify":false"#);
    fs::create_dir_all(&tls).unwrap();
    assert_eq!(found(&[context]).unwrap(), "tcp://far:2376");
    fs::write(tls.join("ca.pem"), "x").unwrap();
    assert_eq!(found(&[context]).unwrap(), own);
}

#[test]
fn a_broken_configuration_is_told_and_not_passed_over() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("config.json"), "{").unwrap();
    let config = home.path().to_str().unwrap();
    assert!(matches!(Endpoint::find(&env(&[("DOCKER_CONFIG", config)])), Err(EndpointError::Read { .. })));
}
