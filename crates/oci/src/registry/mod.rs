//! Hides how images come from a registry and go to one: HTTP, logins, mirrors, redirects, and trying again.
//!
//! A [`Client`] needs a current-thread runtime of tokio with time and I/O, and nothing else: no file, no environment,
//! no thread. Connections are tasks of that runtime.

mod auth;
mod connect;
mod download;
mod error;
mod push;
mod resolve;
mod settings;
mod trust;
mod url;

use crate::{Reference, text::shown};
use bytes::Bytes;
use connect::{Answer, Body, Pool};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use std::{
    hash::{BuildHasher, Hasher as _, RandomState},
    sync::Arc,
    time::Duration,
};
use url::{Origin, Url};

pub use download::Download;
pub use error::RegistryError;
pub use resolve::{Fetched, Resolved};
pub use settings::{Lookup, Mirror, Registry, Resolver, Retries, Settings, Timeouts};

/// How often an answer may lead elsewhere.
const MAX_REDIRECTS: usize = 5;
/// How much of an error's body is read.
const MAX_ERROR: u64 = 64 << 10;

/// Talks to registries.
pub struct Client {
    settings: Arc<Settings>,
    pool: Pool,
    logins: auth::Logins,
}

/// One registry, or one of its mirrors, with the name of a repository there.
struct Place {
    /// What logins are filed under.
    host: String,
    origin: Origin,
    repository: String,
}

impl Place {
    /// An address below the repository.
    fn url(&self, rest: &str) -> Url {
        Url::new(&self.origin, format!("/v2/{}/{rest}", self.repository))
    }

    fn scope(&self, actions: &str) -> Vec<String> {
        vec![format!("repository:{}:{actions}", self.repository)]
    }
}

/// A request that can be sent again.
struct Ask<'a> {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    scopes: Vec<String>,
    /// What is asked for, in words.
    what: &'a str,
    /// Which answers besides 2xx are wanted.
    wanted: &'a [u16],
}

impl<'a> Ask<'a> {
    fn new(method: Method, url: Url, scopes: Vec<String>, what: &'a str) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), scopes, what, wanted: &[] }
    }

    fn header(mut self, name: header::HeaderName, value: &str) -> Result<Self, RegistryError> {
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| RegistryError::Settings(format!("'{}' is no header", shown(name.as_str()))))?;
        self.headers.append(name, value);
        Ok(self)
    }
}

impl Client {
    /// A client that has no connections yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self { pool: Pool::new(settings.clone()), settings, logins: auth::Logins::default() }
    }

    /// Whether this registry can be spoken to with the credentials that are set for it; for a login. Any image of it will do.
    ///
    /// # Errors
    /// [`RegistryError`] if not.
    pub async fn check(&self, reference: &Reference) -> Result<(), RegistryError> {
        let place = self.home(reference).await?;
        let url = Url::new(&place.origin, "/v2/".to_owned());
        let mut answer = self.ask(&place, &Ask::new(Method::GET, url, Vec::new(), "registry")).await?;
        while answer.chunk(&self.pool).await?.is_some() {}
        Ok(())
    }

    /// The registry of an image itself.
    async fn home(&self, reference: &Reference) -> Result<Place, RegistryError> {
        Ok(Place {
            host: reference.registry().to_owned(),
            origin: self.retried(async || self.pool.origin(reference.endpoint()).await).await?,
            repository: reference.repository().to_owned(),
        })
    }

    /// Does something at one place after the other, first the mirrors, until it works at one.
    async fn anywhere<T>(
        &self,
        reference: &Reference,
        mut act: impl AsyncFnMut(&Place) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mirrors = self.settings.registries.get(reference.registry()).map(|registry| registry.mirrors.as_slice());
        for mirror in mirrors.unwrap_or_default() {
            // A mirror that cannot be reached is not waited for: there is another place.
            let Ok(origin) = self.pool.origin(&mirror.host).await else { continue };
            let repository = match mirror.prefix.trim_matches('/') {
                "" => reference.repository().to_owned(),
                prefix => format!("{prefix}/{}", reference.repository()),
            };
            match act(&Place { host: mirror.host.clone(), origin, repository }).await {
                Err(error) if !error.is_ours() => {}
                done => return done,
            }
        }
        act(&self.home(reference).await?).await
    }

    /// Tries until it works, or fails for good.
    async fn retried<T>(&self, mut act: impl AsyncFnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut failures = 0;
        loop {
            match act().await {
                Err(error) => self.pause(error, &mut failures).await?,
                done => return done,
            }
        }
    }

    /// Waits before the next try, or gives up with the error.
    async fn pause(&self, error: RegistryError, failures: &mut u32) -> Result<(), RegistryError> {
        let retries = self.settings.retries;
        if !error.is_transient() || *failures >= retries.count || error.wait().is_some_and(|wait| wait > retries.obeyed)
        {
            return Err(error);
        }
        let own = retries.pause.saturating_mul(1 << (*failures).min(16)).min(retries.longest);
        // Somewhere in its second half, so that many who failed together do not come back together.
        let random = RandomState::new().build_hasher().finish() % 512;
        let own = own / 2 + own.saturating_mul(random as u32) / 1024;
        tokio::time::sleep(error.wait().unwrap_or_default().max(own)).await;
        *failures += 1;
        Ok(())
    }

    /// Asks until there is an answer that is wanted.
    async fn ask(&self, place: &Place, ask: &Ask<'_>) -> Result<Answer, RegistryError> {
        self.retried(async || self.ask_once(place, ask, Answered::Anywhere).await).await
    }

    /// Asks, logs in if the registry wants that, and goes where it leads.
    async fn ask_once(&self, place: &Place, ask: &Ask<'_>, follow: Answered) -> Result<Answer, RegistryError> {
        let mut url = ask.url.clone();
        let mut fresh = None;
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = ask.headers.clone();
            // Nobody else learns what logs in here.
            let at_home = url.origin == place.origin;
            let mut used = None;
            if at_home {
                used = match &fresh {
                    // However soon it expires, it is good for this.
                    Some(value) => Some(HeaderValue::clone(value)),
                    None => self.authorization(&place.host, &place.origin, &ask.scopes).await?,
                };
                if let Some(value) = &used {
                    headers.insert(header::AUTHORIZATION, value.clone());
                }
            } else {
                self.pool.may_lead(&place.origin, &url.origin).await?;
            }
            let answer = self.send(&url, &ask.method, &headers, full(&ask.body)).await?;
            let status = answer.status.as_u16();
            if status == 401 && at_home && fresh.is_none() {
                let Some(challenge) = auth::challenge(&answer) else {
                    return Err(self.failed(place, ask.what, answer).await);
                };
                self.discard(answer).await;
                let login = self.log_in(&place.host, &place.origin, &ask.scopes, challenge, used.as_ref()).await?;
                fresh = Some(login);
                continue;
            }
            if matches!(status, 301 | 302 | 303 | 307 | 308) && follow == Answered::Anywhere {
                url = leads_to(&url, &answer)?;
                self.discard(answer).await;
                continue;
            }
            if answer.status.is_success() || ask.wanted.contains(&status) {
                return Ok(answer);
            }
            return Err(self.failed(place, ask.what, answer).await);
        }
        let whither = "on and on".to_owned();
        Err(RegistryError::Redirect { host: place.host.clone(), whither })
    }

    /// Sends one request.
    async fn send(&self, url: &Url, method: &Method, headers: &HeaderMap, body: Body) -> Result<Answer, RegistryError> {
        let request = self.request(url, method, headers, body)?;
        self.pool.send(&url.origin, request, self.settings.timeouts.answer).await
    }

    fn request(
        &self,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Request<Body>, RegistryError> {
        let wrong = || RegistryError::Settings(format!("'{}' cannot be asked for", url.shown()));
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.uri().ok_or_else(wrong)?;
        *request.headers_mut() = headers.clone();
        let agent = HeaderValue::from_str(&self.settings.user_agent);
        let agent = agent.map_err(|_| RegistryError::Settings("the user agent is no header".to_owned()))?;
        request.headers_mut().insert(header::USER_AGENT, agent);
        let host = HeaderValue::from_str(&url.origin.authority()).map_err(|_| wrong())?;
        request.headers_mut().insert(header::HOST, host);
        Ok(request)
    }

    /// Reads what is left of an answer, if that is not much, so that its connection can be used again.
    async fn discard(&self, mut answer: Answer) {
        let mut left = MAX_ERROR;
        while let Ok(Some(chunk)) = answer.chunk(&self.pool).await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                break;
            }
        }
    }

    /// What an answer that is not wanted means.
    async fn failed(&self, place: &Place, what: &str, answer: Answer) -> RegistryError {
        let (status, other) = (answer.status, answer.origin.authority());
        if answer.origin != place.origin && matches!(status.as_u16(), 401 | 403) {
            // Where the registry has led us nobody can log in.
            return RegistryError::Status { host: other, status, wait: None, said: String::new() };
        }
        self.failed_at(&place.host, what, answer).await
    }

    /// The same, of the registry itself or of its token server.
    async fn failed_at(&self, host: &str, what: &str, answer: Answer) -> RegistryError {
        let status = answer.status;
        let wait = answer.header("retry-after").and_then(retry_after);
        let body = answer.bytes(&self.pool, "an error", MAX_ERROR).await.unwrap_or_default();
        let said = error::words(&body);
        let logged_in = *self.credentials(host) != crate::Credentials::None;
        let host = error::host(host);
        match status.as_u16() {
            401 => RegistryError::Unauthorized { host, said, logged_in },
            403 => RegistryError::Denied { host, said, logged_in },
            404 => RegistryError::NotFound { host, what: what.to_owned(), said },
            429 => RegistryError::RateLimited { host, wait, said, logged_in },
            _ => RegistryError::Status { host, status, wait, said },
        }
    }
}

/// Which answers are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// Also one from elsewhere, if the registry leads there.
    Anywhere,
    /// Only the registry's own.
    Here,
}

/// Where an answer leads, if it may.
fn leads_to(from: &Url, answer: &Answer) -> Result<Url, RegistryError> {
    let refused =
        |whither: &str| RegistryError::Redirect { host: from.origin.authority(), whither: whither.to_owned() };
    let location = answer.header("location").ok_or_else(|| refused("nowhere"))?;
    let to = from.join(location).ok_or_else(|| refused("where no address is"))?;
    if from.origin.https && !to.origin.https {
        return Err(refused(&format!("from TLS to {}", to.shown())));
    }
    Ok(to)
}

/// Seconds, as every registry says it; a date is for caches.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn full(bytes: &Bytes) -> Body {
    Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
