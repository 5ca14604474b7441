//! What this machine and its user say of registries: whom they trust, and what logs in. Docker's own places are used.

use super::ImageError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use egress::Reason;
use jail::process::{self, Fork, Program};
use oci::{
    Reference,
    credentials::{Credentials, CredentialsError, DockerConfig, Found, Secret, helper_answer, server},
    registry::{Mirror, Registry, Resolver, Settings},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
    pipe::PipeFlags,
    process::{Signal, WaitId, WaitIdOptions},
};
use std::{
    env,
    ffi::CString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use wire::Failure;

/// How long a helper may take; it may ask its user.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest file that is read.
const LONGEST: u64 = 1 << 20;

/// How to speak to the registry of this image, and to those that have its images too, which are asked first.
///
/// # Errors
/// If what logs in can't be read, or its helper fails.
pub fn settings(reference: &Reference, mirrors: &[Mirror]) -> Result<Settings, ImageError> {
    let mut settings = internet();
    for mirror in mirrors {
        // Logins may be for a repository.
        let repository = [mirror.prefix.trim_matches('/'), reference.repository()].join("/");
        let there = format!("{}/{}", mirror.host, repository.trim_start_matches('/')).parse::<Reference>();
        let there = there.map_err(|error| refused(format!("Mirror {}: {error}", mirror.host), ""))?;
        settings.registries.insert(mirror.host.clone(), registry(&there)?);
    }
    let home = Registry { mirrors: mirrors.to_vec(), ..registry(reference)? };
    settings.registries.insert(reference.registry().to_owned(), home);
    Ok(settings)
}

/// How to speak to anybody: whom this machine trusts, and how it finds hosts.
pub(super) fn internet() -> Settings {
    let names = egress::Names::new(egress::system_resolver());
    let resolver = Resolver::new(move |name| {
        let (names, name) = (names.clone(), name.to_owned());
        Box::pin(async move {
            match names.look_up(&name).await {
                Err(Reason::NoSuchHost) => Ok(Vec::new()),
                found => found.map_err(|reason| io::Error::other(format!("no address is known [{reason}]"))),
            }
        })
    });
    let mut settings = Settings::new(resolver);
    settings.roots = egress::tls::system_roots().iter().map(|root| root.to_vec()).collect();
    settings
}

/// What logs in to the registry of this image, and whom it is trusted by.
fn registry(reference: &Reference) -> Result<Registry, ImageError> {
    let (credentials, authorities) = (credentials(reference)?, authorities(reference.registry()));
    Ok(Registry { credentials, authorities, mirrors: Vec::new() })
}

/// What logs in, as Docker's or Podman's own file says.
///
/// # Errors
/// If it can't be read, or its helper fails.
pub fn credentials(reference: &Reference) -> Result<Credentials, ImageError> {
    for path in [docker_config(), podman_config()].into_iter().flatten() {
        let Some(bytes) = read(&path)? else { continue };
        match DockerConfig::parse(&bytes).map_err(|error| unread(&path, &error))?.find(reference) {
            Found::Credentials(Credentials::None) => {}
            Found::Credentials(credentials) => return Ok(credentials),
            Found::Broken(entry) => return Err(unread(&path, &CredentialsError::Auth(entry))),
            Found::Helper { name, server } => {
                let answer = ask_helper(&name, "get", &server)?;
                let failed = |error| refused(format!("docker-credential-{name}: {}", wire::cause(&error)), "");
                let found = helper_answer(answer.0, &answer.1).map_err(failed)?;
                if found != Credentials::None {
                    return Ok(found);
                }
            }
        }
    }
    Ok(Credentials::None)
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

fn docker_config() -> Option<PathBuf> {
    let set = env::var_os("DOCKER_CONFIG").map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(home()?.join(".docker"))).map(|dir| dir.join("config.json"))
}

fn podman_config() -> Option<PathBuf> {
    if let Some(path) = env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Some(path);
    }
    let run = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())?;
    Some(run.join("containers/auth.json"))
}

/// Finds out whether a user and a password log in to a registry, and keeps them where Docker does: with its helper if one is
/// set for that, else in its configuration, in base64, readable by the user alone. Gives the place.
///
/// # Errors
/// If the registry does not take them, or they can't be kept.
pub fn log_in(registry: &str, user: &str, password: Secret) -> Result<String, ImageError> {
    let reference = any_image(registry)?;
    let mut settings = settings(&reference, &[])?;
    let known = settings.registries.entry(reference.registry().to_owned()).or_default();
    known.credentials = Credentials::Basic { user: user.to_owned(), password: password.clone() };
    super::pull::check(&reference, &settings)?;
    let path = docker_config().ok_or_else(|| refused("HOME is not set", "Set it, or DOCKER_CONFIG"))?;
    let found = match read(&path)? {
        Some(bytes) => DockerConfig::parse(&bytes).map_err(|error| unread(&path, &error))?.find(&reference),
        None => Found::Credentials(Credentials::None),
    };
    if let Found::Helper { name, server } = found {
        let entry = serde_json::json!({ "ServerURL": server, "Username": user, "Secret": password.expose() });
        ask_helper(&name, "store", &entry.to_string())?;
        return Ok(format!("docker-credential-{name}"));
    }
    let auth = STANDARD.encode(format!("{user}:{}", password.expose()));
    change(&path, |auths| {
        auths.insert(server(&reference).to_owned(), serde_json::json!({ "auth": auth }));
        true
    })?;
    Ok(path.display().to_string())
}

/// Forgets what logs in to a registry. False: nothing did.
///
/// # Errors
/// If it can't be forgotten.
pub fn log_out(registry: &str) -> Result<bool, ImageError> {
    let reference = any_image(registry)?;
    let Some(path) = docker_config() else { return Ok(false) };
    let Some(bytes) = read(&path)? else { return Ok(false) };
    if let Found::Helper { name, server } =
        DockerConfig::parse(&bytes).map_err(|error| unread(&path, &error))?.find(&reference)
    {
        ask_helper(&name, "erase", &server)?;
        return Ok(true);
    }
    change(&path, |auths| auths.remove(server(&reference)).is_some())
}

/// A registry is known by its images.
fn any_image(registry: &str) -> Result<Reference, ImageError> {
    let reference = format!("{registry}/any").parse::<Reference>().ok();
    reference
        .filter(|reference| reference.registry() == registry && !registry.contains('/'))
        .ok_or_else(|| refused(format!("'{}' is no registry", registry.escape_debug()), "Name its HOST, or HOST:PORT"))
}

/// Changes the logins in Docker's configuration, and nothing else of it. False: nothing was to be changed.
fn change(
    path: &Path,
    act: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) -> bool,
) -> Result<bool, ImageError> {
    let failed = |error: io::Error| refused(format!("Can't write {}: {error}", path.display()), "");
    let mut config: serde_json::Value = match read(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?,
        None => serde_json::json!({}),
    };
    let auths = config.as_object_mut().map(|config| config.entry("auths").or_insert_with(|| serde_json::json!({})));
    let Some(auths) = auths.and_then(serde_json::Value::as_object_mut) else {
        return Err(failed(io::Error::other("it is not as Docker writes it")));
    };
    if !act(auths) {
        return Ok(false);
    }
    let mut text = serde_json::to_vec_pretty(&config).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    // Whoever has made it a link wants what it leads to changed, which may be on another file system.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let temporary = dir.join(format!(".config.json.{}", super::random().map_err(|errno| failed(errno.into()))?));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // The first error is the one that counts.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })?;
    Ok(true)
}

fn refused(cause: impl Into<String>, hint: &str) -> ImageError {
    ImageError::Refused(Failure { cause: cause.into(), hint: hint.to_owned() })
}

fn unread(path: &Path, error: &CredentialsError) -> ImageError {
    refused(format!("{}: {}", path.display(), wire::cause(error)), "Mend the file, or log in anew")
}

/// A file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ImageError> {
    let unread = |error: io::Error| {
        ImageError::Refused(Failure { cause: format!("Can't read {}: {error}", path.display()), hint: String::new() })
    };
    match File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(LONGEST).read_to_end(&mut bytes).map_err(unread)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(error)),
    }
}

/// Who may vouch for a registry beside those who may for any: Docker's places for that. What is none is left out.
fn authorities(registry: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let user = home().map(|home| home.join(".docker/certs.d"));
    for dir in [Some(PathBuf::from("/etc/docker/certs.d")), user].into_iter().flatten() {
        for entry in fs::read_dir(dir.join(registry)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "crt")
                && let Ok(Some(bytes)) = read(&entry.path())
            {
                found.extend(egress::tls::certificates(&bytes).iter().map(|der| der.to_vec()));
            }
        }
    }
    found
}

/// Asks `docker-credential-NAME`: whether it succeeds, and what it says.
fn ask_helper(name: &str, verb: &str, input: &str) -> Result<(bool, Vec<u8>), ImageError> {
    let program = format!("docker-credential-{name}");
    let failed = |cause: String| {
        let hint = format!("Docker's configuration names it: install {program}, or take it out there");
        ImageError::Refused(Failure { cause: format!("{program}: {cause}"), hint })
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(&program));
    let place = found.into_iter().find(|place| place.is_file()).ok_or_else(|| failed("it is not installed".into()))?;
    let answer = run(&place, verb, input, PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => failed(format!("it has given no answer for {} s", PATIENCE.as_secs())),
        _ => failed(error.to_string()),
    })?;
    if verb != "get" && !answer.0 {
        return Err(failed("it refuses".to_owned()));
    }
    Ok(answer)
}

/// Runs a helper with this on its standard input: whether it succeeds, and what it says. If it takes too long, it is killed.
fn run(program: &Path, verb: &str, input: &str, patience: Duration) -> io::Result<(bool, Vec<u8>)> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let (name, verb) = (text(program.as_os_str().as_bytes())?, text(verb.as_bytes())?);
    let variables: io::Result<Vec<CString>> =
        env::vars_os().map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat())).collect();
    let variables = variables?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let ((stdin, to), (from, stdout)): ((OwnedFd, OwnedFd), (OwnedFd, OwnedFd)) = (pipe()?, pipe()?);
    let pid = match process::fork()? {
        Fork::Child => {
            let stderr = rustix::stdio::stderr();
            let error = match process::set_stdio(stdin.as_fd(), stdout.as_fd(), stderr) {
                Ok(()) => process::exec(Program::Path(&name), &[name.clone(), verb], &variables),
                Err(error) => error,
            };
            process::exit_now(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
        }
        Fork::Parent(pid) => pid,
    };
    drop((stdin, stdout));
    let pidfd = process::pidfd(pid)?;
    let mut to = File::from(to);
    // It may answer without having read; what it is told fits into the pipe.
    let _ = to.write_all(input.as_bytes());
    drop(to);
    let answer = answer_within(File::from(from), &pidfd, patience);
    if answer.is_err() {
        let _ = process::signal_pidfd(&pidfd, Signal::KILL);
    }
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    Ok((ended.and_then(|status| status.exit_status()) == Some(0), answer?))
}

/// What a program says until it has ended.
fn answer_within(mut from: File, program: &OwnedFd, patience: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let wait = |fd: BorrowedFd<'_>| -> io::Result<()> {
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    };
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        wait(from.as_fd())?;
        match from.read(&mut chunk)? {
            0 => break,
            count if (answer.len() + count) as u64 > LONGEST => return Err(io::ErrorKind::FileTooLarge.into()),
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    wait(program.as_fd())?;
    Ok(answer)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
