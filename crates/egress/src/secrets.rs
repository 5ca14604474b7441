//! Hides how secrets get into requests: what stands in for one is exchanged on the way, for its hosts only, and in the
//! values of headers only.
//!
//! Bodies are neither changed nor searched: what stands in for a secret is no secret. Responses are not changed either:
//! a host that a secret is for knows it, and may tell it as it likes, in more ways than can be searched for.

use crate::{Host, Reason, Secret, control::SecretGrant};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue, Method, Uri};
use std::{cell::RefCell, fmt};
use zeroize::Zeroizing;

/// Base64 as clients write it in `Basic` credentials, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Every secret of a sandbox.
pub struct Secrets {
    grants: RefCell<Vec<SecretGrant>>,
}

/// A text with secrets in it, and the last of them.
type Swapped<'a> = (Zeroizing<Vec<u8>>, &'a SecretGrant);

/// A secret that cannot be put in, by what its user calls it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The request goes to a host that it is not for.
    #[error("{0}")]
    Elsewhere(String),
    /// The request goes without TLS.
    #[error("{0}")]
    InClear(String),
    /// Its value can't be in a header, where a request has what stands in for it.
    #[error("the value of {0} cannot stand in a header")]
    Illegal(String),
}

impl Misplaced {
    /// Why a request is refused that has it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Elsewhere(_) => Reason::SecretElsewhere,
            Self::InClear(_) => Reason::SecretInClear,
            Self::Illegal(_) => Reason::BadRequest,
        }
    }
}

impl Secrets {
    /// These.
    #[must_use]
    pub fn new(grants: &[SecretGrant]) -> Self {
        // Nothing stands in for it: it would be everywhere.
        let grants = grants.iter().filter(|grant| !grant.placeholder.is_empty()).cloned().collect();
        Self { grants: RefCell::new(grants) }
    }

    /// From now on another value is put in for this placeholder, in requests of connections that are open as well.
    pub fn renew(&self, placeholder: &str, value: &Secret) {
        for grant in self.grants.borrow_mut().iter_mut().filter(|grant| grant.placeholder == placeholder) {
            grant.value = value.clone();
        }
    }

    /// What a look at the value tells that is put in for this placeholder.
    pub(crate) fn look<T>(&self, placeholder: &str, tell: impl Fn(&[u8]) -> T) -> Option<T> {
        let grants = self.grants.borrow();
        Some(tell(grants.iter().find(|grant| grant.placeholder == placeholder)?.value.expose()))
    }

    /// Whether this placeholder would be exchanged in a request to this host.
    #[must_use]
    pub fn is_used(&self, placeholder: &str, host: &Host, headers: &HeaderMap) -> bool {
        let grants = self.grants.borrow();
        let grant = grants.iter().find(|grant| grant.placeholder == placeholder && may_go(grant, host));
        grant.is_some_and(|grant| headers.values().any(|value| in_value(grant, value)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.borrow().is_empty()
    }

    /// Whether one of them is for this host.
    #[must_use]
    pub fn is_for(&self, host: &Host) -> bool {
        self.grants.borrow().iter().any(|grant| may_go(grant, host))
    }

    /// Refuses the head of a request in clear to this host, if anything stands in for a secret anywhere in it.
    ///
    /// # Errors
    /// [`Misplaced`]: rather that one is not for this host, which TLS would not change.
    pub fn refuse(&self, host: &Host, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Misplaced> {
        let grants = self.grants.borrow();
        let found = |grant: &&SecretGrant| {
            in_open(grant, method, uri, headers) || headers.values().any(|value| in_value(grant, value))
        };
        let found: Vec<_> = grants.iter().filter(found).collect();
        if let Some(grant) = found.iter().find(|grant| !may_go(grant, host)) {
            return Err(Misplaced::Elsewhere(grant.name.clone()));
        }
        found.first().map_or(Ok(()), |grant| Err(Misplaced::InClear(grant.name.clone())))
    }

    /// Exchanges what stands in for secrets in the headers of a request to this host, and tells whether there was any.
    ///
    /// In the method and target of the request and in names of headers nothing is exchanged, since those are logged
    /// everywhere.
    ///
    /// # Errors
    /// [`Misplaced`] if a secret is not for this host, or can't be put in; nothing may be sent then.
    pub fn swap(&self, host: &Host, method: &Method, uri: &Uri, headers: &mut HeaderMap) -> Result<bool, Misplaced> {
        let grants = self.grants.borrow();
        let astray = |grant: &&SecretGrant| !may_go(grant, host) && in_open(grant, method, uri, headers);
        if let Some(grant) = grants.iter().find(astray) {
            return Err(Misplaced::Elsewhere(grant.name.clone()));
        }
        let mut any = false;
        for value in headers.values_mut() {
            let swapped = match basic(value) {
                Some(inside) => match swapped(&grants, host, &inside)? {
                    Some((inside, grant)) => {
                        Some((Zeroizing::new([&b"Basic "[..], encoded(&inside).as_bytes()].concat()), grant))
                    }
                    None => swapped(&grants, host, value.as_bytes())?,
                },
                None => swapped(&grants, host, value.as_bytes())?,
            };
            if let Some((bytes, grant)) = swapped {
                *value = HeaderValue::from_bytes(&bytes).map_err(|_| Misplaced::Illegal(grant.name.clone()))?;
                // HTTP/2 then leaves it out of the tables with which it shortens later headers (RFC 7541, 7.1.3).
                value.set_sensitive(true);
                any = true;
            }
        }
        Ok(any)
    }
}

/// The text with every secret in it, and the last of them; `None` if there is none. What was put in is not looked at
/// again.
fn swapped<'a>(grants: &'a [SecretGrant], host: &Host, text: &[u8]) -> Result<Option<Swapped<'a>>, Misplaced> {
    let mut rest = text;
    // Never grown, so that no copy stays behind.
    let longest = grants.iter().map(|grant| grant.value.expose().len()).max().unwrap_or_default();
    let shortest = grants.iter().map(|grant| grant.placeholder.len()).min().unwrap_or(1).max(1);
    let mut out = Zeroizing::new(Vec::new());
    let mut last = None;
    while let Some((at, grant)) =
        grants.iter().filter_map(|grant| Some((find(rest, grant)?, grant))).min_by_key(|(at, _)| *at)
    {
        if !may_go(grant, host) {
            return Err(Misplaced::Elsewhere(grant.name.clone()));
        }
        if last.is_none() {
            out.reserve_exact(text.len() + text.len() / shortest * longest);
        }
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(grant.value.expose());
        rest = &rest[at + grant.placeholder.len()..];
        last = Some(grant);
    }
    out.extend_from_slice(if last.is_some() { rest } else { &[] });
    Ok(last.map(|grant| (out, grant)))
}

/// Without any value.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.grants.borrow().iter().map(|grant| &grant.name)).finish()
    }
}

fn may_go(grant: &SecretGrant, host: &Host) -> bool {
    grant.hosts.iter().any(|pattern| pattern.matches(host))
}

/// Whether what stands in for a secret is where it is never exchanged.
fn in_open(grant: &SecretGrant, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let texts = [Some(method.as_str()), authority, target];
    // Names of headers have lost their capitals.
    let lower = grant.placeholder.to_ascii_lowercase();
    texts.into_iter().flatten().any(|text| find(text.as_bytes(), grant).is_some())
        || headers.keys().any(|name| name.as_str().contains(&lower))
}

fn in_value(grant: &SecretGrant, value: &HeaderValue) -> bool {
    let inside = basic(value).is_some_and(|inside| find(&inside, grant).is_some());
    inside || find(value.as_bytes(), grant).is_some()
}

fn find(text: &[u8], grant: &SecretGrant) -> Option<usize> {
    let sought = grant.placeholder.as_bytes();
    text.windows(sought.len()).position(|window| window == sought)
}

/// What is inside of `Basic` credentials (RFC 7617), whichever header they are in: gateways have their own.
fn basic(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.as_bytes().split_at_checked(b"Basic".len())?;
    // Whichever blank follows: some servers take a tab for the space that it should be.
    let is_basic = scheme.eq_ignore_ascii_case(b"Basic") && matches!(rest.first(), Some(b' ' | b'\t'));
    is_basic.then(|| BASE64.decode(rest.trim_ascii()).ok()).flatten()
}

fn encoded(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(bytes))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
