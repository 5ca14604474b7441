//! Compiles the seccomp filters, so that at run time they are bytes handed to the kernel.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, env, error::Error, fmt::Write as _, fs, path::Path};

#[path = "src/seccomp/policy.rs"]
mod policy;

use policy::{Deny, Test};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/seccomp/policy.rs");
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let table = format!("syscalls/{arch}");
    println!("cargo::rerun-if-changed={table}");
    let text = fs::read_to_string(&table).map_err(|e| format!("No table of system calls {table}: {e}"))?;
    let numbers = parse(&text)?;
    let target = TargetArch::try_from(arch.as_str())?;

    // Two filters, because one has one default and one action: unknown numbers answer ENOSYS, denied calls EPERM.
    // The kernel applies the stricter answer; both answer the same kind of action, then the last installed wins,
    // and no call is in both.
    let known = numbers
        .iter()
        .filter(|(name, _)| !policy::ABSENT.contains(name))
        .map(|(_, &number)| (number, Vec::new()))
        .collect();
    let known = SeccompFilter::new(known, SeccompAction::Errno(ENOSYS), SeccompAction::Allow, target)?;

    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for Deny { call, unless_absent_on, rules } in policy::DENIED {
        let Some(&number) = numbers.get(call) else {
            if unless_absent_on.contains(&arch.as_str()) {
                continue;
            }
            return Err(format!("The table of {arch} lacks {call}").into());
        };
        let chain = denied.entry(number).or_default();
        for rule in *rules {
            chain.push(SeccompRule::new(rule.iter().map(condition).collect::<Result<_, _>>()?)?);
        }
    }
    let denied = SeccompFilter::new(denied, SeccompAction::Allow, SeccompAction::Errno(EPERM), target)?;

    let mut code = String::new();
    emit(&mut code, "KNOWN", known.try_into()?)?;
    emit(&mut code, "DENIED", denied.try_into()?)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("filters.rs"), code)?;
    Ok(())
}

fn condition(test: &Test) -> Result<SeccompCondition, seccompiler::BackendError> {
    // All arguments that are tested here are ints or flags below bit 32 to the kernel: the upper half is ignored by
    // it, so it must be ignored here as well (CVE-2019-10063).
    match *test {
        Test::Is(index, value) => SeccompCondition::new(index, Len::Dword, Op::Eq, value),
        Test::IsNot(index, value) => SeccompCondition::new(index, Len::Dword, Op::Ne, value),
        Test::Has(index, bits) => SeccompCondition::new(index, Len::Dword, Op::MaskedEq(bits), bits),
    }
}

/// `number name` lines, `#` begins a comment line.
fn parse(text: &str) -> Result<BTreeMap<&str, i64>, Box<dyn Error>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (number, name) = line.split_once(' ').ok_or_else(|| format!("Not a table line: {line}"))?;
            Ok((name, number.parse()?))
        })
        .collect()
}

fn emit(code: &mut String, name: &str, program: BpfProgram) -> std::fmt::Result {
    writeln!(code, "static {name}: [libc::sock_filter; {}] = [", program.len())?;
    for i in program {
        writeln!(code, "libc::sock_filter {{ code: {}, jt: {}, jf: {}, k: {} }},", i.code, i.jt, i.jf, i.k)?;
    }
    writeln!(code, "];")
}
