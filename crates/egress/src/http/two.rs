//! Hides HTTP/2: many requests at once.

use super::{
    Exchange, HEAD_TIME, LEAVE, MAX_HEAD, Refusal, Stream, answer::Answer, asked::Asked, head, resets::Resets,
};
use crate::{Denial, Reason};
use ::http::{Method, Request, Response, StatusCode, request::Parts};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest, rt::Executor, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    cell::{Cell, RefCell},
    error::Error,
    rc::Rc,
    time::Duration,
};
use tokio::task::JoinSet;

/// How much each side may send ahead, in one request and in all of them.
const STREAM_WINDOW: u32 = 512 * 1024;
const WINDOW: u32 = 1024 * 1024;
/// How much of one request waits to be sent on.
const MAX_AHEAD: usize = 16 * 1024;
/// Requests at once.
const MAX_STREAMS: u32 = 100;
/// The longest head of a request that is read to be refused in words.
const MAX_REFUSED_HEAD: usize = 4 * MAX_HEAD;
/// How long, and how much, of what a client still sends is thrown away, so that it gets to read why it was refused.
const LINGER: Duration = Duration::from_secs(5);
const MAX_LINGER: usize = 16 * 1024 * 1024;
/// The longest head of an answer.
const MAX_ANSWER_HEAD: u32 = 256 * 1024;

pub(super) async fn carry(client: impl Stream, server: impl Stream, exchange: Rc<Exchange>) -> Result<(), Denial> {
    let tasks = Tasks::default();
    let (sender, mut upstream) = hyper::client::conn::http2::Builder::new(tasks.clone())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(MAX_AHEAD)
        .max_header_list_size(MAX_ANSWER_HEAD)
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(server))
        .await
        .map_err(|error| exchange.failed(&error).denial)?;
    let (own, beside) = (exchange.clone(), tasks.clone());
    let unreadable = {
        let exchange = exchange.clone();
        move |why: &str| exchange.passage.report.refused(&exchange.denial(Reason::BadRequest).because(why), "")
    };
    let passed_on = Rc::new(Cell::new(0));
    let refused = unreadable.clone();
    let client = Resets::new(client, passed_on.clone(), move || refused("HTTP/2 knows no such request"));
    let mut downstream = hyper::server::conn::http2::Builder::new(tasks)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(MAX_AHEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_REFUSED_HEAD as u32)
        .auto_date_header(false)
        .timer(TokioTimer::new())
        // Whoever is silent is asked whether it is still there.
        .keep_alive_interval(HEAD_TIME)
        .serve_connection(
            TokioIo::new(client),
            service_fn(move |request| {
                let answer = answer(own.clone(), sender.clone(), request, beside.clone());
                let passed_on = passed_on.clone();
                let failed = move |error: &dyn Error| {
                    if cause(error).is_some_and(|cause| cause.reason() == Some(h2::Reason::PROTOCOL_ERROR)) {
                        passed_on.set(passed_on.get() + 1);
                    }
                };
                async move {
                    let told = answer.await.inspect_err(|error| failed(error))?;
                    Ok::<_, hyper::Error>(told.map(|body| {
                        body.map_err(move |error| {
                            failed(&*error);
                            error
                        })
                    }))
                }
            }),
        );
    let mut open = true;
    let result = loop {
        tokio::select! {
            result = &mut downstream => break result,
            _ = &mut upstream, if open => {
                open = false;
                std::pin::Pin::new(&mut downstream).graceful_shutdown();
            }
        }
    };
    if let Some(cause) = result.as_ref().err().and_then(|error| cause(error)).filter(|cause| cause.is_library()) {
        unreadable(&cause.to_string());
    }
    let _ = exchange.ended(result);
    drop(downstream);
    if open {
        let _ = tokio::time::timeout(LEAVE, upstream).await;
    }
    Ok(())
}

/// Answers one request; one of our own answers has no body where none is wanted.
async fn answer(
    exchange: Rc<Exchange>,
    sender: SendRequest<Asked>,
    request: Request<Incoming>,
    tasks: Tasks,
) -> Result<Response<Answer>, hyper::Error> {
    let head_alone = request.method() == Method::HEAD;
    let response = ask(exchange, sender, request, &tasks).await?;
    Ok(response
        .map(|body| if head_alone && matches!(body, Either::Right(_)) { Either::Right(Full::default()) } else { body }))
}

/// Asks the server, if that is allowed. An error is the server's, and goes to the client as it is: it may say that the request can be
/// made again.
async fn ask(
    exchange: Rc<Exchange>,
    mut sender: SendRequest<Asked>,
    request: Request<Incoming>,
    tasks: &Tasks,
) -> Result<Response<Answer>, hyper::Error> {
    exchange.passage.report.request();
    let (mut parts, mut body) = request.into_parts();
    let line = head::line(&parts);
    let admitted = match size(&parts) > MAX_HEAD {
        true => Err(Refusal {
            denial: exchange.denial(Reason::BadRequest).because("its head is too long"),
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }),
        false => exchange.log_in(&parts).await.and_then(|used| exchange.admit(&mut parts).map(|()| used)),
    };
    let used = match admitted {
        Ok(used) => used,
        Err(refusal) => {
            // A stream whose request is given up is reset, and the answer may go with it: who sends still reads it
            // meanwhile.
            tasks.execute(throw_away(body));
            return Ok(exchange.refuse(refusal, &line));
        }
    };
    if let Some(answer) = exchange.tokens(&parts, &mut body, &line).await {
        tasks.execute(throw_away(body));
        return Ok(answer);
    }
    let (body, end) = Asked::new(body, &parts, exchange.clone(), line.clone());
    // Here, too, the answer might go with what it does not wait for.
    let beside = tasks.clone();
    let body = body.or_else(move |rest| beside.execute(throw_away(rest)));
    let sent = match sender.ready().await {
        Ok(()) => sender.send_request(Request::from_parts(parts, body)).await,
        Err(error) => Err(error),
    };
    match sent {
        // Even if the server has answered meanwhile: it has not got all of it.
        _ if let Some(denial) = end.denied() => Ok(exchange.refuse(denial.into(), &line)),
        Ok(mut response) => {
            end.answered();
            exchange.answered.set(true);
            if let Err(refusal) = exchange.logged_in(used, &mut response).await {
                return Ok(exchange.refuse(refusal, &line));
            }
            let mut answer = exchange.pass(response).unwrap_or_else(|refusal| exchange.refuse(refusal, &line));
            // Who is refused while it still sends may end that short of the length that it has told, as soon as it has read the
            // head, as curl does: its stream is reset for that (RFC 9113, 8.1.1), and what has not come yet is lost.
            if let (false, Either::Left(body)) = (end.is_whole() || answer.status().is_success(), answer.body_mut()) {
                body.gather().await;
            }
            Ok(answer)
        }
        Err(error) if exchange.answered.get() => Err(error),
        Err(error) => Ok(exchange.refuse(exchange.failed(&error), &line)),
    }
}

/// What of HTTP/2 is behind an error.
fn cause(error: &dyn Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Reads on for a while what nobody wants any more.
async fn throw_away(mut body: Incoming) {
    let all = async {
        let mut left = MAX_LINGER;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = less;
        }
    };
    let _ = tokio::time::timeout(LINGER, all).await;
}

/// How long a head is (RFC 9113, 6.5.2).
fn size(parts: &Parts) -> usize {
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + path
}

/// What goes on beside the two connections: one task for every request, which fails when they are gone.
#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<JoinSet<()>>>);

impl<F: Future + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move { drop(future.await) });
    }
}
