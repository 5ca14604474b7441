use super::*;

const NOW: u64 = 1_764_200_000_000;

fn heard(status: u16, answer: &str) -> Result<Tokens, Refusal> {
    tokens(StatusCode::from_u16(status).unwrap(), answer.as_bytes(), NOW)
}

fn text(secret: &Secret) -> &str {
    str::from_utf8(secret.expose()).unwrap()
}

#[test]
fn tokens_are_taken_from_an_answer() {
    let answer =
        r#"{"token_type":"Bearer","access_token":"a-1","refresh_token":"r-1","id_token":"h.c.s","expires_in":28800}"#;
    let Ok(tokens) = heard(200, answer) else { panic!() };
    assert_eq!(text(&tokens.access), "a-1");
    assert_eq!(tokens.refresh.as_ref().map(text), Some("r-1"));
    assert_eq!(tokens.id.as_ref().map(text), Some("h.c.s"));
    assert_eq!(tokens.expires_ms, Some(NOW + 28_800_000));
}

#[test]
fn all_but_the_access_token_may_be_missing() {
    for answer in [r#"{"access_token":"a"}"#, r#"{"access_token":"a","refresh_token":null,"id_token":""}"#] {
        let Ok(tokens) = heard(200, answer) else { panic!("{answer}") };
        assert!(tokens.refresh.is_none() && tokens.id.is_none() && tokens.expires_ms.is_none(), "{answer}");
    }
    for (lifetime, expected) in [("\"3600\"", 3600), ("3599.5", 3599), ("1e300", MAX_LIFETIME), ("-1", 0)] {
        let Ok(tokens) = heard(200, &format!(r#"{{"access_token":"a","expires_in":{lifetime}}}"#)) else { panic!() };
        assert_eq!(tokens.expires_ms, Some(NOW + expected * 1000), "{lifetime}");
    }
}

#[test]
fn what_no_header_could_carry_is_no_token() {
    let long = "x".repeat(MAX_TOKEN + 1);
    for bad in ["", "two words", "line\\n", "\\u0000", "\\u00e9", &long] {
        for key in ["access_token", "refresh_token", "id_token"] {
            if bad.is_empty() && key != "access_token" {
                continue;
            }
            let good = if key == "access_token" { "" } else { r#","access_token":"a""# };
            let answer = format!(r#"{{"{key}":"{bad}"{good}}}"#);
            assert_eq!(heard(200, &answer).err(), Some(Refusal::Now("its answer has no tokens".into())), "{answer}");
        }
    }
    for answer in
        ["", "{}", "[]", "null", r#"{"access_token":1}"#, "<html>", &format!("\"{}\"", "x".repeat(MAX_ANSWER))]
    {
        assert_eq!(heard(200, answer).err(), Some(Refusal::Now("its answer has no tokens".into())), "{answer}");
    }
}

#[test]
fn a_refusal_is_told_by_its_code_and_nothing_else_of_it() {
    let never = |code: &str| Some(Refusal::Never(format!("its renewal is refused with {code}")));
    for (status, answer, code) in [
        (400, r#"{"error":"invalid_grant","error_description":"x"}"#, "'invalid_grant'"),
        (401, r#"{"error":{"code":"refresh_token_reused","type":"t","message":"m"}}"#, "'refresh_token_reused'"),
        (401, r#"{"type":"error","error":{"type":"authentication_error"}}"#, "'authentication_error'"),
        (403, "<html>", "403"),
        (400, r#"{"error":"\u001b[31m red"}"#, "400"),
        (400, r#"{"error":7}"#, "400"),
    ] {
        assert_eq!(heard(status, answer).err(), never(code), "{answer}");
    }
    for status in [201, 302, 404, 429, 500, 503] {
        let answer = r#"{"access_token":"a"}"#;
        assert_eq!(heard(status, answer).err(), Some(Refusal::Now(format!("it answers with {status}"))));
    }
}

#[test]
fn a_token_may_say_when_it_expires() {
    let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
    assert_eq!(expiry(token(r#"{"exp":1764200000,"sub":"me"}"#).as_bytes()), Some(NOW));
    assert_eq!(expiry(token(r#"{"exp":1764200000.5}"#).as_bytes()), Some(NOW + 500));
    for other in ["", "opaque", "a.b", "a.b.c", "a.b.c.d", &token("{}"), &token(r#"{"exp":-1}"#)] {
        assert_eq!(expiry(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn forms_have_their_own_letters() {
    assert_eq!(escaped("aZ0-._~"), "aZ0-._~");
    assert_eq!(escaped("a b&c=d/é+"), "a%20b%26c%3Dd%2F%C3%A9%2B");
}
