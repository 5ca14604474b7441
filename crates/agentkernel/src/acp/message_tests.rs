use super::*;

fn of(line: &str) -> Result<Message, i32> {
    Message::of(line.as_bytes()).map_err(|fault| fault.code)
}

#[test]
fn what_is_a_message_and_what_is_none() {
    let params: Map<String, Value> = [("a".to_owned(), json!(1))].into_iter().collect();
    let request = |id| Ok(Message::Request { id, method: "m".into(), params: params.clone() });
    assert_eq!(of(r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1}}"#), request(Id::Number(7)));
    assert_eq!(of(r#"{"jsonrpc":"2.0","id":"7","method":"m","params":{"a":1}}"#), request(Id::Text("7".into())));
    // Whoever takes the first of two would see another one than whoever takes the last: there is only one afterwards.
    assert_eq!(
        of(r#"{"method":"x","id":1,"method":"m","id":7,"params":{},"params":{"a":1},"more":1}"#),
        request(Id::Number(7))
    );
    assert_eq!(of(r#"{"method":"m"}"#), Ok(Message::Notification { method: "m".into(), params: Map::new() }));
    assert_eq!(of(r#"{"id":1,"result":null}"#), Ok(Message::Response { id: Id::Number(1), answer: Ok(Value::Null) }));
    assert_eq!(of(r#"{"id":1,"error":{}}"#), Ok(Message::Response { id: Id::Number(1), answer: Err(json!({})) }));
    assert_eq!(of(r#"{"id":null,"error":{}}"#), Ok(Message::Complaint(json!({}))));
    for line in ["", "{", "\u{1}", "{}x", "nul", &"[".repeat(100_000), r#"{"a":1e999}"#] {
        assert_eq!(of(line), Err(Fault::PARSE), "{}", &line[..line.len().min(20)]);
    }
    assert_eq!(Message::of(b"{\"a\":\"\xff\"}").map_err(|fault| fault.code), Err(Fault::PARSE));
    for line in [
        "[]",
        "null",
        "7",
        "{}",
        r#"[{"jsonrpc":"2.0","id":7,"method":"m"}]"#,
        r#"{"id":null,"method":"m"}"#,
        r#"{"id":1.5,"method":"m"}"#,
        r#"{"id":18446744073709551615,"method":"m"}"#,
        r#"{"id":{},"method":"m"}"#,
        r#"{"id":1,"method":7}"#,
        r#"{"id":1,"method":"m","params":[1]}"#,
        r#"{"id":1,"result":1,"error":{}}"#,
        r#"{"id":null,"result":1}"#,
        r#"{"id":1}"#,
    ] {
        assert_eq!(of(line), Err(Fault::INVALID), "{line}");
    }
}

#[test]
fn texts_that_were_cut_within_a_character_are_read() {
    let text = |line: &str| match of(line) {
        Ok(Message::Response { answer: Ok(Value::String(text)), .. }) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(r#"{"id":1,"result":"a\ud83d"}"#), "a\u{fffd}");
    assert_eq!(
        text(r#"{"id":1,"result":"\ude00b\ud83d\ude00\ud83d\ud83d\ude00\\ud83d\u00e4"}"#),
        "\u{fffd}b😀\u{fffd}😀\\ud83dä"
    );
    assert_eq!(of(r#"{"id":1,"result":"\ud83d"#), Err(Fault::PARSE));
    assert_eq!(of(r#"{"id":1,"result":"\ud8"#), Err(Fault::PARSE));
}

#[test]
fn what_is_made_is_one_line() {
    let id = Id::Text("a\nb".into());
    for line in [
        request(&id, "m\n", &Map::new()),
        notification("m", &Map::new()),
        response(&id, &Ok(json!("x\ny"))),
        refusal(&id, &Fault::new(Fault::METHOD, "a\nb")),
        complaint(&Fault::new(Fault::PARSE, "x")),
    ] {
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert!(line.ends_with(b"}\n"));
    }
}
