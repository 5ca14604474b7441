use super::*;
use std::fs;

#[test]
fn links_are_followed_where_nobody_else_can_make_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("work/sub")).unwrap();
    fs::create_dir(at("away")).unwrap();
    fs::write(at("away/file"), "x").unwrap();
    std::os::unix::fs::symlink(at("work"), at("to-work")).unwrap();
    std::os::unix::fs::symlink("../away", at("work/out")).unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    let same = |fd: &OwnedFd, path: &str| {
        identity(&rustix::fs::fstat(fd).unwrap()) == identity(&rustix::fs::stat(at(path)).unwrap())
    };
    let free = Writable::of(&[], Links::Refused);
    let wary = Writable::of(&[at("work")], Links::Refused);
    assert!(same(&free.directory(&at("to-work/out")).unwrap(), "away"));
    assert!(same(&wary.directory(&at("to-work/sub")).unwrap(), "work/sub"));
    assert!(same(&wary.directory(&at("work/sub/../../away")).unwrap(), "away"));
    for path in ["work/out", "to-work/out", "away/../work/sub/../out"] {
        assert!(matches!(wary.directory(&at(path)), Err(WalkError::Link { .. })), "{path}");
    }
    assert!(matches!(wary.entry(&at("work/out/file"), false), Err(WalkError::Link { .. })));
    assert!(matches!(wary.entry(&at("work/out"), true), Err(WalkError::Link { .. })));
    let entry = wary.entry(&at("work/out"), false).unwrap();
    assert!(same(&entry.dir, "work") && entry.name == "out");
    let entry = free.entry(&at("work/out/file"), true).unwrap();
    assert!(same(&entry.dir, "away") && entry.name == "file");
    let errno = |path: &str| match free.directory(&at(path)) {
        Err(WalkError::Io(error)) => Errno::from_io_error(&error),
        _ => None,
    };
    assert_eq!((errno("loop"), errno("away/file/x")), (Some(Errno::LOOP), Some(Errno::NOTDIR)));
}

#[test]
fn a_link_may_lead_to_what_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("away")).unwrap();
    std::os::unix::fs::symlink("away/new", at("link")).unwrap();
    std::os::unix::fs::symlink("missing/new", at("nowhere")).unwrap();
    let free = Writable::of(&[], Links::Refused);
    let entry = free.entry(&at("link"), true).unwrap();
    assert_eq!(identity(&rustix::fs::fstat(&entry.dir).unwrap()), identity(&rustix::fs::stat(at("away")).unwrap()));
    assert_eq!(entry.name, "new");
    assert!(matches!(free.entry(&at("nowhere"), true), Err(WalkError::Io(_))));
}

#[test]
fn a_strangers_link_in_a_directory_of_everybodys() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can make one
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("tmp")).unwrap();
    fs::write(at("file"), "").unwrap();
    let link = at("tmp/link");
    std::os::unix::fs::symlink("../file", &link).unwrap();
    let follow = || Writable::of(&[], Links::Refused).entry(&link, true);
    for (mode, owner, followed) in [(0o1777, 0, true), (0o1777, 4321, false), (0o777, 4321, true), (0o1775, 4321, true)]
    {
        rustix::fs::chmod(at("tmp"), Mode::from_raw_mode(mode)).unwrap();
        std::os::unix::fs::lchown(&link, Some(owner), None).unwrap();
        assert_eq!(matches!(follow(), Err(WalkError::Foreign { .. })), !followed, "{mode:o} {owner}");
        assert_eq!(follow().is_ok(), followed, "{mode:o} {owner}");
    }
}

/// In directories that a sandbox can write, links lead to what is in them.
#[test]
fn links_lead_nowhere_out_of_what_a_sandbox_can_write() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let at = |path: &str| base.join(path);
    fs::create_dir_all(at("work/sub/inner")).unwrap();
    fs::create_dir(at("away")).unwrap();
    for file in ["work/file", "work/sub/file", "away/file"] {
        fs::write(at(file), file).unwrap();
    }
    let link = |place: &str, to: &str| {
        std::os::unix::fs::symlink(to.replace("BASE", base.to_str().unwrap()), at(place)).unwrap()
    };
    link("work/near", "sub/../file");
    link("work/dir", "sub");
    link("work/whole", "BASE/work/sub");
    link("work/itself", "BASE/work");
    link("work/sub/up", "..");
    link("work/out", "../away/file");
    link("work/far", "BASE/away");
    link("work/new", "../away/new");
    link("work/back", "../away/through");
    link("work/round", "../work/far/../work/file");
    // The user's own, elsewhere.
    link("away/through", "../work/file");
    link("away/by", "../work/out");
    link("away/plain", "file");
    let wary = Writable::of(&[at("work")], Links::Inside);
    for (path, real, passes) in [
        ("work/file", "work/file", true),
        ("work/../away/file", "away/file", false),
        ("work/sub/../../away/file", "away/file", true),
        ("work/near", "work/file", true),
        ("work/dir/file", "work/sub/file", true),
        ("work/whole/file", "work/sub/file", true),
        ("work/itself", "work", true),
        ("work/sub/up", "work", true),
        ("work/sub/inner/../up/file", "work/file", true),
        ("work/back", "work/file", true),
        ("away/through", "work/file", true),
        ("away/plain", "away/file", false),
        ("work/none", "work/none", true),
        ("work/round", "work/file", true),
    ] {
        let entry = wary.entry(&at(path), true).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((entry.path().unwrap(), entry.passes), (at(real), passes), "{path}");
    }
    for path in ["work/out", "work/far", "work/far/file", "work/new", "away/by", "work/sub/../out", "work/itself/out"] {
        let error = wary.entry(&at(path), true).unwrap_err();
        let WalkError::Out { place, real } = &error else { panic!("{path}: {error}") };
        assert!(*place == at("work") && real.starts_with(at("away")), "{path}: {error}");
    }
    assert!(matches!(wary.directory(&at("work/far")), Err(WalkError::Out { .. })));
    // A link that is the last is one, as long as nobody follows it.
    assert_eq!(wary.entry(&at("work/out"), false).unwrap().kind().unwrap(), FileType::Symlink);
    // Of two places, one in the other, each holds what is laid in it.
    let both = Writable::of(&[at("work"), at("work/sub")], Links::Inside);
    assert!(matches!(both.entry(&at("work/sub/up"), true), Err(WalkError::Out { .. })));
    assert!(both.entry(&at("work/dir/file"), true).is_ok());
    let told = Writable::of(&[at("work")], Links::Followed).entry(&at("work/out"), true).unwrap();
    assert!(told.passes && told.path().unwrap() == at("away/file"));
}

#[test]
fn what_the_kernel_leads_to_has_no_name() {
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&writes, b"piped").unwrap();
    drop(writes);
    let path = format!("/dev/fd/{}", reads.as_raw_fd());
    let dir = tempfile::tempdir().unwrap();
    let wary = Writable::of(&[dir.path().to_owned()], Links::Inside);
    let entry = wary.entry(Path::new(&path), true).unwrap();
    assert_eq!(entry.kind().unwrap(), FileType::Fifo);
    assert_eq!(io::read_to_string(fs::File::from(entry.open().unwrap())).unwrap(), "piped");
    std::os::unix::fs::symlink(&path, dir.path().join("magic")).unwrap();
    assert!(matches!(wary.entry(&dir.path().join("magic"), true), Err(WalkError::Out { .. })));
    // By the name of a directory that is open, too.
    let open = fs::File::open(dir.path()).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let within = format!("/proc/self/fd/{}/file", open.as_raw_fd());
    let entry = wary.entry(Path::new(&within), true).unwrap();
    assert_eq!((entry.kind().unwrap(), entry.passes), (FileType::RegularFile, true));
}
