//! The `agentkernel` command. Everything lives in the library; this only hands over.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    agentkernel::cli::main()
}
