use super::*;

const PAGE: &str = "https://index.example.org/simple/typing-extensions/";

#[test]
fn the_page_of_a_wheel_is_that_of_its_project() {
    for (wheel, expected) in [
        ("aider_chat-0.86.2-py3-none-any.whl", "aider-chat"),
        ("PyYAML-6.0-cp312-cp312-linux_x86_64.whl", "pyyaml"),
        ("a.b__c-1-py3-none-any.whl", "a-b-c"),
    ] {
        assert_eq!(project(wheel), expected);
    }
}

#[test]
fn a_page_says_where_a_file_is() {
    let text = r#"<!DOCTYPE html><html><body><h1>Links</h1>
        <a href="https://files.example.org/p/a-1-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.9">a-1-py3-none-any.whl</a>
        <a href='../../packages/b-1-py3-none-any.whl?a=1&amp;b=2#sha256=00'>b-1-py3-none-any.whl</a>
        <a href="/root/c-1%2Blocal-py3-none-any.whl">c</a> <a href="d-1-py3-none-any.whl">d</a>
        <a href="//files.example.org/e-1-py3-none-any.whl">e</a> <a href=f-1-py3-none-any.whl>f</a></body></html>"#;
    let found = |file: &str| address(text, PAGE, file);
    for (file, expected) in [
        ("a-1-py3-none-any.whl", "https://files.example.org/p/a-1-py3-none-any.whl"),
        ("b-1-py3-none-any.whl", "https://index.example.org/packages/b-1-py3-none-any.whl?a=1&b=2"),
        ("c-1+local-py3-none-any.whl", "https://index.example.org/root/c-1%2Blocal-py3-none-any.whl"),
        ("d-1-py3-none-any.whl", "https://index.example.org/simple/typing-extensions/d-1-py3-none-any.whl"),
        ("e-1-py3-none-any.whl", "https://files.example.org/e-1-py3-none-any.whl"),
    ] {
        assert_eq!(found(file).as_deref(), Some(expected), "{file}");
    }
    for file in ["a-2-py3-none-any.whl", "1-py3-none-any.whl", ""] {
        assert_eq!(found(file), None, "{file}");
    }
    for text in ["", "href=", "href=\"", "href='€", "href=\"#x\""] {
        assert_eq!(address(text, PAGE, "a"), None, "{text}");
    }
}
