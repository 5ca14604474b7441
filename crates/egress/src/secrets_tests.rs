use super::*;
use crate::{Pattern, Secret};
use http::{HeaderName, header};

const ONE: &str = "ak-One-0123456789abcdef0123456789abcdef";
const TWO: &str = "ak-two-fedcba9876543210fedcba9876543210";

fn grant(name: &str, placeholder: &str, value: &str, hosts: &[&str]) -> SecretGrant {
    SecretGrant {
        name: name.to_owned(),
        placeholder: placeholder.to_owned(),
        value: Secret::new(value.as_bytes().to_vec()),
        hosts: hosts.iter().map(|host| Pattern::parse(host).unwrap()).collect(),
    }
}

fn secrets() -> Secrets {
    Secrets::new(&[
        grant("ONE", ONE, "value-of-one", &["a.org", "*.a.org"]),
        grant("TWO", TWO, "v2", &["a.org"]),
        grant("THREE", "", "everywhere", &["*"]),
    ])
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// The value of one header after its secrets were put in.
fn through(host_: &str, name: &'static str, value: &str) -> Result<String, Misplaced> {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    let any = secrets().swap(&host(host_), &Method::GET, &Uri::from_static("/"), &mut headers)?;
    let swapped = &headers[name];
    assert_eq!(any, swapped.to_str().unwrap() != value);
    assert_eq!(any, swapped.is_sensitive());
    Ok(swapped.to_str().unwrap().to_owned())
}

/// Why a request in clear is refused.
fn refused(host_: &str, method: &Method, uri: &str, headers: &HeaderMap) -> Option<String> {
    match secrets().refuse(&host(host_), method, &uri.parse().unwrap(), headers).err()? {
        Misplaced::Elsewhere(name) => Some(format!("elsewhere: {name}")),
        Misplaced::InClear(name) => Some(format!("in clear: {name}")),
        other @ Misplaced::Illegal(_) => panic!("{other}"),
    }
}

#[test]
fn values_of_headers_get_their_secrets() {
    let through = |name, value: String| through("a.org", name, &value).unwrap();
    assert_eq!(through("x-api-key", ONE.to_owned()), "value-of-one");
    assert_eq!(through("authorization", format!("Bearer {ONE}")), "Bearer value-of-one");
    assert_eq!(through("cookie", format!("a={ONE}; b={TWO}; c={ONE}")), "a=value-of-one; b=v2; c=value-of-one");
    assert_eq!(through("x", format!("{TWO}{ONE}")), "v2value-of-one");
    assert_eq!(through("x", "nothing".to_owned()), "nothing");
    assert_eq!(through("x", ONE[1..].to_owned()), &ONE[1..]);
    assert_eq!(through("x", ONE.to_uppercase()), ONE.to_uppercase());
}

#[test]
fn basic_credentials_get_their_secrets() {
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let sent = basic(&format!("user:{ONE}"));
    assert_eq!(through("a.org", "authorization", &sent).unwrap(), basic("user:value-of-one"));
    assert_eq!(through("a.org", "proxy-authorization", &sent).unwrap(), basic("user:value-of-one"));
    let odd = format!("bAsIc  {}", BASE64.encode(format!("{ONE}:{TWO}")).trim_end_matches('='));
    assert_eq!(through("a.org", "authorization", &odd).unwrap(), basic("value-of-one:v2"));
    assert_eq!(through("a.org", "x-gateway-authorization", &sent).unwrap(), basic("user:value-of-one"));
    for blanks in ["\t", "\t ", " \t"] {
        let tab = sent.replace(' ', blanks);
        assert_eq!(through("a.org", "authorization", &tab).unwrap(), basic("user:value-of-one"));
        assert_eq!(through("b.org", "authorization", &tab), Err(Misplaced::Elsewhere("ONE".to_owned())));
        let headers = [(header::AUTHORIZATION, tab.parse().unwrap())].into_iter().collect();
        assert_eq!(refused("a.org", &Method::GET, "/", &headers), Some("in clear: ONE".to_owned()));
    }
    // What is no base64 is left, and what stands there in clear is exchanged.
    assert_eq!(through("a.org", "authorization", "Basic !").unwrap(), "Basic !");
    assert_eq!(through("a.org", "authorization", &format!("Basic {ONE}")).unwrap(), "Basic value-of-one");
    let elsewhere = through("b.org", "authorization", &sent);
    assert_eq!(elsewhere, Err(Misplaced::Elsewhere("ONE".to_owned())));
    let headers = [(header::AUTHORIZATION, sent.parse().unwrap())].into_iter().collect();
    assert_eq!(refused("a.org", &Method::GET, "/", &headers), Some("in clear: ONE".to_owned()));
    assert_eq!(refused("b.org", &Method::GET, "/", &headers), Some("elsewhere: ONE".to_owned()));
}

#[test]
fn a_secret_goes_to_its_hosts_only() {
    assert_eq!(through("x.a.org", "x", ONE).unwrap(), "value-of-one");
    for (host, value) in [("b.org", ONE), ("x.a.org", TWO), ("a.org.b.org", ONE), ("192.0.2.1", ONE)] {
        assert!(matches!(through(host, "x", value), Err(Misplaced::Elsewhere(_))), "{host}");
    }
    let error = through("x.a.org", "x", &format!("{ONE} {TWO}")).unwrap_err();
    assert_eq!((error.reason(), error.to_string()), (Reason::SecretElsewhere, "TWO".to_owned()));
    assert!(secrets().is_for(&host("x.a.org")) && !secrets().is_for(&host("b.org")));
}

#[test]
fn targets_and_names_are_never_changed() {
    let target: Uri = format!("/?key={ONE}").parse().unwrap();
    let mut headers = HeaderMap::new();
    assert_eq!(secrets().swap(&host("a.org"), &Method::GET, &target, &mut headers), Ok(false));
    assert!(secrets().swap(&host("b.org"), &Method::GET, &target, &mut headers).is_err());
    assert_eq!(refused("a.org", &Method::GET, &target.to_string(), &headers).as_deref(), Some("in clear: ONE"));
    let name = HeaderName::from_bytes(format!("x-{ONE}").as_bytes()).unwrap();
    headers.insert(name.clone(), HeaderValue::from_static("x"));
    assert_eq!(secrets().swap(&host("a.org"), &Method::GET, &Uri::from_static("/"), &mut headers), Ok(false));
    assert!(headers.contains_key(&name));
    assert!(secrets().swap(&host("b.org"), &Method::GET, &Uri::from_static("/"), &mut headers).is_err());
    assert_eq!(refused("a.org", &Method::GET, "/", &headers).as_deref(), Some("in clear: ONE"));
    assert_eq!(refused("a.org", &Method::GET, "/", &HeaderMap::new()), None);
    let method = Method::from_bytes(ONE.as_bytes()).unwrap();
    assert_eq!(refused("b.org", &method, "/", &HeaderMap::new()).as_deref(), Some("elsewhere: ONE"));
    assert!(secrets().swap(&host("b.org"), &method, &Uri::from_static("/"), &mut HeaderMap::new()).is_err());
}

#[test]
fn what_is_no_value_of_a_header_is_refused() {
    let secrets = Secrets::new(&[grant("LINES", ONE, "topsecret\r\nx: y", &["a.org"])]);
    let mut headers: HeaderMap = [(header::COOKIE, ONE.parse().unwrap())].into_iter().collect();
    let error = secrets.swap(&host("a.org"), &Method::GET, &Uri::from_static("/"), &mut headers).unwrap_err();
    assert_eq!(error, Misplaced::Illegal("LINES".to_owned()));
    assert!(!format!("{error} {error:?}").contains("topsecret"));
    // Inside of Basic it is encoded, and does no harm.
    let basic = format!("Basic {}", BASE64.encode(format!("a:{ONE}")));
    let mut headers: HeaderMap = [(header::AUTHORIZATION, basic.parse().unwrap())].into_iter().collect();
    assert_eq!(secrets.swap(&host("a.org"), &Method::GET, &Uri::from_static("/"), &mut headers), Ok(true));
}

#[test]
fn a_value_that_looks_like_another_secret_is_not_exchanged_again() {
    let secrets = Secrets::new(&[grant("ONE", ONE, TWO, &["*"]), grant("TWO", TWO, "v2", &["*"])]);
    let mut headers: HeaderMap = [(header::COOKIE, ONE.parse().unwrap())].into_iter().collect();
    assert_eq!(secrets.swap(&host("a.org"), &Method::GET, &Uri::from_static("/"), &mut headers), Ok(true));
    assert_eq!(headers[header::COOKIE], TWO);
}

#[test]
fn no_value_is_printed() {
    let mut headers: HeaderMap = [(header::COOKIE, ONE.parse().unwrap())].into_iter().collect();
    secrets().swap(&host("a.org"), &Method::GET, &Uri::from_static("/"), &mut headers).unwrap();
    let printed = format!("{headers:?} {:?}", secrets());
    assert!(!printed.contains("value-of-one"), "{printed}");
}
