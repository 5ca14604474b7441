//! Hides answers: the server's, which are read for what they tell of tokens while they pass, and our own.

use super::{Exchange, Refusal, head};
use crate::{Denial, Reason, coding, usage::Meter};
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// Tells programs why they were refused.
const REASON: HeaderName = HeaderName::from_static("x-agentkernel-reason");
const PLAIN: &str = "text/plain; charset=utf-8";
/// How much of a refused request's body is read, and for how long, so that its connection can go on.
const DRAIN: usize = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How much of an answer, and for how long, is waited for so that its head does not come alone.
const GATHERED: usize = 64 * 1024;
const GATHER_TIME: Duration = Duration::from_secs(1);

/// The body of an answer.
pub(super) type Answer = Either<Watched, Full<Bytes>>;

impl Exchange {
    /// Tells of a refusal, and makes the answer to it.
    pub(super) fn refuse(&self, refusal: Refusal, line: &str) -> Response<Answer> {
        let Refusal { denial, status } = refusal;
        self.passage.report.refused(&denial, line);
        let mut response = Response::new(Either::Right(Full::from(self.words(&denial))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
        headers.insert(REASON, HeaderValue::from_static(denial.reason.code()));
        response
    }

    /// The same after its first line, as it is written, for the last of a connection.
    pub(super) fn last_words(&self, denial: &Denial) -> String {
        let words = self.words(denial);
        format!(
            "{}: {PLAIN}\r\n{REASON}: {}\r\n{}: close\r\n{}: {}\r\n\r\n{words}",
            header::CONTENT_TYPE,
            denial.reason,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            words.len()
        )
    }

    fn words(&self, denial: &Denial) -> String {
        denial.words(&self.passage.sandbox) + "\n"
    }

    /// Makes a server's answer the one for the client.
    pub(super) fn pass(self: &Rc<Self>, response: Response<Incoming>) -> Result<Response<Answer>, Refusal> {
        let (mut parts, body) = response.into_parts();
        let headers = &mut parts.headers;
        if parts.version < Version::HTTP_2 {
            let upgraded = parts.status == StatusCode::SWITCHING_PROTOCOLS;
            let has = |token| headers.get_all(header::CONNECTION).iter().any(|value| head::has_token(value, token));
            // After it, this connection ends: the client should know.
            let last = has("close") || (parts.version < Version::HTTP_11 && !has("keep-alive"));
            let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
            if !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
                let detail = "the server answers in a coding that nobody asked for";
                return Err(self.denial(Reason::Unreachable).because(detail).into());
            }
            head::strip(headers);
            if headers.remove(header::TRANSFER_ENCODING).is_some() {
                headers.remove(header::CONTENT_LENGTH);
            }
            if upgraded {
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            } else if last {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            parts.version = Version::HTTP_11;
        }
        let meter = meter(headers);
        Ok(Response::from_parts(
            parts,
            Either::Left(Watched { body, ahead: VecDeque::new(), meter, exchange: self.clone(), way: None }),
        ))
    }

    pub(super) fn tell(&self, tokens: u64) {
        if tokens > 0 {
            self.passage.report.tokens(tokens);
        }
    }
}

/// What reads an answer, if it can tell of tokens, and be read.
fn meter(headers: &HeaderMap) -> Option<Meter> {
    let kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let meter = kinds.filter_map(|kind| kind.to_str().ok()).find_map(Meter::new)?;
    let codings: Result<Vec<&str>, _> =
        headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::to_str).collect();
    meter.coded(&codings.ok()?.join(","))
}

/// Leaves of what a client takes what can be read here as well, and of how that is written what every server reads in
/// the same way.
pub(super) fn make_readable(headers: &mut HeaderMap) {
    // JSON is UTF-8 (RFC 8259, 8.1), and who asks for other characters gets them from some servers.
    headers.remove(header::ACCEPT_CHARSET);
    let kinds: Vec<_> = headers.get_all(header::ACCEPT).iter().map(without_characters).collect();
    headers.remove(header::ACCEPT);
    headers.extend(kinds.into_iter().map(|kind| (header::ACCEPT, kind)));
    // Codings: RFC 9110, 12.5.3.
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return;
    }
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter();
    let wanted = lists.flat_map(|list| list.as_bytes().split(|&byte| byte == b',')).filter_map(readable);
    let left: Vec<&str> = wanted.collect();
    // None at all would mean any.
    let left = if left.is_empty() { "identity".to_owned() } else { left.join(", ") };
    if let Ok(left) = HeaderValue::try_from(left) {
        headers.insert(header::ACCEPT_ENCODING, left);
    }
}

/// The kinds that a client takes, without the characters that they are to be in.
fn without_characters(kinds: &HeaderValue) -> HeaderValue {
    let is_none = |part: &&str| !part.trim_start().to_ascii_lowercase().starts_with("charset");
    let plain = |kind: &str| kind.split(';').filter(is_none).collect::<Vec<_>>().join(";");
    let text = kinds.to_str().ok().filter(|text| text.to_ascii_lowercase().contains("charset"));
    let text = text.map(|text| text.split(',').map(plain).collect::<Vec<_>>().join(","));
    text.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or_else(|| kinds.clone())
}

/// A coding that a client takes, if it can be read, with its weight (RFC 9110, 12.4.2) and nothing else.
fn readable(wanted: &[u8]) -> Option<&str> {
    let wanted = std::str::from_utf8(wanted).ok()?.trim_matches([' ', '\t']);
    let (coding, weight) = wanted.split_once(';').unwrap_or((wanted, "q=1"));
    let weight = weight.trim_matches([' ', '\t']).strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    (coding::is_known(coding.trim_end_matches([' ', '\t'])) && matches!(whole, "0" | "1") && digits).then_some(wanted)
}

/// Reads what is left of a refused request, if that is little and soon there: `false` if it is not all.
pub(super) async fn drain(body: &mut Incoming) -> bool {
    let all = async {
        let mut left = DRAIN;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(DRAIN_TIME, all).await.unwrap_or(false)
}

/// The body of a server's answer.
pub(super) struct Watched {
    body: Incoming,
    /// What of it was gathered, and comes first.
    ahead: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    meter: Option<Meter>,
    exchange: Rc<Exchange>,
    /// Shows those who carry it that it is still on its way.
    pub(super) way: Option<Arc<()>>,
}

impl Watched {
    /// Waits for all of it, if that is little and soon there.
    pub(super) async fn gather(&mut self) {
        let all = async {
            while self.gathered() < GATHERED
                && let Some(frame) = self.body.frame().await
            {
                self.ahead.push_back(frame);
            }
        };
        let _ = tokio::time::timeout(GATHER_TIME, all).await;
    }

    fn gathered(&self) -> usize {
        self.ahead.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len).sum()
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match self.ahead.pop_front() {
            Some(frame) => Some(frame),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        let this = &mut *self;
        if let (Some(Ok(frame)), Some(meter)) = (&frame, &mut this.meter)
            && let Some(data) = frame.data_ref()
        {
            let passage = &this.exchange.passage;
            this.exchange.tell(meter.read(data.chunk(), &passage.budget, &passage.target.host));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, ahead) = (self.body.size_hint(), self.gathered() as u64);
        let mut all = SizeHint::new();
        all.set_lower(left.lower().saturating_add(ahead));
        if let Some(upper) = left.upper() {
            all.set_upper(upper.saturating_add(ahead));
        }
        all
    }
}

/// Here, and not at the last frame: whoever takes a body need not ask for its end, if it knows how long it is.
impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(mut meter) = self.meter.take() {
            let passage = &self.exchange.passage;
            self.exchange.tell(meter.end(&passage.budget, &passage.target.host));
        }
    }
}
