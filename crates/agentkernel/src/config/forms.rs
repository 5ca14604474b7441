//! The textual forms of values, the same on the command line and in `agentkernel.toml`: each is parsed here, once.

use crate::{BackendKind, Mount, SecretSource};
use egress::{HOST_NAME, Host, Mode, Pattern, Rule, RuleError, Target, TargetError, control::Published};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// A text that does not have its form; says which form that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct FormError {
    pub(super) cause: String,
    /// What to do, one line; may be empty.
    pub(crate) hint: &'static str,
}

impl FormError {
    pub(crate) fn new(cause: String) -> Self {
        Self { cause, hint: "" }
    }
}

impl From<TargetError> for FormError {
    fn from(error: TargetError) -> Self {
        Self { cause: error.to_string(), hint: error.hint() }
    }
}

impl From<RuleError> for FormError {
    fn from(error: RuleError) -> Self {
        Self { cause: error.to_string(), hint: error.hint() }
    }
}

pub(super) fn wrong<T>(text: impl AsRef<OsStr>, cause: impl std::fmt::Display) -> Result<T, FormError> {
    Err(FormError::new(format!("{}: {cause}", quoted(text.as_ref()))))
}

/// What numbers of every kind have in common.
fn not_negative(text: &str) -> Result<(), FormError> {
    match text.strip_prefix('-') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') => wrong(text, NEGATIVE),
        _ => Ok(()),
    }
}

pub(super) const NEGATIVE: &str = "must not be negative";

/// A text from outside, fit for one line of a message.
#[must_use]
pub fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let short: String = text.chars().take(200).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("'{}{dots}'", short.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
}

/// A number of bytes: `4096`, `512M`, `1.5G`, `2GiB`. As Docker has it, units are powers of 1024 in every spelling.
///
/// # Errors
/// If it is no such text, or exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, FormError> {
    const FORM: &str = "not a size: use a number and K, M, G or T, such as 512M";
    not_negative(text)?;
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return wrong(text, FORM),
    };
    match decimal(number, 1 << shift) {
        Some(Ok(size)) => Ok(size),
        Some(Err(Overflow)) => wrong(text, "too large"),
        None => wrong(text, FORM),
    }
}

/// The shortest text that [`parse_size`] reads as `size`.
#[must_use]
pub fn format_size(size: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.into_iter().find(|(shift, _)| size > 0 && size.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", size >> shift),
        None => size.to_string(),
    }
}

/// A number of processors in thousandths: `2`, `0.5`.
///
/// # Errors
/// If it is no such text, less than 0.01 or more than 4096.
pub fn parse_cpus(text: &str) -> Result<u64, FormError> {
    not_negative(text)?;
    match decimal(text, 1000) {
        Some(Ok(milli @ 10..=4_096_000)) => Ok(milli),
        Some(_) => wrong(text, "not between 0.01 and 4096 processors"),
        None => wrong(text, "not a number of processors, such as 2 or 0.5"),
    }
}

struct Overflow;

/// `digits[.digits]` times `unit`, rounded down; `None` if it is something else. No floating point: sizes need all
/// their bits.
fn decimal(text: &str, unit: u64) -> Option<Result<u64, Overflow>> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return None;
    }
    // Beyond eighteen digits a fraction no longer matters, even of a tebibyte.
    let fraction = fraction.map_or("", |fraction| &fraction[..fraction.len().min(18)]);
    let scale = 10u128.pow(fraction.len() as u32);
    let part = u128::from(unit) * fraction.parse().unwrap_or(0u128) / scale;
    let total = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit)?.checked_add(part as u64));
    Some(total.ok_or(Overflow))
}

/// A span of time: `90s`, `10m`, `1h30m`, `2d`, `500ms`; each unit at most once, the largest first.
///
/// # Errors
/// If it is no such text, nothing, or exceeds 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, FormError> {
    const FORM: &str = "not a time: use a number and d, h, m, s or ms, such as 90s or 1h30m";
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    not_negative(text)?;
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        // Only smaller units than the last are left in the iterator.
        let Some((_, milliseconds)) = units.find(|(name, _)| *name == unit) else { return wrong(text, FORM) };
        if number.is_empty() {
            return wrong(text, FORM);
        }
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*milliseconds));
        let Some(sum) = part.and_then(|part| total.checked_add(part)) else { return wrong(text, "too long") };
        total = sum;
        rest = tail;
    }
    if total == 0 {
        return wrong(text, if text.is_empty() { FORM } else { "must be longer than nothing" });
    }
    Ok(Duration::from_millis(total))
}

/// A count: `100`.
///
/// # Errors
/// If it is no decimal number of 64 bits.
pub fn parse_count(text: &str) -> Result<u64, FormError> {
    not_negative(text)?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(count) if digits => Ok(count),
        _ => wrong(text, "not a number"),
    }
}

/// How the sandbox sees the project, before it is known which that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceMode {
    /// The real directory.
    Direct,
    /// Copy on write.
    Overlay,
    /// Not at all.
    None,
}

/// `direct`, `overlay` or `none`.
///
/// # Errors
/// If it is none of them.
pub fn parse_workspace(text: &str) -> Result<WorkspaceMode, FormError> {
    match text {
        "direct" => Ok(WorkspaceMode::Direct),
        "overlay" => Ok(WorkspaceMode::Overlay),
        "none" => Ok(WorkspaceMode::None),
        _ => wrong(text, "not a kind of workspace: use 'direct', 'overlay' or 'none'"),
    }
}

/// `native` or `docker`.
///
/// # Errors
/// If it is none of them.
pub fn parse_backend(text: &str) -> Result<BackendKind, FormError> {
    match text {
        "native" => Ok(BackendKind::Native),
        "docker" => Ok(BackendKind::Docker),
        _ => wrong(text, "not a backend: use 'native' or 'docker'"),
    }
}

/// The name of what an engine runs containers with.
///
/// # Errors
/// If it can be no name.
pub fn parse_runtime(text: &str) -> Result<String, FormError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text.bytes().all(good) && !text.is_empty() && text.len() <= 64 {
        true => Ok(text.to_owned()),
        false => wrong(text, "not a runtime of an engine: use a name such as 'runsc'"),
    }
}

/// `none`, `allow` or `open`.
///
/// # Errors
/// If it is none of them.
pub fn parse_mode(text: &str) -> Result<Mode, FormError> {
    match text {
        "none" => Ok(Mode::None),
        "allow" => Ok(Mode::Allow),
        "open" => Ok(Mode::Open),
        _ => wrong(text, "not a network mode: use 'none', 'allow' or 'open'"),
    }
}

/// What may be reached, or may not: `HOST[:PORT]`, with the wildcards, networks and ranges of [`Rule`].
///
/// # Errors
/// If it is no rule.
pub fn parse_rule(text: &str) -> Result<Rule, FormError> {
    Ok(Rule::parse(text)?)
}

/// Where a connection goes: `HOST`, on port 443, or `HOST:PORT`.
///
/// # Errors
/// If it is neither.
pub fn parse_target(text: &str) -> Result<Target, FormError> {
    Ok(Target::parse(text, Some(443))?)
}

/// A service by name and port: `localhost:5432`, which may be written by the host's name inside.
///
/// # Errors
/// If it is no host, or none that has services, or has no port.
pub fn parse_service(text: &str) -> Result<Target, FormError> {
    const HINT: &str = "Write HOST:PORT, such as localhost:5432 for a service of this host";
    let wrong = |cause: &str| Err(FormError { cause: format!("{}: {cause}", quoted(text.as_ref())), hint: HINT });
    match Target::parse(text, None) {
        Ok(Target { host: Host::Address(address), .. }) if address.is_unspecified() => {
            wrong("a service may listen there, but is not reached there")
        }
        Ok(Target { host: Host::Name(name), port }) => match &*name {
            "localhost" | HOST_NAME => Ok(Target { host: Host::Name("localhost".into()), port }),
            below if below.ends_with(".localhost") => wrong("inside, this is the sandbox itself"),
            _ => Ok(Target { host: Host::Name(name), port }),
        },
        Ok(target) => Ok(target),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => wrong("the host is missing"),
        Err(error) => {
            let error = FormError::from(error);
            Err(if error.hint.is_empty() { FormError { hint: HINT, ..error } } else { error })
        }
    }
}

/// A port of the sandbox on the host's loopback address: `3000`, or `3000:8080` for another number on the host.
///
/// # Errors
/// If it is none.
pub fn parse_published(text: &str) -> Result<Published, FormError> {
    let (inside, outside) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|&port| digits && port != 0)
    };
    match (port(inside), port(outside)) {
        (Some(inside), Some(outside)) => Ok(Published { inside, outside }),
        _ => wrong(text, "not a port: use SANDBOX or SANDBOX:HOST, such as 3000:8080, each from 1 to 65535"),
    }
}

/// A number of bytes per second, as [`parse_size`] has it.
///
/// # Errors
/// If it is none, or nothing could pass.
pub fn parse_bandwidth(text: &str) -> Result<u64, FormError> {
    bandwidth(parse_size(text)?)
}

/// Refuses a bandwidth with which connections would only seem to work.
pub(super) fn bandwidth(rate: u64) -> Result<u64, FormError> {
    const LEAST: u64 = 1 << 10;
    match rate {
        LEAST.. => Ok(rate),
        _ => Err(FormError {
            cause: format!("{rate} is too little: use 1K of bytes per second or more"),
            hint: "The network mode 'none' refuses all connections",
        }),
    }
}

/// A number of connections per second.
///
/// # Errors
/// If it is none, or 0.
pub fn parse_connections(text: &str) -> Result<u64, FormError> {
    connections(parse_count(text)?)
}

/// Refuses a rate at which no connection would ever be made.
pub(super) fn connections(rate: u64) -> Result<u64, FormError> {
    match rate {
        1.. => Ok(rate),
        0 => Err(FormError {
            cause: "0 connections a second are none".to_owned(),
            hint: "The network mode 'none' refuses all connections",
        }),
    }
}

fn is_identifier(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.len() <= 128
        && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
        && text.bytes().next().is_some_and(letter)
}

/// What the user calls a secret.
///
/// # Errors
/// If it has other characters than letters, digits and `_`, begins with a digit or is too long.
pub fn parse_secret_name(text: &str) -> Result<String, FormError> {
    match is_identifier(text) {
        true => Ok(text.to_owned()),
        false => wrong(text, "not a name of a secret: use up to 128 letters, digits and '_', no digit first"),
    }
}

/// The name of a variable that a secret's placeholder may be in.
///
/// # Errors
/// If it is none, or the sandbox itself sets it.
pub fn parse_variable(text: &str) -> Result<String, FormError> {
    if !is_identifier(text) {
        return wrong(text, "not a name of a variable: use letters, digits and '_', no digit first");
    }
    if RESERVED.contains(&text) {
        return wrong(text, "agentkernel sets this variable itself");
    }
    if OBEYED.contains(&text) || OBEYED_BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
        let cause =
            format!("{}: programs obey this variable, so that it can hold no placeholder", quoted(text.as_ref()));
        return Err(FormError { cause, hint: "Name another variable, by `env` or `secret set --env`" });
    }
    Ok(text.to_owned())
}

/// The name of a variable of the caller's that a value is taken from.
///
/// # Errors
/// If it is none.
pub fn parse_source_variable(text: &str) -> Result<String, FormError> {
    match is_identifier(text) {
        true => Ok(text.to_owned()),
        false => wrong(text, "not a name of a variable: use letters, digits and '_', no digit first"),
    }
}

/// A host that a secret may go to: a name, or all below one.
///
/// # Errors
/// If it is something else.
pub fn parse_secret_host(text: &str) -> Result<Pattern, FormError> {
    let wrong = |cause: &str, hint| Err(FormError { cause: format!("{}: {cause}", quoted(text.as_ref())), hint });
    match Pattern::parse(text) {
        Ok(pattern @ (Pattern::Host(Host::Name(_)) | Pattern::Below(_))) => Ok(pattern),
        Ok(Pattern::Any) => wrong("a secret for every host would be none", "Name the hosts, such as api.example.org"),
        Ok(_) => wrong("a secret goes to servers that prove their names, not to addresses", "Name the host"),
        Err(_) if Rule::parse(text).is_ok() => wrong("a secret's host has no port", "Leave the port out"),
        Err(error @ (RuleError::Url(_) | RuleError::WithPath(_))) => {
            Err(FormError { cause: error.to_string(), hint: "Write the host alone" })
        }
        Err(error) => Err(error.into()),
    }
}

/// `ATTRIBUTE=VALUE`, by which a keyring finds something.
///
/// # Errors
/// If there is no name.
pub fn parse_attribute(text: &str) -> Result<(String, String), FormError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        _ => wrong(text, "not an attribute: use ATTRIBUTE=VALUE, as `secret-tool search` shows them"),
    }
}

/// Where a secret's value comes from: `env:VARIABLE`, `file:PATH` or `store`. A relative path stays relative.
///
/// # Errors
/// If it is none of them. What was written is not shown: it may be the secret itself.
pub fn parse_secret_source(text: &str) -> Result<SecretSource, FormError> {
    match text.split_once(':') {
        Some(("env", variable)) if is_identifier(variable) => Ok(SecretSource::Env(variable.into())),
        Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Ok(SecretSource::File(path.into())),
        None if text == "store" => Ok(SecretSource::Store),
        _ => Err(FormError {
            cause: "not a source: use 'env:VARIABLE', 'file:PATH' or 'store'".into(),
            hint: "A secret's value does not stand here: `agentkernel secret set` takes it",
        }),
    }
}

/// Variables by which a program knows where it is: the sandbox itself sets them.
pub(super) const RESERVED: [&str; 2] = ["AGENTKERNEL", "AGENTKERNEL_SANDBOX"];

/// Variables that the loader, the C library (ld.so(8), environ(7)), shells and interpreters obey, or that every program
/// relies on: with a placeholder in it, nothing would work as it should.
const OBEYED: [&str; 45] = [
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "LANG",
    "LANGUAGE",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "MAIL",
    "NIS_PATH",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OLDPWD",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PWD",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "TERM",
    "TERMINFO",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
];
const OBEYED_BEGINNINGS: [&str; 4] = ["LD_", "LC_", "MALLOC_", "BASH_FUNC_"];

/// One variable of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvVar {
    /// With this value.
    Set(OsString, OsString),
    /// With the caller's value; not at all if the caller has none.
    Inherit(OsString),
}

/// `NAME=value`, or `NAME` for the caller's value.
///
/// # Errors
/// If there is no name, a NUL byte, or the name of a variable that the sandbox itself sets.
pub fn parse_env(text: &OsStr) -> Result<EnvVar, FormError> {
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        return wrong(text, "has a NUL byte");
    }
    let name = bytes.split(|&byte| byte == b'=').next().unwrap_or_default();
    if name.is_empty() {
        return wrong(text, "has no name: use NAME=value, or NAME for your own value");
    }
    if RESERVED.iter().any(|reserved| reserved.as_bytes() == name) {
        let cause = format!("{}: agentkernel sets this variable itself", quoted(OsStr::from_bytes(name)));
        return Err(FormError { cause, hint: "Leave it out: programs know by it in which sandbox they are" });
    }
    let name_text = OsString::from_vec(name.to_vec());
    Ok(match bytes.get(name.len() + 1..) {
        Some(value) => EnvVar::Set(name_text, OsString::from_vec(value.to_vec())),
        None => EnvVar::Inherit(name_text),
    })
}

/// A file of variables as Docker's `--env-file` has it: a variable per line, blank lines and lines that begin with
/// `#` left out, no quoting.
///
/// # Errors
/// With the number of the line, if a line is not a variable or its name has white space.
pub fn parse_env_file(bytes: &[u8]) -> Result<Vec<EnvVar>, (usize, FormError)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut variables = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let at = |error| (index + 1, error);
        let variable = parse_env(OsStr::from_bytes(line)).map_err(at)?;
        let (EnvVar::Set(name, _) | EnvVar::Inherit(name)) = &variable;
        if name.as_bytes().iter().any(u8::is_ascii_whitespace) {
            return wrong(name, "a name can't have white space").map_err(at);
        }
        variables.push(variable);
    }
    Ok(variables)
}

/// `SRC:DST`, `SRC:DST:ro` or `SRC:DST:rw`. The source may be relative. A path that has a colon can't be said.
///
/// # Errors
/// If it is no such text, or the target is not a place for a mount.
pub fn parse_mount(text: &OsStr) -> Result<Mount, FormError> {
    const FORM: &str = "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro";
    let parts: Vec<&OsStr> = text.as_bytes().split(|&byte| byte == b':').map(OsStr::from_bytes).collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] => (source, target, false),
        [source, target, mode] if mode == "ro" => (source, target, true),
        [source, target, mode] if mode == "rw" => (source, target, false),
        [_, _, _, _, ..] => return wrong(text, "too many colons: a path that has one can't be mounted"),
        _ => return wrong(text, FORM),
    };
    if source.is_empty() || text.as_bytes().contains(&0) {
        return wrong(text, FORM);
    }
    Ok(Mount { source: source.into(), target: mount_target(Path::new(target))?, read_only })
}

/// An empty file system as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsArg {
    /// In the sandbox, absolute.
    pub target: PathBuf,
    /// In bytes; none: the default.
    pub size: Option<u64>,
}

/// `DST` or `DST:SIZE`; Docker's `DST:size=SIZE` too.
///
/// # Errors
/// If it is no such text, or the target is not a place for a mount.
pub fn parse_tmpfs(text: &OsStr) -> Result<TmpfsArg, FormError> {
    let bytes = text.as_bytes();
    let mut parts = bytes.split(|&byte| byte == b':');
    let target = parts.next().unwrap_or_default();
    let size = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some(size), None) => {
            let size = String::from_utf8_lossy(size.strip_prefix(b"size=").unwrap_or(size)).into_owned();
            match parse_size(&size)? {
                // The kernel takes a size of 0 for no limit at all.
                0 => return wrong(text, "a file system of no size"),
                size => Some(size),
            }
        }
        _ => return wrong(text, "not a tmpfs: use TARGET or TARGET:SIZE"),
    };
    if bytes.contains(&0) {
        return wrong(text, "has a NUL byte");
    }
    Ok(TmpfsArg { target: mount_target(Path::new(OsStr::from_bytes(target)))?, size })
}

/// A place in the sandbox where something can be mounted, written in the one normal way.
pub(super) fn mount_target(path: &Path) -> Result<PathBuf, FormError> {
    let target = absolute(path)?;
    if target == Path::new("/") || ["/proc", "/sys", "/dev"].iter().any(|place| target.starts_with(place)) {
        return wrong(path, "nothing can be mounted there");
    }
    Ok(target)
}

/// A file in the sandbox for the placeholder of a secret. What programs of the system read is theirs, such as /etc/passwd.
pub(super) fn secret_file(path: &Path) -> Result<PathBuf, FormError> {
    const HINT: &str = "Name a file in its HOME, or below /run/secrets";
    let file = mount_target(path)?;
    let below = |place: &str| file.starts_with(place) && file != Path::new(place);
    let top = file.components().nth(1).map(|top| top.as_os_str().as_bytes()).unwrap_or_default();
    let system = matches!(top, b"bin" | b"boot" | b"etc" | b"run" | b"sbin" | b"usr") || top.starts_with(b"lib");
    match (system || file.starts_with("/var/run")) && !below("/run/secrets") && !below("/var/run/secrets") {
        true => wrong(path, "a place of the system's").map_err(|error: FormError| FormError { hint: HINT, ..error }),
        false => Ok(file),
    }
}

/// An absolute path without `.`, `//` and a slash at its end.
///
/// # Errors
/// If it is relative or has `..`, whose meaning depends on links that may change.
pub fn absolute(path: &Path) -> Result<PathBuf, FormError> {
    if !path.is_absolute() {
        return wrong(path, "not an absolute path");
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return wrong(path, "a path with '..' is not allowed here");
    }
    Ok(path.components().collect())
}

/// A path below a directory, relative to it.
///
/// # Errors
/// If it is absolute, empty or has `..`.
pub fn beneath(path: &Path) -> Result<PathBuf, FormError> {
    let inner: PathBuf = path.components().filter(|component| *component != Component::CurDir).collect();
    if inner.as_os_str().is_empty() || !inner.components().all(|component| matches!(component, Component::Normal(_))) {
        return wrong(path, "not a path below the project: use one like 'dir/file'");
    }
    Ok(inner)
}

#[cfg(test)]
#[path = "forms_tests.rs"]
mod tests;
