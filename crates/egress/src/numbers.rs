//! Hides where in a JSON text services tell how many tokens of a model they have used, and by which names.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::fmt;

/// What a text has that tells of tokens: without any of these, it need not be parsed.
const SIGNS: [&[u8]; 3] = [b"\"usage", b"invocationMetrics\"", b"eval_count\""];

/// The numbers of every service, each the last that was told. None uses the names of another.
#[derive(Clone, Default)]
pub(crate) struct Numbers {
    /// All of it.
    total: Option<u64>,
    /// Input, output, thoughts, and what went into caches and came out of them where that is no part of the input.
    parts: [Option<u64>; 5],
}

impl Numbers {
    /// Those in JSON texts that follow each other; of what is malformed, those before it.
    pub(crate) fn told(json: &[u8]) -> Self {
        let mut all = Self::default();
        if SIGNS.iter().any(|sign| json.windows(sign.len()).any(|window| window == *sign)) {
            let texts = serde_json::Deserializer::from_slice(json).into_iter::<Text<false>>();
            texts.map_while(Result::ok).for_each(|text| all.update(&text.0));
        }
        all
    }

    /// Where the number of this name belongs, of those in an object for it.
    fn named(&mut self, name: &str) -> Option<&mut Option<u64>> {
        let [input, output, thoughts, created, read] = &mut self.parts;
        Some(match name {
            "total_tokens" | "totalTokenCount" | "totalTokens" => &mut self.total,
            "input_tokens" | "prompt_tokens" | "promptTokenCount" | "inputTokens" | "inputTokenCount"
            | "total_input_tokens" => input,
            "output_tokens"
            | "completion_tokens"
            | "candidatesTokenCount"
            | "outputTokens"
            | "outputTokenCount"
            | "responseTokenCount"
            | "total_output_tokens" => output,
            "thoughtsTokenCount" | "total_thought_tokens" => thoughts,
            "cache_creation_input_tokens" | "cacheWriteInputTokens" | "cacheWriteInputTokenCount" => created,
            "cache_read_input_tokens" | "cacheReadInputTokens" | "cacheReadInputTokenCount" => read,
            _ => return None,
        })
    }

    /// The same at the top of a text.
    fn at_the_top(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            "prompt_eval_count" => Some(&mut self.parts[0]),
            "eval_count" => Some(&mut self.parts[1]),
            _ => None,
        }
    }

    /// Takes what was told later.
    pub(crate) fn update(&mut self, later: &Self) {
        self.total = later.total.or(self.total);
        for (own, later) in self.parts.iter_mut().zip(later.parts) {
            *own = later.or(*own);
        }
    }

    /// All tokens.
    pub(crate) fn sum(&self) -> u64 {
        // One that some servers fill in with nothing tells nothing.
        self.total
            .filter(|&total| total > 0)
            .unwrap_or_else(|| self.parts.iter().flatten().fold(0, |sum, part| sum.saturating_add(*part)))
    }
}

/// How many a number tells of: some services write it with a point.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // which is what is wanted of what no u64 is
fn whole(number: &serde_json::Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().filter(|number| *number >= 0.0).map(|number| number.ceil() as u64))
}

/// The numbers in a JSON text, wherever a service tells them:
///
/// - in `usage`, `usageMetadata` or `amazon-bedrock-invocationMetrics`: at the top (OpenAI's completions, Anthropic,
///   Gemini, Bedrock and others), in the `message` that a stream begins with (Anthropic), in the `response` or
///   `interaction` that one ends with (OpenAI's responses, Gemini behind Code Assist, Gemini's interactions), in `x_groq`
///   (Groq), in the `delta` of the last event (Cohere), or in the `result` (Cloudflare);
/// - in the `tokens` of a `usage` (Cohere);
/// - at the top itself (Ollama).
///
/// The text may be a list (Gemini without `alt=sse`). Whatever has another type than it should is passed over.
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
                (false, "usage" | "usageMetadata" | "amazon-bedrock-invocationMetrics") | (true, "tokens") => {
                    numbers.update(&map.next_value::<Text<true>>()?.0);
                }
                (false, "message" | "response" | "interaction" | "x_groq" | "delta" | "result") => {
                    numbers.update(&map.next_value::<Text<false>>()?.0);
                }
                (usage, name) => {
                    let number = if usage { numbers.named(name) } else { numbers.at_the_top(name) };
                    match number {
                        Some(number) => *number = whole(&map.next_value()?).or(*number),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
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
#[path = "numbers_tests.rs"]
mod tests;
