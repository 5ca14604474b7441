use super::*;

fn spawner(ids: &[(u32, u32)]) -> Spawner {
    let setup = Setup {
        capture: false,
        agent: false,
        ids: ids.to_vec(),
        writable: vec![],
        rlimits: vec![],
        protected: vec![],
        log_refused: false,
        build: false,
        heartbeat_ms: None,
        prepare: None,
    };
    Spawner::new(&setup, None)
}

fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
    User { uid, gid, groups: groups.to_vec() }
}

#[test]
fn users_that_exist() {
    let many = spawner(&[(0, 1), (1000, 10), (u32::MAX - 1, 2)]);
    for (uid, gid) in [(0, 0), (1000, 1009), (u32::MAX, u32::MAX - 1)] {
        assert_eq!(many.check_user(&user(uid, gid, &[0, 1005])), Ok(()));
    }
    for (uid, gid, group) in [(1, 0, 0), (0, 999, 0), (0, 1010, 0), (0, 0, 5), (u32::MAX - 2, 0, 0)] {
        assert!(many.check_user(&user(uid, gid, &[group])).is_err(), "{uid} {gid} {group}");
    }
    let cause = many.check_user(&user(7, 0, &[])).unwrap_err();
    assert_eq!(cause, "User id 7 does not exist in this sandbox (ids here: 0, 1000-1009, 4294967294-4294967295)");
    assert!(spawner(&[]).check_user(&user(0, 0, &[])).is_err());
}

#[test]
fn groups_need_more_than_one_id() {
    let one = spawner(&[(1000, 1)]);
    assert_eq!(one.check_user(&user(1000, 1000, &[])), Ok(()));
    assert!(one.check_user(&user(1000, 1000, &[1000])).is_err());
    let two = spawner(&[(1000, 1), (100, 1)]);
    assert_eq!(two.check_user(&user(1000, 100, &[])), Ok(()));
    assert!(two.check_user(&user(1000, 100, &[100])).is_err());
    assert!(!Spawner::many_ids(&[(1000, 1), (100, 1)]) && Spawner::many_ids(&[(0, 2)]));
}

fn candidates(program: &str, env: &[&str]) -> Vec<String> {
    let spec = ExecSpec {
        argv: vec![program.into()],
        env: env.iter().map(|&entry| entry.into()).collect(),
        cwd: "/".into(),
        user: user(0, 0, &[]),
        stdio: wire::Stdio::Pipes { stdin: false },
        needs: vec![],
    };
    match Search::new(&spec) {
        Ok(search) => search.candidates.into_iter().map(|path| path.into_string().unwrap()).collect(),
        Err(_) => vec![],
    }
}

#[test]
fn where_a_program_is_looked_for() {
    assert_eq!(candidates("ls", &["PATH=/a:/b/"]), ["/a/ls", "/b//ls"]);
    // An empty element is the working directory, as POSIX has it.
    assert_eq!(candidates("ls", &["PATH=:/a:"]), ["ls", "/a/ls", "ls"]);
    assert_eq!(candidates("ls", &["PATH="]), ["ls"]);
    assert_eq!(candidates("ls", &["NOPATH=/a"]), ["/bin/ls", "/usr/bin/ls"]);
    // The first of two counts, as for getenv(3).
    assert_eq!(candidates("ls", &["PATH=/a", "PATH=/b"]), ["/a/ls"]);
    for direct in ["/bin/ls", "./ls", "a/ls"] {
        assert_eq!(candidates(direct, &["PATH=/a"]), [direct]);
    }
    assert!(candidates("", &["PATH=/a"]).is_empty());
    assert!(candidates("a\0b", &["PATH=/a"]).is_empty());
}
