use super::*;
use serde_json::json;

fn of(params: Value) -> Result<Order, Fault> {
    let Value::Object(params) = params else { panic!() };
    Order::of(params, "/srv/project")
}

#[test]
fn an_order_is_what_a_program_is_started_with() {
    let order = of(json!({
        "sessionId": "s", "command": "/bin/sh", "args": ["-c", "a; b", ""],
        "env": [{"name": "A", "value": "x=$(y)"}, {"name": "B", "value": ""}], "cwd": "/tmp/a b",
    }));
    let text = |text: &str| text.to_owned();
    let env = vec![(text("A"), text("x=$(y)")), (text("B"), text(""))];
    let arguments = ["-c", "a; b", ""].map(text).to_vec();
    assert_eq!(order, Ok(Order { command: text("/bin/sh"), arguments, env, cwd: text("/tmp/a b") }));
    let order = of(json!({"command": "make", "args": null, "env": null, "cwd": null})).unwrap();
    assert_eq!((order.arguments, order.env, &*order.cwd), (vec![], vec![], "/srv/project"));
}

#[test]
fn what_cannot_be_started_is_refused() {
    for wrong in [
        json!({}),
        json!({"command": ""}),
        json!({"command": 7}),
        json!({"command": "a\0b"}),
        json!({"command": "a", "args": "b"}),
        json!({"command": "a", "args": ["b", 7]}),
        json!({"command": "a", "args": [null]}),
        json!({"command": "a", "args": ["b\0"]}),
        json!({"command": "a", "env": {"A": "b"}}),
        json!({"command": "a", "env": ["A=b"]}),
        json!({"command": "a", "env": [{"name": "", "value": "b"}]}),
        json!({"command": "a", "env": [{"name": "A=B", "value": "b"}]}),
        json!({"command": "a", "env": [{"name": "A"}]}),
        json!({"command": "a", "env": [{"name": "A", "value": "\0"}]}),
        json!({"command": "a", "cwd": "b"}),
        json!({"command": "a", "cwd": ""}),
        json!({"command": "a", "cwd": "/\0"}),
        json!({"command": "a", "args": ["x".repeat(LONGEST)]}),
    ] {
        assert_eq!(of(wrong.clone()).map_err(|fault| fault.code), Err(Fault::PARAMS), "{wrong}");
    }
}

#[test]
fn a_command_that_is_alone_may_be_a_line() {
    for (params, is_line) in [
        (json!({"command": "npm test && echo done"}), true),
        (json!({"command": "make"}), false),
        (json!({"command": "/usr/bin/make", "args": []}), false),
        (json!({"command": "$SHELL"}), true),
        (json!({"command": "a b", "args": ["c"]}), false),
    ] {
        assert_eq!(of(params.clone()).unwrap().is_line(), is_line, "{params}");
    }
}
