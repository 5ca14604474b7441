//! Flags, the project's file and the host become one [`Spec`]: flags win over the file, the file over the defaults.

use super::{
    AgentUse, ConfigError, EnvVar, HostFacts, NetworkOverrides, Project, ProjectFile, TmpfsArg, UserConfig,
    WorkspaceMode,
    backend::shares_ids,
    dotfiles,
    environment::{Environment, read_env_file, read_variables},
    follow::follow,
    forms, generated_name, git, identity,
    image::{FoundImage, FoundLayer, ImageArg},
    limits, mounts,
    network::Sayings,
    own,
    parse::Located,
    passwd, protect,
    recipe::RecipeSettings,
    settings::Settings,
    ssh,
};
use crate::{
    BackendKind, Identity, Image, Limits, Mount, Name, Network, OciImage, SandboxId, Spec, Tmpfs, Workspace, trust,
    walk::Links,
};
use oci::Reference;
use rustix::fs::FileType;
use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};
use wire::{ExecSpec, OsBytes, Stdio, WinSize, flow::AGENT};

/// What to do where there can be no workspace.
const NO_WORKSPACE: &str = "Go to a project's directory, and start agents there, or use `--workspace none`";

/// What the flags of `run` and `create` said. `None` and empty: nothing.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--name`
    pub name: Option<Name>,
    /// `--backend`
    pub backend: Option<BackendKind>,
    /// `--runtime`
    pub runtime: Option<String>,
    /// `--image`; a relative directory begins at the working directory
    pub image: Option<ImageArg>,
    /// The image of the store that [`named_image`](super::named_image) names, once it is there
    pub found: Option<FoundImage>,
    /// `--layer`
    pub layers: Vec<Reference>,
    /// What [`own_layers`](super::own_layers) names and then `layers`, once all are there
    pub found_layers: Vec<FoundLayer>,
    /// `--entrypoint`: in place of the image's; empty: none
    pub entrypoint: Option<OsString>,
    /// `--workspace`
    pub workspace: Option<WorkspaceMode>,
    /// `--net` and its like
    pub network: NetworkOverrides,
    /// `-e`
    pub env: Vec<EnvVar>,
    /// `--env-file`
    pub env_files: Vec<PathBuf>,
    /// `-w`
    pub workdir: Option<PathBuf>,
    /// `-u`: `NAME` or `UID`, and `:GID`
    pub user: Option<String>,
    /// `--cpus`, in thousandths
    pub cpus: Option<u64>,
    /// `--memory`, in bytes
    pub memory: Option<u64>,
    /// `--pids`
    pub pids: Option<u64>,
    /// `--disk`, in bytes
    pub disk: Option<u64>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--mount`; a relative source begins at the working directory
    pub mounts: Vec<Mount>,
    /// `--unprotect`
    pub unprotect: Vec<PathBuf>,
    /// Where agents work that are outside, beside the working directory
    pub starts: Vec<PathBuf>,
    /// `--tmpfs`
    pub tmpfs: Vec<TmpfsArg>,
    /// `--read-only`
    pub read_only: bool,
    /// `--log-refused`
    pub log_refused: Option<bool>,
    /// `--keep`: true, `--rm`: false
    pub keep: Option<bool>,
    /// `-t`
    pub terminal: bool,
    /// `-i`
    pub stdin: bool,
    /// The agent that it is for
    pub agent: Option<AgentUse>,
    /// `CMD...`; empty: the image's own with `must_run`, else the sandbox idles
    pub command: Vec<OsString>,
    /// Whether there must be a command: for `run`
    pub must_run: bool,
}

/// Resolves what is to be made. Looks at the file system, and changes nothing.
///
/// # Errors
/// [`ConfigError`]; [`Untrusted`](ConfigError::Untrusted) only if nothing else is wrong.
pub fn resolve(
    overrides: Overrides,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
) -> Result<Spec, ConfigError> {
    with(project, user, host, |resolver| resolver.spec(overrides))
}

/// The same for the network alone, with who said what of it.
pub(super) fn resolve_network(
    overrides: NetworkOverrides,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
) -> Result<(Network, Sayings), ConfigError> {
    with(project, user, host, |resolver| resolver.network(overrides, None))
}

fn with<T>(
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
    resolve: impl FnOnce(&mut Resolver<'_>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let defaults = Settings::default();
    let settings = project.file.as_ref().map_or(&defaults, |file| &file.settings);
    let file = project.file.as_ref();
    let mut resolver = Resolver { file, settings, project: &project.dir, user, host, asks: Vec::new(), unseen: false };
    let resolved = resolve(&mut resolver);
    match resolver.file {
        // What is wrong with an image that was not even looked for is not known.
        Some(file) if !file.trusted && !resolver.asks.is_empty() && (resolved.is_ok() || resolver.unseen) => {
            Err(ConfigError::Untrusted { path: file.path.clone(), asks: resolver.asks })
        }
        _ => resolved,
    }
}

/// The command with what stands before it, as Docker has it: the image's own command goes with its own entrypoint only. With
/// neither a command nor `must_run` the sandbox idles.
fn argv(
    command: Vec<OsString>,
    must_run: bool,
    entrypoint: Option<OsString>,
    found: Option<&FoundImage>,
) -> Result<Vec<OsString>, ConfigError> {
    let own = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let none = command.is_empty();
    let (mut argv, command) = match (entrypoint, found) {
        (Some(program), _) if program.is_empty() => (Vec::new(), command),
        (Some(program), _) => (vec![program], command),
        (None, Some(found)) if none && must_run => (own(&found.entrypoint), own(&found.command)),
        (None, Some(found)) if !none => (own(&found.entrypoint), command),
        (None, _) => (Vec::new(), command),
    };
    argv.extend(command);
    if argv.is_empty() && must_run {
        return Err(ConfigError::value("COMMAND is missing", "'agentkernel help run' lists what it takes"));
    }
    Ok(argv)
}

pub(super) struct Resolver<'a> {
    pub(super) file: Option<&'a ProjectFile>,
    pub(super) settings: &'a Settings,
    pub(super) project: &'a Path,
    pub(super) user: &'a UserConfig,
    pub(super) host: &'a HostFacts,
    /// What the file asks for, beyond what any project gets.
    pub(super) asks: Vec<String>,
    /// Its image is not here, and is not brought without consent.
    pub(super) unseen: bool,
}

impl Resolver<'_> {
    fn spec(&mut self, overrides: Overrides) -> Result<Spec, ConfigError> {
        let (settings, host) = (self.settings, self.host);
        let id = SandboxId::random().map_err(|error| ConfigError::io(Path::new("/dev/urandom"), error))?;
        let keep = overrides.keep.or(settings.keep).unwrap_or(false);
        let layers = self.layers(&overrides)?;
        let name = overrides.name.or_else(|| {
            // A project's name would let only one of its ephemeral sandboxes run at a time.
            keep.then(|| settings.name.clone().unwrap_or_else(|| generated_name(&id)))
        });
        let found = overrides.found.as_ref();
        let (backend, engine) = self.backend(overrides.backend, overrides.runtime, found)?;
        let image = self.image(overrides.image, found)?;
        let workspace = self.workspace(overrides.workspace, &overrides.unprotect, &overrides.starts)?;
        let mut mounts = self.mounts(overrides.mounts, &workspace)?;
        let shares_ids = shares_ids(&image, found, &workspace, &mounts);
        // Nobody but who it is said: then the image's own files are not asked whom it is for.
        let unsaid = overrides.user.is_none() && settings.user.is_none();
        let caller = shares_ids && host.uid != 0 && unsaid;
        let mut identity = self.identity(overrides.user.as_deref(), &image, found.filter(|_| !caller))?;
        // An agent is root nowhere unless its user says so.
        let by_file = overrides.user.is_none().then_some(self.settings.user.as_ref()).flatten();
        if by_file.is_some() && identity.uid == 0 && (host.uid != 0 || overrides.agent.is_some()) {
            self.ask("user", &identity.name);
        }
        if overrides.agent.is_some() && unsaid && !caller {
            identity = self.agents_identity(identity, &image, found)?;
        }
        let workdir = self.workdir(overrides.workdir.as_deref(), &workspace, &identity, found)?;
        let mut limits = self.limits(overrides.cpus, overrides.memory, overrides.pids, overrides.disk)?;
        if keep {
            self.refuse_disk_limit(overrides.disk)?;
            limits.disk = None;
        }
        if let Some(engine) = &engine {
            self.refuse_in_container(engine, &workspace, &mounts, overrides.agent.as_ref(), overrides.disk)?;
            limits.disk = None;
        }
        let tmpfs = self.tmpfs(overrides.tmpfs, &mounts, workspace != Workspace::None)?;
        let (network, _) = self.network(overrides.network, overrides.agent.as_ref())?;

        self.check_secret_files(&network, &workspace, &mounts)?;
        let taken = mounts.iter().map(|mount| &mount.target).chain(tmpfs.iter().map(|tmpfs| &tmpfs.target));
        if let Some(place) =
            taken.into_iter().find(|place| network.lent_keys.is_some() && Path::new(AGENT).starts_with(place))
        {
            let cause = format!("{}, where something is mounted, is where the ssh-agent is to be", place.display());
            return Err(ConfigError::value(cause, "Mount it elsewhere, or lend no keys: leave out --ssh and --sign"));
        }

        let mut env = Environment::base(&identity, &image, found, host);
        overrides.found_layers.iter().for_each(|layer| env.lay(&layer.env));
        let needs = overrides.agent.as_ref().map_or_else(Vec::new, |agent| agent.needs.clone());
        let needs = needs.into_iter().map(|program| OsBytes(program.into_bytes())).collect();
        let agent = overrides.agent.map(|agent| agent.settle(&identity, &mut env, &mut mounts)).transpose()?;
        if network.needs_authority() {
            trust::VARIABLES.into_iter().for_each(|(name, value)| env.set(name, value));
        }
        if let Some(lent) = &network.lent_keys {
            ssh::variables(lent).iter().for_each(|(name, value)| env.set(name, value));
        }
        let mut places = self.places();
        places.extend(mounts::writable(&mounts).map(Path::to_owned));
        self.file_env(&mut env, &places)?;
        for file in &overrides.env_files {
            env.apply(&read_env_file(&host.cwd.join(file), &places)?, host);
        }
        env.apply(&overrides.env, host);
        if network.needs_authority() {
            env.trust_in_java();
        }
        let lent = network.lent_keys.iter().flat_map(ssh::variables);
        if let Some((name, _)) =
            lent.into_iter().find(|(name, value)| env.get(name).is_none_or(|set| set != value.as_str()))
        {
            let cause = format!("{name} is set to something else, by which programs find the keys that they are lent");
            return Err(ConfigError::value(cause, "Leave it out, or lend no keys: leave out --ssh and --sign"));
        }
        env.refuse_values(&network.secrets, host)?;
        for secret in &network.secrets {
            if let Some(variable) = &secret.env {
                env.set(variable, &secret.placeholder);
            }
        }
        env.mark(&id);
        let spec_env = env.entries();
        let argv = argv(overrides.command, overrides.must_run, overrides.entrypoint, found)?;
        let command = (!argv.is_empty()).then(|| {
            if overrides.terminal && !spec_env.iter().any(|OsBytes(entry)| entry.starts_with(b"TERM=")) {
                env.terminal(host);
            }
            let stdio = match overrides.terminal {
                true => Stdio::Terminal { size: WinSize::default() },
                false => Stdio::Pipes { stdin: overrides.stdin },
            };
            ExecSpec {
                argv: argv.into_iter().map(OsBytes::from).collect(),
                env: env.entries(),
                cwd: workdir.clone(),
                user: identity.user(),
                stdio,
                needs,
            }
        });
        let timeout = overrides.timeout.or(settings.timeout);
        if agent.is_some() && overrides.log_refused.is_none() && settings.log_refused == Some(false) {
            self.ask("log_refused", false);
        }
        let log_refused = overrides.log_refused.or(settings.log_refused).unwrap_or(agent.is_some());
        Ok(Spec {
            hostname: name.as_ref().map_or_else(|| id.to_string(), Name::to_string),
            id,
            name,
            keep,
            backend,
            engine,
            image,
            layers,
            workspace,
            agent,
            mounts,
            tmpfs,
            read_only: overrides.read_only || settings.read_only.unwrap_or(false),
            log_refused,
            network,
            identity,
            limits,
            command,
            env: spec_env,
            workdir,
            timeout_ms: timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            build: None,
        })
    }

    fn image(&mut self, flag: Option<ImageArg>, found: Option<&FoundImage>) -> Result<Image, ConfigError> {
        let here = |reference: &oci::Reference| match found {
            Some(found) => Ok(found.image.clone()),
            None => Err(ConfigError::value(format!("Image {} is not in the store", reference.familiar()), "")),
        };
        match (flag, &self.settings.image) {
            (Some(ImageArg::Dir(dir)), _) => {
                let dir = mounts::image(&dir, &self.host.cwd, &self.places())?;
                own::refuse(&dir, self.host)?;
                Ok(Image::Dir(dir))
            }
            (Some(ImageArg::Named(reference)), _) => here(&reference),
            (None, Some(located)) if let ImageArg::Named(reference) = &located.value => {
                self.ask("image", reference.familiar());
                if found.is_none() && self.file.is_some_and(|file| !file.trusted) {
                    // Nothing is made of this: the consent that is asked for is told, with all that it is for.
                    self.unseen = true;
                    return Ok(Image::Host);
                }
                here(reference)
            }
            (None, Some(located)) if let ImageArg::Dir(dir) = &located.value => {
                let dir = mounts::image(dir, self.project, &self.places());
                let dir = dir.and_then(|dir| own::refuse(&dir, self.host).map(|()| dir));
                let dir = dir.map_err(|error| self.at(located, error))?;
                if !dir.starts_with(self.project) {
                    self.ask("image", dir.display());
                }
                Ok(Image::Dir(dir))
            }
            (None, _) if self.settings.recipe != RecipeSettings::default() => {
                self.ask("image", "made as [image] says");
                match found {
                    Some(found) => Ok(found.image.clone()),
                    // It is not made before it is trusted, which is what is told then.
                    None if self.file.is_some_and(|file| !file.trusted) => {
                        self.unseen = true;
                        Ok(Image::Host)
                    }
                    None => Err(ConfigError::value("The project's image is not made", "")),
                }
            }
            _ => Ok(Image::Host),
        }
    }

    /// What lies over the image: what the file names, and over that what flags do.
    fn layers(&mut self, overrides: &Overrides) -> Result<Vec<OciImage>, ConfigError> {
        let own = if overrides.image.is_none() { &self.settings.layers[..] } else { &[] };
        own.iter().for_each(|layer| self.ask("layers", layer.value.familiar()));
        let found = &overrides.found_layers;
        match own.len() + overrides.layers.len() == found.len() {
            true => Ok(found.iter().map(|layer| layer.image.clone()).collect()),
            // None is looked for before the file is trusted, which is what is told then.
            false if self.file.is_some_and(|file| !file.trusted) => Ok(Vec::new()),
            false => Err(ConfigError::value("Not all layers are in the store", "")),
        }
    }

    fn workspace(
        &self,
        flag: Option<WorkspaceMode>,
        unprotect: &[PathBuf],
        starts: &[PathBuf],
    ) -> Result<Workspace, ConfigError> {
        let mode = flag.or(self.settings.workspace).unwrap_or(WorkspaceMode::Direct);
        let path = self.project.to_owned();
        if let (false, Some(path)) = (mode == WorkspaceMode::Direct, unprotect.first()) {
            let cause = format!("`--unprotect {}` has no use in this workspace", path.display());
            return Err(ConfigError::value(cause, "Only `--workspace direct` has protected paths"));
        }
        if mode == WorkspaceMode::None {
            return Ok(Workspace::None);
        }
        // A copy on write too: it keeps the files from being changed, not from being read.
        if let Some(reason) = protect::refuse(&path, self.host.homes()) {
            let cause = format!("{} can't be a workspace: {reason}", path.display());
            return Err(ConfigError::value(cause, NO_WORKSPACE));
        }
        own::refuse(&path, self.host)?;
        Ok(match mode {
            WorkspaceMode::Overlay => Workspace::Overlay { path },
            _ => {
                let own = &self.settings.protect;
                // What the image is made of is obeyed outside: it names registries.
                let made = self.settings.recipe.dockerfile.iter().map(|located| located.value.clone());
                let people = self.people();
                let led = dotfiles::leads(&path, &people, self.host);
                if let Some(place) = led.around {
                    let place = forms::quoted(place.as_os_str());
                    let cause = format!("{} can't be a workspace: {place} is, or leads there", path.display());
                    return Err(ConfigError::value(cause, NO_WORKSPACE));
                }
                let own: Vec<PathBuf> = own.iter().cloned().chain(made).chain(led.within).collect();
                let starts = starts.iter().chain([&self.host.cwd]);
                let starts: Vec<&Path> = starts.filter_map(|start| start.strip_prefix(&path).ok()).collect();
                let environments = self.mise_environments();
                let protected = protect::list(&path, &starts, &people, &own, unprotect, &environments);
                let protected = protected.map_err(|path| {
                    let cause = format!("{} is not protected", forms::quoted(path.as_os_str()));
                    ConfigError::value(cause, "Name a path of the list in docs/reference/config.md, or of `protect`")
                })?;
                Workspace::Direct { path, protected }
            }
        })
    }

    /// Mise's environments that the user names.
    fn mise_environments(&self) -> Vec<String> {
        let named = self.host.var("MISE_ENV").map(|names| names.to_string_lossy().into_owned());
        let file = std::fs::read_to_string(self.host.home.join(".config/mise/miserc.toml")).ok();
        named.into_iter().chain(file).flat_map(|text| protect::environments(&text)).collect()
    }

    /// A placeholder's file is the sandbox's own: in the workspace or a mount it would be made on the host.
    fn check_secret_files(
        &self,
        network: &Network,
        workspace: &Workspace,
        mounts: &[Mount],
    ) -> Result<(), ConfigError> {
        let places: Vec<&Path> =
            workspace.path().into_iter().chain(mounts.iter().map(|mount| mount.target.as_path())).collect();
        for secret in &network.secrets {
            let Some(file) = &secret.file else { continue };
            if let Some(place) = places.iter().find(|place| file.starts_with(place)) {
                let cause = format!("Secret '{}' would be in {}, which is the host's", secret.name, place.display());
                return Err(ConfigError::value(cause, "Name a `file` elsewhere in the sandbox, such as in its HOME"));
            }
        }
        Ok(())
    }

    /// Who may use git in the project: the caller, and its owner if that is somebody else.
    fn people(&self) -> Vec<git::Person> {
        let set = self.host.env.iter().find(|(name, _)| name == "XDG_CONFIG_HOME");
        let config = set.map(|(_, path)| PathBuf::from(path)).filter(|path| path.is_absolute());
        let person = |home: &Path| git::Person { home: home.to_owned(), config: config.clone() };
        let mut people: Vec<_> = self.host.homes().map(person).collect();
        let owner = rustix::fs::stat(self.project).ok().map(|stat| stat.st_uid).filter(|uid| *uid != self.host.uid);
        let account = |uid| passwd::find(&std::fs::read("/etc/passwd").ok()?, &passwd::Who::Uid(uid)).ok()?;
        people.extend(owner.and_then(account).map(|owner| git::Person { home: owner.home, config: None }));
        people
    }

    fn identity(&self, flag: Option<&str>, image: &Image, found: Option<&FoundImage>) -> Result<Identity, ConfigError> {
        match (flag, &self.settings.user) {
            (None, Some(user)) => {
                identity(Some(&user.value), image, found, self.host).map_err(|error| self.at(user, error))
            }
            (flag, _) => identity(flag, image, found, self.host),
        }
    }

    /// Where commands start.
    fn workdir(
        &self,
        flag: Option<&Path>,
        workspace: &Workspace,
        identity: &Identity,
        found: Option<&FoundImage>,
    ) -> Result<OsBytes, ConfigError> {
        let own = found.map(|found| Path::new(&found.workdir)).filter(|path| path.is_absolute());
        let root = workspace.path().or(own).unwrap_or(&identity.home);
        let inside = *workspace != Workspace::None && self.host.cwd.starts_with(root);
        let here = if inside { self.host.cwd.as_path() } else { root };
        let path = match (flag, &self.settings.workdir) {
            (Some(path), _) => forms::absolute(&here.join(path)).map_err(|error| {
                let hint = if path.is_absolute() { "" } else { "A relative path begins where you are, in the project" };
                ConfigError::value(format!("--workdir: {error}"), hint)
            })?,
            (None, Some(located)) => forms::absolute(&root.join(&located.value))
                .map_err(|error| self.at(located, ConfigError::value(format!("`workdir`: {error}"), "")))?,
            (None, None) => here.to_owned(),
        };
        Ok(path.into())
    }

    fn limits(
        &mut self,
        cpus: Option<u64>,
        memory: Option<u64>,
        pids: Option<u64>,
        disk: Option<u64>,
    ) -> Result<Limits, ConfigError> {
        let (settings, host) = (self.settings, self.host);
        let flag = |flag: &'static str| move |error| ConfigError::value(format!("{flag}: {error}"), "");
        let memory_flag = memory.map(limits::memory).transpose().map_err(flag("--memory"))?;
        let pids_flag = pids.map(limits::pids).transpose().map_err(flag("--pids"))?;
        let disk_flag = disk.map(limits::disk).transpose().map_err(flag("--disk"))?;
        let nofile = settings.nofile.as_ref();
        if let Some(nofile) = nofile
            && host.max_nofile.is_some_and(|hard| nofile.value > hard)
        {
            let cause = format!("`nofile`: your own limit is {}", host.max_nofile.unwrap_or(0));
            return Err(
                self.at(nofile, ConfigError::value(cause, "`ulimit -Hn` shows it; an administrator can raise it"))
            );
        }
        if let Some(fsize) = &settings.fsize
            && host.max_fsize.is_some_and(|hard| fsize.value > hard)
        {
            let cause = format!("`fsize`: your own limit is {} bytes", host.max_fsize.unwrap_or(0));
            return Err(
                self.at(fsize, ConfigError::value(cause, "`ulimit -Hf` shows it; an administrator can raise it"))
            );
        }
        let default_nofile = limits::default_nofile(host);
        let pids = match (pids_flag, &settings.pids) {
            (None, Some(pids)) => Some(self.bounded("pids", pids, limits::DEFAULT_NPROC)),
            (flag, _) => flag,
        };
        let disk = match (disk_flag, &settings.disk) {
            (Some(disk), _) => Some(disk),
            (None, Some(disk)) => Some(self.bounded("disk", disk, limits::default_disk(host))),
            // Without attributes, an overlay in memory cannot take directories of the image away.
            (None, None) => host.memory_attributes.then(|| limits::default_disk(host)),
        };
        let nofile = nofile.map_or(default_nofile, |nofile| self.bounded("nofile", nofile, default_nofile));
        let fsize = settings.fsize.as_ref().map(|fsize| fsize.value);
        Ok(Limits {
            cpu_milli: cpus.or(settings.cpu_milli),
            memory: memory_flag.or(settings.memory),
            pids,
            disk,
            rlimits: limits::rlimits(host, pids, nofile, fsize),
            nofile_is_named: settings.nofile.is_some(),
        })
    }

    /// What a kept sandbox writes goes to the state directory's file system, where nothing here counts it.
    fn refuse_disk_limit(&self, flag: Option<u64>) -> Result<(), ConfigError> {
        const CAUSE: &str = "the disk of a kept sandbox cannot be limited";
        const HINT: &str = "Run it without --keep and -d, or leave the limit out; its files lie in the state directory";
        match (flag, &self.settings.disk) {
            (Some(_), _) => Err(ConfigError::value(format!("--disk: {CAUSE}"), HINT)),
            (None, Some(disk)) => Err(self.at(disk, ConfigError::value(format!("`disk`: {CAUSE}"), HINT))),
            (None, None) => Ok(()),
        }
    }

    /// A number of the file's, which needs trust if it is higher than what is given by default.
    fn bounded(&mut self, key: &str, located: &Located<u64>, free: u64) -> u64 {
        if located.value > free {
            self.ask(key, located.value);
        }
        located.value
    }

    fn mounts(&mut self, flags: Vec<Mount>, workspace: &Workspace) -> Result<Vec<Mount>, ConfigError> {
        let (mut list, mut named) = (Vec::new(), Vec::new());
        let mut taken = HashSet::new();
        let replaced = |target: &Path| flags.iter().any(|mount| mount.target == target);
        let places = self.places();
        for located in self.settings.mounts.iter().filter(|located| !replaced(&located.value.target)) {
            let mut mount = located.value.clone();
            named.push(Mount { source: self.project.join(&mount.source), ..mount.clone() });
            let source = mounts::source(&mount, self.project, &places);
            mount.source = source.map_err(|error| self.at(located, error))?;
            own::refuse(&mount.source, self.host).map_err(|error| self.at(located, error))?;
            // One that may be written would be a second way to protected files, and past a copy on write.
            if !mount.source.starts_with(self.project) || !mount.read_only {
                let mode = if mount.read_only { "read-only" } else { "writable" };
                self.ask("mounts", format_args!("{} ({mode})", mount.source.display()));
            }
            list.push(place(&mut taken, mount, workspace).map_err(|error| self.at(located, error))?);
        }
        for mut mount in flags {
            named.push(Mount { source: self.host.cwd.join(&mount.source), ..mount.clone() });
            mount.source = mounts::source(&mount, &self.host.cwd, &places)?;
            own::refuse(&mount.source, self.host)?;
            list.push(place(&mut taken, mount, workspace)?);
        }
        // What one mount lets a sandbox write to may decide where another begins.
        let writable: Vec<PathBuf> = mounts::writable(&list).map(Path::to_owned).collect();
        for mount in named.iter().filter(|_| !writable.is_empty()) {
            mounts::source(mount, Path::new("/"), &writable)?;
        }
        Ok(list)
    }

    /// Where sandboxes of this project write on the host, beside mounts.
    fn places(&self) -> Vec<PathBuf> {
        vec![self.project.to_owned()]
    }

    fn tmpfs(&mut self, flags: Vec<TmpfsArg>, mounts: &[Mount], workspace: bool) -> Result<Vec<Tmpfs>, ConfigError> {
        let mut list: Vec<Tmpfs> = Vec::new();
        let mut taken: HashSet<PathBuf> = mounts.iter().map(|mount| mount.target.clone()).collect();
        let mut place = |arg: &TmpfsArg| {
            if !taken.insert(arg.target.clone()) {
                return Err(twice(&arg.target));
            }
            if arg.target == self.project && workspace {
                let cause = format!("Tmpfs {} would hide the workspace", arg.target.display());
                return Err(ConfigError::value(cause, "Mount it below, or use `--workspace none`"));
            }
            let size = arg.size.unwrap_or(limits::DEFAULT_TMPFS);
            list.push(Tmpfs { target: arg.target.clone(), size });
            Ok(size)
        };
        let replaced = |target: &Path| flags.iter().any(|tmpfs| tmpfs.target == target);
        let mut total = 0u64;
        for located in self.settings.tmpfs.iter().filter(|located| !replaced(&located.value.target)) {
            let size = place(&located.value).map_err(|error| self.at(located, error))?;
            total = total.saturating_add(size);
        }
        for tmpfs in &flags {
            place(tmpfs)?;
        }
        if total > limits::default_disk(self.host) {
            self.ask("tmpfs", format_args!("{} of memory", forms::format_size(total)));
        }
        Ok(list)
    }

    /// The file's own variables.
    fn file_env(&mut self, env: &mut Environment, places: &[PathBuf]) -> Result<(), ConfigError> {
        if let Some(located) = &self.settings.env_file {
            let path = self.project.join(&located.value);
            let at = |error| self.at(located, ConfigError::io(&path, error));
            let entry = follow(&path, true, "`env_file`", places, Links::Inside);
            let entry = entry.map_err(|refusal| self.at(located, refusal.at(&path)))?;
            let (real, kind) = (entry.path().map_err(at)?, entry.kind().map_err(at)?);
            if !real.starts_with(self.project) {
                self.ask("env_file", real.display());
                // Not even a mistake in it is shown before.
                if self.file.is_none_or(|file| !file.trusted) {
                    return Ok(());
                }
            }
            // A pipe is for flags: of the project's, whoever made it decides when it ends.
            if kind != FileType::RegularFile {
                let cause = format!("`env_file`: {} is not a file", path.display());
                return Err(self.at(located, ConfigError::value(cause, "")));
            }
            let variables = read_variables(entry.open().map_err(|error| ConfigError::io(&path, error))?, &real)?;
            // A name alone would hand over the caller's own value, and trust in the TOML does not reach this file.
            if let Some(EnvVar::Inherit(name)) =
                variables.iter().find(|variable| matches!(variable, EnvVar::Inherit(_)))
            {
                let cause = format!("`env_file`: {} has no value in {}", forms::quoted(name), path.display());
                let hint = "A project can't take a value from your environment: use `-e NAME` yourself";
                return Err(self.at(located, ConfigError::value(cause, hint)));
            }
            env.apply(&variables, self.host);
        }
        for (name, value) in &self.settings.env {
            env.set(name, value);
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, key: &str, what: impl std::fmt::Display) {
        self.asks.push(format!("{key} = {}", forms::quoted(what.to_string().as_ref()).trim_matches('\'')));
    }

    /// The same error, with the place in the file that is to blame.
    pub(super) fn at<T>(&self, located: &Located<T>, error: ConfigError) -> ConfigError {
        let Some(file) = self.file else { return error };
        match error {
            ConfigError::Value { cause, hint } => located.error(&file.path, cause, hint),
            ConfigError::Io { path, source } => {
                located.error(&file.path, format!("can't read {}: {source}", path.display()), "")
            }
            other => other,
        }
    }
}

/// Takes a mount's place, if that is free.
fn place(taken: &mut HashSet<PathBuf>, mount: Mount, workspace: &Workspace) -> Result<Mount, ConfigError> {
    if workspace.path().is_some_and(|path| path.starts_with(&mount.target)) {
        let cause = format!("Mount target {} would hide the workspace", mount.target.display());
        return Err(ConfigError::value(cause, "Choose another target, or use `--workspace none`"));
    }
    if taken.insert(mount.target.clone()) { Ok(mount) } else { Err(twice(&mount.target)) }
}

fn twice(target: &Path) -> ConfigError {
    let hint = "Leave one out, or give it another target: `--mount SOURCE:TARGET`, `--tmpfs TARGET`";
    ConfigError::value(format!("Two mounts at {}", target.display()), hint)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
