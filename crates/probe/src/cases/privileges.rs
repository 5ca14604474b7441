//! Capabilities, ids and no_new_privs: none may be left, none may come back.

use crate::{
    case::{Case, Class::Privileges, Control, Outcome, Skip, done, permitted, words},
    context::Context,
    syscall,
};
use std::fs;

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "capabilities-effective",
        Privileges,
        "the process has capabilities",
        "capabilities(7)",
        Control::HostRoot,
        |_| all_zero(&["CapPrm", "CapEff"]),
    ),
    Case::new(
        "capabilities-inheritable",
        Privileges,
        "inheritable or ambient capabilities are left",
        "CVE-2022-24769",
        Control::None("a caller has neither as a rule"),
        |_| all_zero(&["CapInh", "CapAmb"]),
    ),
    Case::new(
        "capabilities-bounding",
        Privileges,
        "a program with file capabilities could gain them",
        "capabilities(7)",
        Control::Host,
        |_| all_zero(&["CapBnd"]),
    ),
    Case::new(
        "capabilities-regain",
        Privileges,
        "dropped capabilities can be taken back",
        "capset(2)",
        Control::Namespace,
        |_| Ok(capset()),
    ),
    Case::new(
        "capabilities-ambient-raise",
        Privileges,
        "an ambient capability can be raised for the next program",
        "PR_CAP_AMBIENT(2const)",
        Control::None("needs an inheritable capability first"),
        |_| {
            Ok(done(
                syscall!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0),
                "raised CAP_CHOWN",
            ))
        },
    ),
    Case::new(
        "no-new-privs",
        Privileges,
        "set-user-ID programs of the image still give their privileges",
        "PR_SET_NO_NEW_PRIVS(2const)",
        Control::Host,
        |ctx| posture(ctx, "NoNewPrivs", "1"),
    ),
    Case::new(
        "setuid-mounts",
        Privileges,
        "a set-user-ID file on a writable mount would work",
        "mount(8)",
        Control::Host,
        setuid_mounts,
    ),
    Case::new(
        "setuid-other-user",
        Privileges,
        "the process can become another user",
        "setresuid(2)",
        Control::HostRoot,
        |_| {
            let user = foreign("Uid")?;
            Ok(done(syscall!(libc::SYS_setresuid, user, user, user), &format!("became user {user}")))
        },
    ),
    Case::new(
        "setgid-other-group",
        Privileges,
        "the process can join another group",
        "setresgid(2)",
        Control::HostRoot,
        |_| {
            let group = foreign("Gid")?;
            Ok(done(syscall!(libc::SYS_setresgid, group, group, group), &format!("became group {group}")))
        },
    ),
    Case::new(
        "setgroups",
        Privileges,
        "supplementary groups can be dropped, and with them a denial by group",
        "CVE-2014-8989",
        Control::HostRoot,
        |_| Ok(done(syscall!(libc::SYS_setgroups, 0, 0), "dropped the groups")),
    ),
    Case::new(
        "securebits",
        Privileges,
        "the rules by which root gets capabilities can be changed",
        "capabilities(7)",
        Control::Namespace,
        |_| Ok(permitted(syscall!(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0), "set the securebits")),
    ),
    Case::new("foreign-owner", Privileges, "a file can be given to another user", "chown(2)", Control::HostRoot, chown),
];

const CAP_CHOWN: i32 = 0;

/// The value of a line of /proc/self/status.
pub fn status(key: &str) -> Result<String, Skip> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| Skip(words(&error)))?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| Skip(format!("this kernel doesn't tell {key}")))
}

/// An id that this process has in none of its roles, by its line of /proc/self/status: what it has it may become.
fn foreign(key: &str) -> Result<u32, Skip> {
    Ok(other_than(&status(key)?))
}

fn other_than(own: &str) -> u32 {
    let own: Vec<u32> = own.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    (1..=65534).rev().find(|id| !own.contains(id)).unwrap_or(65534)
}

fn all_zero(sets: &[&str]) -> Result<Outcome, Skip> {
    for set in sets {
        let value = status(set)?;
        if value.bytes().any(|digit| digit != b'0') {
            return Ok(Outcome::Escaped(format!("{set} is {value}")));
        }
    }
    Ok(Outcome::Held("empty".to_owned()))
}

/// Whether a line of /proc/self/status has the value that a sandbox must have. A caller that has it already can't
/// prove the case.
pub fn posture(ctx: &Context, key: &str, wanted: &str) -> Result<Outcome, Skip> {
    let value = status(key)?;
    Ok(if value != wanted {
        Outcome::Escaped(format!("{key} is {value}"))
    } else if ctx.control {
        Outcome::Absent(format!("the caller itself has {key} {value}"))
    } else {
        Outcome::Held(format!("{key} is {value}"))
    })
}

/// All capabilities that fit in 32 bits.
fn capset() -> Outcome {
    // struct __user_cap_header_struct, version 3; two struct __user_cap_data_struct.
    let header = [0x2008_0522u32, 0].map(u32::to_ne_bytes).concat();
    let everything = [u32::MAX, u32::MAX, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
    done(syscall!(libc::SYS_capset, header.as_slice(), everything.as_slice()), "took 32 capabilities")
}

fn setuid_mounts(ctx: &Context) -> Result<Outcome, Skip> {
    if status("NoNewPrivs")? == "1" {
        let held = "no_new_privs makes it void".to_owned();
        return Ok(if ctx.control { Outcome::Absent(held) } else { Outcome::Held(held) });
    }
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    // Fields of proc_pid_mountinfo(5): 4 is the mount point, 5 its options.
    let open = table.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| {
        let options: Vec<_> = fields.get(5).unwrap_or(&"").split(',').collect();
        options.contains(&"rw") && !options.contains(&"nosuid")
    });
    Ok(match open {
        Some(fields) => Outcome::Escaped(format!("{} is writable and lacks nosuid", fields[4])),
        None => Outcome::Held("every writable mount is nosuid".to_owned()),
    })
}

fn chown(ctx: &Context) -> Result<Outcome, Skip> {
    let (user, group) = (foreign("Uid")?, foreign("Gid")?);
    let path = ctx.scratch("chown")?;
    fs::write(&path, "").map_err(|error| Skip(words(&error)))?;
    let given = std::os::unix::fs::chown(&path, Some(user), Some(group));
    let _ = fs::remove_file(&path);
    Ok(match given {
        Ok(()) => Outcome::Escaped(format!("gave a file to user {user}")),
        Err(error) => Outcome::Held(words(&error)),
    })
}

#[cfg(test)]
#[path = "privileges_tests.rs"]
mod tests;
