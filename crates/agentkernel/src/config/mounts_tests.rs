use super::*;

#[test]
fn sources_are_what_they_seem() {
    let dir = tempfile::tempdir().unwrap();
    let base = std::fs::canonicalize(dir.path()).unwrap();
    std::fs::create_dir_all(base.join("real/sub")).unwrap();
    std::fs::write(base.join("file"), "").unwrap();
    std::os::unix::fs::symlink("real", base.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", base.join("dangling")).unwrap();
    let of = |text: &str| {
        let mount = Mount { source: text.into(), target: "/x".into(), read_only: false };
        source(&mount, &base, &[]).map_err(|error| format!("{error} | {}", error.hint()))
    };
    assert_eq!(of("real"), Ok(base.join("real")));
    assert_eq!(of("./real//sub/"), Ok(base.join("real/sub")));
    assert_eq!(of("file"), Ok(base.join("file")));
    assert_eq!(of("."), Ok(base.clone()));
    assert_eq!(of("real/.."), Ok(base.clone()));
    assert_eq!(of("link/sub"), Ok(base.join("real/sub")), "a link on the way is resolved now, not later");
    assert_eq!(of(base.join("real").to_str().unwrap()), Ok(base.join("real")));
    for link in ["link", "link/", "link/."] {
        assert_eq!(
            of(link).unwrap_err(),
            format!("Mount source '{link}' is a symbolic link to 'real' | Mount what it points to")
        );
    }
    assert!(of("dangling").unwrap_err().contains("is a symbolic link to 'nowhere'"));
    for gone in ["none", "none/sub", "file/sub"] {
        let message = format!("Mount source '{gone}' doesn't exist | Nothing is made for a mount: create it first");
        assert_eq!(of(gone).unwrap_err(), message);
    }
    for system in ["/", "/proc", "/sys/kernel", "/dev/null", "/proc/self/root"] {
        let message = of(system).unwrap_err();
        assert!(message.contains("belongs to the system") || message.contains("symbolic link"), "{message}");
    }
}

#[test]
fn an_image_is_a_directory_and_not_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let base = std::fs::canonicalize(dir.path()).unwrap();
    std::fs::create_dir(base.join("root")).unwrap();
    std::fs::write(base.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/", base.join("slash")).unwrap();
    assert_eq!(image(Path::new("root"), &base, &[]).unwrap(), base.join("root"));
    assert!(image(Path::new("file"), &base, &[]).unwrap_err().to_string().contains("is not a directory"));
    for slash in ["/", "slash", "/.."] {
        assert!(image(Path::new(slash), &base, &[]).unwrap_err().to_string().contains("is the root directory"));
    }
    assert!(image(Path::new("none"), &base, &[]).unwrap_err().to_string().contains("doesn't exist"));
}
