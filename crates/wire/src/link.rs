//! Messages of the link, between a supervisor and its sandbox's init.
//!
//! The supervisor is the trusted side. It opens odd streams ([`Open`]). Init opens none where it shares a kernel with the
//! supervisor: it hands connections over on a socket of their own ([`flow`](crate::flow)). Elsewhere each is an even
//! stream that begins with what would be handed over ([`Handed`](crate::flow::Handed)), and somebody between the two
//! takes these. Both start with a [`Hello`](crate::frame::Hello). The supervisor may send [`ToInit::Setup`] and its first streams at once,
//! without waiting: init answers in order.

use crate::{ExecSpec, Exit, Failure, OsBytes, Rlimit, WinSize, flow::Dial};
use serde::{Deserialize, Serialize};

/// Supervisor to init, about the sandbox as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// The first message, exactly once: what init must do before it serves.
    Setup(Setup),
    /// Asks for a [`FromInit::Usage`].
    Usage,
    /// Connect to a port in there, for egress. The answer begins a stream. Only where flows are streams.
    Dial(Dial),
    /// A heartbeat ([`Setup::heartbeat_ms`]), answered by one.
    Heartbeat,
    /// End every process: SIGTERM, after the grace SIGKILL, then init exits.
    Shutdown {
        /// Milliseconds between the two signals.
        grace_ms: u32,
    },
}

/// What init does, in this order, before its first exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Whether init answers DNS and accepts connections for the outside (design section 6).
    pub capture: bool,
    /// Whether it also accepts connections for the user's ssh-agent ([`AGENT`](crate::flow::AGENT)).
    pub agent: bool,
    /// User and group ids that exist in the sandbox, as (first, count). An exec as another id is refused.
    pub ids: Vec<(u32, u32)>,
    /// Directories below which programs may write, make and remove files (Landlock); everything else is read-only
    /// for them, whatever the mounts say.
    pub writable: Vec<OsBytes>,
    /// Resource limits of every exec. One of open files is the lower of this and what init has itself.
    pub rlimits: Vec<Rlimit>,
    /// What is covered by mounts of its own. If one is not any more, nothing is started, nor are files taken.
    pub protected: Vec<Covered>,
    /// Whether changes of it that programs try are told ([`FromInit::Refused`]).
    pub log_refused: bool,
    /// Whether it makes a layer of an image: root may do to files and ids of the sandbox's what installers do.
    pub build: bool,
    /// Where the end of the link may go unseen: if nothing has come over it for so many milliseconds, its other side is gone.
    pub heartbeat_ms: Option<u32>,
    /// What init does first, where the backend could not do it for the machine.
    pub prepare: Option<Box<Prepare>>,
}

/// What init does to a machine that others have made, as its root and before the walls. It also counts the processes
/// that are killed for lack of memory ([`FromInit::OomKills`]), which nobody outside can do there.
///
/// Nothing is done in what is mounted somewhere below `/`, which may be the host's, but for [`memory`](Self::memory) and
/// [`hosts`](Self::hosts).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// What must be the very file or directory that the backend has seen on its host.
    pub seen: Vec<Seen>,
    /// Parts of /proc of which nothing may be seen.
    pub hidden: Vec<OsBytes>,
    /// Empty file systems in memory that are the machine's own, those above first.
    pub memory: Vec<Node>,
    /// Directories that there must be, those above first.
    pub directories: Vec<Node>,
    /// Whose directories are that are made, and no other's.
    pub maker: Option<(u32, u32)>,
    /// Files that are written anew, with their contents.
    pub files: Vec<(Node, Vec<u8>)>,
    /// Who must be known.
    pub accounts: Vec<Account>,
    /// What is in the engine's own /etc/hosts, if it has mounted one; none: what it has put there.
    pub hosts: Option<Vec<u8>>,
    /// What says who knows names, where the engine has mounted no /etc/resolv.conf of its own; none: what the image says.
    pub resolver: Option<Vec<u8>>,
}

/// Something on a file system that was mounted by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where it is, absolute.
    pub path: OsBytes,
    /// Its device, as stat(2) has it.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Whether nothing may be written there.
    pub read_only: bool,
}

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where, absolute.
    pub path: OsBytes,
    /// Permissions.
    pub mode: u32,
    /// Owner and group; none: whoever has it, if it is there.
    pub owner: Option<(u32, u32)>,
}

/// A line that passwd(5) or group(5) must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The file, in /etc.
    pub file: String,
    /// The line, without its end.
    pub line: String,
    /// Its id: whoever has it already keeps it.
    pub id: u32,
    /// Who else there is if the file has nobody.
    pub otherwise: String,
}

impl Account {
    /// The file's contents with the line; `None` if somebody has the id already.
    #[must_use]
    pub fn complete(&self, text: &str) -> Option<String> {
        let Self { line, id, otherwise, .. } = self;
        let has_id = |line: &&str| line.split(':').nth(2) == Some(id.to_string().as_str());
        if text.lines().any(|line| has_id(&line)) {
            return None;
        }
        // No system user of the same id: a name is looked up by the first line that has the id.
        let mut rest = match text {
            "" => otherwise.lines().filter(|line| !has_id(line)).map(|line| format!("{line}\n")).collect(),
            text => text.to_owned(),
        };
        if !rest.is_empty() && !rest.ends_with('\n') {
            rest.push('\n');
        }
        Some(format!("{line}\n{rest}"))
    }
}

/// Init to supervisor, about the sandbox as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The walls that init raises are up and were tested; it serves from now on.
    Ready {
        /// What init found when it tested them.
        walls: Vec<Wall>,
    },
    /// A wall could not be raised, or fell when tested. Init exits after this.
    Failed {
        /// The wall or step, by its name in `doctor`.
        wall: String,
        /// The cause, in one line.
        cause: String,
    },
    /// The answer to [`ToInit::Usage`].
    Usage(Usage),
    /// The answer to [`ToInit::Heartbeat`].
    Heartbeat,
    /// So many processes were killed for lack of memory since the start. Comes before the report of whoever was one of
    /// them, and only from a machine that init has [prepared](Setup::prepare).
    OomKills(u64),
    /// A program was refused a change of something [protected](Setup::protected).
    Refused(Refused),
    /// Such changes are refused without being told, since the kernel does not let init hear of them. At most once.
    Unheard {
        /// The cause, in one line.
        cause: String,
    },
}

/// A file or directory that is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Where it is, absolute, without links.
    pub path: OsBytes,
    /// Whether it is read-only; otherwise it is only kept in place.
    pub read_only: bool,
}

/// A change that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What would have been changed, absolute.
    pub path: OsBytes,
    /// What would have been done to it.
    pub change: Change,
    /// The file name of the program that tried; empty if it is not known.
    pub program: OsBytes,
}

/// What a program does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It opens it to write, or cuts it.
    Write,
    /// It makes a directory, a link or a node.
    Make,
    /// It removes it.
    Remove,
    /// It gives it, or something else, another name.
    Rename,
}

impl Change {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Make => "make",
            Self::Remove => "remove",
            Self::Rename => "rename",
        }
    }
}

/// One wall, as tested from inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wall {
    /// Its stable name: `seccomp`, `capabilities`, `landlock`, `no-new-privileges`, ...
    pub name: String,
    /// Whether it stands. A wall that every sandbox must have is never reported false: init fails instead.
    pub holds: bool,
    /// What was tested, or why the wall is not there.
    pub detail: String,
}

/// What the processes of a sandbox use, as init sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Number of processes, init included.
    pub processes: u32,
    /// Resident memory in bytes (sum; pages shared between processes count more than once).
    pub resident: u64,
    /// Processor time used since the start, in microseconds, ended children included.
    pub cpu_us: u64,
}

/// What the supervisor opens on the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// Runs a program. Answered by [`ExecReport`]s; takes [`ExecControl`]s.
    Exec(ExecSpec),
    /// Unpacks the tar archive that comes on [`Channel::Stdin`](crate::Channel::Stdin) below a directory.
    /// Answered by one [`FilesReport`].
    Put(Put),
    /// Packs a file or tree as a tar archive on [`Channel::Stdout`](crate::Channel::Stdout), then answers with one
    /// [`FilesReport`].
    Get(Get),
}

/// Files into the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// An existing directory, or the file name to give to a single entry, absolute, as the sandbox sees it. A slash at
    /// the end says that it must be a directory.
    pub path: OsBytes,
    /// Who owns what is written.
    pub user: crate::User,
}

/// Files out of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// A file or directory, absolute, as the sandbox sees it.
    pub path: OsBytes,
    /// Whose permissions apply.
    pub user: crate::User,
    /// Pack what a symbolic link in the last place of the path points to, not the link.
    pub follow: bool,
}

/// Supervisor to init (and client to supervisor), on an exec's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecControl {
    /// The terminal has a new size.
    Resize(WinSize),
    /// Send this signal to the exec's process group.
    Signal(u8),
}

/// Init to supervisor (and supervisor to client), on an exec's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecReport {
    /// The program runs.
    Started {
        /// Its process id inside the sandbox.
        pid: u32,
    },
    /// The program could not be started. The last message.
    Failed {
        /// What kind of failure, for the exit status.
        kind: ExecFailure,
        /// The cause, in one line.
        cause: String,
    },
    /// The program ended and its output was sent. The last message.
    Exited(Exit),
}

/// Why a program could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecFailure {
    /// There is no such program: status 127.
    NotFound,
    /// It is there and cannot be executed: status 126.
    NotExecutable,
    /// Anything else (no such directory or user, no process left): status 125 from `run`, 126 from `exec`'s view.
    Other,
}

impl ExecFailure {
    /// The exit status that a command line reports for it.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Other => 125,
        }
    }
}

/// How a transfer of files ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesReport {
    /// All of it arrived, except for what an archive has no place for.
    Done {
        /// What init has left out, in words, as `2 sockets`; empty if nothing.
        left_out: String,
    },
    /// It stopped.
    Failed(Failure),
}

/// The port, on the loopback addresses, at which init answers DNS and to which the backend redirects every connection
/// to another address.
pub const CAPTURE_PORT: u16 = 53;
