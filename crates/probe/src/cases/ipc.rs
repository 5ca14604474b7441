//! Ways to talk to processes of the host without a network: sockets, shared memory, queues.

use crate::{
    case::{Case, Class::Ipc, Control, Outcome, Skip, done, said, words, worst},
    context::Context,
    sys::own,
    syscall,
};
use rustix::io::Errno;
use std::{
    ffi::CString,
    fs,
    io::{self, Read},
    os::{
        linux::net::SocketAddrExt,
        unix::{fs::FileTypeExt, net::SocketAddr, net::UnixStream},
    },
    path::Path,
    time::Duration,
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "socket-abstract",
        Ipc,
        "abstract sockets of the host can be reached",
        "CVE-2020-15257",
        Control::Host,
        abstract_socket,
    ),
    Case::new("socket-path", Ipc, "a socket file of the host can be reached", "unix(7)", Control::Host, |ctx| {
        Ok(hears(UnixStream::connect(ctx.need("unix")?), ctx.token()?))
    }),
    Case::new(
        "socket-containers",
        Ipc,
        "a container engine takes orders: root on the host",
        "CVE-2018-15664",
        Control::Host,
        |ctx| {
            Ok(connect(
                ctx,
                &[
                    "/var/run/docker.sock",
                    "/run/docker.sock",
                    "/run/containerd/containerd.sock",
                    "/run/podman/podman.sock",
                    "/run/crio/crio.sock",
                    "/run/user/{uid}/podman/podman.sock",
                    "/run/user/{uid}/docker.sock",
                    "{home}/.docker/run/docker.sock",
                ],
            ))
        },
    ),
    Case::new(
        "socket-system-services",
        Ipc,
        "the service manager, a package manager or a hypervisor takes orders",
        "CVE-2019-7304",
        Control::Host,
        |ctx| {
            Ok(connect(
                ctx,
                &[
                    "/run/systemd/private",
                    "/run/systemd/notify",
                    "/run/systemd/journal/stdout",
                    "/run/snapd.socket",
                    "/run/libvirt/libvirt-sock",
                    "/var/run/nscd/socket",
                    "/run/udev/control",
                    "/run/lvm/lvmpolld.socket",
                ],
            ))
        },
    ),
    Case::new(
        "socket-message-bus",
        Ipc,
        "the system or session bus can be reached",
        "CVE-2018-6560",
        Control::Host,
        |ctx| {
            Ok(connect(ctx, &["/run/dbus/system_bus_socket", "/run/user/{uid}/bus", "/run/user/{uid}/systemd/private"]))
        },
    ),
    Case::new(
        "socket-key-agents",
        Ipc,
        "the caller's ssh or gpg agent signs for the sandbox",
        "ssh-agent(1)",
        Control::Host,
        |ctx| {
            Ok(connect(
                ctx,
                &[
                    "{ssh_agent}",
                    "/run/user/{uid}/gnupg/S.gpg-agent",
                    "/run/user/{uid}/gnupg/S.gpg-agent.ssh",
                    "/run/user/{uid}/keyring/ssh",
                    "/run/user/{uid}/keyring/control",
                    "{home}/.gnupg/S.gpg-agent",
                    "/run/user/{uid}/openssh_agent",
                ],
            ))
        },
    ),
    Case::new(
        "socket-display",
        Ipc,
        "the caller's screen and sound can be reached",
        "CVE-2017-5226",
        Control::Host,
        display,
    ),
    Case::new("shm-sysv", Ipc, "System V shared memory of the host can be attached", "sysvipc(7)", Control::Host, sysv),
    Case::new(
        "shm-sysv-list",
        Ipc,
        "System V objects of the host are listed",
        "proc_sysvipc(5)",
        Control::Host,
        sysv_list,
    ),
    Case::new("shm-posix", Ipc, "/dev/shm is the host's", "shm_overview(7)", Control::Host, posix_shm),
    Case::new(
        "queue-posix",
        Ipc,
        "POSIX message queues of the host can be opened",
        "mq_overview(7)",
        Control::Host,
        queue,
    ),
];

/// Whether whoever answers knows the token. Init may accept connections itself, so a connection alone is nothing.
pub fn hears(stream: io::Result<impl Read>, token: &str) -> Outcome {
    let mut buffer = [0u8; 256];
    match stream.and_then(|mut stream| stream.read(&mut buffer)) {
        Ok(n) if buffer[..n].windows(token.len()).any(|window| window == token.as_bytes()) => {
            Outcome::Escaped("the runner's service answered".to_owned())
        }
        Ok(0) => Outcome::Held("closed without an answer".to_owned()),
        Ok(_) => Outcome::Held("somebody else answered".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    }
}

fn abstract_socket(ctx: &Context) -> Result<Outcome, Skip> {
    let address = SocketAddr::from_abstract_name(ctx.need("abstract")?).map_err(|error| Skip(words(&error)))?;
    let stream = UnixStream::connect_addr(&address).and_then(|stream| {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(stream)
    });
    Ok(hears(stream, ctx.token()?))
}

/// Connects and hangs up. A datagram socket that refuses only the type was reached as well.
fn connect(ctx: &Context, paths: &[&str]) -> Outcome {
    let (uid, home) = (ctx.get("uid").unwrap_or("0"), ctx.get("home").unwrap_or("/nonexistent"));
    let paths = paths.iter().filter_map(|path| match *path {
        "{ssh_agent}" => ctx.get("ssh_agent").map(str::to_owned),
        path => Some(path.replace("{uid}", uid).replace("{home}", home)),
    });
    worst(paths.map(|path| {
        if !fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_socket()) {
            return Outcome::Absent("no such sockets".to_owned());
        }
        match UnixStream::connect(&path) {
            Ok(_) => Outcome::Escaped(format!("connected to {path}")),
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Outcome::Escaped(format!("reached {path}")),
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
                Outcome::Absent(format!("nobody listens at {path}"))
            }
            Err(error) => Outcome::Held(format!("{path}: {}", words(&error))),
        }
    }))
}

fn display(ctx: &Context) -> Result<Outcome, Skip> {
    let files = connect(
        ctx,
        &[
            "/tmp/.X11-unix/X0",
            "/tmp/.X11-unix/X1",
            "/run/user/{uid}/wayland-0",
            "/run/user/{uid}/wayland-1",
            "/run/user/{uid}/pulse/native",
            "/run/user/{uid}/pipewire-0",
            "/tmp/.ICE-unix/0",
        ],
    );
    let hidden = ["/tmp/.X11-unix/X0", "/tmp/.X11-unix/X1"].map(|name| {
        match SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address)) {
            Ok(_) => Outcome::Escaped(format!("connected to the abstract {name}")),
            Err(_) => Outcome::Absent("no display".to_owned()),
        }
    });
    Ok(worst([files].into_iter().chain(hidden)))
}

fn sysv(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(key) = ctx.get("shm_key").and_then(|text| text.parse::<i32>().ok()) else {
        return Ok(Outcome::Absent("this kernel has no System V memory".to_owned()));
    };
    Ok(match syscall!(libc::SYS_shmget, key, 0, 0) {
        Err(Errno::NOENT) => Outcome::Held("no such segment here".to_owned()),
        other => done(other, "found the runner's segment"),
    })
}

fn sysv_list(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(key) = ctx.get("shm_key") else {
        return Ok(Outcome::Absent("this kernel has no System V memory".to_owned()));
    };
    Ok(match fs::read_to_string("/proc/sysvipc/shm") {
        Ok(list) if list.lines().any(|line| line.split_whitespace().next() == Some(key)) => {
            Outcome::Escaped("/proc/sysvipc/shm lists the runner's segment".to_owned())
        }
        Ok(_) => Outcome::Held("not listed".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    })
}

fn posix_shm(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(path) = ctx.get("shm_file").map(Path::new) else {
        return Ok(Outcome::Absent("the host has no /dev/shm".to_owned()));
    };
    Ok(match fs::read_to_string(path) {
        Ok(text) if text.contains(ctx.token()?) => Outcome::Escaped("read the runner's memory".to_owned()),
        Ok(_) => Outcome::Held("another file of that name".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    })
}

fn queue(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(name) = ctx.get("queue") else {
        return Ok(Outcome::Absent("this kernel has no message queues".to_owned()));
    };
    let name = CString::new(name).map_err(|_| Skip("a name with a NUL".to_owned()))?;
    Ok(match syscall!(libc::SYS_mq_open, name.as_c_str(), libc::O_RDONLY, 0, 0) {
        Ok(fd) => {
            drop(own(fd));
            Outcome::Escaped("opened the runner's queue".to_owned())
        }
        Err(errno) => Outcome::Held(said(errno)),
    })
}
