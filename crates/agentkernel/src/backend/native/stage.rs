//! Hides the life of the cloned child between clone and init: it builds the sandbox around itself, in the order of
//! the design's section 5, and becomes init.

use super::{
    super::LaunchError,
    FLOWS_FD, LINK_FD, channel, dev, etc,
    failure::{self, Context as _},
    ids::Ids,
    masks::{Cover, Masks},
    plan::{self, Role, START, upper_name},
    root::Root,
    skeleton, trust,
};
use crate::{Image, Lent, Mount, Spec, Tmpfs, Workspace};
use jail::{
    caps::{self, Cap},
    cgroup::Cgroup,
    fd::open_beneath,
    mount::{self, Attr, Overlay, Param},
    namespace, net, nft, process,
};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid},
    io::Errno,
    process::{Resource, Signal},
};
use std::{io, path::Path};
use wire::flow::AGENT;

/// What every image has, with its mode.
const TEMPORARY: &[(&str, &str)] = &[("/tmp", "1777"), ("/var/tmp", "1777"), ("/run", "755")];
const QUIET: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV);

/// What stage was given.
pub struct Stage<'a> {
    pub spec: &'a Spec,
    /// What its programs trust beside what the image does.
    pub authority: Option<&'a str>,
    pub ids: &'a Ids,
    /// Whether the parent has something to do first: see [`waits`].
    pub waits: bool,
    /// Whether the parent moves it into cgroups after the clone.
    pub moved: bool,
    /// The parent's namespaces, of which none may be the sandbox's.
    pub outside: &'a namespace::Identity,
    /// Init's end of the link.
    pub link: OwnedFd,
    /// Init's end of the flow socket.
    pub flows: OwnedFd,
    /// Towards the parent: closes when init runs.
    pub report: OwnedFd,
}

/// Whether stage must wait for its parent to map ids or to move it into a cgroup.
pub fn waits(ids: &Ids, cgroup: Option<&Cgroup>) -> bool {
    matches!(ids, Ids::Range { .. }) || cgroup.is_some()
}

/// Becomes init, or tells the parent why not and ends.
pub fn run(stage: &Stage<'_>) -> ! {
    let Err(error) = stage.become_init();
    failure::send(&stage.report, &error);
    process::exit_now(1)
}

/// Gets the ids of the sandbox. From here on files are made with them.
pub fn take_ids(ids: &Ids) -> Result<(), LaunchError> {
    const WALL: &str = "user namespace";
    match *ids {
        Ids::One { uid, gid } => {
            // A caller that is not dumpable has made its /proc entries root's.
            process::set_dumpable(true).wall(WALL, "Cannot prepare the id maps", "")?;
            namespace::map_self(uid, gid).wall(WALL, "Cannot map ids", "").map_err(failure::mounts_denied)
        }
        Ids::Range { .. } => process::set_ids(0, 0, &[]).wall(WALL, "Cannot become the sandbox's root", ""),
    }
}

/// Waits for what the parent does, if it has anything to do.
pub fn wait(report: &OwnedFd, waits: bool) -> Result<(), LaunchError> {
    if !waits {
        return Ok(());
    }
    channel::receive(report).map(drop)
}

impl Stage<'_> {
    fn become_init(&self) -> Result<std::convert::Infallible, LaunchError> {
        // Early, because the scheduler takes its time to move a new session to a group of its own, and this may pass
        // while the parent works.
        process::setsid().wall("session", "Cannot begin a new session", "")?;
        // These need no ids, and pass while the parent maps them and copies mounts.
        namespace::enter_network().map_err(failure::namespaces)?;
        mount::isolate()
            .wall("mount namespace", "Cannot cut mounts off from the host's", "")
            .map_err(failure::mounts_denied)?;
        network()?;
        rustix::system::sethostname(self.spec.hostname.as_bytes()).wall(
            "uts namespace",
            "Cannot set the host name",
            "",
        )?;
        wait(&self.report, self.waits)?;
        take_ids(self.ids)?;
        if self.moved {
            // The one from the clone begins where the parent is, and would show the way from there.
            namespace::enter_cgroup().wall("cgroup namespace", "Cannot make it", "")?;
        }
        let (root, init) = self.build_root()?;
        mount::become_root(&root.fd).wall("mount namespace", "Cannot change the root", "")?;
        self.check_namespaces()?;
        self.give_up_rights()?;
        self.exec(init)
    }

    fn check_namespaces(&self) -> Result<(), LaunchError> {
        const WALL: &str = "namespaces";
        let own = namespace::Identity::own().wall(WALL, "Cannot tell the sandbox's own", "")?;
        let shared: Vec<&str> = own.shared(self.outside).collect();
        match shared.as_slice() {
            [] => Ok(()),
            shared => Err(failure::new(WALL, format!("The sandbox is in the host's: {}", shared.join(", ")), "")),
        }
    }

    /// Whom directories that must belong to the identity are given to; `None` where nobody else can exist.
    fn owner(&self) -> Option<(u32, u32)> {
        let identity = &self.spec.identity;
        match self.ids {
            Ids::One { .. } => None,
            Ids::Range { .. } => ((identity.uid, identity.gid) != (0, 0)).then_some((identity.uid, identity.gid)),
        }
    }

    /// The sandbox's root, not yet its root, and init's program.
    fn build_root(&self) -> Result<(Root, OwnedFd), LaunchError> {
        let spec = self.spec;
        let scratch = self.scratch()?;
        let mut sources = plan::take(spec, &self.report, self.ids)?;
        let lowers = take_layers(&mut sources, "");
        let init = take(&mut sources, Role::Init)?;
        let kept =
            if spec.is_on_disk() { Some(self.layer(&scratch, "kept", take(&mut sources, Role::Kept)?)?) } else { None };
        let uppers = kept.as_ref().unwrap_or(&scratch);

        // The root, and what the image's own files in it are.
        let host = spec.image == Image::Host;
        let mut lowers = self.stack(&scratch, "root", lowers)?;
        if spec.build.is_some() {
            // What lies above has only what programs write.
            let start = self.upper(uppers, START)?;
            let root = Root { fd: overlay("", &lowers, &start)?, owner: None, hint: String::new() };
            self.furnish(&root, &sources)?;
            lowers.insert(0, start.0);
        }
        let upper = self.upper(uppers, "")?;
        if let (Some(_), Some(below)) = (&spec.build, lowers.get(1)) {
            // A layer says what its root is like.
            let mode = rustix::fs::fstat(below).map(|stat| Mode::from_raw_mode(stat.st_mode & 0o7777));
            let set = mode.and_then(|mode| rustix::fs::chmodat(&upper.0, ".", mode, AtFlags::empty()));
            set.wall("image", "Cannot prepare the layer", "")?;
        }
        // Every start makes it: where it is, programs have run, and may do to the sandbox's files what they like.
        let again = kept.is_some() && rustix::fs::statat(&upper.0, "etc", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let hint = if again {
            format!(
                "If programs in the sandbox have put something else there, only a new one helps: 'agentkernel rm {}' removes this one with its files",
                spec.id
            )
        } else {
            String::new()
        };
        if let (true, Some(lower)) = (host, lowers.last()) {
            let made = self.made(self.prepare_host_root(lower, &upper.0), "Cannot prepare the sandbox's root");
            made.map_err(|error| failure::or_hint(error, &hint))?;
        }
        let root = Root { fd: overlay("", &lowers, &upper)?, owner: self.owner(), hint };
        mount::attach(&root.fd, make_directory(&scratch, "new")?).wall("image", "Cannot attach the root", "")?;
        if !host && spec.build.is_none() {
            let etc = root.directory("/etc", 0o755)?;
            etc::write(&etc, Some(&root.fd), spec).wall("image", "Cannot write the sandbox's /etc", &root.hint)?;
        }
        if spec.build.is_some() {
            cover_etc(&root, &scratch, spec)?;
        }
        if let Some(authority) = self.authority {
            trust::plant(&root, &scratch, authority)?;
        }
        let mut frozen = Vec::new();
        while let Some(place) = sources.iter().find_map(|(role, _)| role.layer()) {
            let layers = take_layers(&mut sources, place);
            let lowers = self.stack(&scratch, &format!("lower-{place}"), layers)?;
            let upper = self.upper(uppers, place)?;
            if place == "usr" && !lowers.last().is_some_and(|lower| self.owns(lower)) {
                self.made(Self::prepare_usr(&lowers, &upper.0), "Cannot prepare the sandbox's /usr")?;
            }
            let mount = match (overlay(place, &lowers, &upper), &lowers[..]) {
                // An overlay cannot show what the host has mounted below (WSL does so below /usr), and for an ordinary
                // user the kernel refuses to hide it. Then the sandbox sees it all, and writes none of it.
                (Err(_), [lower]) if matches!(self.ids, Ids::One { .. }) => read_only_copy(place, lower)?,
                (result, _) => result?,
            };
            mount::attach(&mount, root.directory(format!("/{place}"), 0o755)?).wall(
                "image",
                format_args!("Cannot attach /{place}"),
                "",
            )?;
            frozen.push(mount);
        }

        // The kernel's own default for a file system in memory, where nothing else was said.
        let most = spec.limits.disk.map_or_else(|| "50%".into(), |bytes| bytes.to_string());

        if spec.read_only {
            for (path, mode) in TEMPORARY {
                self.tmpfs(&root, Path::new(path), &most, mode)?;
            }
            self.tmpfs(&root, &spec.identity.home, &most, "700")?;
        } else {
            if !host {
                temporary(&root)?;
            }
            // A build's is what the image says, or none.
            if spec.build.is_none() {
                let home = root.directory(&spec.identity.home, 0o755)?;
                self.give(&home).wall("files", "Cannot give HOME to its owner", "")?;
            }
            // An image may name a directory that it has not, as Docker has it; what is placed there comes over it.
            if let Image::Oci(_) = spec.image {
                root.directory(spec.workdir.as_path(), 0o755)?;
            }
        }
        // While one is built, no layer gets what a volume would be.
        if spec.build.is_none() {
            volumes(&root, &spec.image, spec.read_only)?;
        }
        for placed in placed(spec) {
            match placed {
                Placed::Tmpfs(tmpfs) => {
                    self.tmpfs(&root, &tmpfs.target, &tmpfs.size.to_string(), "1777")?;
                    if spec.identity.home.starts_with(&tmpfs.target) {
                        root.directory(&spec.identity.home, 0o755)?;
                    }
                }
                Placed::Mount(index, entry) => {
                    bind(&root, "mounts", &take(&mut sources, Role::Mount(index))?, &entry.target, entry.read_only)?;
                }
                Placed::Lent(index, lent) => {
                    bind(&root, "mounts", &take(&mut sources, Role::Lent(index))?, &lent.target, lent.read_only)?;
                }
                Placed::Workspace(path, Workspace::Overlay { .. }) => {
                    let lower = self.layer(&scratch, "lower-workspace", take(&mut sources, Role::Workspace)?)?;
                    let upper = self.upper(uppers, "workspace")?;
                    if kept.is_none() {
                        self.give(&upper.0).wall("workspace", "Cannot give the workspace to its owner", "")?;
                    }
                    let mount = overlay("workspace", std::slice::from_ref(&lower), &upper)?;
                    mount::attach(&mount, root.target(path, &mount)?).wall(
                        "workspace",
                        format_args!("Cannot attach {}", path.display()),
                        "",
                    )?;
                }
                Placed::Workspace(path, _) => {
                    let project = take(&mut sources, Role::Workspace)?;
                    bind(&root, "workspace", &project, path, false)?;
                    let covers = Masks::receive(&self.report)?;
                    let stand_ins = StandIns::new(&scratch)?;
                    for (path, how) in covers {
                        cover(&project, &path, how, &stand_ins)?;
                    }
                }
            }
        }
        self.files(&root, &scratch)?;
        if let (Some(_), Some(place)) = (&spec.network.lent_keys, Path::new(AGENT).parent()) {
            let tried = format_args!("Cannot mount {}", place.display());
            // Root's, as init is where there is one.
            let dir = mount::new("tmpfs", &[Param::Value("size", "4k"), Param::Value("mode", "755")], QUIET);
            let dir = dir.wall("mounts", tried, "")?;
            mount::attach(&dir, root.target(place, &dir)?).wall("mounts", tried, "")?;
        }
        // After the mounts of others: whatever links an image has, nobody mounts anything over these.
        let proc = dev::proc(&root)?;
        // Whoever may bind low ports may answer as any server: inside, that is nobody's privilege.
        let port = rustix::fs::openat(
            &proc,
            "sys/net/ipv4/ip_unprivileged_port_start",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        port.and_then(|file| rustix::io::write(&file, b"0")).wall("network", "Cannot open the low ports", "")?;
        let null = dev::dev(&root, &most)?;
        dev::mask_proc(&proc, &null, &root.own("sys", 0o555)?)?;

        if spec.read_only {
            for mount in frozen.iter().chain([&root.fd]) {
                mount::set(mount, false, Attr::MOUNT_ATTR_RDONLY).wall(
                    "files",
                    "Cannot make the image read-only",
                    "",
                )?;
            }
        }
        Ok((root, init))
    }

    /// Makes in the root of a build what every start makes, and all places of mounts.
    fn furnish(&self, root: &Root, sources: &[(Role, OwnedFd)]) -> Result<(), LaunchError> {
        let etc = root.directory("/etc", 0o755)?;
        etc::write(&etc, Some(&root.fd), self.spec).wall("image", "Cannot write the sandbox's /etc", "")?;
        temporary(root)?;
        for (name, mode) in [("proc", 0o555), ("dev", 0o755), ("sys", 0o555)] {
            root.own(name, mode)?;
        }
        if let (Some(_), Some(place)) = (self.authority, Path::new(crate::trust::CERTIFICATE).parent()) {
            root.directory(place, 0o755)?;
        }
        root.directory(self.spec.workdir.as_path(), 0o755)?;
        for tmpfs in &self.spec.tmpfs {
            root.directory(&tmpfs.target, 0o755)?;
        }
        for (index, lent) in self.spec.build.iter().flat_map(|build| &build.mounts).enumerate() {
            if let Some((_, source)) = sources.iter().find(|(role, _)| *role == Role::Lent(index)) {
                root.target(&lent.target, source)?;
            }
        }
        if let (Some(_), Some(place)) = (&self.spec.network.lent_keys, Path::new(AGENT).parent()) {
            root.directory(place, 0o755)?;
        }
        for (file, ..) in self.spec.files() {
            // Any file but a directory shows what is to be covered.
            let null = rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            root.target(file, &null.wall("secrets", "Cannot open /dev/null", "")?)?;
        }
        Ok(())
    }

    /// A place for mount points and upper layers, in memory, outside of what will be the root.
    fn scratch(&self) -> Result<OwnedFd, LaunchError> {
        const WALL: &str = "mount namespace";
        // A sandbox on disk writes to its own directory; here are only mount points then.
        let size = self.spec.limits.disk.filter(|_| !self.spec.is_on_disk()).unwrap_or(1 << 20);
        let size = size.to_string();
        let params = [Param::Value("size", size.as_str()), Param::Value("mode", "755")];
        let scratch = mount::new("tmpfs", &params, QUIET)
            .wall(WALL, "Cannot mount a file system in memory", "")
            .map_err(failure::mounts_denied)?;
        // Over a directory of the host that exists everywhere and is not needed here; its own descriptors are not
        // affected. Not over the root: what lies there costs another slow umount when the root is left.
        let open =
            |path: &str| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let place = open("/sys").or_else(|_| open("/")).wall(WALL, "Cannot open the old root", "")?;
        mount::attach(&scratch, &place).wall(WALL, "Cannot attach a file system in memory", "")?;
        Ok(scratch)
    }

    /// A lower layer that overlayfs accepts: on a mount of this namespace. What the parent sent is not attached yet.
    fn layer(&self, scratch: &OwnedFd, name: &str, fd: OwnedFd) -> Result<OwnedFd, LaunchError> {
        if let Ids::Range { .. } = self.ids {
            mount::attach(&fd, make_directory(scratch, name)?).wall("image", "Cannot attach a layer", "")?;
        }
        Ok(fd)
    }

    /// Lower layers of one overlay, as they are given.
    fn stack(&self, scratch: &OwnedFd, name: &str, layers: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, LaunchError> {
        let layers = layers.into_iter().enumerate();
        layers.map(|(index, fd)| self.layer(scratch, &format!("{name}-{index}"), fd)).collect()
    }

    /// The upper and work directories of an overlay. A sandbox on disk has them already.
    fn upper(&self, uppers: &OwnedFd, place: &str) -> Result<(OwnedFd, OwnedFd), LaunchError> {
        let name = upper_name(place);
        let made = if self.spec.is_on_disk() {
            let open = |path: String| open_beneath(uppers, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
            open(format!("{name}/upper")).and_then(|upper| Ok((upper, open(format!("{name}/work"))?))).wall(
                "files",
                "Cannot open the sandbox's files",
                "",
            )?
        } else {
            let layer = make_directory(uppers, &format!("upper-{name}"))?;
            (make_directory(&layer, "upper")?, make_directory(&layer, "work")?)
        };
        Ok(made)
    }

    /// Tells of what failed in an upper layer: that of a kept sandbox lies in the state directory.
    fn made(&self, result: io::Result<()>, tried: &str) -> Result<(), LaunchError> {
        if self.spec.keep { failure::state(result, "image", tried) } else { result.wall("image", tried, "") }
    }

    /// Whether what root owns in a layer of the image belongs to the sandbox's root as it is: not everywhere can owners
    /// be mapped.
    fn owns(&self, layer: &OwnedFd) -> bool {
        matches!(self.ids, Ids::Range { .. }) && rustix::fs::fstat(layer).is_ok_and(|stat| stat.st_uid == 0)
    }

    /// Makes what the sandbox must own of the top of image `host` in its upper layer, where the cached layer below is
    /// another's or has another mode. /etc always, so that files are written there without a detour through the overlay.
    fn prepare_host_root(&self, lower: &OwnedFd, upper: &OwnedFd) -> io::Result<()> {
        for &(name, mode) in skeleton::DIRECTORIES {
            if self.owns(lower) && name != "etc" && mode & skeleton::OPEN == skeleton::OPEN {
                continue;
            }
            make_in_upper(upper, name, mode)?;
        }
        let etc = open_beneath(upper, "etc", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        etc::write(&etc, None, self.spec)
    }

    /// Makes the first level of /usr, and /usr/local, in the upper layer where the host's own belong to nobody inside,
    /// so that programs can be installed there.
    fn prepare_usr(lowers: &[OwnedFd], upper: &OwnedFd) -> io::Result<()> {
        for name in USR {
            let other = |lower| {
                rustix::fs::statat(lower, *name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
            };
            if lowers.iter().any(other) {
                continue;
            }
            make_in_upper(upper, name, 0o755)?;
        }
        Ok(())
    }

    /// An own empty file system in memory.
    fn tmpfs(&self, root: &Root, path: &Path, size: &str, mode: &str) -> Result<(), LaunchError> {
        let tried = format_args!("Cannot mount {}", path.display());
        let params = [Param::Value("size", size), Param::Value("mode", mode)];
        let tmpfs = mount::new("tmpfs", &params, QUIET).wall("mounts", tried, "")?;
        self.give(&tmpfs).wall("mounts", tried, "")?;
        mount::attach(&tmpfs, root.target(path, &tmpfs)?).wall("mounts", tried, "")
    }

    fn give(&self, fd: &OwnedFd) -> rustix::io::Result<()> {
        let Some((uid, gid)) = self.owner() else { return Ok(()) };
        rustix::fs::chownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    /// Files that the sandbox has besides its image's.
    fn files(&self, root: &Root, scratch: &OwnedFd) -> Result<(), LaunchError> {
        for (index, (path, contents, mode)) in self.spec.files().into_iter().enumerate() {
            let tried = format_args!("Cannot make {}", path.display());
            let made = trust::write(scratch, &format!("file-{index}"), contents.as_bytes(), mode);
            let file = made.wall("secrets", tried, "")?;
            self.give(&file).wall("secrets", tried, "")?;
            mount::attach(&trust::read_only(&file)?, root.target(path, &file)?).wall("secrets", tried, "")?;
        }
        Ok(())
    }

    fn give_up_rights(&self) -> Result<(), LaunchError> {
        process::new_session_keyring().wall("keyring", "Cannot join a new session keyring", "")?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        process::set_rlimit(Resource::Core, 0).wall("limits", "Cannot turn core files off", "")?;
        const WALL: &str = "capabilities";
        // CAP_NET_ADMIN only until the capture is open.
        let own = match self.ids {
            Ids::One { .. } => Cap::NET_ADMIN,
            // Init becomes the user of each exec, and must be able to end it.
            Ids::Range { .. } => Cap::NET_ADMIN | Cap::SETUID | Cap::SETGID | Cap::KILL,
        };
        let programs = if self.spec.build.is_some() { caps::BUILD } else { Cap::empty() };
        // Init may have user id 0: without this, execve would give it all capabilities back.
        caps::lock_root_out().wall(WALL, "Cannot lock root out", "")?;
        caps::keep_through_exec(own | programs, programs).wall(WALL, "Cannot drop capabilities", "")?;
        process::set_no_new_privs().wall("no-new-privileges", "Cannot set it", "")
    }

    fn exec(&self, init: OwnedFd) -> Result<std::convert::Infallible, LaunchError> {
        const WALL: &str = "descriptors";
        process::set_parent_death_signal(Signal::KILL).wall("process", "Cannot tie init to the supervisor", "")?;
        let init = super::beyond_reserved(init)?;
        process::set_stdio_null().wall(WALL, "Cannot open /dev/null", "")?;
        process::close_on_exec_from(LINK_FD, &[]).wall(WALL, "Cannot close descriptors", "")?;
        process::place_fd(&self.link, LINK_FD).wall(WALL, "Cannot place the link", "")?;
        process::place_fd(&self.flows, FLOWS_FD).wall(WALL, "Cannot place the flow socket", "")?;
        let error = process::exec(process::Program::Fd(init.as_fd()), &[c"init".to_owned()], &[]);
        Err(error).wall("init", "Cannot execute init", "")
    }
}

/// What the user has placed somewhere in the sandbox.
enum Placed<'a> {
    Workspace(&'a Path, &'a Workspace),
    Tmpfs(&'a Tmpfs),
    /// By its index.
    Mount(usize, &'a Mount),
    /// By its index.
    Lent(usize, &'a Lent),
}

/// All that is placed, what is in a directory after it: nothing hides another.
fn placed(spec: &Spec) -> Vec<Placed<'_>> {
    let mut all: Vec<(&Path, Placed<'_>)> = Vec::new();
    match &spec.workspace {
        Workspace::None => {}
        workspace @ (Workspace::Direct { path, .. } | Workspace::Overlay { path }) => {
            all.push((path, Placed::Workspace(path, workspace)));
        }
    }
    all.extend(spec.tmpfs.iter().map(|tmpfs| (tmpfs.target.as_path(), Placed::Tmpfs(tmpfs))));
    all.extend(spec.all_mounts().enumerate().map(|(n, mount)| (mount.target.as_path(), Placed::Mount(n, mount))));
    let lent = spec.build.iter().flat_map(|build| &build.mounts).enumerate();
    all.extend(lent.map(|(n, lent)| (lent.target.as_path(), Placed::Lent(n, lent))));
    all.sort_by_key(|(path, _)| *path);
    all.into_iter().map(|(_, placed)| placed).collect()
}

/// The layers of one overlay, the topmost first; the other sources stay in their order.
fn take_layers(sources: &mut Vec<(Role, OwnedFd)>, place: &'static str) -> Vec<OwnedFd> {
    let layers = sources.extract_if(.., |(role, _)| *role == Role::Lower(place));
    layers.map(|(_, fd)| fd).collect()
}

/// The one source that plays a part.
fn take(sources: &mut Vec<(Role, OwnedFd)>, role: Role) -> Result<OwnedFd, LaunchError> {
    let index = sources.iter().position(|(other, _)| *other == role);
    let index = index.ok_or_else(|| failure::new("init", format!("No source for {role:?}"), ""))?;
    Ok(sources.remove(index).1)
}

/// Makes what every image has, where it is missing.
fn temporary(root: &Root) -> Result<(), LaunchError> {
    for (path, mode) in TEMPORARY {
        root.directory(path, u32::from_str_radix(mode, 8).unwrap_or(0o755))?;
    }
    Ok(())
}

/// In a new network namespace: every address is a local one, and init catches connections to them. Without nf_tables
/// that is less comfortable, and no less tight.
pub fn network() -> Result<(), LaunchError> {
    net::loop_everything().wall("network", "Cannot set up the loopback device", "")?;
    nft::catch_all(wire::link::CAPTURE_PORT).wall("network", "Cannot catch connections", "").map(drop)
}

/// What installers write to in /usr.
const USR: &[&str] = &[
    "bin",
    "etc",
    "games",
    "include",
    "lib",
    "lib64",
    "libexec",
    "local",
    "local/bin",
    "local/etc",
    "local/include",
    "local/lib",
    "local/libexec",
    "local/sbin",
    "local/share",
    "local/src",
    "sbin",
    "share",
    "src",
];

/// An overlay for this place of the image, of these layers, the topmost first.
pub fn overlay(place: &str, lower: &[OwnedFd], upper: &(OwnedFd, OwnedFd)) -> Result<OwnedFd, LaunchError> {
    let lower: Vec<BorrowedFd<'_>> = lower.iter().map(rustix::fd::AsFd::as_fd).collect();
    let layers = Overlay { lower: &lower, upper: upper.0.as_fd(), work: upper.1.as_fd() };
    let hint = if lower.len() > mount::STACKED {
        "An image of so many layers needs Linux 6.5"
    } else {
        "overlayfs must accept both: it refuses a network file system or an overlay as upper layer, and (for ordinary users) a lower layer with other mounts below it. Move the state directory to a local disk, or name a directory without mounts in it"
    };
    mount::overlay(&layers, QUIET).wall(
        if place == "workspace" { "workspace" } else { "image" },
        format_args!("Cannot lay the sandbox's own files over /{place}"),
        hint,
    )
}

fn read_only_copy(place: &str, lower: &OwnedFd) -> Result<OwnedFd, LaunchError> {
    let tried = format_args!("Cannot bring in /{place}");
    let copy = mount::copy(lower, true).wall("image", tried, "")?;
    mount::set(&copy, true, QUIET | Attr::MOUNT_ATTR_RDONLY).wall("image", tried, "")?;
    Ok(copy)
}

/// A new directory, open.
pub fn make_directory(dir: &OwnedFd, name: &str) -> Result<OwnedFd, LaunchError> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))
        .and_then(|()| rustix::fs::openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
        .wall("mount namespace", "Cannot make a mount point", "")
}

/// Makes a directory in an upper layer, unless something is there already, or in the place of a parent. That may be of a
/// kept sandbox's own making, such as a link to anywhere on the host, where all of this still is: none is followed.
fn make_in_upper(upper: &OwnedFd, path: &str, mode: u32) -> io::Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let made = open_beneath(upper, parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).and_then(|parent| {
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
        // mkdir ignores the sticky bit of its mode.
        if mode & 0o1000 != 0 {
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(())
    });
    match made {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
            ) =>
        {
            Ok(())
        }
        made => made,
    }
}

/// Mounts what every start makes in /etc over where a build's first layer has it, as engines do: what a step does to it is in
/// no layer.
fn cover_etc(root: &Root, scratch: &OwnedFd, spec: &Spec) -> Result<(), LaunchError> {
    let tried = "Cannot cover the sandbox's /etc";
    let own = make_directory(scratch, "etc")?;
    etc::write(&own, None, spec).wall("image", tried, "")?;
    for name in etc::MADE {
        let file = open_beneath(&own, name, OFlags::PATH, Mode::empty());
        let copy = file.and_then(|file| mount::copy(&file, false)).wall("image", tried, "")?;
        mount::set(&copy, false, QUIET).wall("image", tried, "")?;
        mount::attach(&copy, root.target(&Path::new("/etc").join(name), &copy)?).wall("image", tried, "")?;
    }
    Ok(())
}

/// Makes the volumes of an image that it has not, and mounts each over itself where the rest becomes read-only, so that it
/// stays writable.
fn volumes(root: &Root, image: &Image, read_only: bool) -> Result<(), LaunchError> {
    let mut places: Vec<&Path> = image.volumes().collect();
    // What is below comes after what it is in.
    places.sort_unstable();
    for place in places {
        let tried = format_args!("Cannot attach {}", place.display());
        let directory = root.roots_directory(place)?;
        if !read_only {
            continue;
        }
        let copy = mount::copy(&directory, false).wall("mounts", tried, "")?;
        mount::set(&copy, false, Attr::empty()).wall("mounts", tried, "")?;
        mount::attach(&copy, &directory).wall("mounts", tried, "")?;
    }
    Ok(())
}

/// Attaches a host directory or file.
fn bind(root: &Root, wall: &str, source: &OwnedFd, target: &Path, read_only: bool) -> Result<(), LaunchError> {
    let tried = format_args!("Cannot attach {}", target.display());
    let mut attrs = QUIET;
    if read_only {
        attrs |= Attr::MOUNT_ATTR_RDONLY;
    }
    mount::set(source, true, attrs).wall(wall, tried, "")?;
    mount::attach(source, root.target(target, source)?).wall(wall, tried, "")
}

/// What stands in for placeholders.
struct StandIns {
    /// A link that leads nowhere, and to where nobody can make anything. It has the time of a placeholder.
    nothing: OwnedFd,
    /// A file with [`archive::SAYS_NOTHING`], and that time.
    blank: OwnedFd,
}

impl StandIns {
    fn new(scratch: &OwnedFd) -> Result<Self, LaunchError> {
        let mark = Timespec { tv_sec: archive::PLACEHOLDER, tv_nsec: 0 };
        let times = Timestamps { last_access: mark, last_modification: mark };
        let open =
            |name| rustix::fs::openat(scratch, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let make = || {
            rustix::fs::symlinkat(archive::NOWHERE, scratch, "nothing")?;
            rustix::fs::utimensat(scratch, "nothing", &times, AtFlags::SYMLINK_NOFOLLOW)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let blank = rustix::fs::openat(scratch, "blank", flags, Mode::from_raw_mode(0o444))?;
            rustix::io::write(&blank, archive::SAYS_NOTHING.as_bytes())?;
            rustix::fs::futimens(&blank, &times)?;
            Ok::<_, Errno>(Self { nothing: open("nothing")?, blank: open("blank")? })
        };
        make().wall("protected paths", "Cannot make what stands in for them", "")
    }
}

/// Covers a path of the project with itself: what has a mount on it can be neither removed nor replaced from inside. A
/// symbolic link is covered like a file, and what it leads to, elsewhere in the project, stays as it is. A placeholder may be
/// covered with what stands in for it, unless it is a directory.
fn cover(project: &OwnedFd, path: &Path, how: Cover, stand_ins: &StandIns) -> Result<(), LaunchError> {
    const WALL: &str = "protected paths";
    let tried = format_args!("Cannot protect {}", path.display());
    let target = open_beneath(project, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).wall(WALL, tried, "")?;
    let stat = rustix::fs::fstat(&target).wall(WALL, tried, "")?;
    let source = match how {
        _ if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => &target,
        Cover::Passage | Cover::ReadOnly => &target,
        Cover::Nothing => &stand_ins.nothing,
        Cover::Blank => &stand_ins.blank,
    };
    let copy = mount::copy(source, true).wall(WALL, tried, "")?;
    let attrs = if how == Cover::Passage { Attr::empty() } else { Attr::MOUNT_ATTR_RDONLY };
    mount::set(&copy, true, attrs).wall(WALL, tried, "")?;
    mount::attach(&copy, &target).wall(WALL, tried, "")?;
    // Somebody may have put something else in its place meanwhile.
    let seen =
        rustix::fs::statx(project, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).wall(WALL, tried, "")?;
    if seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    Err(failure::new(WALL, format!("{tried}: it was replaced meanwhile"), ""))
}
