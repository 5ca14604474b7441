//! Init's tests of its own walls must be able to fail.

use super::*;

const PERM: fn() -> io::Result<()> = || Err(Errno::PERM.into());
const NOENT: fn() -> io::Result<()> = || Err(Errno::NOENT.into());
const DONE: fn() -> io::Result<()> = || Ok(());

#[test]
fn what_succeeds_is_a_fallen_wall() {
    refused(SECCOMP, "it", Errno::PERM, PERM).unwrap();
    assert_eq!(refused(SECCOMP, "it", Errno::PERM, DONE).unwrap_err().to_string(), "seccomp: it succeeded");
    let error = refused(SECCOMP, "it", Errno::PERM, NOENT).unwrap_err().to_string();
    assert!(error.starts_with("seccomp: it failed with another error: No such file"), "{error}");
    refused_somehow(SECCOMP, "it", PERM).unwrap();
    refused_somehow(SECCOMP, "it", NOENT).unwrap();
    assert_eq!(refused_somehow(SECCOMP, "it", DONE).unwrap_err().to_string(), "seccomp: it succeeded");
}

fn status(no_new_privs: &str, effective: &str, bounding: &str, seccomp: &str) -> Status {
    let none = "0000000000000000";
    Status(format!(
        "Name:\tinit\nNoNewPrivs:\t{no_new_privs}\nSeccomp:\t{seccomp}\nCapInh:\t{none}\nCapPrm:\t{effective}\nCapEff:\t{effective}\nCapBnd:\t{bounding}\nCapAmb:\t{none}\n"
    ))
}

#[test]
fn what_the_kernel_says_is_believed() {
    const NONE: &str = "0000000000000000";
    const KEPT: &str = "00000000000000e0";
    let keep = Cap::SETUID | Cap::SETGID | Cap::KILL;
    test_no_new_privileges(&status("1", NONE, NONE, "2")).unwrap();
    assert!(test_no_new_privileges(&status("0", NONE, NONE, "2")).is_err());
    assert!(test_no_new_privileges(&Status(String::new())).is_err());
    assert!(test_seccomp(&status("1", NONE, NONE, "0"), false).is_err());
    for (status, keep) in [
        (status("1", "000001ffffffffff", NONE, "2"), Cap::empty()),
        (status("1", KEPT, NONE, "2"), Cap::empty()),
        (status("1", NONE, NONE, "2"), keep),
        (status("1", KEPT, "000001ffffffffff", "2"), keep),
        (status("1", KEPT, "what", "2"), keep),
    ] {
        assert!(test_capabilities(&status, keep, false).is_err());
    }
}
