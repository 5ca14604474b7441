//! Hides how services tell how many tokens of a model they have used: their answers are read while they pass.
//!
//! An answer is held back by nothing here. What is kept of it is at most one event of a stream, or one JSON text.

use crate::Host;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
};

/// The longest text that is read; of a longer one, nothing is counted.
const MAX: usize = 8 * 1024 * 1024;

/// How many tokens a sandbox may use and has used. The default has no limit.
#[derive(Debug, Default)]
pub struct Budget {
    limit: Option<u64>,
    spent: Cell<u64>,
    /// Hosts that have told of tokens.
    hosts: RefCell<BTreeSet<Host>>,
}

impl Budget {
    /// So many at most, of which none is used; none: no limit.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
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
    /// The text so far, or the event.
    text: Vec<u8>,
    /// The text was too long: the rest of it is not looked at.
    too_long: bool,
    /// What it has told last.
    last: Numbers,
    /// What was spent of it.
    counted: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Events,
}

impl Meter {
    /// One for answers of this type (as a header tells it); `None` if they tell of no tokens.
    pub(crate) fn new(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let shape = match () {
            () if kind.eq_ignore_ascii_case("application/json") => Shape::Json,
            () if kind.eq_ignore_ascii_case("text/event-stream") => Shape::Events,
            () => return None,
        };
        Some(Self { shape, text: Vec::new(), too_long: false, last: Numbers::default(), counted: 0 })
    }

    /// Reads on, and spends what is told.
    pub(crate) fn read(&mut self, bytes: &[u8], budget: &Budget, host: &Host) -> u64 {
        match self.shape {
            Shape::Json => {
                self.keep(bytes);
                0
            }
            Shape::Events => {
                let mut tokens = 0;
                for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                    self.keep(line);
                    if line.ends_with(b"\n") {
                        tokens += self.look(budget, host);
                    }
                }
                tokens
            }
        }
    }

    /// Spends what is told by the last of an answer.
    pub(crate) fn end(&mut self, budget: &Budget, host: &Host) -> u64 {
        self.look(budget, host)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.too_long || self.text.len() + bytes.len() > MAX {
            self.too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Looks at what was kept: a line of an event, since no service splits a JSON text over several, or all of it.
    fn look(&mut self, budget: &Budget, host: &Host) -> u64 {
        let json = match self.shape {
            Shape::Json => self.text.as_slice(),
            Shape::Events => self.text.strip_prefix(b"data:").unwrap_or_default(),
        };
        // Most events say nothing of it, and are not parsed.
        if json.windows(b"\"usage".len()).any(|window| window == b"\"usage")
            && let Ok(Text::<false>(numbers)) = serde_json::from_slice(json)
        {
            self.last.update(&numbers);
        }
        self.text.clear();
        if self.text.capacity() > 64 * 1024 {
            self.text = Vec::new();
        }
        self.too_long = false;
        // What was counted is never given back.
        let tokens = self.last.sum().saturating_sub(self.counted);
        if tokens > 0 {
            self.counted += tokens;
            budget.spend(host, tokens);
        }
        tokens
    }
}

/// The numbers of every service, each the last that was told. None uses the names of another.
#[derive(Clone, Default)]
struct Numbers {
    /// All of it.
    total: Option<u64>,
    /// Input, output, thoughts, and what went into caches and came out of them where that is no part of the input.
    parts: [Option<u64>; 5],
}

impl Numbers {
    /// Where the number of this name belongs.
    fn named(&mut self, name: &str) -> Option<&mut Option<u64>> {
        let [input, output, thoughts, created, read] = &mut self.parts;
        Some(match name {
            "total_tokens" | "totalTokenCount" => &mut self.total,
            "input_tokens" | "prompt_tokens" | "promptTokenCount" => input,
            "output_tokens" | "completion_tokens" | "candidatesTokenCount" => output,
            "thoughtsTokenCount" => thoughts,
            "cache_creation_input_tokens" => created,
            "cache_read_input_tokens" => read,
            _ => return None,
        })
    }

    fn update(&mut self, later: &Self) {
        self.total = later.total.or(self.total);
        for (own, later) in self.parts.iter_mut().zip(later.parts) {
            *own = later.or(*own);
        }
    }

    fn sum(&self) -> u64 {
        self.total.unwrap_or_else(|| self.parts.iter().flatten().fold(0, |sum, part| sum.saturating_add(*part)))
    }
}

/// The numbers in a JSON text, wherever a service tells them: in `usage` or `usageMetadata`, at the top (OpenAI's
/// completions, Anthropic, Gemini), in the `message` that a stream begins with (Anthropic), or in the `response` that one
/// ends with (OpenAI's responses, Gemini behind Code Assist); the text may be a list (Gemini without `alt=sse`). Whatever
/// has another type than it should is passed over.
struct Text<const USAGE: bool>(Numbers);

impl<'de, const USAGE: bool> Deserialize<'de> for Text<USAGE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader::<USAGE>).map(Self)
    }
}

struct Reader<const USAGE: bool>;

impl<'de, const USAGE: bool> Visitor<'de> for Reader<USAGE> {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Numbers, A::Error> {
        let mut numbers = Numbers::default();
        while let Some(key) = map.next_key::<String>()? {
            match (USAGE, key.as_str()) {
                (false, "usage" | "usageMetadata") => numbers.update(&map.next_value::<Text<true>>()?.0),
                (false, "message" | "response") => numbers.update(&map.next_value::<Text<false>>()?.0),
                (true, name) => match numbers.named(name) {
                    Some(number) => *number = map.next_value::<serde_json::Value>()?.as_u64().or(*number),
                    None => drop(map.next_value::<IgnoredAny>()?),
                },
                (false, _) => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(numbers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
        let mut numbers = Numbers::default();
        while let Some(Text::<USAGE>(later)) = list.next_element()? {
            numbers.update(&later);
        }
        Ok(numbers)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }

    fn visit_unit<E>(self) -> Result<Numbers, E> {
        Ok(Numbers::default())
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
