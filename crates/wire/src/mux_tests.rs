use super::*;
use crate::frame::Decoder;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NONE: &[u8] = &[];

fn receive<'a>(mux: &mut Mux, kind: Kind, flags: u8, stream: u32, payload: &'a [u8]) -> Result<Event<'a>, MuxError> {
    mux.receive(Frame { kind, flags, stream, payload })
}

fn hello() -> Vec<u8> {
    let mut frame = Vec::new();
    Hello::own().write(&mut frame);
    frame.split_off(frame::HEADER)
}

/// A mux whose peer has said hello, its own hello taken out of its output.
fn greeted(side: Side) -> Mux {
    let mut mux = Mux::new(side);
    receive(&mut mux, Kind::Hello, 0, 0, &hello()).unwrap();
    sent(&mut mux);
    mux
}

/// Takes everything out of the output, as frames.
fn sent(mux: &mut Mux) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let mut decoder = Decoder::default();
    decoder.push(mux.output());
    mux.advance(mux.output().len());
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next().unwrap() {
        frames.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
    }
    assert!(!decoder.is_mid_frame());
    frames
}

const STDIN: u8 = Channel::Stdin as u8;
const STDOUT: u8 = Channel::Stdout as u8;
const STDERR: u8 = Channel::Stderr as u8;

#[test]
fn hello_comes_first_on_both_sides() {
    let mut mux = Mux::new(Side::Odd);
    assert_eq!(sent(&mut mux), [(Kind::Hello, 0, 0, hello())]);
    assert_eq!(receive(&mut mux, Kind::Message, 0, 0, b"x"), Err(MuxError::HelloOrder));
    assert_eq!(receive(&mut mux, Kind::Open, 0, 2, b"x"), Err(MuxError::HelloOrder));
    assert_eq!(receive(&mut mux, Kind::Hello, 0, 0, &hello()), Ok(Event::Hello(Hello::own())));
    assert_eq!(receive(&mut mux, Kind::Hello, 0, 0, &hello()), Err(MuxError::HelloOrder));
}

#[test]
fn who_stands_between_has_one_half_and_no_hello() {
    let mut mux = Mux::between(Side::Odd);
    assert!(mux.output().is_empty());
    let opened = receive(&mut mux, Kind::Open, 0, 2, b"flow");
    assert_eq!(opened, Ok(Event::Opened { stream: 2, payload: Cow::Borrowed(b"flow") }));
    assert_eq!(mux.data(2, Channel::Stdout, b"back"), 4);
    assert_eq!(sent(&mut mux), [(Kind::Data, STDOUT, 2, b"back".to_vec())]);
    // What init may not say to anybody, it may not say to him.
    assert_eq!(receive(&mut mux, Kind::Hello, 0, 0, &hello()), Err(MuxError::HelloOrder));
    assert_eq!(receive(&mut mux, Kind::Part, 0, 4, b"much"), Err(MuxError::BadPart(4)));
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, 2, b"x"), Err(MuxError::BadData(2)));
}

#[test]
fn a_bad_hello_is_refused() {
    let mut mux = Mux::new(Side::Odd);
    assert_eq!(receive(&mut mux, Kind::Hello, 0, 0, b"GET / HTTP/1.1"), Err(HelloError::NotOurs.into()));
    let error = receive(&mut mux, Kind::Hello, 0, 0, b"AKWIRE\xff\xff2.0").unwrap_err();
    assert_eq!(error, HelloError::Version { protocol: 0xffff, version: "2.0".to_owned() }.into());
}

#[test]
fn messages_pass() {
    let mut mux = greeted(Side::Odd);
    assert_eq!(receive(&mut mux, Kind::Message, 0, 0, b"ready"), Ok(Event::Message(b"ready")));
    mux.message(b"setup");
    assert_eq!(sent(&mut mux), [(Kind::Message, 0, 0, b"setup".to_vec())]);
}

#[test]
fn each_side_opens_its_own_half() {
    let mut odd = greeted(Side::Odd);
    assert_eq!((odd.open(b"a"), odd.open(b"b")), (1, 3));
    assert_eq!(sent(&mut odd), [(Kind::Open, 0, 1, b"a".to_vec()), (Kind::Open, 0, 3, b"b".to_vec())]);
    let mut even = greeted(Side::Even);
    assert_eq!((even.open(b"a"), even.open(b"b")), (2, 4));
    for (mux, bad) in [(&mut odd, 5), (&mut even, 6)] {
        assert_eq!(receive(mux, Kind::Open, 0, bad, NONE), Err(MuxError::BadOpen(bad)));
    }
}

#[test]
fn stream_numbers_grow_and_never_return() {
    let mut mux = greeted(Side::Odd);
    assert_eq!(receive(&mut mux, Kind::Open, 0, 8, b"x"), Ok(Event::Opened { stream: 8, payload: b"x"[..].into() }));
    assert_eq!(receive(&mut mux, Kind::Open, 0, 8, b"x"), Err(MuxError::BadOpen(8)));
    assert_eq!(receive(&mut mux, Kind::Open, 0, 6, b"x"), Err(MuxError::BadOpen(6)));
    mux.close(8);
    assert_eq!(receive(&mut mux, Kind::Close, 0, 8, NONE), Ok(Event::Nothing));
    assert_eq!(mux.streams(), 0);
    assert_eq!(receive(&mut mux, Kind::Open, 0, 8, b"x"), Err(MuxError::BadOpen(8)), "used before");
    assert!(receive(&mut mux, Kind::Open, 0, 10, b"x").is_ok());
}

#[test]
fn the_peer_cannot_open_streams_without_end() {
    let mut mux = greeted(Side::Odd);
    for number in 1..=MAX_STREAMS as u32 {
        assert!(receive(&mut mux, Kind::Open, 0, 2 * number, NONE).is_ok());
    }
    let next = 2 * (MAX_STREAMS as u32 + 1);
    assert_eq!(receive(&mut mux, Kind::Open, 0, next, NONE), Err(MuxError::TooManyStreams));
    assert!(mux.can_open(), "the peer's streams are no hindrance to ours");
    // Half closed is still open; closed by both makes room for one.
    assert!(receive(&mut mux, Kind::Close, 0, 2, NONE).is_ok());
    assert_eq!(receive(&mut mux, Kind::Open, 0, next, NONE), Err(MuxError::TooManyStreams));
    mux.close(2);
    assert!(receive(&mut mux, Kind::Open, 0, next, NONE).is_ok());
    assert_eq!(receive(&mut mux, Kind::Open, 0, next + 2, NONE), Err(MuxError::TooManyStreams));
}

#[test]
fn a_side_knows_when_it_may_not_open() {
    let mut mux = greeted(Side::Even);
    for _ in 0..MAX_STREAMS {
        assert!(mux.can_open());
        mux.open(NONE);
    }
    assert!(!mux.can_open());
    mux.close(2);
    assert!(!mux.can_open(), "the peer has not closed it yet");
    assert_eq!(receive(&mut mux, Kind::Close, 0, 2, NONE), Ok(Event::Nothing));
    assert!(mux.can_open());
    mux.next = u32::MAX - 1;
    assert!(!mux.can_open(), "stream numbers are used up");
}

#[test]
fn frames_for_unknown_streams_are_refused() {
    let mut mux = greeted(Side::Odd);
    mux.open(NONE);
    for stream in [2, 3, u32::MAX] {
        for (kind, payload) in [
            (Kind::Data, &b"x"[..]),
            (Kind::Eof, NONE),
            (Kind::Credit, &[1, 0, 0, 0]),
            (Kind::Control, b"x"),
            (Kind::Close, NONE),
        ] {
            assert_eq!(receive(&mut mux, kind, 0, stream, payload), Err(MuxError::UnknownStream(stream)), "{kind:?}");
        }
    }
}

#[test]
fn data_flows_in_its_direction_only() {
    let mut mux = greeted(Side::Odd);
    let ours = mux.open(NONE);
    receive(&mut mux, Kind::Open, 0, 2, NONE).unwrap();
    for (stream, channel, good) in [
        (ours, STDIN, false),
        (ours, STDOUT, true),
        (ours, STDERR, true),
        (2, STDIN, true),
        (2, STDOUT, false),
        (2, STDERR, false),
    ] {
        let got = receive(&mut mux, Kind::Data, channel, stream, b"x");
        let event = Event::Data { stream, channel: Channel::try_from(channel).unwrap(), bytes: b"x" };
        assert_eq!(got, if good { Ok(event) } else { Err(MuxError::BadData(stream)) });
        let got = receive(&mut mux, Kind::Eof, channel, stream, NONE);
        let event = Event::Eof { stream, channel: Channel::try_from(channel).unwrap() };
        assert_eq!(got, if good { Ok(event) } else { Err(MuxError::BadData(stream)) });
    }
}

#[test]
fn a_channel_out_of_range_is_refused() {
    // The decoder refuses it too; the mux does not rely on that.
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    assert_eq!(receive(&mut mux, Kind::Data, 3, stream, b"x"), Err(FrameError::Channel(3).into()));
}

#[test]
fn nothing_follows_an_end_of_file_on_its_channel() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    assert!(receive(&mut mux, Kind::Eof, STDOUT, stream, NONE).is_ok());
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, b"x"), Err(MuxError::BadData(stream)));
    assert_eq!(receive(&mut mux, Kind::Eof, STDOUT, stream, NONE), Err(MuxError::BadData(stream)));
    assert!(receive(&mut mux, Kind::Data, STDERR, stream, b"x").is_ok(), "the other channel goes on");
}

#[test]
fn empty_data_and_full_ends_are_refused() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, NONE), Err(MuxError::BadData(stream)));
    assert_eq!(receive(&mut mux, Kind::Eof, STDOUT, stream, b"x"), Err(MuxError::BadData(stream)));
    assert_eq!(receive(&mut mux, Kind::Close, 0, stream, b"x"), Err(MuxError::BadData(stream)));
    assert!(mux.is_open(stream));
}

#[test]
fn nothing_follows_a_close() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    assert_eq!(receive(&mut mux, Kind::Close, 0, stream, NONE), Ok(Event::Closed { stream }));
    for (kind, payload) in
        [(Kind::Data, &b"x"[..]), (Kind::Eof, NONE), (Kind::Credit, &[1, 0, 0, 0]), (Kind::Control, b"x")]
    {
        assert_eq!(receive(&mut mux, kind, STDOUT, stream, payload), Err(MuxError::AfterClose(stream)), "{kind:?}");
    }
    assert_eq!(receive(&mut mux, Kind::Close, 0, stream, NONE), Err(MuxError::AfterClose(stream)));
    mux.close(stream);
    assert_eq!(receive(&mut mux, Kind::Close, 0, stream, NONE), Err(MuxError::UnknownStream(stream)));
}

#[test]
fn the_window_is_all_that_the_peer_may_send() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    sent(&mut mux);
    let full = vec![0; MAX_PAYLOAD];
    // Both channels draw on the one window of their stream.
    for channel in [STDOUT, STDERR, STDOUT, STDERR] {
        assert!(receive(&mut mux, Kind::Data, channel, stream, &full).is_ok());
    }
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, b"x"), Err(MuxError::NoCredit(stream)));
    assert!(mux.output().is_empty(), "nothing was consumed, nothing is granted");
}

#[test]
fn consuming_grants_in_halves() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    sent(&mut mux);
    let full = vec![0; MAX_PAYLOAD];
    for _ in 0..4 {
        receive(&mut mux, Kind::Data, STDOUT, stream, &full).unwrap();
    }
    let half = WINDOW / 2;
    mux.consumed(stream, half as usize - 1);
    assert!(mux.output().is_empty());
    mux.consumed(stream, 1);
    assert_eq!(sent(&mut mux), [(Kind::Credit, 0, stream, half.to_le_bytes().to_vec())]);
    receive(&mut mux, Kind::Data, STDOUT, stream, &full).unwrap();
    receive(&mut mux, Kind::Data, STDOUT, stream, &full).unwrap();
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, b"x"), Err(MuxError::NoCredit(stream)));
}

#[test]
fn bad_credit_is_refused() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    let credit = |mux: &mut Mux, bytes: &[u8]| receive(mux, Kind::Credit, 0, stream, bytes).err();
    let bad = Some(MuxError::BadCredit(stream));
    assert_eq!(credit(&mut mux, &[]), bad);
    assert_eq!(credit(&mut mux, &[1, 0, 0]), bad);
    assert_eq!(credit(&mut mux, &[1, 0, 0, 0, 0]), bad);
    assert_eq!(credit(&mut mux, &0u32.to_le_bytes()), bad, "zero would wake us for nothing");
    assert_eq!(credit(&mut mux, &1u32.to_le_bytes()), bad, "the window is full");
    assert_eq!(mux.data(stream, Channel::Stdin, b"1234"), 4);
    assert_eq!(credit(&mut mux, &5u32.to_le_bytes()), bad);
    assert_eq!(credit(&mut mux, &u32::MAX.to_le_bytes()), bad, "no overflow");
    assert_eq!(credit(&mut mux, &4u32.to_le_bytes()), None);
    assert_eq!(mux.credit(stream), WINDOW as usize);
}

#[test]
fn sending_stops_at_the_credit_and_is_cut_to_frames() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    sent(&mut mux);
    let bytes: Vec<u8> = (0..WINDOW + 10).map(|i| i as u8).collect();
    assert_eq!(mux.data(stream, Channel::Stdin, &bytes), WINDOW as usize);
    assert_eq!(mux.data(stream, Channel::Stdin, &bytes), 0);
    let frames = sent(&mut mux);
    assert_eq!(frames.len(), 4);
    let data: Vec<u8> = frames.into_iter().flat_map(|(.., payload)| payload).collect();
    assert!(data == bytes[..WINDOW as usize]);
    assert_eq!(
        receive(&mut mux, Kind::Credit, 0, stream, &7u32.to_le_bytes()),
        Ok(Event::Writable { stream }),
        "the peer wakes a sender that waits"
    );
    assert_eq!(mux.data(stream, Channel::Stdin, &bytes), 7);
}

#[test]
fn a_closed_side_hears_nothing_but_still_judges() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    mux.close(stream);
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, b"x"), Ok(Event::Nothing));
    assert_eq!(receive(&mut mux, Kind::Control, 0, stream, b"x"), Ok(Event::Nothing));
    assert_eq!(receive(&mut mux, Kind::Eof, STDOUT, stream, NONE), Ok(Event::Nothing));
    assert_eq!(receive(&mut mux, Kind::Data, STDOUT, stream, b"x"), Err(MuxError::BadData(stream)));
    let full = vec![0; MAX_PAYLOAD];
    for _ in 0..3 {
        assert_eq!(receive(&mut mux, Kind::Data, STDERR, stream, &full), Ok(Event::Nothing));
    }
    assert_eq!(receive(&mut mux, Kind::Data, STDERR, stream, &full), Err(MuxError::NoCredit(stream)));
    assert_eq!(receive(&mut mux, Kind::Close, 0, stream, NONE), Ok(Event::Nothing));
    assert_eq!(mux.streams(), 0);
}

#[test]
fn a_closed_side_says_nothing_more() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    sent(&mut mux);
    receive(&mut mux, Kind::Data, STDOUT, stream, &[0; MAX_PAYLOAD]).unwrap();
    assert!(mux.is_open(stream));
    mux.close(stream);
    assert!(!mux.is_open(stream));
    assert_eq!(sent(&mut mux), [(Kind::Close, 0, stream, Vec::new())]);
    mux.close(stream);
    mux.control(stream, b"x");
    mux.eof(stream, Channel::Stdin);
    mux.consumed(stream, MAX_PAYLOAD);
    assert_eq!(mux.credit(stream), 0);
    assert_eq!(mux.data(stream, Channel::Stdin, b"x"), 0);
    assert!(mux.output().is_empty());
    for unknown in [0, 2, 99] {
        mux.close(unknown);
        mux.control(unknown, b"x");
        mux.eof(unknown, Channel::Stdin);
        mux.consumed(unknown, 1);
        assert_eq!(mux.data(unknown, Channel::Stdin, b"x"), 0);
    }
    assert!(mux.output().is_empty());
}

#[test]
fn a_stream_closed_by_the_peer_takes_no_data() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    for _ in 0..4 {
        receive(&mut mux, Kind::Data, STDOUT, stream, &[0; MAX_PAYLOAD]).unwrap();
    }
    receive(&mut mux, Kind::Close, 0, stream, NONE).unwrap();
    sent(&mut mux);
    mux.consumed(stream, WINDOW as usize);
    assert!(mux.output().is_empty(), "who sends no more needs no credit");
    assert_eq!(mux.credit(stream), 0);
    assert_eq!(mux.data(stream, Channel::Stdin, b"x"), 0);
    mux.close(stream);
    assert_eq!(sent(&mut mux), [(Kind::Close, 0, stream, Vec::new())]);
    assert_eq!(mux.streams(), 0);
}

#[test]
fn an_end_of_file_is_said_once() {
    let mut mux = greeted(Side::Even);
    receive(&mut mux, Kind::Open, 0, 1, NONE).unwrap();
    mux.eof(1, Channel::Stdout);
    mux.eof(1, Channel::Stdout);
    mux.eof(1, Channel::Stderr);
    assert_eq!(sent(&mut mux), [(Kind::Eof, STDOUT, 1, Vec::new()), (Kind::Eof, STDERR, 1, Vec::new())]);
}

#[test]
fn output_that_was_written_is_freed() {
    let mut mux = greeted(Side::Odd);
    let stream = mux.open(NONE);
    assert_eq!(mux.data(stream, Channel::Stdin, &vec![0; WINDOW as usize]), WINDOW as usize);
    mux.advance(mux.output().len() - 1);
    assert_eq!(mux.output().len(), 1);
    mux.control(stream, b"x");
    assert_eq!(mux.output().len(), 1 + frame::HEADER + 1);
    assert!(mux.output.len() < MAX_PAYLOAD, "what was written does not stay");
    mux.advance(mux.output().len());
    assert!(mux.output().is_empty() && mux.output.capacity() <= MAX_PAYLOAD);
}

/// Two sides, their wires, and a model of what must arrive.
struct Pair {
    sides: [End; 2],
}

struct End {
    mux: Mux,
    decoder: Decoder,
    /// Every stream that this end has heard of and not closed.
    streams: BTreeMap<u32, Flows>,
    controls: usize,
}

/// One end's view of one stream.
#[derive(Default)]
struct Flows {
    sent: [u64; 3],
    ended: [bool; 3],
    received: [u64; 3],
    unconsumed: usize,
    peer_ended: [bool; 3],
    peer_closed: bool,
}

/// The byte at an offset of a channel: no two channels look alike.
fn pattern(stream: u32, channel: usize, offset: u64) -> u8 {
    (offset ^ (offset >> 8)).wrapping_mul(31).wrapping_add(u64::from(stream) * 7 + channel as u64) as u8
}

const CHANNELS: [Channel; 3] = [Channel::Stdin, Channel::Stdout, Channel::Stderr];

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Send { side: usize, pick: usize, channel: usize, length: usize },
    Control { side: usize, pick: usize },
    Eof { side: usize, pick: usize, channel: usize },
    Consume { side: usize, pick: usize, length: usize },
    Close { side: usize, pick: usize },
    Carry { from: usize, length: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let side = 0usize..2;
    let pick = any::<usize>();
    prop_oneof![
        2 => side.clone().prop_map(Step::Open),
        6 => (side.clone(), pick, 0usize..3, 1usize..200_000)
            .prop_map(|(side, pick, channel, length)| Step::Send { side, pick, channel, length }),
        2 => (side.clone(), pick).prop_map(|(side, pick)| Step::Control { side, pick }),
        1 => (side.clone(), pick, 0usize..3).prop_map(|(side, pick, channel)| Step::Eof { side, pick, channel }),
        4 => (side.clone(), pick, 1usize..200_000).prop_map(|(side, pick, length)| Step::Consume { side, pick, length }),
        1 => (side.clone(), pick).prop_map(|(side, pick)| Step::Close { side, pick }),
        8 => (side, 1usize..100_000).prop_map(|(from, length)| Step::Carry { from, length }),
    ]
}

impl Pair {
    fn new() -> Self {
        let end =
            |side| End { mux: Mux::new(side), decoder: Decoder::default(), streams: BTreeMap::new(), controls: 0 };
        Self { sides: [end(Side::Odd), end(Side::Even)] }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open(side) => {
                let end = &mut self.sides[side];
                let stream = end.mux.open(b"open");
                end.streams.insert(stream, Flows::default());
            }
            Step::Send { side, pick, channel, length } => self.sides[side].send(pick, channel, length),
            Step::Control { side, pick } => {
                let end = &mut self.sides[side];
                if let Some(stream) = end.pick(pick) {
                    end.mux.control(stream, b"control");
                }
            }
            Step::Eof { side, pick, channel } => {
                let end = &mut self.sides[side];
                if let Some(stream) = end.pick(pick).filter(|&stream| end.may_send(stream, channel)) {
                    end.mux.eof(stream, CHANNELS[channel]);
                    end.streams.get_mut(&stream).unwrap().ended[channel] = true;
                }
            }
            Step::Consume { side, pick, length } => {
                let end = &mut self.sides[side];
                if let Some(stream) = end.pick(pick) {
                    end.consume(stream, length);
                }
            }
            Step::Close { side, pick } => {
                let end = &mut self.sides[side];
                if let Some(stream) = end.pick(pick) {
                    end.mux.close(stream);
                    end.streams.remove(&stream);
                }
            }
            Step::Carry { from, length } => {
                self.carry(from, length);
            }
        }
    }

    /// Moves bytes from one end's output into the other end.
    fn carry(&mut self, from: usize, length: usize) -> bool {
        let [odd, even] = &mut self.sides;
        let (from, to) = if from == 0 { (odd, even) } else { (even, odd) };
        let count = from.mux.output().len().min(length);
        to.decoder.push(&from.mux.output()[..count]);
        from.mux.advance(count);
        to.take();
        count > 0
    }

    /// Consumes and carries until nothing moves: whatever was sent arrives.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                for stream in self.sides[side].streams.keys().copied().collect::<Vec<_>>() {
                    self.sides[side].consume(stream, usize::MAX);
                }
                moved |= self.carry(side, usize::MAX);
            }
            if !moved {
                return;
            }
        }
    }
}

impl End {
    fn pick(&self, pick: usize) -> Option<u32> {
        let count = self.streams.len();
        self.streams.keys().nth(pick.checked_rem(count)?).copied()
    }

    fn may_send(&self, stream: u32, channel: usize) -> bool {
        let outwards = self.mux.side.owns(stream) == (CHANNELS[channel] == Channel::Stdin);
        outwards && !self.streams[&stream].ended[channel]
    }

    fn send(&mut self, pick: usize, channel: usize, length: usize) {
        let Some(stream) = self.pick(pick).filter(|&stream| self.may_send(stream, channel)) else {
            return;
        };
        let flows = self.streams.get_mut(&stream).unwrap();
        let offset = flows.sent[channel];
        let bytes: Vec<u8> = (offset..offset + length as u64).map(|at| pattern(stream, channel, at)).collect();
        flows.sent[channel] += self.mux.data(stream, CHANNELS[channel], &bytes) as u64;
    }

    fn consume(&mut self, stream: u32, length: usize) {
        let flows = self.streams.get_mut(&stream).unwrap();
        let count = flows.unconsumed.min(length);
        flows.unconsumed -= count;
        self.mux.consumed(stream, count);
    }

    fn take(&mut self) {
        while let Some(frame) = self.decoder.next().expect("a well-behaved peer sends frames") {
            match self.mux.receive(frame).expect("a well-behaved peer breaks no rule") {
                Event::Opened { stream, .. } => {
                    assert!(self.streams.insert(stream, Flows::default()).is_none());
                }
                Event::Data { stream, channel, bytes } => {
                    let flows = self.streams.get_mut(&stream).expect("late data is told apart");
                    let channel = channel as usize;
                    assert!(!flows.peer_ended[channel] && !flows.peer_closed);
                    for &byte in bytes {
                        assert_eq!(byte, pattern(stream, channel, flows.received[channel]));
                        flows.received[channel] += 1;
                    }
                    flows.unconsumed += bytes.len();
                    assert!(flows.unconsumed <= WINDOW as usize);
                }
                Event::Eof { stream, channel } => {
                    let flows = self.streams.get_mut(&stream).expect("a late end is told apart");
                    flows.peer_ended[channel as usize] = true;
                }
                Event::Closed { stream } => {
                    self.streams.get_mut(&stream).expect("a late close is told apart").peer_closed = true;
                }
                Event::Control { payload, .. } => {
                    assert_eq!(payload, b"control");
                    self.controls += 1;
                }
                Event::TooMuch { .. } => panic!("nothing is disallowed"),
                Event::Hello(_) | Event::Message(_) | Event::Writable { .. } | Event::Nothing => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn two_sides_deliver_every_byte_in_order(steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        pair.settle();
        let [odd, even] = &pair.sides;
        prop_assert!(!odd.decoder.is_mid_frame() && !even.decoder.is_mid_frame());
        for (end, peer) in [(odd, even), (even, odd)] {
            for (stream, flows) in &end.streams {
                let Some(other) = peer.streams.get(stream) else {
                    prop_assert!(flows.peer_closed, "the peer's close arrived");
                    continue;
                };
                prop_assert_eq!(flows.sent, other.received);
                prop_assert_eq!(flows.ended, other.peer_ended);
                prop_assert!(!flows.peer_closed);
                // All was consumed: less than half a window is kept back for the next grant.
                prop_assert!(end.mux.credit(*stream) > WINDOW as usize / 2);
            }
            prop_assert_eq!(end.mux.streams(), end.streams.keys().chain(peer.streams.keys()).collect::<std::collections::BTreeSet<_>>().len());
        }
    }

    #[test]
    fn a_long_transfer_never_stalls(chunks in proptest::collection::vec(1usize..300_000, 1..6)) {
        let mut pair = Pair::new();
        pair.step(&Step::Open(0));
        let mut sent = 0;
        for length in chunks {
            sent += length as u64;
            while pair.sides[0].streams[&1].sent[0] < sent {
                let before = pair.sides[0].streams[&1].sent[0];
                pair.sides[0].send(0, 0, (sent - before) as usize);
                prop_assert!(pair.sides[0].streams[&1].sent[0] > before, "credit comes back");
                pair.settle();
            }
        }
        prop_assert_eq!(pair.sides[1].streams[&1].received[0], sent);
    }
}

proptest! {
    #[test]
    fn a_hostile_peer_ends_only_its_connection(
        frames in proptest::collection::vec((0u8..8, 0u8..4, 0u32..9, proptest::collection::vec(any::<u8>(), 0..6)), 0..300),
        side in prop_oneof![Just(Side::Odd), Just(Side::Even)],
    ) {
        let mut mux = greeted(side);
        mux.open(b"ours");
        for (kind, flags, stream, payload) in &frames {
            // A caller would hang up at the first error; going on looks for states that no error may leave behind.
            match receive(&mut mux, Kind::try_from(*kind).unwrap(), *flags, *stream, payload) {
                Ok(Event::Data { stream, bytes, .. }) => mux.consumed(stream, bytes.len()),
                Ok(Event::Closed { stream }) => mux.close(stream),
                Ok(_) | Err(_) => {}
            }
            prop_assert!(mux.credit(*stream) <= WINDOW as usize);
        }
        prop_assert!(mux.theirs < 5 && mux.streams() <= mux.theirs + 1);
        prop_assert!(mux.output().len() < 200, "a peer cannot make us talk");
    }
}

/// Moves everything from one side to the other, and gives what was opened there.
fn opens(from: &mut Mux, to: &mut Mux) -> Vec<(u32, Vec<u8>)> {
    let mut opened = Vec::new();
    for (kind, flags, stream, payload) in sent(from) {
        if let Event::Opened { stream, payload } = receive(to, kind, flags, stream, &payload).unwrap() {
            opened.push((stream, payload.into_owned()));
        }
    }
    opened
}

#[test]
fn the_trusted_side_opens_with_more_than_a_frame() {
    let (mut ours, mut theirs) = (greeted(Side::Odd), greeted(Side::Even));
    for size in [0, 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 3 * MAX_PAYLOAD, MAX_OPEN] {
        let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let stream = ours.open(&payload);
        assert!(opens(&mut ours, &mut theirs) == [(stream, payload)], "{size}");
    }
}

#[test]
fn an_open_of_more_than_is_allowed_is_not_kept_and_ends_nothing() {
    let (mut ours, mut theirs) = (greeted(Side::Odd), greeted(Side::Even));
    theirs.allow(2 * MAX_PAYLOAD);
    let stream = ours.open(&vec![7; 4 * MAX_PAYLOAD]);
    let frames = sent(&mut ours);
    let (last, parts) = frames.split_last().unwrap();
    let mut most = 0;
    for (kind, flags, stream, payload) in parts {
        assert_eq!(receive(&mut theirs, *kind, *flags, *stream, payload), Ok(Event::Nothing));
        most = most.max(theirs.unfinished());
    }
    assert!((MAX_PAYLOAD..=2 * MAX_PAYLOAD).contains(&most) && theirs.unfinished() == 0, "{most}");
    // Room that comes too late does not make a whole of what lacks a part.
    theirs.allow(MAX_OPEN);
    let (kind, flags, _, payload) = last;
    assert_eq!(receive(&mut theirs, *kind, *flags, stream, payload), Ok(Event::TooMuch { stream }));
    assert!(theirs.is_open(stream));
    let stream = ours.open(&vec![7; 4 * MAX_PAYLOAD]);
    assert_eq!(opens(&mut ours, &mut theirs), [(stream, vec![7; 4 * MAX_PAYLOAD])]);
}

#[test]
fn an_open_that_has_begun_is_ended_and_bounded() {
    let full = [7; MAX_PAYLOAD];
    let begun = || {
        let mut mux = greeted(Side::Even);
        assert_eq!(receive(&mut mux, Kind::Part, 0, 5, &full), Ok(Event::Nothing));
        mux
    };
    for (kind, stream, payload) in [
        (Kind::Message, 0, &full[..]),
        (Kind::Open, 7, b"x"),
        (Kind::Part, 7, b"x"),
        (Kind::Part, 5, NONE),
        (Kind::Close, 5, NONE),
    ] {
        assert_eq!(receive(&mut begun(), kind, 0, stream, payload), Err(MuxError::BadPart(stream)), "{kind:?}");
    }
    let mut mux = begun();
    for _ in 2..MAX_OPEN / MAX_PAYLOAD {
        assert_eq!(receive(&mut mux, Kind::Part, 0, 5, &full), Ok(Event::Nothing));
    }
    assert_eq!(receive(&mut mux, Kind::Part, 0, 5, b"x"), Err(MuxError::BadPart(5)));
    // Not the other side's, not an old number, and nothing of the kind from init.
    assert_eq!(receive(&mut greeted(Side::Even), Kind::Part, 0, 4, b"x"), Err(MuxError::BadPart(4)));
    let mut mux = begun();
    assert!(matches!(receive(&mut mux, Kind::Open, 0, 5, b"x"), Ok(Event::Opened { stream: 5, .. })));
    assert_eq!(receive(&mut mux, Kind::Part, 0, 5, b"x"), Err(MuxError::BadPart(5)));
    assert_eq!(receive(&mut greeted(Side::Odd), Kind::Part, 0, 4, b"x"), Err(MuxError::BadPart(4)));
}
