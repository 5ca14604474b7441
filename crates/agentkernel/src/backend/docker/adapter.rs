//! Hides the process between a supervisor and an engine: it makes the container, carries the link and the connections, and
//! sees to its end.
//!
//! It parses frames of init, as the supervisor does, and answers of the engine. It has no files but what it is given, and
//! no secrets that were not the supervisor's already.

use super::{
    super::{LaunchError, native::failure},
    container::Outline,
    covers::{self, Layers},
    demultiplex::Demultiplexer,
    flows::Flows,
    heartbeat::{self, Heartbeat},
    init,
    machine::{ENDED, KILL, LOST, OOM, UNCONFIRMED},
    record, trust,
};
use crate::{
    EngineUse, Image, SandboxId, Spec, Workspace,
    engine::{self, Engine, EngineError},
    guest::Program,
};
use jail::process::{self, Fork};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{Mode, OFlags},
    net::SendFlags,
    pipe::PipeFlags,
    process::{Pid, WaitOptions, waitpid},
};
use serde_json::Value;
use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::File,
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, unix::AsyncFd},
    net::UnixStream,
    sync::Notify,
    time::timeout,
};
use wire::{
    flow::{Dial, MAX_DATAGRAM},
    frame::{self, Decoder, Kind},
    link::ToInit,
    mux::Side,
};

/// Bytes on their way to init beyond which nothing more is taken.
const HIGH_WATER: usize = 1024 * 1024;
/// How long init has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// What an adapter is made of.
pub struct Adapter<'a> {
    pub spec: &'a Spec,
    pub authority: Option<&'a str>,
    pub outline: Outline,
    /// The mark of its volumes.
    pub state: &'a str,
    pub init: Program,
    pub cache: &'a OwnedFd,
    /// The other end of the supervisor's link.
    pub link: OwnedFd,
    /// The other end of egress's flow socket.
    pub flows: OwnedFd,
    /// Where it is told how the start went.
    pub report: OwnedFd,
    /// Where orders come from.
    pub orders: OwnedFd,
    /// The right to speak to the engine about this sandbox.
    pub _claim: OwnedFd,
}

/// A project on its way to the engine.
struct Packing {
    archive: OwnedFd,
    packer: Pid,
}

impl Packing {
    /// Nobody reads it any more: waits for its packer to end.
    fn end(packer: Pid) {
        // If it can't be waited for, this process's own end sees to it.
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(packer), WaitOptions::empty()));
    }
}

/// A container that runs.
struct Running<S> {
    engine: Engine,
    container: String,
    stream: S,
    /// Whether files come by a volume of its own.
    has_volume: bool,
}

impl Adapter<'_> {
    /// Makes the container and carries its bytes until it has ended. The status of the process.
    pub fn run(self) -> i32 {
        // Everybody may see the name of a process. If it stays, nothing else is worse for it.
        let _ = process::forget_arguments(&format!("ak[{} engine]", self.spec.id));
        let workspace = match self.pack_workspace() {
            Ok(workspace) => workspace,
            Err(error) => {
                failure::send(&self.report, &error);
                return 1;
            }
        };
        engine::block_on(self.serve(workspace)).unwrap_or(1)
    }

    async fn serve(self, workspace: Option<Packing>) -> i32 {
        let Self { spec, link, flows, orders, report, .. } = &self;
        let Some(use_) = &spec.engine else { return 1 };
        let id = &spec.id;
        let running = tokio::select! {
            running = self.start(workspace) => running,
            // Whoever sees to what is left of it waits for this process to end.
            () = deserted(report) => return 1,
        };
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                failure::send(report, &error);
                return 1;
            }
        };
        let again = |fd: &OwnedFd| fd.try_clone();
        let ends = again(link).and_then(|link| Ok((link, again(flows)?, again(orders)?)));
        let Ok((link, flows, orders)) = ends else { return 1 };
        let Running { engine, container, stream, has_volume } = running;
        // It may be long until more is asked.
        engine.let_go();
        // That this closes is how the supervisor knows that it runs.
        let keep = spec.keep;
        let has_volume = has_volume && !keep;
        drop(self.report);
        let tell = |what: &[u8]| {
            let _ = rustix::net::send(&orders, what, SendFlags::NOSIGNAL);
        };
        let parting = carry(stream, link, flows, &orders, &engine, id).await;
        // However it ended: the container must not go on.
        let parted = Instant::now();
        let ended = timeout(GRACE, record::wait(&engine, &container)).await;
        let running = || async { record::runs(&engine, id).await };
        let lost = match (&parting, &ended) {
            (Parting::Asked, _) => false,
            (Parting::Silent, _) | (_, Ok(Err(_))) => true,
            (Parting::Ended, Ok(Ok(()))) => false,
            (Parting::Ended, Err(_)) => running().await,
        };
        if lost {
            tell(LOST);
        }
        if (has_volume || !matches!(ended, Ok(Ok(()))))
            && record::settle(&use_.endpoint, id, keep, parted).await.is_err()
        {
            return UNCONFIRMED;
        }
        if keep && record::ran_out_of_memory(&engine, id).await {
            tell(OOM);
        }
        ENDED
    }

    async fn start(
        &self,
        workspace: Option<Packing>,
    ) -> Result<Running<impl AsyncRead + AsyncWrite + Unpin + use<>>, LaunchError> {
        let told = |what: &'static str| move |error: EngineError| tell(what, &error);
        let use_ = self.engine()?;
        let Image::Engine(image) = &self.spec.image else {
            return Err(failure::new("image", "No image of an engine is on record", ""));
        };
        let engine = Engine::connect(&use_.endpoint).await.map_err(told("Cannot use the engine"))?;
        let there = init::is_there(&engine, self.cache, &self.init, &use_.endpoint).await;
        if !there.map_err(told("Cannot look for init"))? {
            self.put_init(&engine, use_, &image.id).await?;
        }
        let id = &self.spec.id;
        // Whoever ran it last may have been killed, and init not know it yet.
        let known = record::end(&engine, id).await.map_err(told("Cannot look for the container"))?;
        let made = known.is_none();
        let files = self.covers(&engine, &image.id).await.map_err(told("Cannot look into the image"))?;
        let authority = self.authority.filter(|_| self.spec.read_only);
        let mut workspace = match workspace {
            Some(Packing { archive, packer }) if !made => {
                // It is there from before.
                drop(archive);
                Packing::end(packer);
                None
            }
            workspace => workspace,
        };
        let mut covers = Vec::new();
        // Where no engine writes, the project comes by the volume as well.
        let copy = self.copied().and_then(|place| Some((place, workspace.take()?)));
        let has_volume = authority.is_some() || !files.is_empty() || copy.is_some();
        if has_volume {
            let (packer, copy) = copy.map(|(place, Packing { archive, packer })| (packer, (place, archive))).unzip();
            let layers = Layers { files, authority, workspace: copy };
            covers = match covers::lay(&engine, self.spec, self.state, &image.id, layers).await {
                Ok(covers) => covers,
                Err(error) => {
                    if made {
                        let _ = record::remove_volume(&engine, id).await;
                    }
                    return Err(tell("Cannot lay files over the image", &error));
                }
            };
            packer.into_iter().for_each(Packing::end);
        }
        let container = match known {
            Some(known) => match self.outline.lacks(&known, &covers) {
                None => known.id,
                Some(place) => {
                    let cause = format!("{place} must be mounted by now, and was not when the container was made");
                    let hint = "Bring back what was in its place, or make another sandbox";
                    return Err(failure::new("engine", cause, hint));
                }
            },
            None => match self.make(&engine, covers).await {
                Ok(container) => container,
                Err(error) => {
                    // The error that counts is the first one; what stays is found by `gc`.
                    let _ = record::remove(&engine, id, false).await;
                    return Err(error);
                }
            },
        };
        let begun = self.begin(&engine, use_, &image.id, &container, workspace).await;
        match begun {
            Ok(stream) => Ok(Running { engine, container, stream, has_volume }),
            Err(error) => {
                if made {
                    let _ = record::remove(&engine, id, false).await;
                }
                Err(error)
            }
        }
    }

    /// Where the copy of a project lies in an image that nobody may write to.
    fn copied(&self) -> Option<&str> {
        match &self.spec.workspace {
            Workspace::Overlay { path } if self.spec.read_only => path.to_str(),
            _ => None,
        }
    }

    /// The files that must be laid over an image that nobody may write to.
    async fn covers(&self, engine: &Engine, image: &str) -> Result<Vec<covers::Cover>, EngineError> {
        let mut files = self.outline.covers.clone();
        if self.spec.read_only {
            let about = engine::about(engine, image, self.cache).await?;
            // One that is gone, the engine says itself.
            files.extend(about.into_iter().flat_map(|about| covers::accounts(self.spec, &about.contents)));
            // Docker's has nothing of its host.
            files.extend(covers::names(self.spec).filter(|_| engine.is_podman()));
        }
        Ok(files)
    }

    /// Makes the container, and sees to it that it is run as it is to be.
    async fn make(&self, engine: &Engine, covers: Vec<Value>) -> Result<String, LaunchError> {
        let told = |error: EngineError| tell("Cannot make the container", &error);
        let path = format!("/containers/create?name={}", record::container(&self.spec.id));
        let body = self.outline.body(engine.is_podman(), &self.init, covers);
        let answer = engine.post(&path, &body).await.map_err(told)?;
        // Not every engine heeds it.
        if let Some(wanted) = &self.engine()?.runtime {
            let found = record::find(engine, &self.spec.id).await.map_err(told)?.map(|known| known.runtime);
            if found.as_ref() != Some(wanted) {
                let cause = format!("The engine takes no runtime for a single container, '{wanted}' neither");
                let hint =
                    "Podman runs all by the `runtime` of its containers.conf: name it there, and leave `--runtime` out";
                return Err(failure::new("engine", cause, hint));
            }
        }
        Ok(answer["Id"].as_str().unwrap_or_default().to_owned())
    }

    fn engine(&self) -> Result<&EngineUse, LaunchError> {
        self.spec.engine.as_ref().ok_or_else(|| failure::new("engine", "No engine is on record", ""))
    }

    async fn put_init(&self, engine: &Engine, use_: &EngineUse, image: &str) -> Result<(), LaunchError> {
        let put = init::put(engine, self.cache, &self.init, &use_.endpoint, image).await;
        put.map_err(|error| tell("Cannot bring init to the engine", &error))
    }

    /// Joins a container that was made, and starts it.
    async fn begin(
        &self,
        engine: &Engine,
        use_: &EngineUse,
        image: &str,
        container: &str,
        workspace: Option<Packing>,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, LaunchError> {
        // What a kept one has there, its programs may have made. Where they can write nothing it is the image's, which was looked
        // at, or laid over it.
        if !self.spec.read_only {
            let mounted = |path: &str| self.spec.all_mounts().any(|mount| mount.target == Path::new(path));
            let checked = engine.check_accounts(container, mounted).await;
            checked.map_err(|error| tell("Cannot start the container", &error))?;
        }
        if let Some(Packing { archive, packer }) = workspace {
            let body = engine::stream(archive).map_err(|error| tell("Cannot read the workspace", &error))?;
            let put = engine.put_archive(container, "/", body).await;
            put.map_err(|error| tell("Cannot send the workspace", &error))?;
            Packing::end(packer);
        }
        if let (Some(authority), false) = (self.authority, self.spec.read_only) {
            trust::plant(engine, container, self.spec, authority).await?;
        }
        let start = format!("/containers/{container}/start");
        for again in [false, true] {
            let joined = engine.attach(container).await;
            let stream = joined.map_err(|error| tell("Cannot join the container", &error))?;
            match engine.post(&start, &Value::Null).await {
                Ok(_) => return Ok(stream),
                // Somebody has removed the volume, and the engine has made an empty one.
                Err(error) if !again && error.to_string().contains(init::COMMAND[0]) => {
                    self.put_init(engine, use_, image).await?;
                }
                Err(error) => return Err(tell("Cannot start the container", &error)),
            }
        }
        Err(failure::new("engine", "The container does not start", ""))
    }

    /// Has a child pack the project, where it is a copy: who speaks to the engine must not wait for files. It tells itself
    /// what can't be read, before what it has written ends for the supervisor: nobody takes a part for the whole.
    fn pack_workspace(&self) -> Result<Option<Packing>, LaunchError> {
        use failure::Context as _;
        let Workspace::Overlay { path } = &self.spec.workspace else { return Ok(None) };
        let tried = "Cannot pack the workspace";
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).wall("workspace", tried, "")?;
        match process::fork().wall("workspace", tried, "")? {
            Fork::Parent(packer) => Ok(Some(Packing { archive: read, packer })),
            Fork::Child => {
                drop(read);
                let packed = self.pack(path, write);
                if let Err(error) = &packed {
                    failure::send(&self.report, error);
                }
                process::exit_now(i32::from(packed.is_err()))
            }
        }
    }

    fn pack(&self, path: &Path, to: OwnedFd) -> Result<(), LaunchError> {
        use failure::Context as _;
        let identity = &self.spec.identity;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let dir = rustix::fs::open(parent, flags, Mode::empty()).wall("workspace", "Cannot open the workspace", "")?;
        let inside = match self.copied() {
            Some(_) => covers::WORKSPACE.as_bytes(),
            None => path.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default(),
        };
        let packed = archive::pack_for(
            (identity.uid, identity.gid),
            dir.as_fd(),
            name,
            OsStr::from_bytes(inside),
            io::BufWriter::new(File::from(to)),
        );
        match packed {
            // Whoever reads no more tells why, or has no need of it.
            Ok(_) | Err(archive::PackError::Write(_)) => Ok(()),
            Err(error) => {
                let cause = format!("The workspace can't be copied: {}", wire::cause(&error));
                Err(failure::new("workspace", cause, "Make it readable, or use backend native"))
            }
        }
    }
}

/// Waits until a supervisor that still hears how the start went is gone.
async fn deserted(report: &OwnedFd) {
    match report.try_clone().and_then(watched) {
        // It never says anything.
        Ok(report) => drop(report.readable().await),
        Err(_) => std::future::pending().await,
    }
}

fn tell(what: &str, error: &EngineError) -> LaunchError {
    failure::new("engine", format!("{what}: {}", wire::cause(error)), error.hint())
}

/// Why nothing is carried any more.
enum Parting {
    /// Somebody wishes the end, or nobody is left who could.
    Asked,
    /// The engine carries no more.
    Ended,
    /// The engine is not heard of any more.
    Silent,
}

/// What waits to be sent to init: whole frames.
#[derive(Default)]
struct Outgoing {
    bytes: RefCell<Vec<u8>>,
    room: Notify,
}

/// Carries bytes until the container has ended, or must.
async fn carry(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    link: OwnedFd,
    flows: OwnedFd,
    orders: &OwnedFd,
    engine: &Engine,
    id: &SandboxId,
) -> Parting {
    // What can't be begun ends at once.
    let Ok(carrying) = carrying(stream, link, flows, orders, engine, id) else { return Parting::Asked };
    carrying.await
}

fn carrying(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    link: OwnedFd,
    flows: OwnedFd,
    orders: &OwnedFd,
    engine: &Engine,
    id: &SandboxId,
) -> io::Result<impl Future<Output = Parting>> {
    let link = std::os::unix::net::UnixStream::from(link);
    link.set_nonblocking(true)?;
    let (from_supervisor, to_supervisor) = UnixStream::from_std(link)?.into_split();
    let (from_init, to_init) = tokio::io::split(stream);
    let (outgoing, news) = (Outgoing::default(), Rc::new(Notify::new()));
    let egress = Rc::new(watched(flows)?);
    let flows = Flows::new(egress.clone(), news.clone());
    let orders = watched(orders.try_clone()?)?;
    let heartbeat = Heartbeat::new().map_err(io::Error::other)?;
    Ok(async move {
        tokio::select! {
            _ = write(&outgoing, &flows, to_init) => Parting::Ended,
            _ = take_supervisor(from_supervisor, &outgoing, &news, &heartbeat) => Parting::Asked,
            _ = take_init(from_init, to_supervisor, &flows, &heartbeat) => Parting::Ended,
            _ = take_dials(&egress, &outgoing, &news) => Parting::Asked,
            _ = await_order(&orders) => Parting::Asked,
            () = beat(&heartbeat, &outgoing, &news, engine, id) => Parting::Silent,
        }
    })
}

/// Lets init hear that somebody is there, until it is heard no more and the engine does not know of it either.
async fn beat(heartbeat: &Heartbeat, outgoing: &Outgoing, news: &Notify, engine: &Engine, id: &SandboxId) {
    loop {
        tokio::time::sleep(heartbeat::INTERVAL).await;
        if heartbeat.may_speak() {
            frame::write(&mut outgoing.bytes.borrow_mut(), Kind::Message, 0, 0, &heartbeat.payload);
            news.notify_one();
        }
        if heartbeat.is_silent() && !record::runs(engine, id).await {
            return;
        }
    }
}

#[expect(deprecated, reason = "what is unsound are descriptors that are closed early, which an OwnedFd is not")]
pub(super) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    AsyncFd::new(fd)
}

/// Sends init what there is for it.
async fn write(outgoing: &Outgoing, flows: &Flows, mut to_init: impl AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let mut bytes = std::mem::take(&mut *outgoing.bytes.borrow_mut());
        flows.take_output(&mut bytes);
        outgoing.room.notify_waiters();
        if bytes.is_empty() {
            flows.news.notified().await;
        } else {
            to_init.write_all(&bytes).await?;
            to_init.flush().await?;
        }
    }
}

/// Takes the supervisor's frames, whole, so that others may come between.
async fn take_supervisor(
    mut from: impl AsyncRead + Unpin,
    outgoing: &Outgoing,
    news: &Notify,
    heartbeat: &Heartbeat,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    loop {
        let room = outgoing.room.notified();
        if outgoing.bytes.borrow().len() > HIGH_WATER {
            room.await;
            continue;
        }
        let count = from.read(decoder.space()).await?;
        if count == 0 {
            return Ok(());
        }
        decoder.filled(count);
        while let Some(frame) = decoder.next().map_err(io::Error::other)? {
            heartbeat.pass(&frame);
            frame::write(&mut outgoing.bytes.borrow_mut(), frame.kind, frame.flags, frame.stream, frame.payload);
        }
        news.notify_one();
    }
}

/// Takes init's frames: those of connections for egress, all others for the supervisor.
async fn take_init(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flows: &Rc<Flows>,
    heartbeat: &Heartbeat,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    let (mut demultiplexer, mut decoder) = (Demultiplexer::default(), Decoder::default());
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        demultiplexer.take(&bytes[..count], |output| decoder.push(output), |_| ());
        let mut link = Vec::new();
        while let Some(frame) = decoder.next().map_err(io::Error::other)? {
            if heartbeat.hear(&frame) {
                continue;
            }
            if frame.stream != 0 && Side::Even.owns(frame.stream) {
                flows.receive(frame).map_err(io::Error::other)?;
            } else {
                frame::write(&mut link, frame.kind, frame.flags, frame.stream, frame.payload);
            }
        }
        to.write_all(&link).await?;
    }
}

/// Passes on what egress wants to be dialled.
async fn take_dials(from: &AsyncFd<OwnedFd>, outgoing: &Outgoing, news: &Notify) -> io::Result<()> {
    loop {
        let mut bytes = [0; MAX_DATAGRAM];
        let receive = |fd: &OwnedFd| jail::fd::receive(fd, 0, &mut bytes).map(|(length, _)| length);
        let length = from.async_io(Interest::READABLE, receive).await?;
        if length == 0 {
            return Ok(());
        }
        let Ok(dial) = wire::decode::<Dial>(&bytes[..length]) else { continue };
        if let Ok(payload) = wire::encode(&ToInit::Dial(dial)) {
            frame::write(&mut outgoing.bytes.borrow_mut(), Kind::Message, 0, 0, &payload);
            news.notify_one();
        }
    }
}

/// Waits until it is to end: by an order, or because nobody is left who could give one.
async fn await_order(orders: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut bytes = [0; 16];
    let receive = |fd: &OwnedFd| jail::fd::receive(fd, 0, &mut bytes).map(|(length, _)| length);
    let length = orders.async_io(Interest::READABLE, receive).await?;
    debug_assert!(length == 0 || bytes.starts_with(KILL), "there is one order");
    Ok(())
}
