use super::*;

fn users() -> Users {
    Users {
        passwd: b"root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:7:8::/home/app:/bin/sh\n0:x:9:9::/nine:/bin/sh\n"
            .to_vec(),
        group: b"root:x:0:\nstaff:x:50:app,other\nwheel:x:10:app\n".to_vec(),
    }
}

fn found(text: &str) -> (u32, u32, Vec<u32>) {
    let User { uid, gid, groups } = users().find(text).unwrap().user;
    (uid, gid, groups)
}

#[test]
fn a_user_is_a_name_or_a_number_and_so_is_its_group() {
    assert_eq!(found("app"), (7, 8, vec![8, 10, 50]));
    assert_eq!(found("7"), (7, 8, vec![8, 10, 50]));
    assert_eq!(found("app:staff"), (7, 50, vec![50]));
    assert_eq!(found("app:4"), (7, 4, vec![4]));
    assert_eq!(found("1000"), (1000, 0, vec![0]));
    // A user who is called 0 is nobody.
    assert_eq!(found("0"), (0, 0, vec![0]));
    assert_eq!(users().find("app").unwrap().home.as_deref(), Some("/home/app"));
    assert_eq!(users().find("1000").unwrap().home, None);
}

#[test]
fn the_owner_of_files_has_the_group_of_its_number() {
    assert_eq!(users().owner("app"), Ok((7, 8)));
    assert_eq!(users().owner("1000"), Ok((1000, 1000)));
    assert_eq!(users().owner("1000:0"), Ok((1000, 0)));
}

#[test]
fn nobody_else_is_known() {
    assert_eq!(users().find("none"), Err("the image's /etc/passwd has no user none".to_owned()));
    assert_eq!(users().find("app:none"), Err("the image's /etc/group has no group none".to_owned()));
    assert!(users().find("").is_err() && users().find("broken").is_err() && users().find("4294967295").is_err());
}
