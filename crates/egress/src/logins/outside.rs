//! Hides how egress itself asks: the supervisor for leave, and an endpoint as any other server, by the sandbox's own
//! policy.

use super::{Answered, Later, Outside, token::MAX_ANSWER};
use crate::{
    Denial, Reason,
    account::Account,
    control::{Encoding, Event, Leave, Renewal, TokenEndpoint},
    flow,
    http::MAX_ANSWER_HEADERS,
    meter::Metered,
    server::Shared,
};
use ::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};
use tokio::sync::oneshot;
use wire::flow::Flow;
use zeroize::Zeroizing;

const AGENT: &str = concat!("agentkernel/", env!("CARGO_PKG_VERSION"));

/// Who waits for leave to renew a login.
#[derive(Default)]
pub(crate) struct Leaves(RefCell<BTreeMap<u32, oneshot::Sender<Leave>>>);

impl Leaves {
    /// The supervisor has said. False: whoever asked has lost patience.
    pub(crate) fn answer(&self, login: u32, leave: Leave) -> bool {
        self.0.borrow_mut().remove(&login).is_some_and(|waiting| waiting.send(leave).is_ok())
    }

    /// The supervisor says nothing any more.
    pub(crate) fn end(&self) {
        self.0.borrow_mut().clear();
    }
}

/// By what all flows share.
impl Outside for Weak<Shared> {
    fn leave(&self, login: u32) -> Later<'_, Leave> {
        Box::pin(async move {
            let gone = || Leave::Refused("egress ends".to_owned());
            let Some(shared) = self.upgrade() else { return gone() };
            let (sender, receiver) = oneshot::channel();
            shared.leaves.0.borrow_mut().insert(login, sender);
            shared.channel.tell(&Event::Renewal(login, Renewal::Begin));
            receiver.await.unwrap_or_else(|_| gone())
        })
    }

    fn tell(&self, login: u32, renewal: Renewal) {
        if let Some(shared) = self.upgrade() {
            shared.channel.tell(&Event::Renewal(login, renewal));
        }
    }

    fn post<'a>(&'a self, endpoint: &'a TokenEndpoint, body: Bytes) -> Later<'a, Result<Answered, Denial>> {
        Box::pin(async move {
            let TokenEndpoint { target, path, .. } = endpoint;
            let Some(shared) = self.upgrade() else { return Err(Denial::new(Reason::Lost, target)) };
            let account = Account::new(&shared, &Flow { host: target.host.to_string(), port: target.port });
            let answered = post(&account, endpoint, body).await;
            if let Err(denial) = &answered {
                account.refused(denial, Some(&format!("POST {path}")));
            }
            answered
        })
    }
}

async fn post(account: &Rc<Account>, endpoint: &TokenEndpoint, body: Bytes) -> Result<Answered, Denial> {
    let TokenEndpoint { target, path, encoding, .. } = endpoint;
    let unreachable = |detail: &str| Denial::new(Reason::Unreachable, target).because(detail);
    let mut rules = account.shared.rules();
    let (server, grant) = flow::connect(account, &mut rules).await?;
    if !grant.allows(Method::POST.as_str(), path) {
        return Err(Denial::new(grant.refusal(Method::POST.as_str(), path), target));
    }
    let server = rules.inspector.connect(Metered::new(server, account.meter.clone()), target).await?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(MAX_ANSWER_HEADERS)
        .handshake(TokioIo::new(server))
        .await
        .map_err(|_| unreachable("it has hung up"))?;
    let kind = match encoding {
        Encoding::Form => "application/x-www-form-urlencoded",
        Encoding::Json => "application/json",
    };
    let request = Request::post(path.as_str())
        .header(header::HOST, target.authority(true))
        .header(header::CONTENT_TYPE, kind)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|error| unreachable(&error.to_string()))?;
    account.meter.request();
    let ask = async {
        let answer = sender.send_request(request).await.map_err(|_| unreachable("it does not answer in HTTP"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|_| unreachable("its answer is not whole, or too long"))?;
        Ok((status, Zeroizing::new(body.to_bytes().to_vec())))
    };
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answered = &mut ask => return answered,
            _ = &mut connection, if open => open = false,
        }
    }
}
