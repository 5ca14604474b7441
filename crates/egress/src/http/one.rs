//! Hides HTTP/1: one request after the other, and WebSockets.

use super::{
    Exchange, HEAD_TIME, LEAVE, MAX_ANSWER_HEADERS, MAX_HEAD, MAX_HEADERS, Stream,
    answer::{Answer, drain},
    asked::Asked,
    head,
    sides::{Client, Heard, Server, Told},
    websocket,
};
use crate::{Denial, Reason};
use ::http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Either;
use hyper::{body::Incoming, client, server, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Mutex,
};

/// How long, and how much, of what a client still sends is thrown away, so that it gets to read why it was refused.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER: u64 = 16 * 1024 * 1024;

/// How much of an answer, its head too, waits for a client that does not read on; and of a request, for a server. Of each
/// side's, something is being read and something written.
const MAX_AHEAD: usize = 64 * 1024;

/// The way to the server, for one request at a time.
struct Way {
    exchange: Rc<Exchange>,
    heard: Arc<Heard>,
    told: Arc<Told>,
    sender: Mutex<client::conn::http1::SendRequest<Asked>>,
    /// What both sides have become, client and server, and by which request.
    tunnel: RefCell<Option<(OnUpgrade, OnUpgrade, String)>>,
}

/// The server is gone, as the client will see when its connection ends without an answer, as it would without us.
#[derive(Debug, thiserror::Error)]
#[error("The server has ended the connection")]
struct Gone;

pub(super) async fn carry(client: impl Stream, server: impl Stream, exchange: Rc<Exchange>) -> Result<(), Denial> {
    let (heard, told) = (Arc::new(Heard::default()), Arc::new(Told::new()));
    let (sender, upstream) = client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(MAX_ANSWER_HEADERS)
        .max_buf_size(MAX_AHEAD)
        // As curl and browsers are. Where it would matter, what has been told does not let it through.
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(Server::new(server, told.clone())))
        .await
        .map_err(|error| exchange.failed(&error).denial)?;
    let mut upstream = upstream.with_upgrades();
    let client = TokioIo::new(Client::new(client, heard.clone()));
    let way = Rc::new(Way {
        exchange: exchange.clone(),
        heard,
        told,
        sender: Mutex::new(sender),
        tunnel: RefCell::default(),
    });
    let own = way.clone();
    let mut downstream = server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_AHEAD + MAX_HEAD)
        .header_read_timeout(HEAD_TIME)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        // Inside of TLS, whoever closes one side has gone, and what it has asked for should not go on.
        .half_close(!exchange.tls)
        .serve_connection(client, service_fn(move |request| own.clone().answer(request)))
        .with_upgrades();
    let (mut open, mut last) = (true, false);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut downstream => break result,
            _ = &mut upstream, if open => open = false,
            // By now the client's side has taken whatever the server said last: if they have agreed on a tunnel, its
            // beginning is no end.
            () = std::future::ready(()), if !open && !last => {
                last = true;
                if way.tunnel.borrow().is_none() {
                    // It answers what it has begun to answer.
                    std::pin::Pin::new(&mut downstream).graceful_shutdown();
                }
            }
        }
    };
    let words = exchange.ended(result).map(|denial| exchange.last_words(&denial));
    // With the connection goes its service, and the last that could ask the server for more.
    if let Some(parts) = downstream.into_parts() {
        let finish = parts.io.into_inner().finish(words.as_deref());
        if let Ok(client) = tokio::time::timeout(LINGER, finish).await
            && exchange.unread.get()
        {
            linger(client).await;
        }
    }
    if let Some((client, server, line)) = way.tunnel.take() {
        let finish = async {
            if open {
                // Whatever it is, the tunnel tells.
                let _ = upstream.await;
            }
        };
        if let ((), Ok(client), Ok(server)) = tokio::join!(finish, client, server)
            && let Some(client) = websocket::carry(TokioIo::new(client), TokioIo::new(server), &exchange, &line).await
        {
            linger(client).await;
        }
    } else if open {
        drop(way);
        let _ = tokio::time::timeout(LEAVE, upstream).await;
    }
    Ok(())
}

/// Reads on for a while: closing with something unread would take back what was said last.
async fn linger(client: impl AsyncRead + Unpin) {
    let rest = &mut client.take(MAX_LINGER);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(rest, &mut tokio::io::sink())).await;
}

impl Way {
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Gone> {
        let exchange = &self.exchange;
        exchange.passage.report.request();
        let (mut parts, mut body) = request.into_parts();
        let line = head::line(&parts);
        let websocket = head::wants_websocket(&parts);
        let client = parts.extensions.remove::<OnUpgrade>().filter(|_| websocket);
        if self.heard.next_is_twice() {
            // What follows is a request to some, and to others the rest of this one (RFC 9112, 6.3).
            exchange.unread.set(true);
            let denial = exchange.denial(Reason::BadRequest).because("it has two lengths");
            let mut response = exchange.refuse(denial.into(), &line);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        let logged_in = exchange.log_in(&parts).await;
        let admitted = logged_in.and_then(|used| exchange.admit(&mut parts).map(|()| used));
        let used = match admitted {
            Ok(used) => used,
            Err(refusal) => {
                // Who waits to be told to send a body has sent none.
                if parts.headers.contains_key(header::EXPECT) || !drain(&mut body).await {
                    exchange.unread.set(true);
                }
                return Ok(exchange.refuse(refusal, &line));
            }
        };
        if let Some(answer) = exchange.tokens(&parts, &mut body, &line).await {
            return Ok(answer);
        }
        if websocket {
            // What both agree on there would be no readable messages.
            parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        let accept = head::websocket_accept(&parts.headers);
        let (body, end) = Asked::new(body, &parts, exchange.clone(), line.clone());
        let mut sender = self.sender.lock().await;
        let sent = match sender.ready().await {
            Ok(()) => {
                self.told.expect();
                sender.send_request(Request::from_parts(parts, body)).await
            }
            Err(error) => Err(error),
        };
        let mut response = match sent {
            // Even if the server has answered meanwhile: it has not got all of it.
            _ if let Some(denial) = end.denied() => return Ok(exchange.refuse(denial.into(), &line)),
            Ok(response) => response,
            Err(_) if self.told.unclear() => {
                let detail = "the length of the server's answer is written so that programs differ in it";
                return Ok(exchange.refuse(exchange.denial(Reason::Unreachable).because(detail).into(), &line));
            }
            Err(error) if exchange.answered.get() && !error.is_parse() => return Err(Gone),
            Err(error) => return Ok(exchange.refuse(exchange.failed(&error), &line)),
        };
        end.answered();
        exchange.answered.set(true);
        if let Err(refusal) = exchange.logged_in(used, &mut response).await {
            return Ok(exchange.refuse(refusal, &line));
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let is_it = accept.is_some_and(|accept| {
                head::only(response.headers(), &header::SEC_WEBSOCKET_ACCEPT) == Some(accept.as_bytes())
            });
            let server = response.extensions_mut().remove::<OnUpgrade>().filter(|_| is_it);
            let Some((client, server)) = client.zip(server) else {
                let detail = "the server changes to what nobody asked for";
                return Ok(exchange.refuse(exchange.denial(Reason::Unreachable).because(detail).into(), &line));
            };
            self.heard.over();
            self.tunnel.replace(Some((client, server, line.clone())));
        }
        let mut response = exchange.pass(response).unwrap_or_else(|refusal| exchange.refuse(refusal, &line));
        if let Either::Left(answer) = response.body_mut() {
            answer.way = Some(self.heard.answered());
        }
        Ok(response)
    }
}
