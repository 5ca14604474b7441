//! Hides what a command sees that does not become part of its layer: caches, files of the context and of stages, its own
//! script.

use super::{
    Builder, Executor,
    copy::{Changes, CopyFailure, Recorder, Said, Tree},
    error::{BuildError, at},
    stage::State,
};
use crate::{
    Lent, Tmpfs,
    image::{ImageError, Images, view::View},
};
use dockerfile::{DockerfileError, Mount, Sharing, Word, clean};
use oci::Digest;
use rustix::{
    fd::OwnedFd,
    fs::{self, FlockOperation, Gid, Mode, Uid},
    io::Errno,
};
use std::{collections::BTreeMap, os::unix::ffi::OsStrExt as _, path::PathBuf, rc::Rc};

/// Where a script of several lines is seen.
const SCRIPT: &str = "/run/agentkernel/script";
/// Bytes of a file system in memory for which nothing else is said.
const TMPFS: u64 = 1 << 30;
/// Begins the names of directories in the cache that outlive builds.
pub(in super::super) const CACHE: &str = "mount-";
/// Begins the names of those that don't.
pub(in super::super) const LENT: &str = "lent";

/// A cache, as it is asked for.
struct Cache {
    name: String,
    target: String,
    read_only: bool,
    sharing: Sharing,
    said: Said,
}

/// Files that are lent.
struct Files {
    /// From the context, or from layers.
    own: Option<View>,
    source: Vec<u8>,
    target: String,
}

/// What a command is lent.
pub(super) struct Loan {
    caches: Vec<Cache>,
    files: Vec<Files>,
    text: Option<String>,
    pub tmpfs: Vec<Tmpfs>,
    /// What of it decides what the command makes.
    pub decide: Vec<String>,
    /// How the script is called.
    pub script: Option<String>,
    /// What is in use as long as this lives.
    held: Vec<OwnedFd>,
}

impl<E: Executor> Builder<'_, E> {
    /// What the mounts of a command are.
    pub(super) fn loan(
        &mut self,
        index: usize,
        state: &State,
        line: usize,
        mounts: &[Mount],
        script: Option<&String>,
    ) -> Result<Loan, BuildError<E::Error>> {
        let wrong = |cause: String| DockerfileError::mistake(line, cause);
        let expand = |word: &Word| word.expand(&|name: &str| state.variable(name)).map_err(wrong);
        let place = |word: &Word| -> Result<String, DockerfileError> {
            let path = clean(&state.absolute(&expand(word)?));
            let first = path.split('/').next().unwrap_or_default();
            match first {
                "" | "dev" | "proc" | "sys" => Err(wrong(format!("Nothing can be mounted at /{path}"))),
                _ => Ok(format!("/{path}")),
            }
        };
        let mut loan = Loan {
            caches: Vec::new(),
            files: Vec::new(),
            text: script.cloned(),
            tmpfs: Vec::new(),
            decide: Vec::new(),
            script: script.map(|_| SCRIPT.to_owned()),
            held: Vec::new(),
        };
        // By its text, and not by its place.
        loan.decide.extend(script.cloned());
        for mount in mounts {
            match mount {
                Mount::Tmpfs { target, size } => {
                    let target = place(target)?;
                    loan.decide.push(format!("tmpfs {target}"));
                    loan.tmpfs.push(Tmpfs { target: target.into(), size: size.unwrap_or(TMPFS) });
                }
                Mount::Cache { id, target, read_only, sharing, mode, owner } => {
                    let target = place(target)?;
                    let id = id.as_ref().map(expand).transpose()?.unwrap_or_else(|| target.clone());
                    // Another project's could have anything in it, and would have it from here.
                    let whose = [self.request.project.as_os_str().as_bytes(), b"\0", id.as_bytes()].concat();
                    let name = format!("{CACHE}{}", Digest::of(&whose).hex());
                    loan.decide.push(format!("cache {target} {name}"));
                    let said = Said { mode: *mode & 0o7777, owner: *owner };
                    loan.caches.push(Cache { name, target, read_only: *read_only, sharing: *sharing, said });
                }
                Mount::Bind { from, source, target } => {
                    let target = place(target)?;
                    let own = self.view_from(index, line, from.as_ref())?;
                    let source = clean(&expand(source)?).into_bytes();
                    let files = Files { own, source, target };
                    let mut recorder = Recorder::new();
                    self.look(&files, None, &mut recorder).map_err(at(line))?;
                    loan.decide.push(format!("bind {} {}", files.target, recorder.finish()));
                    loan.files.push(files);
                }
            }
        }
        // Whoever waits for a cache has none that comes after it.
        loan.caches.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(loan)
    }

    fn look(&self, files: &Files, tree: Option<&mut Tree<'_>>, recorder: &mut Recorder) -> Result<(), CopyFailure> {
        let context = Rc::clone(&self.context);
        let origin = self.images.origin(files.own.as_ref(), &context, self.request.ignore);
        origin.transfer(&files.source, b"files", tree, Changes::default(), recorder)
    }

    /// Has all of it ready. It is taken back when the loan ends.
    pub(super) fn lend(&self, loan: &mut Loan, line: usize) -> Result<Vec<Lent>, BuildError<E::Error>> {
        let mut lent = Vec::new();
        let nothing = View::nothing();
        // Each once, in an order of their own: nobody waits for himself, nor two builds for each other.
        let mut caches: BTreeMap<&str, (Sharing, Said)> = BTreeMap::new();
        for Cache { name, sharing, said, .. } in &loan.caches {
            let (most, _) = caches.entry(name).or_insert((*sharing, *said));
            if *sharing == Sharing::Locked {
                *most = Sharing::Locked;
            }
        }
        for (name, (sharing, said)) in caches {
            loan.held.push(self.images.cache_mount(name, sharing, said)?);
        }
        for Cache { name, target, read_only, .. } in &loan.caches {
            let source = format!("{name}/files");
            lent.push(Lent { source, target: PathBuf::from(target), read_only: *read_only });
        }
        for files in &loan.files {
            let (name, dir) = self.images.lent()?;
            let mut tree = Tree::new(&dir, &nothing, (0, 0)).map_err(at(line))?;
            self.look(files, Some(&mut tree), &mut Recorder::new()).map_err(at(line))?;
            lent.push(Lent { source: format!("{name}/files"), target: PathBuf::from(&files.target), read_only: true });
        }
        if let Some(text) = &loan.text {
            let (name, dir) = self.images.lent()?;
            let said = Said { mode: 0o755, owner: (0, 0) };
            let made = Tree::new(&dir, &nothing, (0, 0)).and_then(|mut tree| tree.put(b"files", text.as_bytes(), said));
            made.map_err(at(line))?;
            lent.push(Lent { source: format!("{name}/files"), target: SCRIPT.into(), read_only: true });
        }
        Ok(lent)
    }
}

impl Images {
    /// An empty directory in the cache, for what a command sees.
    fn lent(&self) -> Result<(String, OwnedFd), ImageError> {
        let name = self.fresh(LENT)?;
        let failed = |errno: Errno| self.failed("make", format!("../cache/{name}"), errno);
        fs::mkdirat(&self.cache, name.as_str(), Mode::RWXU).map_err(failed)?;
        let dir = crate::image::open(&self.cache, &name).map_err(failed)?;
        Ok((name, dir))
    }

    /// The cache of a name, which nobody removes as long as it is held; what is in it lies in `files`.
    fn cache_mount(&self, name: &str, sharing: Sharing, said: Said) -> Result<OwnedFd, ImageError> {
        let failed = |errno: Errno| self.failed("open", format!("../cache/{name}"), errno);
        match fs::mkdirat(&self.cache, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let held = crate::image::open(&self.cache, name).map_err(failed)?;
        let how = match sharing {
            Sharing::Shared => FlockOperation::LockShared,
            Sharing::Locked => FlockOperation::LockExclusive,
        };
        rustix::io::retry_on_intr(|| fs::flock(&held, how)).map_err(failed)?;
        match fs::mkdirat(&held, "files", Mode::RWXU) {
            Ok(()) => {
                let files = crate::image::open(&held, "files").map_err(failed)?;
                if rustix::process::geteuid().is_root() {
                    let (uid, gid) = said.owner;
                    fs::fchown(&files, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
                }
                fs::fchmod(&files, Mode::from_raw_mode(said.mode)).map_err(failed)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        Ok(held)
    }

    /// Removes what commands were lent.
    pub(super) fn take_back(&self, lent: &[Lent]) {
        for lent in lent {
            if let Some((name, _)) = lent.source.split_once('/').filter(|(name, _)| name.starts_with(LENT)) {
                // What cannot be removed now, a sweep will.
                let _ = self.remove_tree(&self.cache, "../cache", name);
            }
        }
    }
}
