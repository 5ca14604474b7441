use super::*;

fn host() -> Host {
    Host::parse("api.example.org").unwrap()
}

/// What an answer spends that comes in pieces of this many bytes, and how often.
fn spent(kind: &str, answer: &str, piece: usize) -> (u64, usize) {
    let budget = Budget::new(None, 0);
    let mut meter = Meter::new(kind).unwrap();
    let mut told: Vec<u64> = answer.as_bytes().chunks(piece).map(|piece| meter.read(piece, &budget, &host())).collect();
    told.push(meter.end(&budget, &host()));
    assert_eq!(told.iter().sum::<u64>(), budget.spent());
    assert_eq!(budget.knows(&host()), budget.spent() > 0);
    (budget.spent(), told.iter().filter(|&&tokens| tokens > 0).count())
}

const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":10,"cache_creation_input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}

event: content_block_delta
data: {"type":"content_block_delta","delta":{"text":"\"usage\": {\"output_tokens\": 1000}"}}

event: message_delta
data: {"type":"message_delta","delta":{},"usage":{"output_tokens":5}}

event: message_delta
data: {"type":"message_delta","delta":{},"usage":{"output_tokens":7}}

"#;

#[test]
fn streams_are_counted_while_they_pass() {
    let events = "text/event-stream; charset=utf-8";
    for piece in [1, 7, 4096] {
        assert_eq!(spent(events, ANTHROPIC, piece).0, 10 + 3 + 4 + 7);
    }
    // The beginning of an answer, one addition, and another.
    assert_eq!(spent(events, ANTHROPIC, 1).1, 3);
    let completions = "data: {\"choices\":[{\"message\":\"usage\"}],\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":10,\
                       \"completion_tokens\":5,\"total_tokens\":15}}\n\ndata: [DONE]\n\n";
    assert_eq!(spent(events, completions, 16).0, 15);
    let responses = "event: response.created\r\ndata: {\"response\":{\"usage\":null}}\r\n\r\n\
                     data: {\"response\":{\"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":9},\
                     \"output_tokens\":5,\"total_tokens\":15}}}\r\n\r\n";
    assert_eq!(spent(events, responses, 16).0, 15);
    let gemini = "data: {\"usageMetadata\":{\"promptTokenCount\":10,\"totalTokenCount\":12}}\n\n\
                  data: {\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":5,\"totalTokenCount\":15}}";
    assert_eq!(spent(events, gemini, 16), (15, 2));
}

/// Data may be on several lines.
#[test]
fn events_of_several_lines_are_counted() {
    let event = "\u{feff}data: {\"usage\":\r\nid: 7\r\ndata:{\"total_tokens\": 10\r\ndata:}}\r\n\r\n";
    let end = "data: {\"usage\":\ndata: {\"total_tokens\": 12}}";
    for piece in [1, 7, 4096] {
        assert_eq!(spent("text/event-stream", event, piece).0, 10);
        assert_eq!(spent("text/event-stream", &format!("{event}{end}"), piece), (12, 2));
    }
}

/// However much of it comes at once.
#[test]
fn what_was_counted_is_not_given_back() {
    let falling = "data: {\"usage\":{\"total_tokens\":10}}\n\ndata: {\"usage\":{\"total_tokens\":4}}\n\n";
    for piece in [1, 50, 4096] {
        assert_eq!(spent("text/event-stream", falling, piece).0, 10);
    }
}

#[test]
fn whole_texts_are_counted_at_their_end() {
    for (text, tokens) in [
        (r#"{"usage":{"input_tokens":10,"output_tokens":5}}"#, 15),
        (r#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"input_tokens":1,"output_tokens":2}}"#, 3),
        (r#"[{"usageMetadata":{"totalTokenCount":3}},{"usageMetadata":{"totalTokenCount":9}}]"#, 9),
        (r#"{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":4}}"#, 7),
        (r#"{"response":{"usageMetadata":{"totalTokenCount":3}}}"#, 3),
        (
            r#"{"usage":{"input_tokens":"many","output_tokens":5,"total_tokens":null},"message":"x","response":[1.5,-1,true]}"#,
            5,
        ),
        (r#"{"data":{"usage":{"input_tokens":10}}}"#, 0),
        (r#"{"usage":"disk"}"#, 0),
        (r#"{"usage":{"input_tokens":-10,"output_tokens":1.5}}"#, 2),
        (r#"{"usage":{"input_tokens":10"#, 0),
        ("", 0),
    ] {
        assert_eq!(spent("Application/JSON", text, 5).0, tokens, "{text}");
    }
    let text = format!(r#"{{"usage":{{"input_tokens":{},"output_tokens":5}}}}"#, u64::MAX);
    assert_eq!(spent("application/json", &text, 5).0, u64::MAX);
}

#[test]
fn lines_and_kinds_of_json_are_counted() {
    let lines = "{\"response\":\"usage\"}\n{\"done\":true,\"prompt_eval_count\":10,\"eval_count\":5}";
    for kind in
        ["application/x-ndjson", "application/jsonl; charset=utf-8", "Application/NDJSON", "application/json-seq"]
    {
        for piece in [1, 9, 1000] {
            assert_eq!(spent(kind, lines, piece), (15, 1), "{kind}");
            assert_eq!(spent(kind, &format!("\u{1e}{lines}\n"), piece), (15, 1), "{kind}");
        }
    }
    let whole = r#"{"usage":{"total_tokens":15}}"#;
    for kind in ["application/problem+json", "application/vnd.api+json;v=1", "model/gltf+JSON"] {
        assert_eq!(spent(kind, whole, 5), (15, 1), "{kind}");
    }
}

/// A message of AWS, with its sums left out.
fn message(event: &str, payload: &str) -> Vec<u8> {
    let headers = [b"\x0b:event-type\x07\0", &[event.len() as u8][..], event.as_bytes()].concat();
    let total = (EMPTY + headers.len() + payload.len()) as u32;
    let length = (headers.len() as u32).to_be_bytes();
    [&total.to_be_bytes()[..], &length, b"sum.", &headers, payload.as_bytes(), b"sum."].concat()
}

#[test]
fn messages_of_aws_are_counted() {
    let count = |stream: &[u8], piece: usize| {
        let budget = Budget::default();
        let mut meter = Meter::new("application/vnd.amazon.eventstream").unwrap();
        stream.chunks(piece).for_each(|piece| {
            meter.read(piece, &budget, &host());
        });
        assert!(meter.text.bytes.len() < EMPTY + 1000);
        meter.end(&budget, &host());
        budget.spent()
    };
    let delta = message("contentBlockDelta", r#"{"delta":{"text":"\"usage\""},"p":"abc"}"#);
    let metadata = message("metadata", r#"{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15}}"#);
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#;
    let end = r#"{"type":"message_delta","usage":{"output_tokens":7}}"#;
    let chunk = |json: &str| message("chunk", &format!(r#"{{"bytes":"{}","p":"ab"}}"#, STANDARD.encode(json)));
    let long = message("chunk", &"x".repeat(MAX));
    for piece in [1, 7, 4096, 1 << 20] {
        assert_eq!(count(&[delta.clone(), metadata.clone()].concat(), piece), 15);
        assert_eq!(count(&[chunk(start), delta.clone(), chunk(end)].concat(), piece), 17);
    }
    // One that is too long is passed over, and what is no message ends it.
    assert_eq!(count(&[long, metadata.clone()].concat(), 4096), 15);
    for nonsense in [[0; 12], [255; 12], [0, 0, 0, 20, 0, 0, 0, 20, 0, 0, 0, 0]] {
        assert_eq!(count(&[&nonsense, metadata.as_slice()].concat(), 9), 0);
    }
}

#[test]
fn compressed_answers_are_counted() {
    let mut stream = flate2::Compress::new_gzip(flate2::Compression::default(), 15);
    let mut coded = Vec::with_capacity(4096);
    stream.compress_vec(ANTHROPIC.as_bytes(), &mut coded, flate2::FlushCompress::Finish).unwrap();
    let budget = Budget::default();
    let mut meter = Meter::new("text/event-stream").unwrap().coded("gzip").unwrap();
    coded.chunks(5).for_each(|piece| {
        meter.read(piece, &budget, &host());
    });
    assert_eq!(budget.spent(), 24);
    let meter = || Meter::new("application/json").unwrap();
    assert!(meter().coded("br").is_none() && meter().coded("gzip, br").is_none());
    assert!(meter().coded("Identity").unwrap().decoder.is_none());
    assert!(meter().coded("").unwrap().decoder.is_none());
    assert!(meter().coded("identity, x-gzip").unwrap().decoder.is_some());
}

#[test]
fn each_message_of_a_websocket_is_counted_for_itself() {
    let budget = Budget::default();
    let done = br#"{"type":"response.completed","response":{"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}}"#;
    assert_eq!(spend_message(done, &budget, &host()), 15);
    assert_eq!(spend_message(br#"{"type":"response.created","response":{"usage":null}}"#, &budget, &host()), 0);
    assert_eq!(spend_message(done, &budget, &host()), 15);
    assert_eq!(budget.spent(), 30);
}

#[test]
fn other_answers_are_not_read() {
    for kind in ["text/html", "text/plain", "", "application/octet-stream", "image/svg+xml"] {
        assert!(Meter::new(kind).is_none());
    }
}

#[test]
fn memory_is_bounded() {
    let budget = Budget::default();
    let mut meter = Meter::new("application/json").unwrap();
    meter.read(br#"{"usage":{"input_tokens":10,"output_tokens":5},"x":""#, &budget, &host());
    for _ in 0..MAX / 4096 + 1 {
        meter.read(&[b'x'; 4096], &budget, &host());
        assert!(meter.text.bytes.len() <= MAX);
    }
    assert!(meter.text.bytes.capacity() == 0);
    assert_eq!(meter.end(&budget, &host()), 0);
    // Of a stream, only the event that is too long is passed over.
    let mut meter = Meter::new("text/event-stream").unwrap();
    for _ in 0..MAX / 4096 + 1 {
        meter.read(&[b'x'; 4096], &budget, &host());
    }
    assert_eq!(meter.read(b"\ndata: {\"usage\":{\"total_tokens\":4}}\n\n", &budget, &host()), 4);
}

#[test]
fn a_budget_is_used_up() {
    let budget = Budget::new(Some(10), 0);
    assert!(budget.is_limited() && budget.exhausted().is_none());
    budget.spend(&host(), 9);
    assert_eq!(budget.exhausted(), None);
    budget.spend(&host(), 3);
    assert_eq!(budget.exhausted().unwrap(), "12 of 10 used");
    let budget = Budget::new(None, 0);
    budget.spend(&host(), 1);
    assert!(!budget.is_limited() && budget.exhausted().is_none());
}
