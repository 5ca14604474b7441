//! Every message of both protocols, decoded from anything: no panic, and what decodes encodes to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{api, flow, link};

fuzz_target!(|input: &[u8]| {
    let Some((&which, payload)) = input.split_first() else { return };
    macro_rules! decode {
        ($($number:literal => $message:ty),+ $(,)?) => {
            match which {
                $($number => if let Ok(value) = wire::decode::<$message>(payload) {
                    // A shorter spelling of the same value always fits; a frame's worth is all that comes in.
                    if payload.len() <= wire::frame::MAX_PAYLOAD {
                        let bytes = wire::encode(&value).expect("what came in goes out");
                        assert_eq!(wire::decode::<$message>(&bytes).as_ref(), Ok(&value));
                    }
                },)+
                _ => {}
            }
        };
    }
    decode! {
        0 => link::ToInit,
        1 => link::FromInit,
        2 => link::Open,
        3 => link::ExecControl,
        4 => link::ExecReport,
        5 => link::FilesReport,
        6 => flow::Handed,
        7 => flow::Dial,
        8 => api::Open,
        9 => api::Control,
        10 => api::Report,
    }
    if which == 255 {
        let _ = wire::frame::Hello::check(payload);
    }
});
