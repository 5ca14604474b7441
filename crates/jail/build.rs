//! Compiles the seccomp filters, so that at run time they are bytes handed to the kernel.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

#[path = "src/seccomp/compile.rs"]
mod compile;
#[path = "src/seccomp/policy.rs"]
mod policy;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/seccomp");
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let table = format!("syscalls/{arch}");
    println!("cargo::rerun-if-changed={table}");
    let text = fs::read_to_string(&table).map_err(|e| format!("No table of system calls {table}: {e}"))?;
    let numbers = policy::parse(&text)?;
    let audit_arch = policy::audit_arch(&arch)?;
    let default = compile::compile(audit_arch, &policy::answers(&arch, &numbers, false)?, policy::UNKNOWN);
    let build = policy::answers(&arch, &numbers, true)?;
    let build = compile::compile(audit_arch, &build, policy::UNKNOWN);
    let program = compile::compile(audit_arch, &policy::answers_for_programs(&numbers)?, policy::ALLOW);
    let watched = compile::compile(audit_arch, &policy::answers_for_watched(&arch, &numbers)?, policy::ALLOW);
    let mut filters = vec![("DEFAULT", default), ("BUILD", build), ("PROGRAM", program), ("WATCHED", watched)];
    for (name, lists) in policy::LISTS {
        let answers = policy::answers_for_list(&arch, &numbers, lists)?;
        filters.push((name, compile::compile(audit_arch, &answers, policy::EPERM)));
    }

    let mut code = String::new();
    for (name, instructions) in filters {
        writeln!(code, "static {name}: [libc::sock_filter; {}] = [", instructions.len())?;
        for i in instructions {
            writeln!(code, "libc::sock_filter {{ code: {}, jt: {}, jf: {}, k: {} }},", i.code, i.jt, i.jf, i.k)?;
        }
        code.push_str("];\n");
    }
    code.push_str("static WATCHED_CALLS: &[listener::Call] = &[\n");
    for (number, watch) in policy::watched(&arch, &numbers)? {
        let (name, paths, flags) = (watch.call, watch.paths, watch.flags);
        writeln!(code, "listener::Call {{ number: {number}, name: {name:?}, paths: &{paths:?}, flags: {flags:?} }},")?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("filters.rs"), code)?;
    Ok(())
}
