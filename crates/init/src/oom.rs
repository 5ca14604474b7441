//! Hides where the kernel counts the processes that it has killed for lack of memory in this cgroup.

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
};

/// Where cgroups of version 2 and of version 1 have it.
const FILES: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// The count of this machine.
pub struct OomKills {
    file: OwnedFd,
    /// What it was at the start, and what was told.
    told: u64,
    start: u64,
}

impl OomKills {
    /// Opens it. `None` where there is none.
    pub fn open() -> Option<Self> {
        let open = |path: &&str| rustix::fs::open(*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
        let file = FILES.iter().find_map(open)?;
        let start = read(&file)?;
        Some(Self { file, told: 0, start })
    }

    /// How many there were since the start, if that has changed.
    pub fn news(&mut self) -> Option<u64> {
        let kills = read(&self.file)?.saturating_sub(self.start);
        (std::mem::replace(&mut self.told, kills) != kills).then_some(kills)
    }
}

fn read(file: &OwnedFd) -> Option<u64> {
    let mut text = [0; 1024];
    let length = rustix::io::pread(file, &mut text, 0).ok()?;
    parse(str::from_utf8(&text[..length]).ok()?)
}

/// Both have lines of a name and a number.
fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_it_alike() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
