//! The peers, set up to show the same files as a sandbox of ours: the host's system read-only, the project writable,
//! own /proc, /dev and /tmp, every namespace their own.

use super::system_folders;
use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// Links that a merged /usr has at the root.
fn links() -> impl Iterator<Item = (PathBuf, PathBuf)> {
    ["bin", "sbin", "lib", "lib64"].iter().filter_map(|name| {
        let link = Path::new("/").join(name);
        fs::read_link(&link).ok().map(|target| (target, link))
    })
}

/// bwrap with the mounts of a sandbox of ours, as its /proc/self/mountinfo tells them (proc_pid_mountinfo(5)). An
/// overlay becomes a read-only bind; /proc, /dev and what bwrap itself covers below them are left to bwrap. It gets a
/// project of its own, because it leaves what it makes there to mount something on.
pub fn bwrap(mounts: &str, project: &Path, folder: &Path) -> Result<Vec<String>> {
    let (own, empty) = (folder.join("bwrap"), folder.join("empty"));
    fs::create_dir(&own)?;
    fs::create_dir(&empty)?;
    const COVERED: [&str; 4] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"];
    let mut argv: Vec<String> =
        [program("bwrap")?.as_str(), "--unshare-all", "--die-with-parent", "--new-session", "--hostname", "sandbox"]
            .map(str::to_owned)
            .to_vec();
    let mut add = |flag: &str, words: &[&Path]| {
        argv.push(flag.to_owned());
        argv.extend(words.iter().map(|word| word.to_string_lossy().into_owned()));
    };
    links().for_each(|(target, link)| add("--symlink", &[&target, &link]));
    add("--ro-bind", &[Path::new("/etc"), Path::new("/etc")]);
    add("--dir", &[Path::new("/tmp")]);
    let mut mounts: Vec<(&Path, bool, &str)> = mounts.lines().filter_map(mounted).collect();
    mounts.sort_by_key(|(place, ..)| place.components().count());
    for (place, writable, kind) in mounts {
        let below = |parent: &str| place != Path::new(parent) && place.starts_with(parent);
        match place.to_str().unwrap_or_default() {
            "/" => {}
            "/proc" => add("--proc", &[place]),
            "/dev" => add("--dev", &[place]),
            covered if COVERED.contains(&covered) || below("/dev") => {}
            _ if below("/proc") => match kind {
                "proc" => add("--ro-bind", &[place, place]),
                "overlay" => add("--ro-bind", &[&empty, place]),
                _ => add("--ro-bind", &[Path::new("/dev/null"), place]),
            },
            _ if kind == "tmpfs" => add("--tmpfs", &[place]),
            _ => match place.strip_prefix(project) {
                Ok(path) if path.as_os_str().is_empty() => add("--bind", &[&own, &own]),
                Ok(path) if !writable => add("--ro-bind", &[&empty, &own.join(path)]),
                Ok(path) => bail!("{} of the project is a mount of its own", path.display()),
                Err(_) => add("--ro-bind", &[place, place]),
            },
        }
    }
    add("--chdir", &[&own]);
    argv.extend(["--", "true"].map(str::to_owned));
    Ok(argv)
}

/// Of a line of mountinfo: where, whether writable, and which file system.
fn mounted(line: &str) -> Option<(&Path, bool, &str)> {
    let (mount, source) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(4);
    let (place, options) = (fields.next()?, fields.next()?);
    Some((Path::new(place), options.split(',').any(|option| option == "rw"), source.split(' ').next()?))
}

/// `run` of an OCI runtime, with a bundle of its own.
pub fn oci(runtime: &str, folder: &Path, project: &Path) -> Result<Vec<String>> {
    let bundle = bundle(runtime, folder, project, &["true"])?;
    let (program, bundle, id) = (program(runtime)?, bundle.to_string_lossy(), format!("bench-{runtime}"));
    Ok([&program, "run", "--bundle", &bundle, &id].map(str::to_owned).to_vec())
}

/// A container that stays until it is dropped.
pub struct Keeper {
    runtime: String,
    id: String,
    child: Child,
}

impl Keeper {
    pub fn start(runtime: &str, folder: &Path, project: &Path) -> Result<Self> {
        let bundle = bundle(&format!("{runtime}-keeper"), folder, project, &["sleep", "3600"])?;
        let (runtime, id) = (program(runtime)?, format!("bench-keeper-{}", std::process::id()));
        let mut command = run::command(&runtime);
        command.args(["run", "--bundle"]).arg(bundle).arg(&id).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("Cannot start {runtime}"))?;
        let keeper = Self { runtime, id, child };
        for _ in 0..100 {
            if run::capture(run::command(&keeper.runtime).args(["exec", &keeper.id, "true"])).is_ok() {
                return Ok(keeper);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        bail!("{} does not run containers here", keeper.runtime)
    }

    pub fn exec(&self) -> Vec<String> {
        [self.runtime.as_str(), "exec", &self.id, "true"].map(str::to_owned).to_vec()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Nobody waits for these: the bench is over, and a container that is gone already is as good.
        let _ = run::capture(run::command(&self.runtime).args(["delete", "--force", &self.id]));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> Result<String> {
    let path = run::find(name).with_context(|| format!("{name} is not installed"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// An OCI bundle whose root is empty but for mounts.
fn bundle(name: &str, folder: &Path, project: &Path, command: &[&str]) -> Result<PathBuf> {
    if !run::is_root() {
        bail!("its rootless mode needs an id range; run the bench as root");
    }
    let bundle = folder.join(format!("bundle-{name}"));
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root)?;
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]),
    ];
    for path in system_folders() {
        let path = path.to_string_lossy();
        mounts.push(mount(&path, "bind", &path, &["rbind", "ro"]));
    }
    let path = project.to_string_lossy();
    mounts.push(mount(&path, "bind", &path, &["rbind", "rw"]));
    for (target, link) in links() {
        symlink(target, root.join(link.strip_prefix("/")?))?;
    }
    let namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount"].iter().map(|kind| json!({ "type": kind })).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": command,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": path,
            "capabilities": { "bounding": [], "effective": [], "permitted": [] },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "sandbox",
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    Ok(bundle)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}
