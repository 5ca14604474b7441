//! The link and the control socket against a peer that sends anything: no panic, no rule broken by us, no memory
//! beyond one frame per connection and one window per stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    Channel,
    frame::{Decoder, HEADER, MAX_PAYLOAD},
    mux::{Event, Mux, Side, WINDOW},
};

fuzz_target!(|input: &[u8]| {
    // The first byte picks the side and how the bytes are cut into reads.
    let Some((&first, mut rest)) = input.split_first() else { return };
    let side = if first & 1 == 0 { Side::Odd } else { Side::Even };
    let read = 1 + usize::from(first >> 1) * 97;
    let mut mux = Mux::new(side);
    let ours = mux.open(b"ours");
    mux.advance(mux.output().len());
    let mut decoder = Decoder::default();
    let mut unconsumed = 0usize;
    while !rest.is_empty() {
        let space = decoder.space();
        assert!(!space.is_empty() && space.len() <= HEADER + MAX_PAYLOAD + 16 * 1024);
        let count = space.len().min(read).min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            match mux.receive(frame) {
                Ok(Event::Data { stream, bytes, .. }) => {
                    assert!(!bytes.is_empty());
                    let count = bytes.len();
                    // A slow consumer on odd lengths: credit must run out, not memory.
                    if count % 2 == 0 {
                        mux.consumed(stream, count)
                    } else {
                        unconsumed += count
                    }
                    assert!(unconsumed <= (mux.streams() + 1) * WINDOW as usize + input.len());
                }
                Ok(Event::Opened { stream, payload }) => {
                    assert_ne!(stream % 2 == 1, side == Side::Odd);
                    let payload = &payload[..payload.len().min(wire::frame::MAX_PAYLOAD)];
                    mux.control(stream, payload);
                    let _ = mux.data(stream, Channel::Stdout, payload);
                }
                Ok(Event::Writable { stream }) => {
                    let _ = mux.data(stream, if stream == ours { Channel::Stdin } else { Channel::Stdout }, b"more");
                }
                Ok(Event::Closed { stream }) => mux.close(stream),
                Ok(_) => {}
                Err(_) => return,
            }
            // What we say, the other side accepts: at least its frames are whole and well formed.
            if !mux.output().is_empty() {
                let mut echo = Decoder::default();
                echo.push(mux.output());
                while echo.next().expect("our own frames").is_some() {}
                assert!(!echo.is_mid_frame());
                mux.advance(mux.output().len());
            }
        }
    }
});
