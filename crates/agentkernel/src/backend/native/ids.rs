//! Hides which host ids stand behind the ids of a sandbox.
//!
//! An ordinary caller has one id to give: the sandbox's identity is mapped to it, and no other id exists inside.
//! Root gives each sandbox a private range of 65,536 host ids that belong to nobody else, so that host root is never
//! mapped in. Ranges begin at `0x4000_0000`, beyond what distributions give to users, subordinate ids and systemd's
//! dynamic users and containers. A range is claimed by making the file `ids/SLOT` in the shared cache directory with
//! the sandbox's id as contents: whoever makes it first has it. The sandbox's own directory remembers the slot in the
//! file `ids`, so that a kept sandbox's files keep their owner. `release` removes both; a slot file whose sandbox no
//! longer exists is garbage and can be removed by whoever knows which sandboxes exist (see [`claims`]).

use super::{
    super::{LaunchError, Place},
    failure::{self, Context as _},
};
use crate::{SandboxId, Spec};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use std::io;

/// Host ids in one range, and ids in a sandbox that has one.
pub const COUNT: u32 = 1 << 16;
/// The first host id of slot 0.
const FIRST: u32 = 0x4000_0000;
/// Slots up to id `0x7fff_ffff`: tools that take ids for signed numbers must not be tried.
const SLOTS: u32 = (0x8000_0000 - FIRST) / COUNT;
const WALL: &str = "user namespace";

/// The ids of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// One user and one group: the identity is the caller.
    One {
        /// Inside and on the host.
        uid: (u32, u32),
        /// Inside and on the host.
        gid: (u32, u32),
    },
    /// Ids 0 to 65,535 are host ids from `base` on.
    Range {
        /// The host id of id 0.
        base: u32,
    },
}

impl Ids {
    /// In words, for `doctor`.
    pub fn describe(&self) -> String {
        match self {
            Self::One { .. } => "the caller's one id is mapped".into(),
            Self::Range { .. } => format!("{COUNT} ids of its own for each sandbox"),
        }
    }
}

/// The kind of ids that a sandbox of this caller would get, without claiming any: for trying.
pub fn to_try() -> Result<Ids, LaunchError> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let map = read_map("/proc/self/uid_map").wall(WALL, "Cannot read /proc/self/uid_map", "")?;
    if is_ordinary(uid, &map) {
        return Ok(Ids::One { uid: (uid, uid), gid: (gid, gid) });
    }
    covered(&map, FIRST)?;
    Ok(Ids::Range { base: FIRST })
}

/// Whether a caller has no ids to give but his own.
fn is_ordinary(uid: u32, map: &[Extent]) -> bool {
    let mapped: u64 = map.iter().map(|extent| u64::from(extent.count)).sum();
    uid != 0 || mapped < 2
}

/// Fails if a range's ids do not exist here.
fn covered(map: &[Extent], base: u32) -> Result<(), LaunchError> {
    if map.iter().any(|extent| extent.first <= base && base - extent.first + COUNT <= extent.count) {
        return Ok(());
    }
    Err(failure::new(
        WALL,
        format!("This is root of a nested user namespace in which the ids {base} to {} do not exist", base + COUNT - 1),
        "Run agentkernel as an ordinary user of this container, or give the container all ids",
    ))
}

/// Decides which ids a sandbox gets, and claims a range for it where root calls.
pub fn claim(spec: &Spec, place: &Place) -> Result<Ids, LaunchError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let map = read_map("/proc/self/uid_map").wall(WALL, "Cannot read /proc/self/uid_map", "")?;
    if is_ordinary(uid, &map) {
        let Spec { identity, .. } = spec;
        return Ok(Ids::One { uid: (identity.uid, uid), gid: (identity.gid, gid) });
    }
    if spec.identity.uid >= COUNT || spec.identity.gid >= COUNT {
        let cause = format!("User {} and group {} must be below {COUNT}", spec.identity.uid, spec.identity.gid);
        return Err(failure::new(WALL, cause, "Choose other ids, or run as an ordinary user"));
    }
    let base = failure::state(range(spec, place), WALL, "Cannot claim a range of ids")?;
    if let Err(error) = covered(&map, base) {
        release(place).wall(WALL, "Cannot give a range of ids back", "")?;
        return Err(error);
    }
    Ok(Ids::Range { base })
}

/// An extent of /proc/PID/uid_map, as far as it matters here.
struct Extent {
    first: u32,
    count: u32,
}

fn read_map(path: &str) -> io::Result<Vec<Extent>> {
    let text = std::fs::read_to_string(path)?;
    let extent = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse().ok());
        let (first, _outside, count) = (numbers.next()??, numbers.next()?, numbers.next()??);
        Some(Extent { first, count })
    };
    Ok(text.lines().filter_map(extent).collect())
}

/// The host id of a sandbox's 0, if it has a range.
pub fn base(place: &Place) -> io::Result<Option<u32>> {
    Ok(remembered(place)?.map(|slot| FIRST + slot * COUNT))
}

fn range(spec: &Spec, place: &Place) -> io::Result<u32> {
    if let Some(base) = base(place)? {
        return Ok(base);
    }
    match rustix::fs::mkdirat(&place.cache, "ids", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let slots = open_dir(&place.cache, "ids")?;
    let start = u32::from_str_radix(&spec.id.as_str()[..8], 16).map_err(io::Error::other)?;
    for probe in 0..SLOTS {
        let slot = (start.wrapping_add(probe)) % SLOTS;
        match create(&slots, &slot.to_string(), spec.id.as_str()) {
            Ok(()) => {
                create(&place.dir, "ids", &slot.to_string())?;
                return Ok(FIRST + slot * COUNT);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("Every range is taken"))
}

/// Gives a sandbox's range back. Idempotent; a sandbox that never had one has nothing to give.
pub fn release(place: &Place) -> io::Result<()> {
    let Some(slot) = remembered(place)? else { return Ok(()) };
    // The claim goes first: if we die in between, the remembered slot leads here again.
    remove(&open_dir(&place.cache, "ids")?, &slot.to_string())?;
    remove(&place.dir, "ids")
}

/// Every claimed slot and the sandbox that claimed it. A claim of a sandbox that does not exist is garbage:
/// [`unclaim`] it, under whatever lock keeps sandboxes from being made meanwhile.
pub fn claims(place_cache: &OwnedFd) -> io::Result<Vec<(u32, Option<SandboxId>)>> {
    let slots = match open_dir(place_cache, "ids") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mut claims = Vec::new();
    for entry in rustix::fs::Dir::read_from(&slots)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Ok(slot) = name.parse() {
            claims.push((slot, SandboxId::try_from(read(&slots, &name)?.unwrap_or_default()).ok()));
        }
    }
    Ok(claims)
}

/// Removes a claim that [`claims`] listed.
pub fn unclaim(place_cache: &OwnedFd, slot: u32) -> io::Result<()> {
    remove(&open_dir(place_cache, "ids")?, &slot.to_string())
}

fn remembered(place: &Place) -> io::Result<Option<u32>> {
    match read(&place.dir, "ids")? {
        None => Ok(None),
        Some(text) => match text.trim().parse() {
            Ok(slot) if slot < SLOTS => Ok(Some(slot)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "The file 'ids' of the sandbox is damaged")),
        },
    }
}

fn open_dir(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    jail::fd::open_beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Makes a note: a symbolic link, because it appears whole or not at all, whatever is killed meanwhile, and only once.
fn create(dir: impl AsFd, name: &str, contents: &str) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(contents, dir, name)?)
}

fn read(dir: impl AsFd, name: &str) -> io::Result<Option<String>> {
    match rustix::fs::readlinkat(dir, name, Vec::new()) {
        Ok(text) => Ok(Some(text.to_string_lossy().into_owned())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn remove(dir: impl AsFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
