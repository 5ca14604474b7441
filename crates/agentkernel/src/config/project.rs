//! The project: where it is, and what its `agentkernel.toml` says, with the place of every mistake.

use super::{
    ConfigError, HostFacts,
    parse::{self, Mistake},
    protect, schema,
    settings::Settings,
};
use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The name of the file.
pub const FILE_NAME: &str = "agentkernel.toml";

/// No project needs more; a file that is larger is something else.
const MAX_LEN: u64 = 256 << 10;

/// The project that the caller stands in.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its directory, absolute: the workspace.
    pub dir: PathBuf,
    /// Its configuration.
    pub file: Option<ProjectFile>,
}

/// A project's configuration: parsed, and not trusted.
#[derive(Clone, Debug)]
pub struct ProjectFile {
    /// Its path.
    pub path: PathBuf,
    /// Its bytes.
    pub(super) text: String,
    pub(super) settings: Settings,
    /// Whether the user has accepted what it asks for. False until
    /// [`Store::is_trusted`](crate::store::Store::is_trusted) has been asked.
    pub trusted: bool,
}

impl Project {
    /// Finds the project of the caller's working directory.
    ///
    /// The search goes up to the first directory that has the file or a `.git`. It does not enter the caller's home
    /// directory, the root directory, or a directory of another owner: what lies there is not about this project,
    /// and might be a trap. Where nothing is found the working directory itself is the project.
    ///
    /// # Errors
    /// If the working directory is lost, or a file was found and can't be read or parsed.
    pub fn find(host: &HostFacts) -> Result<Self, ConfigError> {
        let (dir, text) = locate(host)?;
        let parse = |text| ProjectFile::parse(dir.join(FILE_NAME), text);
        let file = text?.map(parse).transpose()?;
        Ok(Self { dir, file })
    }

    /// Finds its directory alone, also where its file has mistakes.
    ///
    /// # Errors
    /// If the working directory is lost.
    pub fn find_dir(host: &HostFacts) -> Result<PathBuf, ConfigError> {
        locate(host).map(|(dir, _)| dir)
    }
}

/// The directory of a project, and the text of its file.
fn locate(host: &HostFacts) -> Result<(PathBuf, Result<Option<String>, ConfigError>), ConfigError> {
    if let Some(error) = host.lost() {
        return Err(error);
    }
    let owner = |dir: &Path| fs::stat(dir).ok().map(|stat| stat.st_uid);
    let ours = owner(&host.cwd);
    for dir in host.cwd.ancestors() {
        let top = dir == Path::new("/") || host.homes().any(|home| home == dir);
        if dir != host.cwd && (top || owner(dir) != ours) {
            break;
        }
        let text = read(&dir.join(FILE_NAME));
        if !matches!(text, Ok(None)) {
            return Ok((dir.into(), text));
        }
        // A file in worktrees and submodules, a directory elsewhere.
        let git = dir.join(".git");
        if !top && fs::lstat(&git).is_ok() && !protect::is_placeholder(&git) {
            return Ok((dir.into(), Ok(None)));
        }
    }
    Ok((host.cwd.clone(), Ok(None)))
}

impl Project {
    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.file.as_ref().map(|file| file.text.as_str())
    }

    /// Whether a sandbox keeps its file from being made: until that has stopped, something stands in the place.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.file.is_none() && protect::is_placeholder(&self.dir.join(FILE_NAME))
    }
}

/// The text of the file at `path`; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    // A link would let a project show us any file of the caller's; a fifo would hang us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        // A socket is a placeholder of a sandbox: nothing can be read from it.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO) => return Ok(None),
        Err(Errno::LOOP) => {
            let cause = format!("{} is a symbolic link", path.display());
            return Err(ConfigError::value(cause, "Put the file itself there"));
        }
        Err(errno) => return Err(ConfigError::io(path, errno)),
    };
    let stat = fs::fstat(&file).map_err(|errno| ConfigError::io(path, errno))?;
    if protect::is_placeholder(path) {
        return Ok(None);
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigError::value(format!("{} is not a file", path.display()), ""));
    }
    read_text(&mut file, path).map(Some)
}

/// The text of a file that the user names; `None` if there is none.
pub(crate) fn read_by_path(path: &Path) -> Result<Option<String>, ConfigError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match fs::open(path, flags, Mode::empty()) {
        Ok(file) => read_text(&mut File::from(file), path).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(ConfigError::io(path, errno)),
    }
}

/// The text of a file of configuration. `path` is for messages.
pub(super) fn read_text(file: &mut File, path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|error| ConfigError::io(path, error))?;
    if bytes.len() as u64 > MAX_LEN {
        let cause = format!("{} is longer than {} bytes", path.display(), MAX_LEN);
        return Err(ConfigError::value(cause, ""));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let at = good.len();
        Mistake::at(at..at, "not UTF-8").locate(path, &String::from_utf8_lossy(good))
    })
}

impl ProjectFile {
    /// Parses a file's text. `path` is for messages, and where relative paths in it begin.
    ///
    /// # Errors
    /// [`ConfigError::File`] for the first mistake.
    pub fn parse(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        let settings = parse::settings(&text, schema::PROJECT).map_err(|mistake| mistake.locate(&path, &text))?;
        settings.check_mode(&path, true)?;
        Ok(Self { path, text, settings, trusted: false })
    }

    /// Another file of the project than its own configuration, that needs trust in the same way.
    #[must_use]
    pub fn other(path: PathBuf, text: String) -> Self {
        Self { path, text, settings: Settings::default(), trusted: false }
    }

    /// What stands for this file, with every byte of it and its place: SHA-256 in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.path.as_os_str().as_encoded_bytes());
        // No path has one: the two parts can't be mistaken for another two.
        hash.update([0]);
        hash.update(&self.text);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
