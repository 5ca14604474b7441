use super::*;

pub(in crate::config) fn host(uid: u32) -> HostFacts {
    HostFacts {
        cwd: "/home/ann/app".into(),
        uid,
        gid: 100,
        many_ids: uid == 0,
        user: if uid == 0 { "root".into() } else { "ann".into() },
        home: if uid == 0 { "/root".into() } else { "/home/ann".into() },
        env: Vec::new(),
        ram: 8 << 30,
        memory_attributes: true,
        max_nofile: Some(1 << 20),
        max_nproc: None,
        max_fsize: None,
    }
}

fn of(user: Option<&str>, image: &Image, caller: u32) -> Result<(u32, u32, String, String), String> {
    let identity = identity(user, image, None, &host(caller)).map_err(|error| error.to_string())?;
    Ok((identity.uid, identity.gid, identity.name, identity.home.display().to_string()))
}

fn who(uid: u32, gid: u32, name: &str, home: &str) -> Result<(u32, u32, String, String), String> {
    Ok((uid, gid, name.into(), home.into()))
}

#[test]
fn users_of_the_host_image() {
    let of = |user, caller| of(user, &Image::Host, caller);
    assert_eq!(of(None, 1000), who(1000, 100, "ann", "/home/ann"));
    assert_eq!(of(None, 0), who(0, 0, "root", "/root"));
    assert_eq!(of(Some("ann"), 1000), who(1000, 100, "ann", "/home/ann"));
    assert_eq!(of(Some("1000:5"), 1000), who(1000, 5, "ann", "/home/ann"));
    assert_eq!(of(Some("root"), 1000), who(0, 0, "root", "/root"));
    assert_eq!(of(Some("0"), 1000), who(0, 0, "root", "/root"));
    assert_eq!(of(Some("nobody"), 1000), who(65534, 65534, "nobody", "/home/nobody"));
    assert_eq!(of(Some("33"), 1000), who(33, 33, "user", "/home/user"));
    for bad in ["", ":", "bob", "-1", "4294967295", "1000:", "1000:staff", "1000:1:1", "0x0", "0 ", "ann:"] {
        assert!(of(Some(bad), 1000).is_err(), "{bad}");
    }
}

#[test]
fn users_of_an_unpacked_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::Dir(dir.path().into());
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    let passwd = dir.path().join("etc/passwd");
    assert_eq!(of(Some("12"), &image, 1000), who(12, 12, "user", "/home/user"), "no passwd file");
    let text = "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/bin:\nnode:x:1000:1001::/home/node:\nhalf:x:3\n77:x:0:0::/h:\n";
    std::fs::write(&passwd, text).unwrap();
    assert_eq!(of(Some("node"), &image, 5), who(1000, 1001, "node", "/home/node"));
    assert_eq!(of(Some("1000"), &image, 5), who(1000, 1001, "node", "/home/node"));
    assert_eq!(of(Some("bin"), &image, 5), who(1, 1, "bin", "/home/bin"), "no home over /bin");
    assert_eq!(of(Some("77"), &image, 5), who(77, 77, "user", "/home/user"), "digits are an id");
    assert_eq!(of(Some("half"), &image, 5).unwrap_err(), "User 'half': line 4 of the image's /etc/passwd is broken");
    assert_eq!(of(Some("ann"), &image, 1000).unwrap_err(), "User 'ann': not known");
    assert_eq!(of(None, &image, 1000), who(1000, 100, "ann", "/home/ann"));
}

#[test]
fn the_groups_of_a_user_of_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::Dir(dir.path().into());
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:\napp:x:7:8::/home/app:\n").unwrap();
    let text = "app:x:8:app\nstaff:x:50:app\nwheel:x:10:root\nhalf:x:5\n";
    std::fs::write(dir.path().join("etc/group"), text).unwrap();
    let of = |user, image: &Image, caller| identity(Some(user), image, None, &host(caller)).unwrap().user().groups;
    for user in ["app", "7"] {
        assert_eq!(of(user, &image, 0), [8, 50]);
    }
    assert_eq!(of("root", &image, 0), [0, 10]);
    // Whose group is asked for, and whom nobody knows.
    for user in ["app:8", "7:9", "12"] {
        assert!(of(user, &image, 0).is_empty(), "{user}");
    }
    // One id has no groups, and the host's are not the image's.
    assert!(of("app", &image, 1000).is_empty());
    assert!(of("root", &Image::Host, 0).is_empty());
    // An image says its user's group by name.
    let group = |user| identity(Some(user), &image, None, &host(0)).map(|identity| (identity.gid, identity.groups));
    for (user, gid) in [("app:staff", 50), ("7:wheel", 10), ("app:app", 8), ("app:1234", 1234)] {
        assert_eq!(group(user).unwrap(), (gid, vec![]), "{user}");
    }
    let cause = group("app:nosuch").unwrap_err().to_string();
    assert_eq!(cause, "User 'app:nosuch': the image's /etc/group has no such group");
    let cause = group("app:half").unwrap_err().to_string();
    assert_eq!(cause, "User 'app:half': line 4 of the image's /etc/group is broken");
    assert!(group("app:").is_err());
}

#[test]
fn who_there_is_instead() {
    let dir = tempfile::tempdir().unwrap();
    let hint = |user: &str, image: &Image, caller| identity(Some(user), image, None, &host(caller)).unwrap_err().hint();
    assert_eq!(hint("www-data", &Image::Host, 1000), "There are root, ann, nobody; or use a number");
    assert_eq!(hint("www-data", &Image::Host, 0), "There are root, nobody; or use a number");
    assert_eq!(hint("rot", &Image::Host, 0), "Did you mean 'root'?");
    assert_eq!(hint("ann:staff", &Image::Host, 1000), "Use its number, such as ann:100");
    let image = Image::Dir(dir.path().into());
    assert_eq!(hint("root", &image, 1000), "The image's /etc/passwd names nobody: use a number");
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    // What stands for nobody is not offered.
    let mut text = "root:x:0:0::/root:\nhalf:x:3\n77:x:0:0::/h:\nx\x1b[2J:x:9\n".to_owned();
    std::fs::write(dir.path().join("etc/passwd"), &text).unwrap();
    assert_eq!(hint("www-data", &image, 1000), "There are root; or use a number");
    text.extend((0..20).map(|n| format!("user{n}:x:{n}:{n}::/home/user:\n")));
    std::fs::write(dir.path().join("etc/passwd"), &text).unwrap();
    let shown = (0..11).map(|n| format!(", user{n}")).collect::<String>();
    assert_eq!(hint("www-data", &image, 1000), format!("There are root{shown} and 9 more; or use a number"));
    assert_eq!(hint("half", &image, 1000), "Mend it, or use a number");
}

#[test]
fn an_image_cannot_show_us_the_hosts_files() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::Dir(dir.path().join("image"));
    std::fs::create_dir_all(dir.path().join("image/etc")).unwrap();
    std::fs::write(dir.path().join("secret"), "spy:x:42:42::/home/spy:\n").unwrap();
    let passwd = dir.path().join("image/etc/passwd");
    // Up and out, absolute, and through /proc: each would find `spy`.
    for target in ["../../secret", dir.path().join("secret").to_str().unwrap(), "/proc/self/cwd"] {
        std::os::unix::fs::symlink(target, &passwd).unwrap();
        assert!(of(Some("spy"), &image, 1000).is_err(), "{target}");
        std::fs::remove_file(&passwd).unwrap();
    }
    // A link within the image is followed, by the image's own root.
    std::fs::write(dir.path().join("image/users"), "spy:x:43:43::/home/spy:\n").unwrap();
    std::os::unix::fs::symlink("/users", &passwd).unwrap();
    assert_eq!(of(Some("spy"), &image, 1000), who(43, 43, "spy", "/home/spy"));
    std::fs::remove_file(&passwd).unwrap();
    fs::mknodat(fs::CWD, &passwd, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(of(Some("spy"), &image, 1000).is_err(), "and a fifo hangs nobody");
}
