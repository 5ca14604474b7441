//! What of ours reads bytes of a client of MCP, beside the protocol's own parser, or of a sandbox for it: no panic; a root is a
//! directory of this host, a resource is of one sandbox, nobody gets in without the token, and what a search finds is in what
//! it wrote.
#![no_main]

#[path = "../../crates/agentkernel/src/mcp/address.rs"]
#[allow(dead_code)]
mod address;
#[path = "../../crates/agentkernel/src/mcp/worker/grep.rs"]
#[allow(dead_code)]
mod grep;
#[path = "../../crates/agentkernel/src/mcp/roots.rs"]
#[allow(dead_code)]
mod roots;
#[path = "../../crates/agentkernel/src/mcp/token.rs"]
#[allow(dead_code)]
mod token;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "0123456789abcdef";

fuzz_target!(|input: &[u8]| {
    let found: usize = grep::found(input).map(|(path, _, text)| path.len() + text.len()).sum();
    assert!(found <= input.len());
    let ours = token::Token::new(TOKEN).expect("a token");
    let mut head = HeaderMap::new();
    for value in input.split(|&byte| byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        head.append(AUTHORIZATION, value);
    }
    let has = input.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
    assert!(!ours.is_in(&head) || has && head.len() == 1, "{head:?}");
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(token) = token::Token::new(text) {
        assert!(HeaderValue::from_str(token.text()).is_ok());
    }
    for uri in [text, &format!("file://{text}")] {
        if let Some(dir) = roots::directory(uri) {
            assert!(dir.is_absolute() && dir.is_dir(), "{dir:?}");
        }
    }
    for uri in [text, &format!("{}{text}", address::SANDBOX)] {
        if let Some((sandbox, resource)) = address::parse(uri) {
            assert!(!sandbox.contains('/'), "{sandbox}");
            if let address::Resource::File(path) = resource {
                assert!(path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0), "{path:?}");
            }
        }
    }
});
