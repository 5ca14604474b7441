//! Builds the programs that run inside sandboxes and hands their paths to `include_bytes!`.
//!
//! They are binaries of their own, static and small, so that nothing of the big one ever enters a sandbox. Cargo
//! cannot yet depend on another package's binary (`-Z bindeps`), hence the nested call: same toolchain, same lock
//! file, a target directory of its own.

#![allow(clippy::disallowed_methods)] // a build script is a tool

use std::{
    env,
    error::Error,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::Command,
};

/// Package and binary of each guest program.
const GUESTS: [(&str, &str); 2] = [("agentkernel-init", "init"), ("agentkernel-probe", "probe")];
/// Crates that they are made of.
const SOURCES: [&str; 5] = ["init", "wire", "jail", "archive", "probe"];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.join("../..").canonicalize()?;
    let target = env::var("TARGET")?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("guest");

    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join("crates").join(source).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());

    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(&root)
        .args(["build", "--quiet", "--profile", "guest", "--target", &target])
        .arg("--target-dir")
        .arg(&out);
    for (package, _) in GUESTS {
        cargo.args(["--package", package]);
    }
    // The flags of the outer build (clippy's wrapper, sanitizers, coverage) are not for programs that run as PID 1.
    for name in ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "CLIPPY_ARGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the guest programs did not build: {status}").into());
    }

    for (_, binary) in GUESTS {
        let path = out.join(&target).join("guest").join(binary);
        let mut hash = DefaultHasher::new();
        fs::read(&path)?.hash(&mut hash);
        let name = format!("AGENTKERNEL_GUEST_{}", binary.to_uppercase());
        println!("cargo::rustc-env={name}={}", path.display());
        println!("cargo::rustc-env={name}_ID={:016x}", hash.finish());
    }
    Ok(())
}
