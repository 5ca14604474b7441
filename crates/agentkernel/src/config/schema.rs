//! Every key of `agentkernel.toml`, and of the user's own configuration, once: the parser, the reference page and the
//! JSON Schema are made of these tables.

use super::{
    backend::WORDS as BACKEND_WORDS,
    forms::{self, FormError, WorkspaceMode},
    image::{self, ImageArg},
    limits,
    nested::Nested,
    network,
    parse::Located,
    recipe,
    settings::{RegistrySettings, RuleSettings, SecretSettings, Settings},
    ssh,
};
use crate::Name;
use egress::Rule;
use std::{path::Path, time::Duration};

/// One table.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) doc: &'static str,
    pub(super) keys: Keys,
}

/// What may stand in a table.
pub(super) enum Keys {
    /// These keys.
    Fixed(&'static [Key]),
    /// Names that the user chooses, each with a list of hosts or a table of [`SECRET`]'s keys.
    Secrets,
    /// Registries, each with a table of [`REGISTRY`]'s keys.
    Registries,
}

impl Table {
    /// The keys that it has, unless they are the user's to choose.
    pub(super) fn fixed(&self) -> &'static [Key] {
        match self.keys {
            Keys::Fixed(keys) => keys,
            Keys::Secrets | Keys::Registries => &[],
        }
    }
}

/// One key, of something that is filled in key by key.
pub(crate) struct Key<T: 'static = Settings> {
    pub(crate) name: &'static str,
    /// What may be written, and where it goes.
    pub(crate) form: Form<T>,
    /// What holds without it, in words.
    pub(crate) default: &'static str,
    /// What it does, for the reference page.
    pub(crate) doc: &'static str,
    /// A value as it is written in TOML.
    pub(crate) example: &'static str,
}

impl<T> Key<T> {
    /// The tables below it, if it has some.
    pub(super) fn nested(&self) -> Option<&'static dyn Nested<T>> {
        match self.form {
            Form::Nested(nested) => Some(nested),
            _ => None,
        }
    }
}

/// What may be written for a key, with the function that takes it.
pub(crate) enum Form<T: 'static = Settings> {
    Text(fn(&mut T, Located<String>) -> Result<(), FormError>),
    Choice(&'static [&'static str], fn(&mut T, Located<String>) -> Result<(), FormError>),
    Flag(fn(&mut T, bool)),
    Size(fn(&mut T, Located<u64>) -> Result<(), FormError>),
    Time(fn(&mut T, Duration)),
    Cpus(fn(&mut T, u64)),
    Count(fn(&mut T, Located<u64>) -> Result<(), FormError>),
    /// Called once for each text in the list.
    List(fn(&mut T, Located<String>) -> Result<(), FormError>),
    /// Called once with the whole list.
    Texts(fn(&mut T, Vec<String>) -> Result<(), FormError>),
    /// Called for each in a list that must not be empty: it restricts, and none would be taken for all.
    Filled(fn(&mut T, Located<String>) -> Result<(), FormError>),
    /// The same for a list of texts or whole numbers.
    Numbers(fn(&mut T, Located<String>) -> Result<(), FormError>),
    /// A list of texts, and of tables with [`RULE`]'s keys.
    Rules(fn(&mut T, Vec<Located<Rule>>)),
    /// Called once for each variable.
    Variables(fn(&mut T, String, String)),
    /// Tables with keys of their own.
    Nested(&'static dyn Nested<T>),
}

/// The tables of `agentkernel.toml`.
pub(super) const PROJECT: &[Table] = &[
    Table { name: "sandbox", doc: "What the sandbox is.", keys: Keys::Fixed(SANDBOX) },
    Table {
        name: "image",
        doc: "How the image of its programs is made ([the guide](../guide/images.md#a-projects-image)), in place of `image` in `[sandbox]`. `run` and `create` build it if it is not known yet. All of it needs trust.",
        keys: Keys::Fixed(IMAGE),
    },
    Table {
        name: "resources",
        doc: "What it may use. Sizes are numbers of bytes, or texts such as `\"512M\"`; units are powers of 1024.",
        keys: Keys::Fixed(RESOURCES),
    },
    Table { name: "workspace", doc: "What else of the host it sees.", keys: Keys::Fixed(WORKSPACE) },
    Table {
        name: "network",
        doc: "What it may reach, and be reached at ([the guide](../guide/network.md)). Where neither `mode` nor anything to reach is written, it reaches nothing.",
        keys: Keys::Fixed(NETWORK),
    },
    Table {
        name: "secrets",
        doc: "What is put in on the way, so that it never enters the sandbox, which has a placeholder in its place. Each key is the name of a secret, and its value a list of hosts that it may go to, or a table of the keys below. Each needs trust. No value of a secret stands here: `agentkernel secret set NAME` takes one.",
        keys: Keys::Secrets,
    },
    Table {
        name: "ssh",
        doc: "What keys of your ssh-agent are lent for. They stay there ([the guide](../guide/network.md#ssh-and-signatures)). All of it needs trust.",
        keys: Keys::Fixed(SSH),
    },
];

/// The tables of the user's own configuration.
pub(super) const USER: &[Table] = &[
    Table { name: "sandbox", doc: "What makes sandboxes.", keys: Keys::Fixed(BACKENDS) },
    Table {
        name: "network",
        doc: "What any sandbox may reach at most, whatever its project and flags say. If anything but `bandwidth`, `connections` and `max_tokens` is written, it must name the private addresses and services of the host that are to be reached at all.",
        keys: Keys::Fixed(LIMITS),
    },
    Table { name: "images", doc: "What images may take ([the guide](../guide/images.md)).", keys: Keys::Fixed(IMAGES) },
    Table {
        name: "registries",
        doc: "Where images come from. Each key is the `HOST` or `HOST:PORT` of a registry as it stands in names of images, and its value a table of the keys below.",
        keys: Keys::Registries,
    },
];

const BACKENDS: &[Key] = &[
    Key {
        name: "backend",
        form: Form::Choice(BACKEND_WORDS, set_backend),
        default: "`native`",
        doc: "What makes the machine where neither a flag nor the project says: `native`, namespaces of this kernel, or `docker`, a container of Docker or Podman.",
        example: "\"docker\"",
    },
    Key {
        name: "backends",
        form: Form::Filled(|settings, text| {
            let backend = forms::parse_backend(&text.value)?;
            settings.backends.get_or_insert_default().push(backend);
            Ok(())
        }),
        default: "every one",
        doc: "The backends that any sandbox may be of, whatever its project and flags say.",
        example: "[\"native\"]",
    },
];

fn set_backend(settings: &mut Settings, text: Located<String>) -> Result<(), FormError> {
    let backend = forms::parse_backend(&text.value)?;
    settings.backend = Some(text.with(backend));
    Ok(())
}

/// Keys that went elsewhere, by table, with what to do.
pub(super) const MOVED: [(&str, &str, &str); 1] =
    [("sandbox", "net", "It is `mode` in [network] now: the mode 'none' is the default")];

const SANDBOX: &[Key] = &[
    Key {
        name: "name",
        form: Form::Text(|settings, text| {
            settings.name = Some(Name::try_from(text.value).map_err(FormError::new)?);
            Ok(())
        }),
        default: "generated",
        doc: "The name of a kept sandbox. An ephemeral one has none, so that two can run at once.",
        example: "\"web\"",
    },
    Key {
        name: "backend",
        form: Form::Choice(BACKEND_WORDS, set_backend),
        default: "`native`, unless your own configuration says otherwise",
        doc: "What makes the machine: `native`, namespaces of this kernel, or `docker`, a container of your Docker or Podman ([the guide](../guide/docker.md)). Needs trust.",
        example: "\"docker\"",
    },
    Key {
        name: "runtime",
        form: Form::Text(|settings, text| {
            let runtime = forms::parse_runtime(&text.value)?;
            settings.runtime = Some(text.with(runtime));
            Ok(())
        }),
        default: "the engine's own",
        doc: "On backend `docker`: what the engine runs the container with, such as `runsc` or `kata`. Needs trust.",
        example: "\"runsc\"",
    },
    Key {
        name: "image",
        form: Form::Text(|settings, text| {
            if settings.whole {
                return Err(FormError::new("`from` in [image] names another; leave one of them out".into()));
            }
            let image = super::parse_image(text.value.as_ref())?;
            settings.image = Some(text.with(image));
            Ok(())
        }),
        default: "`host`",
        doc: "Where its programs come from: `host` (the host's own /usr and /opt, read-only), `dir:PATH` (an unpacked root directory; a relative path begins at the project), or the name of an image, such as `debian:12`, which is pulled from its registry if it is not in the store. A directory outside the project, and an image by name, need trust.",
        example: "\"host\"",
    },
    Key {
        name: "workspace",
        form: Form::Choice(&["direct", "overlay", "none"], |settings, text| {
            settings.workspace = Some(forms::parse_workspace(&text.value)?);
            Ok(())
        }),
        default: "`direct`",
        doc: "How it sees the project, always at the same path: the real directory, a copy on write, or not at all.",
        example: "\"overlay\"",
    },
    Key {
        name: "user",
        form: Form::Text(|settings, text| {
            settings.user = Some(text);
            Ok(())
        }),
        default: "the caller",
        doc: "Who its programs run as: `root`, the caller's name or `nobody`, with a `dir:` image a name in its own /etc/passwd, or a number; a group follows as `:GROUP`, by number, or by its name in the image's /etc/group. A user of an image is in the groups, too, that its /etc/group names him in, unless a group is given, and where sandboxes have more ids than one: not in those of the native backend that an ordinary user starts. `root` needs trust, unless the caller is root.",
        example: "\"nobody\"",
    },
    Key {
        name: "workdir",
        form: Form::Text(|settings, text| {
            let workdir = text.value.clone().into();
            settings.workdir = Some(text.with(workdir));
            Ok(())
        }),
        default: "the caller's, if it is in the workspace; else the workspace; else HOME",
        doc: "Where commands start. A relative path begins at the workspace.",
        example: "\"src\"",
    },
    Key {
        name: "read_only",
        form: Form::Flag(|settings, value| settings.read_only = Some(value)),
        default: "`false`",
        doc: "Makes everything read-only but the workspace, mounts, tmpfs, /tmp, /run and HOME.",
        example: "true",
    },
    Key {
        name: "log_refused",
        form: Form::Flag(|settings, value| settings.log_refused = Some(value)),
        default: "`true` for an agent, else `false`",
        doc: "Puts changes of protected paths that are refused on record (`net log`). For that, each call that writes, makes, removes or renames by a path waits until it was looked at, which takes some ten microseconds; programs in there cannot have a listener of their own (seccomp_unotify(2)), and who traces calls by a filter (`strace --seccomp-bpf`) misses these. `false` for an agent needs trust.",
        example: "true",
    },
    Key {
        name: "keep",
        form: Form::Flag(|settings, value| settings.keep = Some(value)),
        default: "`false`",
        doc: "Keeps the sandbox and its files after its command has ended.",
        example: "true",
    },
    Key {
        name: "timeout",
        form: Form::Time(|settings, value| settings.timeout = Some(value)),
        default: "none",
        doc: "Ends its command after this time.",
        example: "\"1h30m\"",
    },
    Key {
        name: "env",
        form: Form::Variables(|settings, name, value| settings.env.push((name, value))),
        default: "empty",
        doc: "Variables of its environment. Nothing of the caller's environment but the locale and time zone is in it. `AGENTKERNEL` and `AGENTKERNEL_SANDBOX`, the id, are the sandbox's own.",
        example: "{ CI = \"1\" }",
    },
    Key {
        name: "env_file",
        form: Form::Text(|settings, text| {
            let path = text.value.clone().into();
            settings.env_file = Some(text.with(path));
            Ok(())
        }),
        default: "none",
        doc: "A file of `NAME=value` lines, in the form of Docker's `--env-file`; a relative path begins at the project. A file outside the project needs trust.",
        example: "\".env.sandbox\"",
    },
];

const IMAGE: &[Key] = &[
    Key {
        name: "from",
        form: Form::Text(|settings, text| {
            match super::parse_image(text.value.as_ref())? {
                ImageArg::Named(reference) => settings.recipe.from = Some(text.with(reference)),
                _ if settings.image.is_some() => {
                    return Err(FormError::new("`image` in [sandbox] names another; leave one of them out".into()));
                }
                whole => (settings.image, settings.whole) = (Some(text.with(whole)), true),
            }
            Ok(())
        }),
        default: "none",
        doc: "The name of an image that it begins with; or `host` or `dir:PATH`, as for `image` in `[sandbox]`, of which nothing more is made.",
        example: "\"python:3.12-slim\"",
    },
    Key {
        name: "dockerfile",
        form: Form::Text(|settings, text| {
            let path = forms::beneath(Path::new(&text.value))?;
            settings.recipe.dockerfile = Some(text.with(path));
            Ok(())
        }),
        default: "none",
        doc: "A Dockerfile of the project that makes what it begins with; the project is its context. It is a protected path.",
        example: "\"Dockerfile\"",
    },
    Key {
        name: "packages",
        form: Form::List(|settings, text| {
            recipe::package(&text.value)?;
            settings.recipe.packages.push(text);
            Ok(())
        }),
        default: "none",
        doc: "What the image's own package manager installs: apt, apk, dnf, microdnf or yum. It may reach what its configuration in the image names.",
        example: "[\"git\", \"ripgrep\"]",
    },
    Key {
        name: "setup",
        form: Form::List(|settings, text| {
            settings.recipe.setup.push(text);
            Ok(())
        }),
        default: "none",
        doc: "Commands that root runs after that, for the image's shell. The project's files are not there; they reach what `[network]` allows.",
        example: "[\"pip install uv\"]",
    },
    Key {
        name: "cache",
        form: Form::List(|settings, text| {
            let path = recipe::cache(&text.value)?;
            settings.recipe.cache.push(text.with(path));
            Ok(())
        }),
        default: "none",
        doc: "Directories of the image that `packages` and `setup` find as they left them the last time, and that are not part of it.",
        example: "[\"/root/.cache/pip\"]",
    },
    Key {
        name: "layers",
        form: Form::List(|settings, text| {
            let reference = image::parse_layer(&text.value)?;
            settings.layers.push(text.with(reference));
            Ok(())
        }),
        default: "none",
        doc: "Names of images whose files lie over this image, or over that of `image` in `[sandbox]`, the later above the earlier ([the guide](../guide/images.md#layers-over-any-image)). `--layer` lays further ones over them; `--image` leaves them out.",
        example: "[\"registry.example.org/tools/node:22\"]",
    },
];

const RESOURCES: &[Key] = &[
    Key {
        name: "cpus",
        form: Form::Cpus(|settings, milli| settings.cpu_milli = Some(milli)),
        default: "no limit",
        doc: "Processors.",
        example: "0.5",
    },
    Key {
        name: "memory",
        form: Form::Size(|settings, size| {
            settings.memory = Some(limits::memory(size.value)?);
            Ok(())
        }),
        default: "no limit",
        doc: "Memory. What exceeds it is killed, with status 137.",
        example: "\"2G\"",
    },
    Key {
        name: "pids",
        form: Form::Count(|settings, count| {
            limits::pids(count.value)?;
            settings.pids = Some(count);
            Ok(())
        }),
        default: "no limit but 4096 per user",
        doc: "Processes and threads. More than 4096 need trust.",
        example: "512",
    },
    Key {
        name: "disk",
        form: Form::Size(|settings, size| {
            limits::disk(size.value)?;
            settings.disk = Some(size);
            Ok(())
        }),
        default: "half of the machine's memory; before Linux 6.6, and in a kept one, none, and files on disk",
        doc: "What an ephemeral sandbox may write outside the workspace and mounts; a kept one with this limit is refused, because nothing could hold it to it. More than the default needs trust.",
        example: "\"4G\"",
    },
    Key {
        name: "nofile",
        form: Form::Count(|settings, count| {
            limits::nofile(count.value)?;
            settings.nofile = Some(count);
            Ok(())
        }),
        default: "65536, or the caller's limit if that is lower",
        doc: "Open files of one process. More than the default need trust.",
        example: "4096",
    },
    Key {
        name: "fsize",
        form: Form::Size(|settings, size| {
            settings.fsize = Some(size);
            Ok(())
        }),
        default: "no limit",
        doc: "The largest file that a process can write.",
        example: "\"1G\"",
    },
];

const WORKSPACE: &[Key] = &[
    Key {
        name: "protect",
        form: Form::List(|settings, text| {
            settings.protect.push(forms::beneath(Path::new(&text.value))?);
            Ok(())
        }),
        default: "the built-in list below",
        doc: "Further files and directories of the project that stay read-only in a `direct` workspace.",
        example: "[\"deploy\", \"Makefile\"]",
    },
    Key {
        name: "mounts",
        form: Form::List(|settings, text| {
            let mount = forms::parse_mount(text.value.as_ref())?;
            settings.mounts.push(text.with(mount));
            Ok(())
        }),
        default: "none",
        doc: "Host directories and files, as `SOURCE:TARGET[:ro]`; a relative source begins at the project. A source outside the project needs trust, and so does one that is not `:ro`: it would be a way around protection and copy on write.",
        example: "[\"testdata:/data:ro\"]",
    },
    Key {
        name: "tmpfs",
        form: Form::List(|settings, text| {
            let tmpfs = forms::parse_tmpfs(text.value.as_ref())?;
            settings.tmpfs.push(text.with(tmpfs));
            Ok(())
        }),
        default: "none",
        doc: "Empty file systems in memory, as `TARGET[:SIZE]`; 64M without a size. More than a sandbox's `disk` in all needs trust.",
        example: "[\"/scratch:256M\"]",
    },
];

const MODES: &[&str] = &["none", "allow", "open"];

const NETWORK: &[Key] = &[
    Key {
        name: "mode",
        form: Form::Choice(MODES, set_mode),
        default: "`allow` if something is allowed, else `none`",
        doc: "`none`: nothing is reached, and neither `allow` nor `host_services` may stand beside it. `allow`: what is allowed. `open`: every public address, and what is allowed. `open` needs trust.",
        example: "\"allow\"",
    },
    Key {
        name: "allow",
        form: Form::Rules(|settings, rules| settings.network.allow = Some(rules)),
        default: "nothing",
        doc: "What may be reached: `HOST` (on ports 80 and 443) or `HOST:PORT`, where `HOST` is a name, an address, a network such as `10.0.0.0/8`, `*.example.org` (every name below it), or `*`; and `PORT` is a number, a range such as `8000-8999`, or `*`. A table allows some HTTP requests only. Needs trust.",
        example: "[\"github.com\", { host = \"api.example.org\", methods = [\"GET\"], paths = [\"/v1/\"] }]",
    },
    Key {
        name: "deny",
        form: Form::List(set_deny),
        default: "nothing",
        doc: "What may not be reached, whatever else is said; without a port, on no port at all.",
        example: "[\"telemetry.example.org:*\"]",
    },
    Key {
        name: "ports",
        form: Form::Numbers(|settings, text| {
            let port = forms::parse_published(&text.value)?;
            settings.network.ports.push(text.with(port));
            Ok(())
        }),
        default: "none",
        doc: "Ports of the sandbox on the host's loopback address: `3000`, or `\"3000:8080\"` for another number on the host. Needs trust.",
        example: "[3000, \"5173:8080\"]",
    },
    Key {
        name: "host_services",
        form: Form::List(set_service),
        default: "none",
        doc: "Services by `HOST:PORT` that may be reached also at private and loopback addresses. A name at any other that is not public, such as a cloud's metadata service, is refused: name the address. Those of `localhost` are the host's own: inside they are at `host.agentkernel.internal`. Needs trust.",
        example: "[\"localhost:5432\"]",
    },
    Key {
        name: "bandwidth",
        form: Form::Size(set_bandwidth),
        default: "no limit",
        doc: "Bytes per second, in both directions together. A second's worth, and 16 KiB at least, may pass at once.",
        example: "\"10M\"",
    },
    Key {
        name: "connections",
        form: Form::Count(set_connections),
        default: "no limit",
        doc: "Connections per second that may be begun: more wait for their turn. A second's worth may be begun at once.",
        example: "50",
    },
    Key {
        name: "max_tokens",
        form: Form::Count(set_max_tokens),
        default: "no limit",
        doc: "Tokens of models that a sandbox may use, as far as their answers and WebSockets tell. After that, requests are refused that could use more: every `POST`, what uses a secret, and all to hosts that have told of tokens. A stream that was not asked to tell is not counted, nor is what isn't JSON ([more](../threat-model.md#known-gaps)). All its TLS is read for that.",
        example: "2000000",
    },
];

const LIMITS: &[Key] = &[
    Key {
        name: "mode",
        form: Form::Choice(MODES, set_mode),
        default: "`allow` if `allow` is written, else `open`",
        doc: "`none`: no sandbox reaches anything but `host_services`, and `allow` may not stand beside it. `allow`: only what is allowed here. `open`: public addresses, and what is allowed here.",
        example: "\"open\"",
    },
    Key {
        name: "allow",
        form: Form::Rules(|settings, rules| settings.network.allow = Some(rules)),
        default: "nothing",
        doc: "What may be reached, as a project writes it.",
        example: "[\"*.example.org\", \"10.0.0.0/8:5432\"]",
    },
    Key {
        name: "deny",
        form: Form::List(set_deny),
        default: "nothing",
        doc: "What no sandbox reaches; without a port, on no port at all.",
        example: "[\"10.0.0.0/8:*\"]",
    },
    Key {
        name: "host_services",
        form: Form::List(set_service),
        default: "none",
        doc: "Services by `HOST:PORT` that may be reached also at private and loopback addresses. A name at any other that is not public, such as a cloud's metadata service, is refused: name the address.",
        example: "[\"localhost:5432\"]",
    },
    Key {
        name: "bandwidth",
        form: Form::Size(set_bandwidth),
        default: "no limit",
        doc: "Bytes per second of one sandbox: of this and what its project or flags say, the smaller holds.",
        example: "\"100M\"",
    },
    Key {
        name: "connections",
        form: Form::Count(set_connections),
        default: "no limit",
        doc: "Connections per second that one sandbox may begin: the smaller holds.",
        example: "100",
    },
    Key {
        name: "max_tokens",
        form: Form::Count(set_max_tokens),
        default: "no limit",
        doc: "Tokens of models that one sandbox may use: the smaller holds. All its TLS is read for that.",
        example: "10000000",
    },
];

const SSH: &[Key] = &[
    Key {
        name: "hosts",
        form: Form::List(|settings, text| {
            let server = ssh::parse_ssh_server(&text.value)?;
            settings.ssh.hosts.push(text.with(server));
            Ok(())
        }),
        default: "none",
        doc: "Servers by `HOST` or `HOST:PORT` that programs may log in to; they may be reached, too. Of each your `known_hosts` must have a host key.",
        example: "[\"github.com\"]",
    },
    Key {
        name: "sign",
        form: Form::Flag(|settings, sign| settings.ssh.sign = sign),
        default: "`false`",
        doc: "Whether git signs commits with the key that it signs with on the host: `gpg.format` must be `ssh` there.",
        example: "true",
    },
];

fn set_mode(settings: &mut Settings, text: Located<String>) -> Result<(), FormError> {
    let mode = forms::parse_mode(&text.value)?;
    settings.network.mode = Some(text.with(mode));
    Ok(())
}

fn set_deny(settings: &mut Settings, text: Located<String>) -> Result<(), FormError> {
    let rule = forms::parse_rule(&text.value)?;
    settings.network.deny.push(text.with(rule));
    Ok(())
}

fn set_service(settings: &mut Settings, text: Located<String>) -> Result<(), FormError> {
    let service = forms::parse_service(&text.value)?;
    settings.network.services.push(text.with(service));
    Ok(())
}

fn set_bandwidth(settings: &mut Settings, size: Located<u64>) -> Result<(), FormError> {
    settings.network.bandwidth = Some(forms::bandwidth(size.value)?);
    Ok(())
}

fn set_connections(settings: &mut Settings, count: Located<u64>) -> Result<(), FormError> {
    settings.network.connections = Some(forms::connections(count.value)?);
    Ok(())
}

fn set_max_tokens(settings: &mut Settings, count: Located<u64>) -> Result<(), FormError> {
    settings.network.max_tokens = Some(count.value);
    Ok(())
}

/// A rule that is a table.
pub(super) const RULE: &[Key<RuleSettings>] = &[
    Key {
        name: "host",
        form: Form::Text(|draft, text| {
            draft.rule = Some(forms::parse_rule(&text.value)?);
            Ok(())
        }),
        default: "required",
        doc: "What may be reached, as a text has it.",
        example: "\"api.example.org\"",
    },
    Key {
        name: "methods",
        form: Form::Filled(|draft, text| {
            draft.requests.methods.push(network::method(&text.value)?);
            Ok(())
        }),
        default: "every one",
        doc: "HTTP methods, in capitals.",
        example: "[\"GET\", \"HEAD\"]",
    },
    Key {
        name: "paths",
        form: Form::Filled(|draft, text| {
            draft.requests.paths.push(network::path(&text.value)?);
            Ok(())
        }),
        default: "every one",
        doc: "What the path of a request is, or begins with before a `/`. A path that programs could read differently (`..`, `//`, escaped slashes such as `%2F`) is below none but `/`.",
        example: "[\"/v1/\"]",
    },
];

const IMAGES: &[Key] = &[Key {
    name: "quota",
    form: Form::Size(|settings, size| {
        settings.image_quota = Some(size.value);
        Ok(())
    }),
    default: "no limit",
    doc: "How much room all images may take on disk, as they travel and unpacked. What would take more is not pulled, imported or built, and a command of a build that writes more is ended; the caches of builds count; `agentkernel image prune` makes room, `agentkernel image du` tells how much there is.",
    example: "\"50G\"",
}];

/// The keys of one of the `registries`.
pub(super) const REGISTRY: &[Key<RegistrySettings>] = &[Key {
    name: "mirrors",
    form: Form::List(|draft, text| {
        draft.mirrors.push(image::parse_mirror(&text.value)?);
        Ok(())
    }),
    default: "none",
    doc: "Who else has its images: `HOST`, `HOST:PORT`, or one of these with a `/PREFIX` that stands before the name of a repository there. They are asked first, in this order; what one does not have, or not as its digest says, the next one is asked for, and the registry itself at last. What a tag means they are believed. A mirror speaks TLS, unless its address is a loopback one.",
    example: "[\"mirror.example.org/hub\"]",
}];

/// A secret that is a table.
pub(super) const SECRET: &[Key<SecretSettings>] = &[
    Key {
        name: "env",
        form: Form::Text(|draft, text| {
            draft.env = Some(forms::parse_variable(&text.value)?);
            Ok(())
        }),
        default: "the secret's name, unless there is a `file`",
        doc: "The variable inside that holds the placeholder.",
        example: "\"TOKEN\"",
    },
    Key {
        name: "hosts",
        form: Form::Filled(|draft, text| {
            draft.hosts.push(forms::parse_secret_host(&text.value)?);
            Ok(())
        }),
        default: "those that were recorded by `agentkernel secret set`",
        doc: "Where it may go: names, or `*.example.org`, without ports. They must be allowed as well. Of a recorded secret they are among those that were recorded.",
        example: "[\"api.example.org\"]",
    },
    Key {
        name: "file",
        form: Form::Text(|draft, text| {
            draft.file = Some(forms::secret_file(Path::new(&text.value))?);
            Ok(())
        }),
        default: "none",
        doc: "A file inside that holds the placeholder, by its absolute path: in the HOME there, below /run/secrets or elsewhere, but neither in the workspace or a mount, nor in a directory of the system's, such as /etc, /usr and what else is in /run.",
        example: "\"/run/secrets/token\"",
    },
    Key {
        name: "from",
        form: Form::Text(|draft, text| {
            draft.source = Some(forms::parse_secret_source(&text.value)?);
            Ok(())
        }),
        default: "`store` if the secret is recorded, else the variable of its name",
        doc: "Where its value comes from when the sandbox starts: `env:VARIABLE` of your environment, `file:PATH` on the host (a relative path begins at the project), or `store`, what `agentkernel secret set` recorded.",
        example: "\"env:EXAMPLE_TOKEN\"",
    },
];

impl WorkspaceMode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Overlay => "overlay",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
