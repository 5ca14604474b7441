//! What programs ask of an ssh-agent: no panic, and nothing is signed without a proof of the server's that no fuzzer finds.
#![no_main]

use egress::{
    Policy, Rules, Target,
    fuzzing::fate_of_ssh_agent_requests,
    ssh::{LentKeys, Server, known_keys},
};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const REQUEST_IDENTITIES: u8 = 11;

fuzz_target!(|input: (&str, Vec<(&[u8], &[u8])>)| {
    let (text, requests) = input;
    let Ok(target) = Target::parse("git.example.org:22", None) else { return };
    let _ = known_keys(text, &target);
    let Ok(key) = KEY.parse() else { return };
    let lent = LentKeys { servers: vec![Server { target, keys: vec![key] }], signing: Vec::new() };
    let policy = Policy { rules: Rules::default(), ceiling: None };
    let fates = fate_of_ssh_agent_requests(&lent, &policy, requests.iter().copied());
    for ((request, _), (forwarded, answer)) in requests.iter().zip(fates) {
        assert!(!forwarded || request.first() == Some(&REQUEST_IDENTITIES), "a signature");
        assert!(!answer.is_empty());
    }
});
