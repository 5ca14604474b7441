use super::*;
use crate::Target;

#[test]
fn the_words_of_a_refusal_are_a_whole_answer() {
    let target = Target::parse("example.com:80", None).unwrap();
    for (reason, status) in [(Reason::NotAllowed, "403 Forbidden"), (Reason::Unreachable, "502 Bad Gateway")] {
        let words = Denial::new(reason, &target).words("box");
        let answer = forbidden(reason, &words);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some(format!("HTTP/1.1 {status}").as_str()));
        let headers: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        let header = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        // A client that keeps its connection must not take what it says next for answered.
        assert_eq!(header("Connection"), Some("close"));
        assert_eq!(header("Cache-Control"), Some("no-store"));
        assert_eq!(header("X-Agentkernel-Reason"), Some(reason.code()));
        assert_eq!(header("Content-Length"), Some(body.len().to_string().as_str()));
        assert!(body.contains("example.com") && body.ends_with('\n') && !body.ends_with("\n\n"), "{body:?}");
    }
}

#[test]
fn nothing_in_a_refusal_can_end_its_head() {
    // A name comes from the sandbox: it is shown as what it is.
    let target = Target::parse("example.com:80", None).unwrap();
    let denial = Denial::new(Reason::BadName, &target).because(crate::host::shown("a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"));
    let answer = forbidden(denial.reason, &denial.words("box"));
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(!body.contains('\r'), "{body:?}");
    assert!(answer.contains(&format!("Content-Length: {}\r\n", body.len())));
}
