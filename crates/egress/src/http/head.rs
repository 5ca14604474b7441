//! Hides what of a request's head can be read in more than one way, and what of it is for one hop only.

use super::MAX_HEADERS;
use crate::{Grant, Requests, Target, TargetError, host::shown};
use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{self, Entry},
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Why a request is refused by its head alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Programs could read it differently: how.
    Bad(String),
    /// It is for this host instead.
    Elsewhere(String),
    /// It asks for a tunnel.
    Tunnel,
    /// It has more headers than any program needs.
    TooManyHeaders,
}

/// Whether a request is for this target and no other, in every place that says so, and has one meaning.
///
/// # Errors
/// The first [`Flaw`] that it has.
pub fn check(parts: &Parts, target: &Target, tls: bool) -> Result<(), Flaw> {
    let Parts { method, uri, headers, version, .. } = parts;
    let bad = |why: &str| Err(Flaw::Bad(why.to_owned()));
    if method == Method::CONNECT {
        return Err(Flaw::Tunnel);
    }
    if headers.len() > MAX_HEADERS {
        return Err(Flaw::TooManyHeaders);
    }
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), _) if *scheme != scheme_of(tls) => return bad("its scheme is another than the connection's"),
        (_, Some(authority)) => is_for(authority.as_str(), target)?,
        (Some(_), None) => return bad("its target has a scheme and no host"),
        (None, None) => {}
    }
    if uri.scheme().is_none() && uri.authority().is_some() && *version < Version::HTTP_2 {
        return bad("its target is a host");
    }
    if !uri.path().starts_with('/') && (uri.path() != "*" || method != Method::OPTIONS) {
        return bad("its target is no path");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => match host.to_str() {
            Ok(host) => is_for(host, target)?,
            Err(_) => return bad("its host is none"),
        },
        (Some(_), Some(_)) => return bad("it has several hosts"),
        // Before 1.1, none was asked for.
        (None, _) if *version < Version::HTTP_11 => {}
        (None, _) if *version >= Version::HTTP_2 && uri.authority().is_some() => {}
        (None, _) => return bad("it has no host"),
    }
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let codings: Vec<_> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if codings.len() + lengths > 1 || !codings.into_iter().all(chunked) {
        return bad("its body has no clear length");
    }
    Ok(())
}

/// Whether a host, with a port or without, is the target's.
fn is_for(text: &str, target: &Target) -> Result<(), Flaw> {
    match Target::parse(text, Some(target.port)) {
        Ok(own) if own == *target => Ok(()),
        Ok(other) => Err(Flaw::Elsewhere(other.to_string())),
        Err(TargetError::Host(_) | TargetError::NoPort(_) | TargetError::Port(_) | TargetError::Url(_)) => {
            Err(Flaw::Bad(format!("its host '{}' is none", shown(text))))
        }
    }
}

fn scheme_of(tls: bool) -> Scheme {
    if tls { Scheme::HTTPS } else { Scheme::HTTP }
}

/// Makes a request that was [checked](check) the one for the server: as a client of that server alone would write it,
/// and without what was for this hop.
pub(super) fn rewrite(parts: &mut Parts, target: &Target, tls: bool) {
    let upgrade = wants_websocket(parts);
    let headers = &mut parts.headers;
    let trailers = headers.get_all(header::TE).iter().any(|value| has_token(value, "trailers"));
    strip(headers);
    headers.remove(HeaderName::from_static("http2-settings"));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if parts.version >= Version::HTTP_2 {
        // A host that stands in a header as well is the same: it was checked.
        let host = headers.remove(header::HOST);
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(scheme_of(tls));
        uri.path_and_query = Some(path);
        uri.authority = uri.authority.or_else(|| host.and_then(|host| host.as_bytes().try_into().ok()));
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
        return;
    }
    parts.version = Version::HTTP_11;
    parts.uri = Uri::from(path);
    if let Entry::Vacant(host) = headers.entry(header::HOST)
        && let Ok(value) = target.authority(tls).try_into()
    {
        host.insert(value);
    }
    let connection = match (upgrade, trailers) {
        (true, _) => "Upgrade",
        (false, true) => "TE",
        (false, false) => return,
    };
    headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
    if upgrade {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Whether a request asks to go on as a WebSocket (RFC 6455, 4.1). What else a connection can become carries requests
/// that could not be read (h2c), or is unknown: servers that are not asked for it go on with HTTP.
pub(super) fn wants_websocket(parts: &Parts) -> bool {
    let key = only(&parts.headers, &header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && only(&parts.headers, &header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && key.is_some_and(|key| key.len() == 16)
        && parts.headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, "upgrade"))
}

/// What a server says that goes on as a WebSocket with whoever has sent these headers (RFC 6455, 4.2.2): no other says it
/// by chance.
pub(super) fn websocket_accept(asked: &HeaderMap) -> Option<String> {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let key = only(asked, &header::SEC_WEBSOCKET_KEY)?;
    Some(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat())))
}

/// The value of a header that is there once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// Removes what is for one hop only (RFC 9110, 7.6.1), but for how long a body is, and what it ends with.
pub(super) fn strip(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = (headers.get_all(header::CONNECTION).iter())
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // These are never for one hop: without them, the request would be another.
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name))
        .collect();
    let always = [header::CONNECTION, header::UPGRADE, header::TE]
        .into_iter()
        .chain(["keep-alive", "proxy-connection"].map(HeaderName::from_static));
    for name in listed.into_iter().chain(always) {
        headers.remove(name);
    }
}

/// Headers by which some servers take a request for one with another method or path.
const OTHERWISE: [&str; 12] = [
    "x-envoy-original-path",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-waws-unencoded-url",
];

/// Headers by which some servers, behind a proxy, take a request for one to another host.
const ELSEWHERE: [&str; 6] =
    ["forwarded", "x-forwarded-host", "x-forwarded-server", "x-host", "x-http-host-override", "x-original-host"];

/// The header that makes another request of this one, if it has such. Behind CGI and its kin a `_` is as good as a `-`.
pub(super) fn means_another(headers: &HeaderMap, target: &Target) -> Option<&'static str> {
    let named = |name: &HeaderName, other: &str| name.as_str().replace('_', "-") == other;
    let otherwise = |other: &&str| headers.keys().any(|name| named(name, other));
    let elsewhere = |other: &&str| {
        let values = headers.iter().filter(|(name, _)| named(name, other)).map(|(_, value)| value);
        { values }.any(|value| is_elsewhere(value, *other == "forwarded", target))
    };
    OTHERWISE.iter().find(|other| otherwise(other)).or_else(|| ELSEWHERE.iter().find(|other| elsewhere(other))).copied()
}

/// Whether a list of hosts has another one than the target's, on whatever port; or what is none. Where they are in
/// `pairs` (RFC 7239), `host` has them.
fn is_elsewhere(value: &HeaderValue, pairs: bool, target: &Target) -> bool {
    let Ok(value) = value.to_str() else { return true };
    let is_own = |host: &str| {
        let host = host.trim().trim_matches('"');
        host.is_empty() || Target::parse(host, Some(target.port)).is_ok_and(|other| other.host == target.host)
    };
    let mut parts = value.split([',', ';']);
    match pairs {
        false => !value.split(',').all(is_own),
        true => !parts.all(|part| match part.split_once('=') {
            Some((key, host)) if key.trim().eq_ignore_ascii_case("host") => is_own(host),
            _ => true,
        }),
    }
}

/// Whether a list in a header has this element, in whatever case.
pub(super) fn has_token(value: &HeaderValue, sought: &str) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(sought))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// A request in short: `GET /path`, printable, and without its query.
pub(super) fn line(parts: &Parts) -> String {
    let Parts { method, uri, .. } = parts;
    let target = match uri.authority() {
        Some(authority) if *method == Method::CONNECT => authority.as_str(),
        _ => uri.path(),
    };
    let mut line: String = format!("{method} {target}").chars().take(200).flat_map(char::escape_debug).collect();
    let end = (0..=200.min(line.len())).rev().find(|&end| line.is_char_boundary(end)).unwrap_or_default();
    line.truncate(end);
    line
}

/// Which requests are allowed, in short.
pub(super) fn allowed(grant: &Grant) -> Option<String> {
    let words = |group: &[Requests]| group.iter().map(Requests::to_string).collect::<Vec<_>>().join("; ");
    let (own, limits) = match (grant.limits(), &grant.requests[..]) {
        (None, groups) => (groups.first(), None),
        (limits, groups) => (groups.split_last().and_then(|(_, own)| own.first()), limits),
    };
    Some(match (own, limits) {
        (Some(own), None) => words(own),
        (None, Some(limits)) => format!("by the user's own configuration, {}", words(limits)),
        (Some(own), Some(limits)) if grant.is_void() => {
            format!(
                "nothing: by the sandbox's own rules {}, by the user's own configuration only {}",
                words(own),
                words(limits)
            )
        }
        (Some(own), Some(limits)) => {
            format!("{}, and of that, by the user's own configuration, only {}", words(own), words(limits))
        }
        (None, None) => return None,
    })
}
