use super::*;

#[test]
fn every_service_tells_in_its_own_way() {
    for (text, tokens) in [
        // Bedrock: Converse, what its streams end with, and a model's own answers.
        (r#"{"output":{},"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15},"metrics":{"latencyMs":1}}"#, 15),
        (r#"{"usage":{"inputTokens":10,"outputTokens":5,"cacheReadInputTokens":2,"cacheWriteInputTokens":1}}"#, 18),
        (
            r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":5,
               "invocationLatency":100,"cacheReadInputTokenCount":1,"cacheWriteInputTokenCount":2}}"#,
            18,
        ),
        (r#"{"usageMetadata":{"promptTokenCount":3,"responseTokenCount":4}}"#, 7),
        (r#"{"interaction":{"usage":{"total_input_tokens":3,"total_output_tokens":4,"total_thought_tokens":5}}}"#, 12),
        (r#"{"choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}}"#, 7),
        (
            r#"{"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":1,"output_tokens":1},
               "tokens":{"input_tokens":30,"output_tokens":4}}}}"#,
            34,
        ),
        (r#"{"result":{"response":"x","usage":{"prompt_tokens":3,"completion_tokens":4}},"success":true}"#, 7),
        (r#"{"model":"m","done":true,"prompt_eval_count":26,"eval_count":298,"eval_duration":9}"#, 324),
        // Written with a point, and with a total that is not filled in.
        (r#"{"usage":{"prompt_tokens":10.0,"completion_tokens":2.5,"total_tokens":0}}"#, 13),
        (r#"{"usage":{"total_tokens":-1,"input_tokens":-0.5,"output_tokens":1e300}}"#, u64::MAX),
        // No service's.
        (r#"{"tokens":{"input_tokens":3},"usage":null,"input_tokens":9}"#, 0),
        (r#"{"usage":{"eval_count":3}}"#, 0),
        (r#"{"delta":"\"usage\"","message":["usage"],"x_groq":1,"usage":{"tokens":5}}"#, 0),
        // One after the other: the last holds, and what is malformed ends it.
        ("{\"usage\":{\"total_tokens\":3}}\n{\"usage\":{\"total_tokens\":4}} nonsense", 4),
        (r#"{"usage":{"total_tokens":3}"#, 0),
    ] {
        assert_eq!(Numbers::told(text.as_bytes()).sum(), tokens, "{text}");
    }
}

/// However deep a text is.
#[test]
fn a_deep_text_does_no_harm() {
    let deep = r#"{"response":"#.repeat(100_000) + r#"{"usage":{"total_tokens":3}}"#;
    assert_eq!(Numbers::told(deep.as_bytes()).sum(), 0);
    let lists = "[".repeat(100_000) + "\"usage";
    assert_eq!(Numbers::told(lists.as_bytes()).sum(), 0);
}
