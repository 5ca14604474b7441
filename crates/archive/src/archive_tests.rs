#![allow(clippy::disallowed_methods)] // tests start programs and look at files
use super::*;
use proptest::prelude::*;
use rustix::fd::AsFd;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

/// What a tree is, as far as an archive keeps it.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Dir { mode: u32, mtime: i64 },
    File { mode: u32, mtime: i64, contents: Vec<u8>, same_as: Vec<OsString> },
    Link(OsString),
}

fn read_tree(root: &Path) -> BTreeMap<OsString, Node> {
    fn walk(
        dir: &Path,
        prefix: &OsStr,
        nodes: &mut BTreeMap<OsString, Node>,
        files: &mut BTreeMap<u64, Vec<OsString>>,
    ) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let mut name = prefix.to_owned();
            name.push("/");
            name.push(path.file_name().unwrap());
            let meta = fs::symlink_metadata(&path).unwrap();
            let (mode, mtime) = (meta.mode() & 0o7777, meta.mtime());
            let node = if meta.is_dir() {
                Node::Dir { mode, mtime }
            } else if meta.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap().into())
            } else if meta.is_file() {
                files.entry(meta.ino()).or_default().push(name.clone());
                Node::File { mode, mtime, contents: fs::read(&path).unwrap(), same_as: vec![] }
            } else {
                continue;
            };
            if meta.is_dir() {
                walk(&path, &name, nodes, files);
            }
            nodes.insert(name, node);
        }
    }
    let (mut nodes, mut files) = (BTreeMap::new(), BTreeMap::new());
    walk(root, OsStr::new(""), &mut nodes, &mut files);
    for mut names in files.into_values() {
        names.sort();
        for name in &names {
            if let Some(Node::File { same_as, .. }) = nodes.get_mut(name) {
                same_as.clone_from(&names);
            }
        }
    }
    nodes
}

fn pack_to_vec(dir: &Path, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    pack(File::open(dir).unwrap().as_fd(), OsStr::new(name), OsStr::new(name), &mut out).unwrap();
    out
}

fn unpack_into(dir: &Path, rename: Option<&str>, archive: &[u8]) -> Result<Summary, UnpackError> {
    unpack(File::open(dir).unwrap().as_fd(), rename.map(OsStr::new), &UnpackOptions::default(), archive)
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_comes_back() {
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("file"), "contents").unwrap();
    fs::write(tree.join("nothing"), "").unwrap();
    fs::write(tree.join("block"), [7; 512]).unwrap();
    fs::hard_link(tree.join("file"), tree.join("sub/other-name")).unwrap();
    symlink("../outside", tree.join("link")).unwrap();
    symlink("t".repeat(3000), tree.join("long-link")).unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"not utf-8 \xff\xfe \n")), "x").unwrap();
    chmod(&tree.join("file"), 0o751);
    chmod(&tree.join("nothing"), 0o400);
    chmod(&tree.join("sub"), 0o1555);
    set_mtime(&tree.join("file"), 1_000_000_000);
    set_mtime(&tree.join("sub/empty"), 1);
    set_mtime(&tree.join("sub"), 1_234_567_890);
    let there = tempfile::tempdir().unwrap();
    let archive = pack_to_vec(here.path(), "tree");
    unpack_into(there.path(), None, &archive).unwrap();
    assert_eq!(read_tree(there.path()), read_tree(here.path()));
    // The same tree gives the same bytes, and unpacking over itself changes nothing.
    assert_eq!(pack_to_vec(there.path(), "tree"), archive);
    unpack_into(there.path(), None, &archive).unwrap();
    assert_eq!(read_tree(there.path()), read_tree(here.path()));
}

#[test]
fn tar_reads_ours_and_we_read_tars() {
    let here = tempfile::tempdir().unwrap();
    let name = "n".repeat(180);
    fs::create_dir_all(here.path().join("tree").join(&name)).unwrap();
    fs::write(here.path().join("tree").join(&name).join("file"), "contents").unwrap();
    symlink(&name, here.path().join("tree/link")).unwrap();
    let archive = here.path().join("ours.tar");
    fs::write(&archive, pack_to_vec(here.path(), "tree")).unwrap();
    let tar = |args: &[&str], dir: &Path| {
        assert!(std::process::Command::new("tar").args(args).current_dir(dir).status().unwrap().success(), "{args:?}");
    };
    let there = tempfile::tempdir().unwrap();
    tar(&["xf", archive.to_str().unwrap()], there.path());
    assert_eq!(fs::read(there.path().join("tree/link/file")).unwrap(), b"contents");
    let long = format!("{}/{name}", "p".repeat(100));
    for (format, name) in [
        ("gnu", name.as_str()),
        ("pax", &long),
        ("ustar", &format!("{}/{}", "p".repeat(80), "q".repeat(60))),
        ("v7", "short"),
        ("oldgnu", &long),
    ] {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir_all(here.path().join("tree").join(name)).unwrap();
        fs::write(here.path().join("tree").join(name).join("file"), "contents").unwrap();
        symlink("target", here.path().join("tree/link")).unwrap();
        tar(&["cf", "theirs.tar", "--format", format, "tree"], here.path());
        let there = tempfile::tempdir().unwrap();
        unpack_into(there.path(), None, &fs::read(here.path().join("theirs.tar")).unwrap()).unwrap();
        fs::remove_file(here.path().join("theirs.tar")).unwrap();
        assert_eq!(read_tree(there.path()), read_tree(here.path()), "{format}");
    }
}

#[test]
fn names_beyond_any_limit_of_paths() {
    let here = tempfile::tempdir().unwrap();
    let mut dir: rustix::fd::OwnedFd = File::open(here.path()).unwrap().into();
    for _ in 0..40 {
        let name = "d".repeat(250);
        rustix::fs::mkdirat(&dir, &name, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, &name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat(&dir, "deep", flags, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let archive = pack_to_vec(here.path(), &"d".repeat(250));
    let there = tempfile::tempdir().unwrap();
    assert_eq!(unpack_into(there.path(), None, &archive).unwrap().entries, 41);
    assert_eq!(pack_to_vec(there.path(), &"d".repeat(250)), archive);
}

#[test]
fn what_is_no_file_is_left_out_and_told() {
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    fs::write(tree.join("file"), "x").unwrap();
    // What only holds a place is nothing that anybody misses; of the time alone nothing follows.
    let _place = std::os::unix::net::UnixListener::bind(tree.join("place")).unwrap();
    set_mtime(&tree.join("place"), PLACEHOLDER);
    set_mtime(&tree.join("fifo"), PLACEHOLDER);
    let dir = File::open(here.path()).unwrap();
    let run = |name: &str| pack(dir.as_fd(), OsStr::new(name), OsStr::new(name), io::sink());
    let summary = run("tree").unwrap();
    assert_eq!((summary.entries, summary.bytes, summary.vanished), (2, 1, 0));
    assert_eq!(summary.left_out.to_string(), "1 fifo and 1 socket: the first is tree/fifo");
    fs::remove_file(tree.join("fifo")).unwrap();
    assert_eq!(run("tree").unwrap().left_out.to_string(), "1 socket: tree/socket");
    fs::remove_file(tree.join("socket")).unwrap();
    assert_eq!(run("tree").unwrap().left_out, LeftOut::default());
    assert_eq!(LeftOut::default().to_string(), "");
    // Named, it is missed.
    let error = pack(File::open(tree).unwrap().as_fd(), OsStr::new("place"), OsStr::new("x"), io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "It is a socket");
    assert!(!error.hint().is_empty());
}

#[test]
fn files_that_are_said_to_have_another_size_than_they_have() {
    // Said to be empty, and longer than one read; said to have a page; neither changes meanwhile.
    for (dir, name) in [("/proc", "version"), ("/proc", "kallsyms"), ("/sys/kernel", "uevent_seqnum")] {
        let path = Path::new(dir).join(name);
        let Ok(contents) = fs::read(&path) else { continue };
        assert_ne!(fs::metadata(&path).unwrap().len(), contents.len() as u64, "{name}");
        let archive = pack_to_vec(Path::new(dir), name);
        let there = tempfile::tempdir().unwrap();
        assert_eq!(unpack_into(there.path(), None, &archive).unwrap().bytes, contents.len() as u64, "{name}");
        assert!(fs::read(there.path().join(name)).unwrap() == contents, "{name}");
    }
}

#[test]
fn a_file_system_of_the_kernels_is_entered_if_it_is_named() {
    let net = File::open("/proc/self/net").unwrap();
    let summary = pack(net.as_fd(), OsStr::new("."), OsStr::new("net"), io::sink()).unwrap();
    assert!(summary.entries > 5, "{summary:?}");
    assert_eq!(summary.left_out, LeftOut::default());
}

#[test]
fn one_entry_gets_a_new_name() {
    let here = tempfile::tempdir().unwrap();
    fs::create_dir_all(here.path().join("tree/sub")).unwrap();
    fs::write(here.path().join("tree/sub/file"), "x").unwrap();
    fs::hard_link(here.path().join("tree/sub/file"), here.path().join("tree/zzz")).unwrap();
    let there = tempfile::tempdir().unwrap();
    unpack_into(there.path(), Some("new"), &pack_to_vec(here.path(), "tree")).unwrap();
    assert_eq!(fs::metadata(there.path().join("new/sub/file")).unwrap().nlink(), 2);
    assert!(!there.path().join("tree").exists());
    // The contents of a directory are one entry as well: the directory.
    let contents = {
        let mut out = Vec::new();
        pack(File::open(here.path().join("tree")).unwrap().as_fd(), OsStr::new("."), OsStr::new("."), &mut out)
            .unwrap();
        out
    };
    unpack_into(there.path(), Some("again"), &contents).unwrap();
    assert!(there.path().join("again/sub/file").exists());
    unpack_into(there.path(), None, &contents).unwrap();
    assert!(there.path().join("sub/file").exists());
    for bad in ["", ".", "..", "a/b", "a\0b"] {
        assert!(unpack_into(there.path(), Some(bad), &contents).is_err(), "{bad:?}");
    }
}

#[test]
fn missing_things_are_named() {
    let here = tempfile::tempdir().unwrap();
    let error = pack(File::open(here.path()).unwrap().as_fd(), OsStr::new("no"), OsStr::new("as"), io::sink());
    assert_eq!(error.unwrap_err().to_string(), "Cannot examine as");
}

/// A writer that changes the tree after the first bytes.
struct Meddler<'a> {
    out: &'a mut Vec<u8>,
    change: Option<Box<dyn FnOnce() + 'a>>,
}

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(change) = self.change.take() {
            change();
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn files_that_change_while_they_are_read_keep_the_archive_whole() {
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    fs::create_dir(&tree).unwrap();
    // The first fills the writer's buffer, so that the change happens in the middle of it.
    for name in ["a", "b", "c", "d"] {
        fs::write(tree.join(name), vec![1; 300_000]).unwrap();
    }
    let mut archive = Vec::new();
    let change = || {
        File::options().write(true).open(tree.join("a")).unwrap().set_len(100_000).unwrap();
        File::options().append(true).open(tree.join("b")).unwrap().write_all(&[2; 100_000]).unwrap();
        fs::remove_file(tree.join("c")).unwrap();
        fs::remove_file(tree.join("d")).unwrap();
        symlink("/etc/passwd", tree.join("d")).unwrap();
    };
    let meddler = Meddler { out: &mut archive, change: Some(Box::new(change)) };
    let dir = File::open(here.path()).unwrap();
    let summary = pack(dir.as_fd(), OsStr::new("tree"), OsStr::new("tree"), meddler).unwrap();
    assert_eq!(summary.vanished, 1);
    let there = tempfile::tempdir().unwrap();
    unpack_into(there.path(), None, &archive).unwrap();
    let a = fs::read(there.path().join("tree/a")).unwrap();
    assert_eq!(a.len(), 300_000);
    assert!(a[..65_000].iter().all(|&byte| byte == 1) && a[200_000..].iter().all(|&byte| byte == 0));
    // Its header was written after it had grown.
    assert_eq!(fs::read(there.path().join("tree/b")).unwrap().len(), 400_000);
    assert!(!there.path().join("tree/c").exists());
    assert_eq!(fs::read_link(there.path().join("tree/d")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn a_reader_in_small_pieces_is_as_good() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.0.len()).min(7);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("a"), vec![9; 10_000]).unwrap();
    let archive = pack_to_vec(here.path(), "a");
    let there = tempfile::tempdir().unwrap();
    let dir = File::open(there.path()).unwrap();
    unpack(dir.as_fd(), None, &UnpackOptions::default(), Trickle(&archive)).unwrap();
    assert_eq!(fs::read(there.path().join("a")).unwrap(), vec![9; 10_000]);
}

#[test]
fn existing_things_are_joined_or_replaced() {
    let here = tempfile::tempdir().unwrap();
    let outside = here.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    fs::create_dir_all(here.path().join("tree/dir")).unwrap();
    fs::create_dir_all(here.path().join("tree/was-link")).unwrap();
    for file in ["tree/dir/new", "tree/file", "tree/was-link-to-file", "tree/was-link/inside"] {
        fs::write(here.path().join(file), "new").unwrap();
    }
    let archive = pack_to_vec(here.path(), "tree");
    let there = tempfile::tempdir().unwrap();
    let tree = there.path().join("tree");
    fs::create_dir_all(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/old"), "old").unwrap();
    fs::write(tree.join("file"), "old").unwrap();
    fs::hard_link(tree.join("file"), there.path().join("second-name")).unwrap();
    symlink(outside.join("victim"), tree.join("was-link-to-file")).unwrap();
    symlink(&outside, tree.join("was-link")).unwrap();
    unpack_into(there.path(), None, &archive).unwrap();
    assert_eq!(fs::read(tree.join("dir/old")).unwrap(), b"old", "a directory joins");
    assert_eq!(fs::read(tree.join("file")).unwrap(), b"new");
    assert_eq!(fs::read(there.path().join("second-name")).unwrap(), b"old", "replaced, not written into");
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"untouched");
    assert!(!outside.join("inside").exists());
    assert_eq!(fs::read(tree.join("was-link/inside")).unwrap(), b"new");
    // A file does not replace a directory.
    let there = tempfile::tempdir().unwrap();
    fs::create_dir_all(there.path().join("tree/file")).unwrap();
    let error = unpack_into(there.path(), None, &archive).unwrap_err();
    assert_eq!(error.entry, "tree/file");
    assert!(matches!(error.reason, Reason::Directory));
    // Nor a directory a file.
    let there = tempfile::tempdir().unwrap();
    fs::create_dir(there.path().join("tree")).unwrap();
    fs::write(there.path().join("tree/dir"), "precious").unwrap();
    let error = unpack_into(there.path(), None, &archive).unwrap_err();
    assert!(matches!(error.reason, Reason::NotDirectory), "{error}");
    assert_eq!(fs::read(there.path().join("tree/dir")).unwrap(), b"precious");
}

#[test]
fn a_directory_of_somebody_else_is_joined() {
    if !rustix::process::getuid().is_root() {
        println!("only root can make one");
        return;
    }
    let here = tempfile::tempdir().unwrap();
    fs::create_dir_all(here.path().join("shared")).unwrap();
    fs::write(here.path().join("shared/new"), "x").unwrap();
    let archive = pack_to_vec(here.path(), "shared");
    let there = tempfile::tempdir().unwrap();
    chmod(there.path(), 0o755);
    fs::create_dir(there.path().join("shared")).unwrap();
    chmod(&there.path().join("shared"), 0o1777);
    // As another user for files, on a thread of its own, because it cannot be undone.
    let path = there.path().to_owned();
    let user = rustix::thread::Uid::from_raw(4321);
    std::thread::spawn(move || {
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        unpack_into(&path, None, &archive).unwrap();
    })
    .join()
    .unwrap();
    let meta = fs::metadata(there.path().join("shared")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o1777));
    assert_eq!(fs::metadata(there.path().join("shared/new")).unwrap().uid(), 4321);
}

/// A random tree: a name for each entry, and what it is.
#[derive(Clone, Debug)]
enum Plan {
    Dir(u32, Vec<(Vec<u8>, Plan)>),
    File(u32, Vec<u8>),
    Link(Vec<u8>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>().prop_filter("a name", |byte| !matches!(byte, 0 | b'/')), 1..200)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn plan() -> impl Strategy<Value = Plan> {
    let leaf = prop_oneof![
        (0u32..0o1000, proptest::collection::vec(any::<u8>(), 0..2000)).prop_map(|(mode, data)| Plan::File(mode, data)),
        name().prop_map(Plan::Link),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        ((0u32..0o1000), proptest::collection::vec((name(), inner), 0..6))
            .prop_map(|(mode, list)| Plan::Dir(mode, list))
    })
}

fn build(dir: &Path, name: &[u8], plan: &Plan) {
    let path = dir.join(OsString::from_vec(name.to_vec()));
    if fs::symlink_metadata(&path).is_ok() {
        return;
    }
    match plan {
        Plan::File(mode, data) => {
            fs::write(&path, data).unwrap();
            chmod(&path, *mode | 0o400);
        }
        Plan::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
        Plan::Dir(mode, list) => {
            fs::create_dir(&path).unwrap();
            for (name, plan) in list {
                build(&path, name, plan);
            }
            chmod(&path, *mode | 0o700);
        }
    }
    set_mtime(&path, 1_700_000_000 + i64::from(name[0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_comes_back(plan in plan()) {
        let here = tempfile::tempdir().unwrap();
        let there = tempfile::tempdir().unwrap();
        build(here.path(), b"top", &plan);
        let archive = pack_to_vec(here.path(), "top");
        unpack_into(there.path(), None, &archive).unwrap();
        prop_assert_eq!(read_tree(there.path()), read_tree(here.path()));
    }

    #[test]
    fn no_bytes_make_it_panic_or_leave_its_directory(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        at in 0usize..4096, changes in proptest::collection::vec((0usize..3000, any::<u8>()), 0..8),
    ) {
        let parent = tempfile::tempdir().unwrap();
        let here = parent.path().join("here");
        fs::create_dir(&here).unwrap();
        let _ = unpack_into(&here, None, &bytes);
        // A good archive, damaged but with its checksums made right again.
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("t")).unwrap();
        fs::write(source.path().join("t/f"), "x").unwrap();
        symlink("/etc", source.path().join("t/l")).unwrap();
        let mut archive = pack_to_vec(source.path(), "t");
        for (position, value) in changes {
            let position = position % archive.len();
            archive[position] = value;
        }
        for block in archive.chunks_mut(BLOCK) {
            if let Ok(block) = <&mut [u8; BLOCK]>::try_from(block) && block[257..262] == *b"ustar" {
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        archive.truncate(archive.len().saturating_sub(at % 512));
        let _ = unpack_into(&here, None, &archive);
        prop_assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_file_from_memory_arrives_whole() {
    for contents in [Vec::new(), vec![7; BLOCK], vec![8; CHUNK + 1]] {
        let mut bytes = Vec::new();
        let packed = pack_bytes(&contents, 0o751, (0, 0), OsStr::new("tool"), &mut bytes).unwrap();
        assert_eq!((packed.entries, packed.bytes), (1, contents.len() as u64));
        let dir = tempfile::tempdir().unwrap();
        let open = File::open(dir.path()).unwrap();
        unpack(open.as_fd(), None, &UnpackOptions::default(), bytes.as_slice()).unwrap();
        let file = dir.path().join("tool");
        assert_eq!(fs::read(&file).unwrap(), contents);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o751);
    }
}

#[test]
fn one_file_is_read_from_an_archive_that_holds_it_alone() {
    let mut bytes = Vec::new();
    pack_bytes(b"root:x:0:0", 0o644, (0, 0), OsStr::new("passwd"), &mut bytes).unwrap();
    assert_eq!(only_file(bytes.as_slice(), 10).unwrap().as_deref(), Some(&b"root:x:0:0"[..]));
    assert!(matches!(only_file(bytes.as_slice(), 9), Err(UnpackError { reason: Reason::TooLarge(9), .. })));
    assert!(matches!(only_file(&bytes[..515], 10), Err(UnpackError { reason: Reason::Truncated, .. })));
    let link = handmade::Archive(Vec::new()).symlink(b"passwd", b"/etc/shadow").end();
    assert_eq!(only_file(link.as_slice(), 10).unwrap(), None);
}
