//! The compiled filter against the policy read as it stands, by a small machine that runs classic BPF.

use super::{
    compile::{Answer, Instruction, compile},
    policy::{self, Test},
};
use std::collections::BTreeMap;

const TABLES: [(&str, &str); 2] =
    [("x86_64", include_str!("../../syscalls/x86_64")), ("aarch64", include_str!("../../syscalls/aarch64"))];

/// Runs a program as the kernel would, and refuses what the kernel's verifier would refuse.
fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        at += 1;
        match code {
            0x20 => {
                accumulator = match k {
                    0 => number,
                    4 => arch,
                    16.. if k % 8 == 0 => arguments[(k as usize - 16) / 8] as u32,
                    _ => panic!("load of {k}"),
                }
            }
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x35 => at += branch(accumulator >= k),
            0x45 => at += branch(accumulator & k != 0),
            0x54 => accumulator &= k,
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

/// The answer by the words of the policy.
fn wanted(answers: &BTreeMap<u32, Answer<'_>>, default: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let argument = |index: u8| arguments[usize::from(index)] as u32;
    let holds = |test: &Test| match *test {
        Test::Is(index, value) => argument(index) == value,
        Test::IsNot(index, value) => argument(index) != value,
        Test::Has(index, bits) => argument(index) & bits == bits,
        Test::Lacks(index, bits) => argument(index) & bits == 0,
    };
    match answers.get(&number) {
        None => default,
        Some(&Answer::Always(value)) => value,
        Some(&Answer::If { rules, matched, otherwise }) => {
            if rules.iter().any(|tests| tests.iter().all(holds)) {
                matched
            } else {
                otherwise
            }
        }
    }
}

/// Values at which some test of some rule changes its mind, with and without bits that must not count.
fn telling() -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX];
    let denied = policy::DENIED.iter().map(|deny| deny.rules);
    let listed = policy::LISTS.iter().flat_map(|(_, lists)| lists.iter().copied().flatten()).map(|allow| allow.rules);
    for rules in denied.chain(listed) {
        for Test::Is(_, value) | Test::IsNot(_, value) | Test::Has(_, value) | Test::Lacks(_, value) in
            rules.iter().copied().flatten()
        {
            let value = u64::from(*value);
            values.extend([
                value,
                value.wrapping_sub(1),
                value + 1,
                value | 1 << 32,
                value | 0xffff_ffff << 32,
                !value,
            ]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn the_program_answers_what_the_policy_says() {
    for (arch, table) in TABLES {
        let numbers = policy::parse(table).unwrap();
        let mut all: Vec<_> =
            [false, true].map(|build| (policy::answers(arch, &numbers, build).unwrap(), policy::UNKNOWN)).into();
        for (_, lists) in policy::LISTS {
            all.push((policy::answers_for_list(arch, &numbers, lists).unwrap(), policy::EPERM));
        }
        for (answers, default) in all {
            check(policy::audit_arch(arch).unwrap(), &answers, default);
        }
    }
}

fn check(arch: u32, answers: &BTreeMap<u32, Answer<'_>>, default: u32) {
    let program = compile(arch, answers, default);
    let values = telling();
    for number in (0..2048).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0000 + 39, 0x7fff_ffff, u32::MAX]) {
        let same = |arguments| {
            let wanted = wanted(answers, default, number, arguments);
            assert_eq!(run(&program, arch, number, arguments), wanted, "call {number} {arguments:x?}");
        };
        if !matches!(answers.get(&number), Some(Answer::If { .. })) {
            same([0; 6]);
            continue;
        }
        for &first in &values {
            for &second in &values {
                same([first, second, 0, 0, 0, 0]);
                same([0, first, second, 0, 0, 0]);
                same([0, 0, first, second, 0, 0]);
                same([first, 0, second, 0, 0, 0]);
            }
        }
    }
}

#[test]
fn another_convention_of_calls_ends_the_process() {
    let answers = BTreeMap::from([(1, Answer::Always(7))]);
    let program = compile(0xc000_003e, &answers, 5);
    // AUDIT_ARCH_I386: int 0x80.
    assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), 0x8000_0000);
    assert_eq!(run(&program, 0xc000_003e, 1, [0; 6]), 7);
    assert_eq!([0, 2].map(|number| run(&program, 0xc000_003e, number, [0; 6])), [5, 5]);
}

/// So many ranges that the left half of the tree is out of a comparison's reach.
#[test]
fn far_jumps_arrive() {
    let answers = (0..2000).map(|number| (number * 2, Answer::Always(number))).collect();
    let program = compile(1, &answers, u32::MAX);
    for number in 0..4002 {
        let wanted = if number % 2 == 0 && number < 4000 { number / 2 } else { u32::MAX };
        assert_eq!(run(&program, 1, number, [0; 6]), wanted, "call {number}");
    }
}

/// The kernel translates it at every start of a sandbox.
#[test]
fn the_filter_is_short() {
    for (arch, table) in TABLES {
        let answers = policy::answers(arch, &policy::parse(table).unwrap(), false).unwrap();
        let length = compile(policy::audit_arch(arch).unwrap(), &answers, policy::UNKNOWN).len();
        assert!(length < 400, "{length} instructions for {arch}");
    }
}

/// It is loaded for every program.
#[test]
fn programs_only_miss_what_has_its_mode_behind_a_pointer() {
    for (arch, table) in TABLES {
        let answers = policy::answers_for_programs(&policy::parse(table).unwrap()).unwrap();
        let arch = policy::audit_arch(arch).unwrap();
        let program = compile(arch, &answers, policy::ALLOW);
        for number in 0..2048 {
            let wanted = if number == 437 { policy::UNKNOWN } else { policy::ALLOW };
            assert_eq!(run(&program, arch, number, [0; 6]), wanted, "call {number}");
        }
        assert!(program.len() < 12, "{} instructions", program.len());
    }
}

#[test]
fn what_is_watched_is_told_of_and_nothing_else_is() {
    const TELL: u32 = 0x7fc0_0000;
    for (arch, table) in TABLES {
        let numbers = policy::parse(table).unwrap();
        let answers = policy::answers_for_watched(arch, &numbers).unwrap();
        let audit = policy::audit_arch(arch).unwrap();
        let program = compile(audit, &answers, policy::ALLOW);
        let watched = policy::watched(arch, &numbers).unwrap();
        for (dir, path) in watched.iter().flat_map(|(_, watch)| watch.paths) {
            assert!(*path < 6 && dir.is_none_or(|dir| dir + 1 == *path));
        }
        for (_, watch) in &watched {
            assert_eq!(watch.flags, watch.rules.first().map(|_| watch.paths[0].1 + 1), "{}", watch.call);
        }
        let watched: Vec<u32> = watched.iter().map(|(number, _)| *number).collect();
        let opens = ["open", "openat"].map(|call| numbers.get(call).copied());
        for number in 0..2048 {
            let wanted = match number {
                437 => policy::UNKNOWN,
                _ if opens.contains(&Some(number)) => policy::ALLOW,
                _ if watched.contains(&number) => TELL,
                _ => policy::ALLOW,
            };
            assert_eq!(run(&program, audit, number, [0; 6]), wanted, "call {number} of {arch}");
        }
        for (call, argument) in [("open", 1), ("openat", 2)] {
            let Some(&number) = numbers.get(call) else { continue };
            // O_WRONLY, O_RDWR, O_CREAT, O_TRUNC; and O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW.
            for (flags, wanted) in
                [1, 2, 0o100, 0o1000].map(|flag| (flag, TELL)).into_iter().chain([(0o2_600_000, policy::ALLOW)])
            {
                let mut arguments = [0; 6];
                arguments[argument] = flags;
                assert_eq!(run(&program, audit, number, arguments), wanted, "{call} {flags:o} of {arch}");
            }
        }
        assert!(program.len() < 90, "{} instructions", program.len());
    }
}
