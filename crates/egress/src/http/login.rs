//! Hides what requests have to do with logins: one that uses a login waits until that is valid, and one that would renew it
//! is answered here. No token is told.

use super::{
    Exchange, Refusal,
    answer::{Answer, drain},
};
use crate::{
    Denial, Lift, Reason,
    logins::{Logins, NotRenewed, Used},
};
use ::http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use std::{rc::Rc, time::Duration};

/// The longest request for tokens, and how long it may take.
const MAX_ASKED: usize = 64 * 1024;
const ASKED_TIME: Duration = Duration::from_secs(30);

impl Exchange {
    fn logins(&self) -> Option<&Rc<Logins>> {
        self.passage.logins.as_ref().filter(|_| self.tls)
    }

    /// Sees to it that the login which a request uses is valid.
    pub(super) async fn log_in(&self, parts: &Parts) -> Result<Option<Used>, Refusal> {
        let Some(logins) = self.logins() else { return Ok(None) };
        let Some(mut used) = logins.used(&self.passage.target.host, &parts.headers) else { return Ok(None) };
        match logins.ready(&mut used).await {
            Ok(()) => Ok(Some(used)),
            Err(error) => Err(self.not_renewed(error)),
        }
    }

    /// Looks at how a request went that used a login: if it was refused, the next one has another token, or this one is
    /// told why there is none.
    pub(super) async fn logged_in(&self, used: Option<Used>, response: &mut Response<Incoming>) -> Result<(), Refusal> {
        let (Some(used), Some(logins), StatusCode::UNAUTHORIZED) = (used, self.logins(), response.status()) else {
            return Ok(());
        };
        match logins.refused(&used).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // What the server says of it is not all of it.
                let _ = drain(response.body_mut()).await;
                Err(self.not_renewed(error))
            }
        }
    }

    /// Answers a request for new tokens, and any that a server could take for one; `None` if it is another one. What comes
    /// of it was reported.
    pub(super) async fn tokens(&self, parts: &Parts, body: &mut Incoming, line: &str) -> Option<Response<Answer>> {
        let logins = self.logins()?;
        let (target, path) = (&self.passage.target, parts.uri.path());
        if !logins.may_be_endpoint(target, path) {
            return None;
        }
        let outside = || {
            let detail = "logging in is done outside of the sandbox, so that no token gets in";
            let denial = self.denial(Reason::RequestNotAllowed).because(detail);
            Some(self.refuse(Denial { lift: Lift::Never, ..denial }.into(), line))
        };
        if parts.method != Method::POST || !logins.is_endpoint(target, path) {
            // Who goes on with the connection has to know where the next request begins.
            if !drain(body).await {
                self.unread.set(true);
            }
            return outside();
        }
        let whole = tokio::time::timeout(ASKED_TIME, Limited::new(body, MAX_ASKED).collect()).await;
        let Ok(Ok(whole)) = whole else {
            self.unread.set(true);
            let denial =
                self.denial(Reason::BadRequest).because("it is too long for a request for tokens, or too slow");
            return Some(self.refuse(denial.into(), line));
        };
        let Some(mut used) = logins.asked(&whole.to_bytes()) else { return outside() };
        Some(match logins.ready(&mut used).await {
            Ok(()) => json(StatusCode::OK, logins.told(&used)),
            Err(NotRenewed::Failed(why)) => self.refuse(self.not_renewed(NotRenewed::Failed(why)), line),
            Err(expired) => {
                // As its server would say it.
                let Refusal { denial, .. } = self.not_renewed(expired);
                self.passage.report.refused(&denial, line);
                let words = denial.words(&self.passage.sandbox);
                let told = serde_json::json!({ "error": "invalid_grant", "error_description": words });
                json(StatusCode::BAD_REQUEST, told.to_string())
            }
        })
    }

    fn not_renewed(&self, error: NotRenewed) -> Refusal {
        match error {
            NotRenewed::Expired(why) => self.denial(Reason::LoginExpired).because(why).into(),
            NotRenewed::Failed(why) => self.denial(Reason::RenewalFailed).because(why).into(),
        }
    }
}

fn json(status: StatusCode, text: String) -> Response<Answer> {
    let mut response = Response::new(Either::Right(Full::from(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
