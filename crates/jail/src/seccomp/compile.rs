//! Hides how a table of answers becomes a classic BPF program (seccomp(2), `linux/filter.h`).
//!
//! The numbers fall into ranges with one answer each, found by a balanced tree of comparisons. A chain of comparisons,
//! one for each known call, is eight times as long, and the kernel translates a filter at every start of a sandbox.

use super::policy::Test;
use std::collections::BTreeMap;

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many to skip if a comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// What a call is answered: a `SECCOMP_RET_*` value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer<'a> {
    /// Whatever its arguments are.
    Always(u32),
    /// By its arguments: one answer if a rule matches, that is if all tests of the rule hold, and another if none does.
    If { rules: &'a [&'a [Test]], matched: u32, otherwise: u32 },
}

/// Numbers from here up to the next range.
struct Range<'a> {
    first: u32,
    answer: Answer<'a>,
}

/// `SECCOMP_RET_KILL_PROCESS`.
const KILL: u32 = 0x8000_0000;

// struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

// BPF_LD|W|ABS, BPF_JMP|JA, BPF_JMP|{JEQ,JGE,JSET}|K, BPF_ALU|AND|K, BPF_RET|K
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Compiles for an architecture (`AUDIT_ARCH_*`, little-endian). Calls by another architecture's convention kill the
/// process, numbers without an answer are given `default`.
pub fn compile(arch: u32, answers: &BTreeMap<u32, Answer<'_>>, default: u32) -> Vec<Instruction> {
    let default = Answer::Always(default);
    let mut ranges = vec![Range { first: 0, answer: default }];
    let mut add = |first: u32, answer| match ranges.last_mut() {
        Some(last) if last.answer == answer => {}
        Some(last) if last.first == first => last.answer = answer,
        _ => ranges.push(Range { first, answer }),
    };
    for (&number, &answer) in answers {
        add(number, answer);
        if !answers.contains_key(&(number + 1)) {
            add(number + 1, default);
        }
    }
    let mut program = vec![
        plain(LOAD, ARCH),
        Instruction { code: EQUAL, jt: 1, jf: 0, k: arch },
        plain(RETURN, KILL),
        plain(LOAD, NUMBER),
    ];
    program.extend(tree(&ranges));
    program
}

/// Finds the range of the number in the accumulator.
fn tree(ranges: &[Range<'_>]) -> Vec<Instruction> {
    let (left, right) = match ranges {
        [] => return Vec::new(),
        [one] => return leaf(one.answer),
        many => many.split_at(many.len() / 2),
    };
    let (first, left, right) = (right[0].first, tree(left), tree(right));
    // A comparison can skip 255 instructions, a jump any number.
    let mut code = match u8::try_from(left.len()) {
        Ok(skip) => vec![Instruction { code: AT_LEAST, jt: skip, jf: 0, k: first }],
        Err(_) => {
            vec![Instruction { code: AT_LEAST, jt: 0, jf: 1, k: first }, plain(JUMP, left.len() as u32)]
        }
    };
    code.extend(left);
    code.extend(right);
    code
}

fn leaf(answer: Answer<'_>) -> Vec<Instruction> {
    match answer {
        Answer::Always(value) => vec![plain(RETURN, value)],
        Answer::If { rules, matched, otherwise } => {
            let mut loaded = None;
            let mut code: Vec<_> = rules.iter().flat_map(|tests| rule(tests, matched, &mut loaded)).collect();
            code.push(plain(RETURN, otherwise));
            code
        }
    }
}

/// Returns if all tests hold, goes past its end if one does not. `loaded` is the argument that the accumulator holds, if
/// it holds one whole, wherever it comes from; it is known afterwards if all tests are of one argument.
///
/// All arguments that are tested are ints, or flags below bit 32, to the kernel: it ignores the upper half, so that is
/// ignored here as well (CVE-2019-10063).
fn rule(tests: &[Test], matched: u32, loaded: &mut Option<u8>) -> Vec<Instruction> {
    /// How a comparison that does not hold leaves the rule; the distance is known at the end.
    const OUT: u8 = u8::MAX;
    let mut code = Vec::new();
    let mut left_with = Vec::new();
    for test in tests {
        let (Test::Is(index, _) | Test::IsNot(index, _) | Test::Has(index, _) | Test::Lacks(index, _)) = *test;
        if *loaded != Some(index) {
            code.push(plain(LOAD, ARGUMENTS + 8 * u32::from(index)));
            *loaded = Some(index);
        }
        match *test {
            Test::Is(_, value) => code.push(Instruction { code: EQUAL, jt: 0, jf: OUT, k: value }),
            Test::IsNot(_, value) => code.push(Instruction { code: EQUAL, jt: OUT, jf: 0, k: value }),
            Test::Lacks(_, bits) => code.push(Instruction { code: ANY_BIT, jt: OUT, jf: 0, k: bits }),
            Test::Has(_, bits) if bits.is_power_of_two() => {
                code.push(Instruction { code: ANY_BIT, jt: 0, jf: OUT, k: bits });
            }
            Test::Has(_, bits) => {
                code.push(plain(AND, bits));
                code.push(Instruction { code: EQUAL, jt: 0, jf: OUT, k: bits });
                *loaded = None;
            }
        }
        left_with.push(*loaded);
    }
    code.push(plain(RETURN, matched));
    *loaded = left_with.first().copied().flatten().filter(|&first| left_with.iter().all(|&at| at == Some(first)));
    let end = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let out = (end - at - 1) as u8;
        for skip in [&mut instruction.jt, &mut instruction.jf] {
            if *skip == OUT {
                *skip = out;
            }
        }
    }
    code
}
