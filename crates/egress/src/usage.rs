//! Hides how services tell how many tokens of a model they have used: their answers are read while they pass.
//!
//! An answer is held back by nothing here. What is kept of it is at most one event of a stream, or one JSON text.

use crate::{Host, coding::Decoder, numbers::Numbers};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

/// The longest text that is read; of a longer one, nothing is counted.
pub(crate) const MAX: usize = 8 * 1024 * 1024;

/// How many tokens a sandbox may use and has used. The default has no limit.
#[derive(Debug, Default)]
pub struct Budget {
    limit: Option<u64>,
    spent: Cell<u64>,
    /// Hosts that have told of tokens.
    hosts: RefCell<BTreeSet<Host>>,
}

impl Budget {
    /// So many at most, of which this many are used; none: no limit.
    #[must_use]
    pub fn new(limit: Option<u64>, spent: u64) -> Self {
        Self { limit, spent: spent.into(), hosts: RefCell::default() }
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// How many were used.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// If all are used: that, in words.
    #[must_use]
    pub fn exhausted(&self) -> Option<String> {
        let limit = self.limit.filter(|&limit| self.spent() >= limit)?;
        Some(format!("{} of {limit} used", self.spent()))
    }

    /// Whether this host has told of tokens.
    #[must_use]
    pub fn knows(&self, host: &Host) -> bool {
        self.hosts.borrow().contains(host)
    }

    fn spend(&self, host: &Host, tokens: u64) {
        self.spent.set(self.spent().saturating_add(tokens));
        if !self.knows(host) {
            self.hosts.borrow_mut().insert(host.clone());
        }
    }
}

/// Reads one answer.
pub(crate) struct Meter {
    shape: Shape,
    decoder: Option<Decoder>,
    text: Text,
    event: Event,
    counted: Counted,
}

/// How an answer is made up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One JSON text, or several.
    Json,
    /// A JSON text on each line.
    Lines,
    /// Server-sent events.
    Events,
    /// Messages of AWS (`application/vnd.amazon.eventstream`).
    Messages,
}

impl Shape {
    fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match kind.strip_prefix("application/").unwrap_or(&kind) {
            "json" | "x-json" | "text/json" | "text/x-json" => Self::Json,
            "x-ndjson" | "ndjson" | "jsonl" | "x-jsonl" | "jsonlines" | "x-jsonlines" | "json-seq" | "stream+json" => {
                Self::Lines
            }
            "text/event-stream" => Self::Events,
            "vnd.amazon.eventstream" => Self::Messages,
            other if other.ends_with("+json") => Self::Json,
            _ => return None,
        })
    }
}

impl Meter {
    /// One for answers of this type (as a header tells it); `None` if they tell of no tokens.
    pub(crate) fn new(content_type: &str) -> Option<Self> {
        let shape = Shape::of(content_type)?;
        Some(Self { shape, decoder: None, text: Text::default(), event: Event::default(), counted: Counted::default() })
    }

    /// The same for answers in these codings (RFC 9110, 8.4); `None` if they can't be read: more than one, or one that is
    /// not known.
    pub(crate) fn coded(mut self, codings: &str) -> Option<Self> {
        let codings = codings.split(',').map(str::trim);
        let mut codings = codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        if let Some(coding) = codings.next() {
            self.decoder = Some(Decoder::new(coding)?);
        }
        codings.next().is_none().then_some(self)
    }

    /// Reads on, and spends what is told.
    pub(crate) fn read(&mut self, bytes: &[u8], budget: &Budget, host: &Host) -> u64 {
        let Self { shape, decoder, text, event, counted } = self;
        let mut read = |bytes: &[u8]| match shape {
            Shape::Json => text.keep(bytes),
            Shape::Lines => text.lines(bytes, |line| counted.look(json_of(line))),
            Shape::Events => text.lines(bytes, |line| event.take(line, |json| counted.look(json))),
            Shape::Messages => text.messages(bytes, |payload| counted.look(&unwrapped(payload))),
        };
        match decoder {
            Some(decoder) => decoder.read(bytes, read),
            None => read(bytes),
        }
        counted.spend(budget, host)
    }

    /// Spends what is told by the last of an answer.
    pub(crate) fn end(&mut self, budget: &Budget, host: &Host) -> u64 {
        let Self { shape, text, event, counted, .. } = self;
        match shape {
            Shape::Json | Shape::Lines => text.take(|text| counted.look(json_of(text))),
            // Nothing follows: its last line, and the end of its last event.
            Shape::Events => {
                text.take(|line| event.take(line, |json| counted.look(json)));
                event.take(b"", |json| counted.look(json));
            }
            Shape::Messages => {}
        }
        counted.spend(budget, host)
    }
}

/// Spends what a message of a WebSocket tells, which is all of it: each is for itself.
pub(crate) fn spend_message(message: &[u8], budget: &Budget, host: &Host) -> u64 {
    let mut counted = Counted::default();
    counted.look(message);
    counted.spend(budget, host)
}

/// The JSON text of a text, or of a line.
fn json_of(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(MARK).unwrap_or(text);
    // RFC 7464.
    text.strip_prefix(b"\x1e").unwrap_or(text)
}

/// Some servers begin with a mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A server-sent event (HTML, 9.2.6), whose data may be on several lines.
#[derive(Default)]
struct Event {
    data: Text,
}

impl Event {
    /// Takes one more line of it; an empty one ends it.
    fn take(&mut self, line: &[u8], look: impl FnOnce(&[u8])) {
        let line = line.strip_prefix(MARK).unwrap_or(line).trim_ascii_end();
        if let Some(data) = line.strip_prefix(b"data:") {
            self.data.keep(data);
            self.data.keep(b"\n");
        } else if line.is_empty() {
            self.data.take(look);
        }
    }
}

/// Takes off what Bedrock wraps the events of a model in: `{"bytes":"..."}`.
fn unwrapped(payload: &[u8]) -> Cow<'_, [u8]> {
    #[derive(serde::Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: &'a str,
    }
    let inner = serde_json::from_slice::<Chunk<'_>>(payload).ok().and_then(|chunk| STANDARD.decode(chunk.bytes).ok());
    inner.map_or(Cow::Borrowed(payload), Cow::Owned)
}

/// What an answer has told.
#[derive(Default)]
struct Counted {
    last: Numbers,
    /// The most that it ever came to, since what was counted is never given back; and what was spent of that.
    most: u64,
    spent: u64,
}

impl Counted {
    fn look(&mut self, json: &[u8]) {
        self.last.update(&Numbers::told(json));
        self.most = self.most.max(self.last.sum());
    }

    fn spend(&mut self, budget: &Budget, host: &Host) -> u64 {
        let tokens = self.most - self.spent;
        if tokens > 0 {
            self.spent = self.most;
            budget.spend(host, tokens);
        }
        tokens
    }
}

/// A text as it comes.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// It was too long: the rest of it is not looked at.
    too_long: bool,
    /// How much of a message is left that is too long.
    skip: usize,
}

/// What stands before the headers of a message: its length, theirs, and a sum; and how much all is without any.
const PRELUDE: usize = 12;
const EMPTY: usize = PRELUDE + 4;

impl Text {
    fn keep(&mut self, bytes: &[u8]) {
        if self.too_long || self.bytes.len() + bytes.len() > MAX {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Keeps lines, and gives each that has ended.
    fn lines(&mut self, bytes: &[u8], mut look: impl FnMut(&[u8])) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.keep(line);
            if line.ends_with(b"\n") {
                self.take(&mut look);
            }
        }
    }

    /// Gives it, and begins another.
    fn take(&mut self, look: impl FnOnce(&[u8])) {
        look(&self.bytes);
        self.bytes.clear();
        if self.bytes.capacity() > 64 * 1024 {
            self.bytes = Vec::new();
        }
        self.too_long = false;
    }

    /// Reads on in messages, and gives the payload of each.
    fn messages(&mut self, mut bytes: &[u8], mut look: impl FnMut(&[u8])) {
        while !bytes.is_empty() && !self.too_long {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = self.length().unwrap_or(PRELUDE);
            let more = wanted.saturating_sub(self.bytes.len()).min(bytes.len());
            self.bytes.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            let (Some(length), Some(headers)) = (self.length(), self.number(4)) else { continue };
            let payload = PRELUDE.saturating_add(headers)..length.saturating_sub(4);
            if length < EMPTY || payload.start > payload.end {
                // These are none.
                self.too_long = true;
            } else if length > MAX {
                self.skip = length - self.bytes.len();
                self.take(|_| {});
            } else if self.bytes.len() == length {
                self.take(|message| look(message.get(payload).unwrap_or_default()));
            }
        }
    }

    /// How long the message is, once that is known.
    fn length(&self) -> Option<usize> {
        (self.bytes.len() >= PRELUDE).then(|| self.number(0)).flatten()
    }

    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
