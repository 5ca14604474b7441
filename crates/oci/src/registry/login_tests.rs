use super::*;

/// base64 of `user:pass:word`.
const BASIC: &str = "Basic dXNlcjpwYXNzOndvcmQ=";

fn unauthorized(challenge: &str) -> Reply {
    with("401 Unauthorized", &[("WWW-Authenticate", challenge)], br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
}

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for() {
    let (bytes, digest) = manifest();
    let server = Server::clear(move |asked, _| match asked.header("authorization") {
        BASIC => sent(&bytes),
        _ => unauthorized("Basic realm=\"x\""),
    });
    let client = with_credentials(&server, basic());
    for _ in 0..2 {
        assert_eq!(resolve(&server, &client).await.unwrap().digest, digest);
    }
    let sent: Vec<bool> = server.asked().iter().map(|asked| asked.header("authorization") == BASIC).collect();
    assert_eq!(sent, [false, true, true]);
    let error = resolve(&server, &super::client()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }));
    let wrong = Credentials::Basic { user: "user".into(), password: Secret::new("x".into()) };
    let error = resolve(&server, &with_credentials(&server, wrong)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("'{}' wants a login: UNAUTHORIZED", server.host()));
    assert!(error.hint().starts_with("The login is wrong"));
}

/// A registry and its token server in one. Tokens are good for so many seconds.
fn with_tokens(seconds: u32, good: fn(&str) -> bool) -> Server {
    let (bytes, _) = manifest();
    Server::clear(move |asked, before| {
        let host = asked.header("host");
        if asked.path.starts_with("/token") {
            let token = format!(r#"{{"token":"t{before}","expires_in":{seconds}}}"#);
            return ok(token.as_bytes());
        }
        let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if good(token) {
            return sent(&bytes);
        }
        unauthorized(&format!("Bearer realm=\"http://{host}/token\",service=\"it self\",scope=\"repository:a/b:pull\""))
    })
}

#[tokio::test]
async fn a_token_is_got_and_used_until_it_expires() {
    let server = with_tokens(300, |token| token.starts_with('t'));
    let client = with_credentials(&server, basic());
    for _ in 0..3 {
        resolve(&server, &client).await.unwrap();
    }
    let asked = server.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let token = "/token?service=it%20self&scope=repository%3Aa%2Fb%3Apull&account=user";
    let tag = "/v2/a/b/manifests/tag";
    assert_eq!(paths, [tag, token, tag, tag, tag]);
    assert_eq!(asked[1].header("authorization"), BASIC);
    // Without credentials, for what is public.
    let server = with_tokens(300, |token| token.starts_with('t'));
    resolve(&server, &super::client()).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[1].path, "/token?service=it%20self&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(asked[1].header("authorization"), "");

    // One that is no longer good is not sent, but replaced before.
    let server = with_tokens(0, |token| token.starts_with('t'));
    let client = with_credentials(&server, basic());
    for _ in 0..3 {
        resolve(&server, &client).await.unwrap();
    }
    let paths: Vec<String> = server.asked().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, [tag, token, tag, token, tag, token, tag]);
}

#[tokio::test]
async fn a_token_that_the_registry_forgets_is_replaced_once() {
    let (bytes, _) = manifest();
    // Only tokens got later than at the second request are good.
    let server = Server::clear(move |asked, before| {
        if asked.path.starts_with("/token") {
            return ok(format!(r#"{{"access_token":"{before}"}}"#).as_bytes());
        }
        let token = asked.header("authorization").strip_prefix("Bearer ").and_then(|token| token.parse().ok());
        let good = token.is_some_and(|token: usize| token + 2 > before);
        if good {
            sent(&bytes)
        } else {
            unauthorized(&format!("Bearer realm=\"http://{}/token\"", asked.header("host")))
        }
    });
    let client = super::client();
    for _ in 0..2 {
        resolve(&server, &client).await.unwrap();
    }
    let never = with_tokens(300, |_| false);
    let error = resolve(&never, &super::client()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }));
    assert_eq!(never.asked().len(), 3);
}

#[tokio::test]
async fn no_token_is_asked_for_where_a_registry_must_not_lead() {
    let server = Server::clear(|_, _| unauthorized("Bearer realm=\"http://169.254.169.254/latest\""));
    let error = resolve(&server, &super::client()).await.unwrap_err();
    assert!(error.to_string().contains("leads to 169.254.169.254, an address of one link"), "{error}");
}

#[tokio::test]
async fn an_identity_token_goes_in_a_form() {
    let server = with_tokens(300, |token| token.starts_with('t'));
    let client = with_credentials(&server, Credentials::IdentityToken(Secret::new("iden&tity".into())));
    resolve(&server, &client).await.unwrap();
    let asked = &server.asked()[1];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "grant_type=refresh_token&client_id=agentkernel&refresh_token=iden%26tity&service=it%20self\
         &scope=repository%3Aa%2Fb%3Apull"
    );
    let server = with_tokens(300, |token| token == "ready");
    let client = with_credentials(&server, Credentials::RegistryToken(Secret::new("ready".into())));
    resolve(&server, &client).await.unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_login_that_fails_is_told_in_words() {
    for (reply, words) in [
        (ok as fn(&[u8]) -> Reply, "has no token"),
        (
            |_: &[u8]| with("400 Bad Request", &[], br#"{"error":"x","error_description":"no such account"}"#),
            "the token server answers 400 Bad Request no such account",
        ),
        (|_: &[u8]| with("302 Found", &[("Location", "/elsewhere")], b""), "leads from the token server elsewhere"),
        (
            |_: &[u8]| with("401 Unauthorized", &[], br#"{"details":"incorrect username or password"}"#),
            "wants a login: incorrect username or password",
        ),
    ] {
        let server = Server::clear(move |asked, _| match asked.path.starts_with("/token") {
            true => reply(b"{}"),
            false => unauthorized(&format!("Bearer realm=\"http://{}/token\"", asked.header("host"))),
        });
        let error = resolve(&server, &with_credentials(&server, basic())).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("pass:word"));
    }
    let server = Server::clear(|_, _| unauthorized("Bearer realm=\"nowhere\""));
    let error = resolve(&server, &super::client()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("The login at '{}' failed: 'nowhere' is no token server", server.host()));
}

#[tokio::test]
async fn a_token_server_is_asked_again_as_often_as_its_registry() {
    let server = Server::clear(|asked, _| match asked.path.starts_with("/token") {
        true => status("503 Service Unavailable"),
        false => unauthorized(&format!("Bearer realm=\"http://{}/token\"", asked.header("host"))),
    });
    let mut settings = settings();
    settings.retries.count = 2;
    let error = resolve(&server, &Client::new(settings)).await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    let tokens = server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    assert_eq!(tokens, 3);
}

#[tokio::test]
async fn a_registry_with_tls_may_not_send_a_login_into_the_clear() {
    // Not on this machine either, where another user may listen.
    for realm in ["http://auth.example.com/token", "http://127.0.0.1:9/token"] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server = Server::tls(&["127.0.0.1"], move |_, _| unauthorized(&challenge));
        let mut settings = settings();
        settings.roots = vec![server.authority.clone()];
        settings.registries.insert(server.host(), Registry { credentials: basic(), ..Registry::default() });
        let error = resolve(&server, &Client::new(settings)).await.unwrap_err();
        let words = format!("failed: its token server {realm} speaks no TLS");
        assert!(error.to_string().ends_with(&words), "{error}");
    }
}

#[tokio::test]
async fn who_vouches_for_a_registry_vouches_for_its_token_server() {
    let (bytes, digest) = manifest();
    // One key for both: whose certificate it is decides, not where it is used.
    let (config, authority) = certified(&["127.0.0.1"]);
    let config = std::sync::Arc::new(config);
    let tokens = Server::with(config.clone(), |_, _| ok(br#"{"token":"t"}"#));
    let challenge = format!("Bearer realm=\"https://{}/token\"", tokens.host());
    let server = Server::with(config, move |asked, _| match asked.header("authorization") {
        "Bearer t" => sent(&bytes),
        _ => unauthorized(&challenge),
    });
    let mut settings = settings();
    let registry = Registry { authorities: vec![authority], credentials: basic(), ..Registry::default() };
    settings.registries.insert(server.host(), registry);
    assert_eq!(resolve(&server, &Client::new(settings)).await.unwrap().digest, digest);
    assert_eq!(tokens.asked().len(), 1);
}

#[tokio::test]
async fn a_certificate_is_of_somebody_who_is_trusted() {
    // `openssl req -x509` makes authorities' certificates, and no others.
    for kind in [rcgen::IsCa::NoCa, rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)] {
        its_own_authority(kind).await;
    }
}

async fn its_own_authority(kind: rcgen::IsCa) {
    let (bytes, digest) = manifest();
    let served = bytes.clone();
    let names = ["127.0.0.1", "registry.example.com"];
    let (config, authority) = testing::certified_as(&names, |certificate| certificate.is_ca = kind);
    let mut server = Server::with(std::sync::Arc::new(config), move |_, _| sent(&served));
    server.authority = authority;
    let error = resolve(&server, &client()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("The certificate of '{}' is of an authority that is not trusted", server.host())
    );
    assert!(error.hint().contains(&format!("certs.d/{}/ca.crt", server.host())), "{}", error.hint());
    assert!(server.asked().is_empty());

    // Trusted for all, or for this one.
    let mut for_all = settings();
    for_all.roots = vec![server.authority.clone()];
    assert_eq!(resolve(&server, &Client::new(for_all)).await.unwrap().digest, digest);
    let registry =
        Registry { authorities: vec![b"nonsense".to_vec(), server.authority.clone()], ..Registry::default() };
    let mut for_one = settings();
    for_one.registries.insert(server.host(), registry.clone());
    assert_eq!(resolve(&server, &Client::new(for_one)).await.unwrap().digest, digest);
    let mut for_another = settings();
    for_another.registries.insert("127.0.0.1:1".into(), registry);
    let error = resolve(&server, &Client::new(for_another)).await.unwrap_err();
    assert!(matches!(error, RegistryError::UnknownAuthority(_)));

    // By name, and by a name that it is not for.
    for (name, good) in [("registry.example.com", true), ("other.example.com", false)] {
        let hosts = [(name.to_owned(), vec!["127.0.0.1".parse().unwrap()])].into();
        let mut settings = settings();
        settings.resolver = Resolver::fixed(hosts);
        settings.roots = vec![server.authority.clone()];
        let reference = format!("{name}:{}/a/b:tag", server.address.port()).parse().unwrap();
        let result = Client::new(settings).document(&reference).await;
        match result {
            Ok(_) => assert!(good),
            Err(RegistryError::Certificate { .. }) => assert!(!good),
            Err(error) => panic!("{error}"),
        }
    }

    // One that is over, with a key that nobody else has.
    let (config, authority) = testing::certified_as(&names, |certificate| {
        certificate.is_ca = kind;
        certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let server = Server::with(std::sync::Arc::new(config), |_, _| sent(b""));
    let mut settings = settings();
    settings.roots = vec![authority];
    let error = resolve(&server, &Client::new(settings)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Certificate { .. }), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn only_loopback_is_spoken_to_in_clear() {
    let (bytes, digest) = manifest();
    let server = Server::clear(move |_, _| sent(&bytes));
    let hosts = [("registry.example.com".to_owned(), vec!["127.0.0.1".parse().unwrap()])].into();
    let mut settings = settings();
    settings.resolver = Resolver::fixed(hosts);
    let reference = format!("registry.example.com:{}/a/b:tag", server.address.port()).parse().unwrap();
    let error = Client::new(settings).document(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(server.asked().is_empty());
    let local = format!("localhost:{}/a/b:tag", server.address.port()).parse().unwrap();
    assert_eq!(client().document(&local).await.unwrap().digest, digest);
}

#[tokio::test]
async fn a_redirect_takes_no_login_along() {
    let (bytes, digest) = contents(5000);
    let served = bytes.clone();
    let other = Server::clear(move |asked, before| match before {
        0 => Reply::Close([head("200 OK", &[], served.len()), served[..1000].to_vec()].concat()),
        _ => blob(asked, &served),
    });
    let location = format!("http://{}/bucket/blob?signature=secret", other.host());
    let server = Server::clear(move |asked, _| match asked.header("authorization") {
        BASIC => with("307 Temporary Redirect", &[("Location", &location)], b"moved"),
        _ => unauthorized("Basic realm=\"x\""),
    });
    let client = with_credentials(&server, basic());
    assert_eq!(get(&client, &server, &bytes, &digest).await.unwrap(), bytes);
    let asked = other.asked();
    assert_eq!(asked.iter().map(Asked::from).collect::<Vec<_>>(), [0, 1000]);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_empty()));
    assert_eq!(asked[0].header("host"), other.host());
    assert_eq!(asked[0].path, "/bucket/blob?signature=secret");
}

#[tokio::test]
async fn where_a_redirect_leads_nobody_logs_in() {
    let (bytes, digest) = contents(10);
    let other = Server::clear(|_, _| unauthorized("Basic realm=\"x\""));
    let location = format!("http://{}/blob", other.host());
    let server = Server::clear(move |_, _| with("302 Found", &[("Location", &location)], b""));
    let error = get(&with_credentials(&server, basic()), &server, &bytes, &digest).await.unwrap_err();
    assert_eq!(error.to_string(), format!("'{}' answers 401 Unauthorized", other.host()));
    assert_eq!((error.hint().as_str(), other.asked().len()), ("", 1));
}

#[tokio::test]
async fn redirects_end_and_never_lead_out_of_tls() {
    let (bytes, digest) = contents(10);
    let server = Server::clear(|asked, _| with("302 Found", &[("Location", &format!("{}x", asked.path))], b""));
    let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
    assert_eq!(error.to_string(), format!("'{}' leads on and on, which is not followed", server.host()));
    assert_eq!(server.asked().len(), 6);

    let clear = Server::clear(|_, _| ok(b"0123456789"));
    let location = format!("http://{}/blob?key", clear.host());
    let server = Server::tls(&["127.0.0.1"], move |_, _| with("302 Found", &[("Location", &location)], b""));
    let mut settings = settings();
    settings.roots = vec![server.authority.clone()];
    let error = get(&Client::new(settings), &server, &bytes, &digest).await.unwrap_err();
    let to = format!("'{}' leads from TLS to http://{}/blob, which is not followed", server.host(), clear.host());
    assert_eq!(error.to_string(), to);
    assert!(clear.asked().is_empty());
    for location in
        [None, Some("http://169.254.169.254/latest/"), Some("ftp://x/"), Some("http://user:pass@127.0.0.1/")]
    {
        let headers: Vec<(&str, &str)> = location.iter().map(|location| ("Location", *location)).collect();
        let reply = answer("302 Found", &headers, b"");
        let server = Server::clear(move |_, _| Reply::Send(reply.clone()));
        let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
    }
}

/// The head alone, if no more is asked for.
fn whole(asked: &Asked, reply: Reply) -> Reply {
    match reply {
        Reply::Send(mut bytes) if asked.method == "HEAD" => {
            let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
            bytes.truncate(end + 4);
            Reply::Send(bytes)
        }
        reply => reply,
    }
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_itself_last() {
    let (bytes, digest) = contents(5000);
    let (document, name) = manifest();
    let both = {
        let (bytes, document) = (bytes.clone(), document.clone());
        move |asked: &Asked| {
            if asked.path.contains("/blobs/") { blob(asked, &bytes) } else { whole(asked, sent(&document)) }
        }
    };
    let broken = Server::clear(|_, _| status("404 Not Found"));
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    let lying = Server::clear(move |asked, _| match asked.method.as_str() {
        "HEAD" => status("404 Not Found"),
        _ if asked.path.contains("/blobs/") => ok(&wrong),
        _ => ok(b"{}"),
    });
    let server = Server::clear(move |asked, _| both(asked));
    let mirror = |server: &Server, prefix: &str| Mirror { host: server.host(), prefix: prefix.into() };
    let nowhere = Mirror { host: nobody().to_string(), prefix: String::new() };
    let mirrors = vec![nowhere, mirror(&broken, "proxy/hub"), mirror(&lying, "")];
    let mut settings = settings();
    settings.retries.count = 0;
    settings.registries.insert(server.host(), Registry { mirrors, ..Registry::default() });
    let client = Client::new(settings);
    assert_eq!(resolve(&server, &client).await.unwrap().digest, name);
    assert_eq!(get(&client, &server, &bytes, &digest).await.unwrap(), bytes);
    // A mirror that has no such tag says nothing about the registry.
    assert_eq!(client.digest(&server.reference()).await.unwrap(), Some(name));
    assert_eq!(broken.asked()[0].path, "/v2/proxy/hub/a/b/manifests/tag");
    assert_eq!((broken.asked().len(), lying.asked().len(), server.asked().len()), (3, 3, 3));
}

#[tokio::test]
async fn what_came_from_a_mirror_that_lies_and_breaks_off_does_not_spoil_the_registrys() {
    let (bytes, digest) = contents(5000);
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    let lying =
        Server::clear(move |_, _| Reply::Close([head("200 OK", &[], wrong.len()), wrong[..1000].to_vec()].concat()));
    let served = bytes.clone();
    let server = Server::clear(move |asked, _| blob(asked, &served));
    let mirrors = vec![Mirror { host: lying.host(), prefix: String::new() }];
    let mut settings = settings();
    settings.retries.count = 0;
    settings.registries.insert(server.host(), Registry { mirrors, ..Registry::default() });
    assert_eq!(get(&Client::new(settings), &server, &bytes, &digest).await.unwrap(), bytes);
    assert_eq!(server.asked().iter().map(Asked::from).collect::<Vec<_>>(), [1000, 0]);
}

#[tokio::test]
async fn a_login_is_checked() {
    let server = Server::clear(|asked, _| match (asked.path.as_str(), asked.header("authorization")) {
        ("/v2/", BASIC) => ok(b"{}"),
        _ => unauthorized("Basic realm=\"x\""),
    });
    with_credentials(&server, basic()).check(&server.reference()).await.unwrap();
    assert!(client().check(&server.reference()).await.is_err());
}
