//! Hides the loop: one thread that waits for everything at once, and hands each thing to the stream it belongs to.

use crate::{
    activity::{Activity, Step},
    capture::Capture,
    exec::{self, Exec},
    flow::Flow,
    link::{Link, LinkError},
    oom::OomKills,
    poll::{Event as Ready, Flags, Poll, Token},
    pump::{Cx, HIGH_WATER, SCRATCH},
    spawn::Spawner,
    transfer::Transfer,
    usage::usage,
    watch::{self, Watch},
};
use jail::signal::SignalFd;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::{Duration, Instant},
};
use wire::{
    Exit,
    frame::{Decoder, Frame},
    link::{ExecFailure, FromInit, Open, ToInit},
    mux::Event,
};

/// The server's own descriptors, on stream 0.
const LINK: Token = Token { stream: 0, slot: 0 };
const SIGNALS: Token = Token { stream: 0, slot: 1 };
const OUTPUT: Token = Token { stream: 0, slot: 2 };

/// Reads from the link per turn, so that a busy supervisor does not starve the programs.
const READS: usize = 8;
/// How long the end waits for output that is still on its way, and for processes that do not die.
const PATIENCE: Duration = Duration::from_secs(2);
/// The grace when the host asks by signal, as docker's.
const HOST_GRACE: Duration = Duration::from_secs(10);

/// How the loop ended.
pub type Ended = Result<(), LinkError>;

/// The sandbox is to end.
#[derive(Clone, Copy)]
struct Stopping {
    /// When SIGKILL follows.
    kill_at: Instant,
    /// When SIGKILL was sent, or nobody was left.
    last: Option<Instant>,
}

/// PID 1 at work.
pub struct Server {
    link: Link,
    poll: Poll,
    signals: SignalFd,
    spawner: Spawner,
    capture: Option<Capture>,
    /// Only where nobody outside counts them.
    oom_kills: Option<OomKills>,
    watch: Watch,
    /// After how long a silence of the link its other side is gone, where its end may go unseen.
    heartbeat: Option<Duration>,
    /// When something came over the link.
    heard: Instant,
    streams: BTreeMap<u32, Box<dyn Activity>>,
    /// Which stream a child belongs to, by its process id.
    children: BTreeMap<i32, u32>,
    /// Streams that want a step.
    runnable: BTreeSet<u32>,
    /// When the network capture, which has run out of something, tries again.
    resume_capture: Option<Instant>,
    scratch: Box<[u8]>,
    /// Programs wait because too much is queued for the link.
    congested: bool,
    /// Whether the poll tells when the link takes bytes again.
    watching_output: bool,
    stopping: Option<Stopping>,
}

impl Server {
    /// Everything that is opened is opened here.
    pub fn new(
        link: Link,
        signals: SignalFd,
        spawner: Spawner,
        capture: Option<Capture>,
        oom_kills: Option<OomKills>,
        watch: Watch,
        heartbeat: Option<Duration>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(link.input(), LINK, Flags::IN)?;
        poll.add(link.output(), OUTPUT, Flags::empty())?;
        poll.add(&signals, SIGNALS, Flags::IN)?;
        if let Some(capture) = &capture {
            capture.watch(&poll)?;
        }
        Ok(Self {
            link,
            poll,
            signals,
            spawner,
            capture,
            oom_kills,
            watch,
            heartbeat,
            heard: Instant::now(),
            streams: BTreeMap::new(),
            children: BTreeMap::new(),
            runnable: BTreeSet::new(),
            resume_capture: None,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            congested: false,
            watching_output: false,
            stopping: None,
        })
    }

    /// The link, for what is said before the loop.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Serves until the sandbox has ended.
    pub fn run(&mut self) -> Ended {
        let mut events = Vec::new();
        let mut now = Instant::now();
        // The supervisor may have sent more behind its first message.
        self.receive(now)?;
        loop {
            self.step();
            self.flush()?;
            if self.finished(now) {
                // Whose output nobody takes has ended all the same.
                for stream in self.streams.keys().copied().collect::<Vec<_>>() {
                    self.with(stream, |activity, cx| activity.last_word(cx));
                }
                return self.link.flush_all(PATIENCE);
            }
            let timeout = self.timeout(now);
            self.poll.wait(timeout, &mut events)?;
            now = Instant::now();
            for event in &events {
                self.dispatch(*event, now)?;
            }
            // What had come is heard by now, however long this process was kept from looking.
            if self.silent_at().is_some_and(|at| at <= now) {
                return Err(LinkError::Silent);
            }
            if self.resume_capture.is_some_and(|at| at <= now) {
                self.resume_capture = None;
                if let Some(capture) = &mut self.capture {
                    capture.resume(&self.poll)?;
                    self.resume_capture = capture.resume_at(now);
                }
                self.open_flows();
            }
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.runnable.is_empty() {
            return Some(Duration::ZERO);
        }
        let stop = self.stopping.map(|stopping| stopping.last.map_or(stopping.kill_at, |last| last + PATIENCE));
        let next = [self.resume_capture, stop, self.silent_at()].into_iter().flatten().min()?;
        // Up to the next millisecond, so that the time has come when the wait is over.
        Some(next.saturating_duration_since(now) + Duration::from_millis(1))
    }

    /// When its other side is gone if nothing more comes over the link.
    fn silent_at(&self) -> Option<Instant> {
        self.heartbeat.map(|limit| self.heard + limit)
    }

    fn dispatch(&mut self, event: Ready, now: Instant) -> Result<(), LinkError> {
        match event.token {
            LINK => {
                if event.readable() {
                    for _ in 0..READS {
                        if !self.link.fill()? {
                            break;
                        }
                        self.heard = now;
                        self.receive(now)?;
                    }
                }
            }
            // What came before the end is still to be read.
            OUTPUT if event.broken() && !self.link.fill()? => return Err(LinkError::Closed),
            OUTPUT => {}
            SIGNALS => self.signalled(now)?,
            Token { stream: 0, .. } => self.captured(event, now)?,
            Token { slot: watch::SLOT, .. } => {
                if let Some(told) = self.watch.ready(event, &self.spawner) {
                    self.link.tell(&told)?;
                }
            }
            Token { stream, .. } => {
                if let Some(activity) = self.streams.get_mut(&stream) {
                    activity.ready(event);
                    self.runnable.insert(stream);
                }
            }
        }
        Ok(())
    }

    /// Takes every whole frame that has arrived.
    fn receive(&mut self, now: Instant) -> Result<(), LinkError> {
        // Frames are borrowed from the decoder while the rest is at work.
        let mut decoder = std::mem::take(&mut self.link.decoder);
        let result = self.frames(&mut decoder, now);
        self.link.decoder = decoder;
        result
    }

    fn frames(&mut self, decoder: &mut Decoder, now: Instant) -> Result<(), LinkError> {
        while let Some(frame) = decoder.next()? {
            self.frame(frame, now)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), LinkError> {
        let stream = frame.stream;
        let event = self.link.mux.receive(frame)?;
        match event {
            Event::Hello(_) | Event::Nothing => return Ok(()),
            Event::Message(payload) => return self.message(wire::decode(payload)?, now),
            Event::Opened { stream, payload } => {
                let open = wire::decode(&payload)?;
                self.open(stream, open);
            }
            Event::Data { stream, bytes, .. } => {
                self.with(stream, |activity, cx| activity.data(cx, bytes));
            }
            Event::Eof { stream, channel } => {
                self.with(stream, |activity, _| activity.eof(channel));
            }
            Event::Control { stream, payload } => {
                self.with(stream, |activity, cx| activity.control(cx, payload)).transpose()?;
            }
            Event::Closed { stream } => {
                self.with(stream, |activity, cx| activity.closed(cx));
            }
            // The supervisor's opens are allowed as large as they can be.
            Event::Writable { .. } | Event::TooMuch { .. } => {}
        }
        self.runnable.insert(stream);
        Ok(())
    }

    fn with<T>(&mut self, stream: u32, what: impl FnOnce(&mut dyn Activity, &mut Cx<'_>) -> T) -> Option<T> {
        let activity = self.streams.get_mut(&stream)?;
        let mut cx = Cx {
            mux: &mut self.link.mux,
            stream,
            scratch: &mut self.scratch,
            poll: &self.poll,
            watch: &mut self.watch,
        };
        Some(what(activity.as_mut(), &mut cx))
    }

    fn message(&mut self, message: ToInit, now: Instant) -> Result<(), LinkError> {
        match message {
            ToInit::Setup(_) => Err(LinkError::Order("second setup")),
            ToInit::Usage => {
                // Without a readable /proc there is nothing to tell, which zeros say well enough.
                self.link.tell(&FromInit::Usage(usage().unwrap_or_default()))
            }
            ToInit::Heartbeat => self.link.tell(&FromInit::Heartbeat),
            ToInit::Shutdown { grace_ms } => {
                self.stop(Duration::from_millis(grace_ms.into()), now);
                Ok(())
            }
            ToInit::Dial(dial) => {
                if let Some(capture) = &mut self.capture {
                    capture.dial(dial);
                }
                self.open_flows();
                Ok(())
            }
        }
    }

    /// Makes streams of the connections that wait for it.
    fn open_flows(&mut self) {
        while let Some((handed, socket)) = self.capture.as_mut().and_then(Capture::next) {
            // Names that came out of DNS fit. What cannot be a stream is reset.
            let (Ok(payload), true) = (wire::encode(&handed), self.link.mux.can_open()) else { continue };
            let stream = self.link.mux.open(&payload);
            let cx = Cx {
                mux: &mut self.link.mux,
                stream,
                scratch: &mut self.scratch,
                poll: &self.poll,
                watch: &mut self.watch,
            };
            match socket.map(|socket| Flow::start(&cx, socket)) {
                Some(Ok(flow)) => {
                    self.streams.insert(stream, Box::new(flow));
                    self.runnable.insert(stream);
                }
                Some(Err(_)) | None => self.link.mux.close(stream),
            }
        }
    }

    fn open(&mut self, stream: u32, open: Open) {
        let mut cx = Cx {
            mux: &mut self.link.mux,
            stream,
            scratch: &mut self.scratch,
            poll: &self.poll,
            watch: &mut self.watch,
        };
        let obstacle = match self.stopping {
            Some(_) => Some("The sandbox is stopping".to_owned()),
            // Reading changes nothing.
            None if matches!(open, Open::Get(_)) => None,
            None => cx.watch.covers().lost().map(uncovered),
        };
        let started: Result<(Box<dyn Activity>, Pid), ()> = match open {
            Open::Exec(spec) => {
                let started = match obstacle {
                    Some(cause) => Err((ExecFailure::Other, cause)),
                    None => Exec::start(&cx, &spec, &self.spawner),
                };
                match started {
                    Ok((exec, pid)) => Ok((Box::new(exec), pid)),
                    Err((kind, cause)) => {
                        exec::fail(&mut cx, kind, cause);
                        Err(())
                    }
                }
            }
            Open::Put(_) | Open::Get(_) => {
                let started = match obstacle {
                    Some(cause) => Err(cause),
                    None => Transfer::start(&cx, open, &self.spawner),
                };
                match started {
                    Ok((transfer, pid)) => Ok((Box::new(transfer), pid)),
                    Err(cause) => {
                        crate::transfer::fail(&mut cx, cause);
                        Err(())
                    }
                }
            }
        };
        if let Ok((activity, pid)) = started {
            self.streams.insert(stream, activity);
            self.children.insert(pid.as_raw_pid(), stream);
        }
    }

    /// Something happens on a descriptor of the network capture.
    fn captured(&mut self, event: Ready, now: Instant) -> Result<(), LinkError> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        capture.ready(event, &self.poll, &mut self.scratch)?;
        self.resume_capture = self.resume_capture.or(capture.resume_at(now));
        self.open_flows();
        Ok(())
    }

    fn signalled(&mut self, now: Instant) -> Result<(), LinkError> {
        while let Some(received) = self.signals.read()? {
            // What a program sends to PID 1 is not the host's wish: the kernel hides who is outside as 0.
            let host = received.sender == 0;
            if host && [Signal::TERM.as_raw(), Signal::INT.as_raw()].contains(&received.signal) {
                self.stop(HOST_GRACE, now);
            }
        }
        self.reap();
        // Before the end of whoever was killed is told, in the step that follows.
        match self.oom_kills.as_mut().and_then(OomKills::news) {
            Some(kills) => self.link.tell(&FromInit::OomKills(kills)),
            None => Ok(()),
        }
    }

    /// Waits for every process that has ended: the execs, the transfers, and orphans that nobody knows.
    fn reap(&mut self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code as u8),
                        (_, Some(signal)) => Exit::Signal(signal as u8),
                        // Stopped or continued, which was not asked for.
                        _ => continue,
                    };
                    if let Some(stream) = self.children.remove(&pid.as_raw_pid())
                        && let Some(activity) = self.streams.get_mut(&stream)
                    {
                        activity.exited(exit);
                        self.runnable.insert(stream);
                    }
                }
                Ok(None) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    // No process is left.
                    if let Some(stopping) = &mut self.stopping {
                        stopping.last.get_or_insert_with(Instant::now);
                    }
                    return;
                }
            }
        }
    }

    /// Begins the end. The earlier of two wishes counts.
    fn stop(&mut self, grace: Duration, now: Instant) {
        let kill_at = now + grace;
        match &mut self.stopping {
            Some(stopping) => stopping.kill_at = stopping.kill_at.min(kill_at),
            None => {
                self.stopping = Some(Stopping { kill_at, last: None });
                // An interactive shell ignores SIGTERM; a hang-up is what its terminal's end would be.
                self.streams.values().for_each(|activity| activity.hang_up());
                // It can fail only for a caller that is not PID 1.
                let _ = jail::pid1::signal_everyone(Signal::TERM.as_raw());
                let _ = jail::pid1::signal_everyone(Signal::CONT.as_raw());
            }
        }
        self.reap();
    }

    /// Whether the sandbox has ended; kills what is left when its time has come.
    fn finished(&mut self, now: Instant) -> bool {
        let Some(stopping) = &mut self.stopping else { return false };
        match stopping.last {
            None if now >= stopping.kill_at => {
                stopping.last = Some(now);
                let _ = jail::pid1::signal_everyone(Signal::KILL.as_raw());
                false
            }
            None => false,
            // Nothing has a process any more and all was told; or somebody does not take it, or does not die.
            Some(last) => !self.streams.values().any(|activity| activity.has_process()) || now >= last + PATIENCE,
        }
    }

    /// Gives every stream that wants it a step.
    fn step(&mut self) {
        for stream in std::mem::take(&mut self.runnable) {
            match self.with(stream, |activity, cx| activity.step(cx)) {
                None | Some(Step::Wait) => {}
                Some(Step::Again) => {
                    self.runnable.insert(stream);
                }
                Some(Step::Done) => {
                    self.streams.remove(&stream);
                }
            }
        }
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        if let Some(deaf) = self.watch.deafness() {
            self.link.tell(&deaf)?;
        }
        if !self.congested && self.link.mux.output().len() >= HIGH_WATER {
            self.congested = true;
            self.watch.pause(&self.poll, true)?;
        }
        let all = self.link.flush()?;
        if all == self.watching_output {
            self.poll.modify(self.link.output(), OUTPUT, if all { Flags::empty() } else { Flags::OUT })?;
            self.watching_output = !all;
        }
        if self.congested && self.link.mux.output().len() < HIGH_WATER / 2 {
            self.congested = false;
            self.watch.pause(&self.poll, false)?;
            self.runnable.extend(self.streams.keys());
        }
        Ok(())
    }
}

/// Why nothing is done any more that could change it.
fn uncovered(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} was replaced or removed outside, which took its protection away: stop the sandbox and start it again"
    )
}
