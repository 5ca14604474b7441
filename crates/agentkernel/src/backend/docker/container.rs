//! Hides how a spec becomes a container: what the engine is told to make, and what init is told to do in it.

use super::{
    super::{
        LaunchError,
        native::{
            dev::{PROC_HIDDEN, PROC_READ_ONLY},
            etc::{self, accounts},
            failure::{self, Context as _},
            masks::{self, Masks},
            plan::open_path,
            walls::{limits, protected, writable},
        },
    },
    covers::Cover,
    heartbeat, init,
    record::{Known, LABEL_ID, LABEL_STATE, LABEL_VERSION},
};
use crate::{
    Image, Spec, Workspace,
    engine::{LABEL_OWNER, owner},
    guest::Program,
};
use jail::fd::open_beneath;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use serde_json::{Map, Value, json};
use std::path::Path;
use wire::{
    OsBytes, RlimitKind,
    flow::AGENT,
    link::{Node, Prepare, Seen, Setup, Wall},
};

/// What init needs to prepare its machine and to raise its walls; it gives all up but the last three, which no program
/// gets either.
const CAPABILITIES: [&str; 7] = ["NET_ADMIN", "SETPCAP", "CHOWN", "DAC_OVERRIDE", "SETUID", "SETGID", "KILL"];
/// What only the host's root can read of /proc, who may be root here. (What takes a capability as well is refused by that:
/// a mask could be opened.)
const ROOTS_ONLY: &[&str] = &["pagetypeinfo", "slabinfo", "vmallocinfo"];
/// What tells of the host's devices and kernel.
const SYS_HIDDEN: &[&str] =
    &["block", "bus", "class", "dev", "devices", "firmware", "hypervisor", "kernel", "module", "power"];
/// What the directory of the ssh-agent's socket may hold, in bytes: a page is the least.
const AGENT_SIZE: u64 = 4096;
/// What the kernel lets programs share, where memory has no limit.
const SHARED_MEMORY: u64 = 1 << 30;

/// A container to be made, and what init does in it.
#[derive(Debug)]
pub struct Outline {
    /// For the engine: all but the program.
    body: Value,
    /// What else than init is mounted, by place, and whether it is read-only.
    mounted: Vec<(String, bool)>,
    /// What must lie over an image that nobody may write to.
    pub covers: Vec<Cover>,
    pub setup: Setup,
    walls: Vec<Wall>,
}

/// Open files that every engine allows, and that are enough for init whatever its programs may have: the kernel's own limit.
const LEAST_NOFILE: u64 = 4096;

impl Outline {
    /// # Errors
    /// If something that is to be mounted cannot be, or is not where it was.
    pub fn new(spec: &Spec, masks: &Masks, state: &str) -> Result<Self, LaunchError> {
        let Image::Engine(image) = &spec.image else {
            return Err(failure::new("image", format!("Image {} is none of an engine", spec.image), ""));
        };
        let mut mounts = Mounts::default();
        if let Workspace::Direct { path, .. } = &spec.workspace {
            mounts.project(path, masks, spec.agent.as_ref().map(|agent| agent.empty.as_path()))?;
        }
        for mount in spec.all_mounts() {
            let fd = open_path(&mount.source).wall("mounts", format!("Cannot open {}", mount.source.display()), "")?;
            let stat =
                rustix::fs::fstat(fd).wall("mounts", format!("Cannot examine {}", mount.source.display()), "")?;
            mounts.bind(&mount.source, &mount.target, &stat, mount.read_only)?;
        }
        let memory = memory(spec);
        let limits = &spec.limits;
        // In a container without ids of its own the kernel counts those of the whole host.
        let nproc = limits.rlimits.iter().find(|limit| limit.kind == RlimitKind::Nproc).map(|limit| limit.value);
        let mut host = json!({
            "NetworkMode": "none",
            "Init": false,
            "AutoRemove": !spec.keep,
            "CapDrop": ["ALL"],
            "CapAdd": CAPABILITIES,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": { "Type": "none", "Config": {} },
            "ReadonlyRootfs": spec.read_only,
            "Dns": ["127.0.0.1"],
            "DnsOptions": ["edns0"],
            "DnsSearch": ["."],
            "ExtraHosts": [format!("{}:127.0.1.1", spec.hostname)],
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "MaskedPaths": masked(),
            "ReadonlyPaths": PROC_READ_ONLY.iter().map(|name| format!("/proc/{name}")).collect::<Vec<_>>(),
            "PidsLimit": limits.pids.or(nproc),
            "ShmSize": limits.memory.unwrap_or(SHARED_MEMORY),
            "Sysctls": sysctls(),
            "Tmpfs": tmpfs(&memory)?,
            "Mounts": mounts.list,
        });
        if let Some(memory) = limits.memory {
            // No swap beside it.
            host["Memory"] = json!(memory);
            host["MemorySwap"] = json!(memory);
        }
        if let Some(milli) = limits.cpu_milli {
            host["NanoCpus"] = json!(milli.saturating_mul(1_000_000));
        }
        let nofile = limits.rlimits.iter().find(|limit| limit.kind == RlimitKind::Nofile);
        if let Some(nofile) = nofile.filter(|nofile| limits.nofile_is_named && nofile.value > LEAST_NOFILE) {
            host["Ulimits"] = json!([{ "Name": "nofile", "Soft": nofile.value, "Hard": nofile.value }]);
        }
        if let Some(runtime) = spec.engine.as_ref().and_then(|engine| engine.runtime.as_ref()) {
            host["Runtime"] = json!(runtime);
        }
        let body = json!({
            "Image": image.id,
            "Hostname": spec.hostname,
            "User": "0:0",
            "WorkingDir": "/",
            "Tty": false,
            "OpenStdin": true,
            "StdinOnce": true,
            "AttachStdin": true,
            "AttachStdout": true,
            "AttachStderr": true,
            "Healthcheck": { "Test": ["NONE"] },
            "Labels": {
                LABEL_ID: spec.id.as_str(),
                LABEL_OWNER: owner(),
                LABEL_STATE: state,
                LABEL_VERSION: env!("CARGO_PKG_VERSION"),
            },
            "HostConfig": host,
        });
        let walls = walls(spec, masks);
        let mounted = mounts.seen.iter().map(|seen| (seen.path.to_string(), seen.read_only)).collect();
        let setup = setup(spec, mounts.seen, memory, masks);
        let covers = covers(spec, &setup);
        Ok(Self { body, mounted, covers, setup, walls })
    }

    /// What the engine is told, for this program as the first process, and what covers the image.
    pub fn body(&self, podman: bool, program: &Program, covers: Vec<Value>) -> Value {
        let mut body = self.body.clone();
        if podman {
            // It does not look at what is to be masked and read-only, but has words of its own for the first, and a list for
            // the second, which has all but one.
            let masked = format!("mask={}:/proc/pressure", masked().join(":"));
            body["HostConfig"]["SecurityOpt"] = json!(["no-new-privileges", masked]);
        }
        body["Entrypoint"] = json!(init::COMMAND);
        body["Cmd"] = json!([]);
        if let Some(mounts) = body["HostConfig"]["Mounts"].as_array_mut() {
            mounts.push(init::mount(program));
            mounts.extend(covers);
        }
        body
    }

    /// What a container that was made before lacks: it has the mounts that were right then. What is below something that is
    /// read-only needs none.
    pub fn lacks<'a>(&'a self, known: &Known, covers: &'a [Value]) -> Option<&'a str> {
        let covers = covers.iter().filter_map(|cover| cover["Target"].as_str()).map(|place| (place, true));
        let has = |place: &str, read_only: bool| {
            known.mounts.iter().any(|mount| match Path::new(place).strip_prefix(&mount.place) {
                Ok(rest) if rest.as_os_str().is_empty() => !(read_only && mount.writable),
                Ok(_) => !mount.writable,
                Err(_) => false,
            })
        };
        let mut all = self.mounted.iter().map(|(place, read_only)| (place.as_str(), *read_only)).chain(covers);
        all.find(|&(place, read_only)| !has(place, read_only)).map(|(place, _)| place)
    }

    /// The walls that the engine raises, as it was told to.
    pub fn walls(&self) -> Vec<Wall> {
        self.walls.clone()
    }
}

/// What is mounted by the engine, by name, and what it must be.
#[derive(Default)]
struct Mounts {
    list: Vec<Value>,
    seen: Vec<Seen>,
}

impl Mounts {
    /// `blank` is a file with [`archive::SAYS_NOTHING`].
    fn project(&mut self, path: &Path, masks: &Masks, blank: Option<&Path>) -> Result<(), LaunchError> {
        const WALL: &str = "protected paths";
        let project = open_path(path).wall("workspace", format!("Cannot open {}", path.display()), "")?;
        let stat = rustix::fs::fstat(&project).wall("workspace", format!("Cannot examine {}", path.display()), "")?;
        self.bind(path, path, &stat, false)?;
        for (below, cover) in &masks.paths {
            let tried = || format!("Cannot protect {}", below.display());
            let fd = open_beneath(&project, below, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
            let stat = fd.and_then(|fd| Ok(rustix::fs::fstat(fd)?)).wall(WALL, tried(), "")?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                let cause = format!("{}: it is a symbolic link, which no engine covers", tried());
                return Err(failure::new(WALL, cause, "Use `--workspace overlay`, or backend native"));
            }
            let place = path.join(below);
            let socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
            match blank.filter(|_| matches!(cover, masks::Cover::Nothing | masks::Cover::Blank) && socket) {
                Some(blank) => {
                    let fd = open_path(blank).wall(WALL, tried(), "")?;
                    let stat = rustix::fs::fstat(fd).wall(WALL, tried(), "")?;
                    self.bind(blank, &place, &stat, true)?;
                }
                None => self.bind(&place, &place, &stat, *cover != masks::Cover::Passage)?,
            }
        }
        Ok(())
    }

    fn bind(&mut self, source: &Path, target: &Path, stat: &Stat, read_only: bool) -> Result<(), LaunchError> {
        let text = |path: &Path| {
            let cause =
                || failure::new("mounts", format!("{} is no text, and engines know no other", path.display()), "");
            path.to_str().map(str::to_owned).ok_or_else(cause)
        };
        self.list.push(json!({
            "Type": "bind",
            "Source": text(source)?,
            "Target": text(target)?,
            "ReadOnly": read_only,
            // What is mounted below a read-only one would not be read-only.
            "BindOptions": { "Propagation": "rprivate", "NonRecursive": read_only },
        }));
        self.seen.push(Seen { path: target.into(), device: stat.st_dev, inode: stat.st_ino, read_only });
        Ok(())
    }
}

/// What is hidden of /proc.
fn proc_hidden() -> impl Iterator<Item = String> {
    PROC_HIDDEN.iter().chain(ROOTS_ONLY).map(|name| format!("/proc/{name}"))
}

/// What is hidden of /proc and /sys. Init reads one thing below /sys/fs.
fn masked() -> Vec<String> {
    proc_hidden().chain(SYS_HIDDEN.iter().map(|name| format!("/sys/{name}"))).collect()
}

/// Whoever may bind low ports may answer as any server: inside, that is nobody's privilege.
fn sysctls() -> Value {
    json!({
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv6.conf.all.disable_ipv6": "0",
        "net.ipv6.conf.default.disable_ipv6": "0",
        "net.ipv6.conf.lo.disable_ipv6": "0",
    })
}

/// The file systems in memory, and how large each may be.
fn memory(spec: &Spec) -> Vec<(Node, Option<u64>)> {
    let own = Some((spec.identity.uid, spec.identity.gid));
    let mut list = Vec::new();
    let mut add = |path: &Path, mode, size| list.push((Node { path: path.into(), mode, owner: own }, size));
    if spec.read_only {
        for (path, mode) in [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)] {
            add(Path::new(path), mode, None);
        }
        add(&spec.identity.home, 0o700, None);
    }
    for tmpfs in &spec.tmpfs {
        add(&tmpfs.target, 0o1777, Some(tmpfs.size));
    }
    if let (Some(_), Some(place)) = (&spec.network.lent_keys, Path::new(AGENT).parent()) {
        // Root's, as init is.
        list.push((Node { path: place.into(), mode: 0o755, owner: None }, Some(AGENT_SIZE)));
    }
    // Of two at one place the last counts; and what is below comes after what it is in.
    list.sort_by(|(one, _), (other, _)| one.path.as_path().cmp(other.path.as_path()));
    list.dedup_by(|(later, size), (kept, kept_size)| {
        let same = later.path == kept.path;
        if same {
            (kept.mode, *kept_size) = (later.mode, *size);
        }
        same
    });
    list
}

fn is_below(memory: &[Node], path: &Path) -> bool {
    memory.iter().any(|node| path != node.path.as_path() && path.starts_with(node.path.as_path()))
}

/// The files that init cannot write.
fn covers(spec: &Spec, setup: &Setup) -> Vec<Cover> {
    let memory = setup.prepare.as_ref().map_or(&[][..], |prepare| &prepare.memory);
    let outside = spec.files().into_iter().filter(|(path, ..)| spec.read_only && !is_below(memory, path));
    let cover = |(path, contents, mode): (&Path, String, u32)| Cover {
        place: path.display().to_string(),
        bytes: contents.into_bytes(),
        mode,
        owner: (spec.identity.uid, spec.identity.gid),
    };
    outside.map(cover).collect()
}

fn tmpfs(memory: &[(Node, Option<u64>)]) -> Result<Value, LaunchError> {
    let mut list = Map::new();
    for (Node { path, mode, .. }, size) in memory {
        let cause = || failure::new("mounts", format!("{path} is no text, and engines know no other"), "");
        let place = path.as_path().to_str().ok_or_else(cause)?;
        // Init makes it somebody's.
        let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
        list.insert(place.to_owned(), json!(format!("rw,exec,nosuid,nodev,mode={mode:o}{size}")));
    }
    Ok(Value::Object(list))
}

fn setup(spec: &Spec, seen: Vec<Seen>, memory: Vec<(Node, Option<u64>)>, masks: &Masks) -> Setup {
    let identity = &spec.identity;
    let own = Some((identity.uid, identity.gid));
    let node = |path: &Path, mode: u32, owner| Node { path: OsBytes::from(path), mode, owner };
    let hidden = proc_hidden().map(|path| OsBytes::from(Path::new(&path))).collect();
    let memory = memory.into_iter().map(|(node, _)| node).collect();
    let mut prepare = Prepare { seen, hidden, memory, maker: own, ..Prepare::default() };
    if !spec.read_only {
        for (path, mode) in [("/", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)] {
            prepare.directories.push(node(Path::new(path), mode, None));
        }
        prepare.directories.push(node(&identity.home, 0o755, own));
        // The engine has made them for what is mounted there.
        let mut above: Vec<&Path> = spec
            .all_mounts()
            .flat_map(|mount| mount.target.ancestors().skip(1))
            .filter(|path| *path != identity.home && path.starts_with(&identity.home))
            .collect();
        above.sort_unstable();
        above.dedup();
        prepare.directories.extend(above.into_iter().map(|path| node(path, 0o755, own)));
        prepare.directories.push(node(spec.workdir.as_path(), 0o755, None));
        prepare.accounts = accounts(identity, "/bin/sh").to_vec();
        prepare.hosts = Some(etc::hosts(&spec.hostname).into_bytes());
        prepare.resolver = Some(etc::RESOLVER.into());
    }
    for (path, contents, mode) in spec.files() {
        if spec.read_only && !is_below(&prepare.memory, path) {
            // A cover of the image's.
            continue;
        }
        let parents = path.ancestors().skip(1).filter(|parent| is_below(&prepare.memory, parent));
        let mut parents: Vec<Node> = parents.map(|parent| node(parent, 0o755, own)).collect();
        parents.reverse();
        if parents.is_empty() {
            parents.extend(path.parent().map(|parent| node(parent, 0o755, None)));
        }
        prepare.directories.extend(parents);
        prepare.files.push((node(path, mode, own), contents.into_bytes()));
    }
    Setup {
        capture: true,
        agent: spec.network.lent_keys.is_some(),
        ids: vec![(0, u32::MAX)],
        writable: writable(spec),
        rlimits: spec.limits.rlimits.iter().filter(|limit| limit.kind != RlimitKind::Nproc).copied().collect(),
        protected: masks.places(spec),
        log_refused: spec.log_refused,
        build: spec.build.is_some(),
        heartbeat_ms: Some(heartbeat::LIMIT.as_millis() as u32),
        prepare: Some(Box::new(prepare)),
    }
}

fn walls(spec: &Spec, masks: &Masks) -> Vec<Wall> {
    let wall = |name: &str, detail: String| Wall { name: name.into(), holds: true, detail };
    let mut walls = vec![
        wall(
            "container",
            format!("made by the engine, with its own file system, processes and IPC, of {}", spec.image),
        ),
        wall("uts namespace", format!("host name {}", spec.hostname)),
    ];
    walls.extend(limits(spec));
    if let Workspace::Direct { .. } = spec.workspace {
        walls.push(protected(masks));
    }
    walls
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
