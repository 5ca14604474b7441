//! The disk of the test machine: a minimal Debian on ext4, its cloud kernel, and an initramfs that mounts it.

use crate::run;
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What a test may expect in the machine besides a minimal Debian.
const PACKAGES: &str = "bubblewrap,busybox-static,git,iproute2,kmod,less,netbase,procps,python3,tmux,vim-tiny";
const RELEASE: &str = "bookworm";
/// What the initramfs needs to reach the disk; ext4 asks for a crc32c at run time, which modules.dep does not say.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// PID 1 of the initramfs.
const FIRST: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod "/lib/$module"; done
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox reboot -f
exec /bin/busybox switch_root /root /sbin/vm-init
"#;

/// PID 1 of the machine: what systemd would have done, as far as tests see it.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
# As systemd and udev make them.
ln -sfT /proc/self/fd /dev/fd
ln -sfT fd/0 /dev/stdin
ln -sfT fd/1 /dev/stdout
ln -sfT fd/2 /dev/stderr
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=000 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 /sys/fs/cgroup
mount --make-rshared /
ip link set lo up
cat /proc/sys/kernel/random/uuid | tr -d - > /run/machine-id
mkdir -p -m 700 /run/user/1000 && chown 1000:1000 /run/user/1000
controllers='+cpu +memory +pids'
cd /sys/fs/cgroup
echo "$controllers" > cgroup.subtree_control
user=user.slice/user-1000.slice/user@1000.service
mkdir -p init.scope system.slice $user/app.slice
echo $$ > init.scope/cgroup.procs
for group in system.slice user.slice user.slice/user-1000.slice; do echo "$controllers" > $group/cgroup.subtree_control; done
chown 1000:1000 $user $user/cgroup.procs $user/cgroup.subtree_control $user/cgroup.threads
chown 1000:1000 $user/app.slice $user/app.slice/cgroup.procs $user/app.slice/cgroup.subtree_control $user/app.slice/cgroup.threads
echo "$controllers" > $user/cgroup.subtree_control
echo "$controllers" > $user/app.slice/cgroup.subtree_control
cd /
tar -xf /dev/vdb -C /
sh /job < /dev/null 2>&1
printf '\n\001vm exit %s\n' $?
sync
busybox reboot -f
"#;

/// The files that qemu boots.
pub struct Disk {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub root: PathBuf,
}

fn folder() -> PathBuf {
    run::target().join("vm")
}

fn files() -> Disk {
    let at = |name| folder().join(name);
    Disk { kernel: at("vmlinuz"), initramfs: at("initramfs.cpio"), root: at("root.ext4") }
}

/// What the disk was made from: another recipe makes another disk.
fn recipe() -> String {
    [PACKAGES, RELEASE, FIRST, INIT, &MODULES.join(" ")].join("\n")
}

/// Whether the disk is there and of today's recipe.
pub fn is_ready() -> bool {
    fs::read_to_string(folder().join("recipe")).is_ok_and(|text| text == recipe())
}

/// Makes the disk unless it is there.
pub fn prepare() -> Result<Disk> {
    let disk = files();
    if is_ready() {
        return Ok(disk);
    }
    let folder = folder();
    let tree = folder.join("root");
    fs::create_dir_all(&folder)?;
    eprintln!("vm: making the disk (once, about a minute)");
    let _ = fs::remove_dir_all(&tree);
    run::run(
        run::command("mmdebstrap")
            .args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}"), RELEASE])
            .arg(&tree)
            .args(sources()),
    )?;
    let version = kernel(&folder, &tree, &disk)?;
    // Ids and ranges as adduser gives them to the first person on a machine.
    chroot(&tree, &["useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", "user"])?;
    fs::write(tree.join("sbin/vm-init"), INIT)?;
    fs::write(tree.join("etc/hostname"), "vm\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost vm\n::1 localhost\n")?;
    chroot(&tree, &["chmod", "755", "/sbin/vm-init"])?;
    initramfs(&tree, &version, &disk)?;
    run::run(
        run::command("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"])
            .arg(&tree)
            .arg(&disk.root)
            .arg("3G")
            .stdout(Stdio::null()),
    )?;
    fs::remove_dir_all(&tree)?;
    fs::write(folder.join("recipe"), recipe())?;
    Ok(disk)
}

/// Where this machine itself gets its Debian from.
fn sources() -> Vec<PathBuf> {
    let candidates = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    candidates.map(PathBuf::from).into_iter().filter(|path| path.is_file()).take(1).collect()
}

/// Unpacks Debian's cloud kernel into the tree and gives its version.
fn kernel(folder: &Path, tree: &Path, disk: &Disk) -> Result<String> {
    let ask = || run::capture(run::command("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    // A fresh machine has no package lists yet.
    let depends = ask().or_else(|_| run::run(run::command("apt-get").args(["update", "-qq"])).and_then(|()| ask()))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .context("apt knows no linux-image-cloud-amd64 (is this a Debian 12?)")?;
    let version = package.trim_start_matches("linux-image-").to_owned();
    for old in fs::read_dir(folder)?.flatten() {
        if old.path().extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(old.path())?;
        }
    }
    run::run(run::command("apt-get").current_dir(folder).args(["download", "-qq", package]))?;
    let deb = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded nothing")?;
    // Its lib is a directory, the tree's a link to usr/lib.
    let unpacked = folder.join("kernel");
    let _ = fs::remove_dir_all(&unpacked);
    run::run(run::command("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
    run::run(run::command("cp").arg("-a").arg(unpacked.join("lib/modules")).arg(tree.join("usr/lib")))?;
    fs::rename(unpacked.join("boot").join(format!("vmlinuz-{version}")), &disk.kernel)?;
    fs::remove_dir_all(&unpacked)?;
    chroot(tree, &["depmod", &version])?;
    Ok(version)
}

fn chroot(tree: &Path, command: &[&str]) -> Result<()> {
    run::run(run::command("chroot").arg(tree).args(command))
}

/// Writes the initramfs: busybox, the modules that reach the disk, in the order of their needs.
fn initramfs(tree: &Path, version: &str, disk: &Disk) -> Result<()> {
    let modules = tree.join("usr/lib/modules").join(version);
    let mut archive = Cpio::default();
    for name in ["bin", "dev", "lib", "root"] {
        archive.directory(name);
    }
    archive.file("bin/busybox", 0o755, &fs::read(tree.join("bin/busybox"))?);
    archive.file("init", 0o755, FIRST.as_bytes());
    let order = load_order(&fs::read_to_string(modules.join("modules.dep"))?);
    for path in &order {
        let name = path.rsplit('/').next().unwrap_or(path);
        archive.file(&format!("lib/{name}"), 0o644, &fs::read(modules.join(path))?);
    }
    let names: Vec<&str> = order.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
    archive.file("modules", 0o644, names.join("\n").as_bytes());
    fs::write(&disk.initramfs, archive.finish())?;
    Ok(())
}

/// The paths of [`MODULES`] and of what they need, needs first. A module that is not there is built in.
fn load_order(dependencies: &str) -> Vec<String> {
    let mut needs = HashMap::new();
    for line in dependencies.lines() {
        if let Some((path, rest)) = line.split_once(':') {
            let name = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or(path).replace('-', "_");
            needs.insert(name, (path, rest));
        }
    }
    let mut order: Vec<String> = Vec::new();
    for (path, rest) in MODULES.iter().filter_map(|name| needs.get(*name)) {
        // modules.dep lists needs from the nearest to the farthest.
        for path in rest.split_whitespace().rev().chain([*path]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    order
}

/// A cpio archive of the kind that the kernel unpacks ("newc", Documentation/driver-api/early-userspace).
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let (size, length) = (content.len() as u32, name.len() as u32 + 1);
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
