//! Secrets in the keyring of a desktop: a real one, on a bus of its own.

use std::{
    io::Write as _,
    process::{Child, Command, Output, Stdio},
};
use support::{Who, World, eventually, internet::installed, stdout, told};

const VALUE: &str = "s3cr3t-value";

/// A desktop with a keyring that is unlocked.
struct Desktop {
    world: World,
    children: Vec<Child>,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Desktop {
    /// `None` where its parts are not installed. It is that of the tests' own user: a bus serves only users with a name.
    fn new() -> Option<Self> {
        let parts = ["dbus-daemon", "gnome-keyring-daemon", "secret-tool"];
        if !parts.iter().all(|program| installed(program)) {
            return None;
        }
        let mut desktop = Self { world: World::new(Who::Me), children: Vec::new() };
        let bus = desktop.world.home().with_file_name("run/bus");
        let mut daemon = desktop.world.command("dbus-daemon");
        daemon.args(["--session", "--nofork", "--nopidfile"]).arg(format!("--address={}", desktop.address()));
        desktop.children.push(daemon.stderr(Stdio::null()).spawn().unwrap());
        eventually("the bus is there", || bus.exists());
        let mut keyring = desktop.command("gnome-keyring-daemon");
        keyring.args(["--foreground", "--unlock", "--components=secrets"]).stdin(Stdio::piped());
        let mut keyring = keyring.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        keyring.stdin.take().unwrap().write_all(b"password").unwrap();
        desktop.children.push(keyring);
        eventually("the keyring answers", || {
            desktop.tool(&["store", "--label=x", "is", "ready"], "x").status.success()
        });
        Some(desktop)
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.world.home().with_file_name("run/bus").display())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.world.command(program);
        command.env("DBUS_SESSION_BUS_ADDRESS", self.address());
        command
    }

    /// Another client of the keyring.
    fn tool(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command("secret-tool");
        fed(command.args(arguments), input)
    }

    fn kept(&self, attributes: &[&str]) -> String {
        String::from_utf8(self.tool(&[&["lookup"], attributes].concat(), "").stdout).unwrap()
    }

    fn set(&self, arguments: &[&str], input: &str) -> Output {
        let output = fed(self.world.agentkernel(["secret", "set"]).args(arguments), input);
        assert!(!told(&output).contains(VALUE), "{}", told(&output));
        output
    }
}

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_value_is_kept_there() {
    let Some(desktop) = Desktop::new() else { return };
    let world = &desktop.world;
    let ours = ["application", "agentkernel", "secret", "TOKEN"];
    let output = desktop.set(&["TOKEN", "--keyring", "--stdin", "--host", "api.example.org"], VALUE);
    assert!(told(&output).contains("its value lies in your desktop's keyring"), "{}", told(&output));
    assert_eq!(desktop.kept(&ours), VALUE);
    let file = world.home().join(".config/agentkernel/secrets/TOKEN");
    assert!(!std::fs::read_to_string(&file).unwrap().contains(VALUE));
    let run = ["run", "--secret", "TOKEN", "--allow", "api.example.org", "--", "sh", "-c", "echo $TOKEN"];
    assert!(stdout(&mut world.agentkernel(run)).starts_with("agentkernel-TOKEN-"));
    // Where it may go is changed, and the value stays; the value is changed, and where it may go stays.
    assert!(told(&desktop.set(&["TOKEN", "--host", "b.example.org"], "")).contains("It may go to b.example.org"));
    assert_eq!(desktop.kept(&ours), VALUE);
    assert!(told(&desktop.set(&["TOKEN", "--keyring", "--stdin"], "new")).contains("It may go to b.example.org"));
    assert_eq!(desktop.kept(&ours), "new");
    // It is read whenever a sandbox starts: what is wrong with it now is told.
    assert!(desktop.tool(&[&["store", "--label=x"][..], &ours].concat(), "two\nlines").status.success());
    let output = world.agentkernel(run).output().unwrap();
    assert!(told(&output).contains("it has more than one line"), "{}", told(&output));
    // Nothing of it is left there when it is kept elsewhere, or removed.
    assert!(desktop.set(&["TOKEN", "--stdin"], VALUE).status.success());
    assert_eq!(desktop.kept(&ours), "");
    assert!(desktop.set(&["TOKEN", "--keyring", "--stdin"], VALUE).status.success());
    assert!(!std::fs::read_to_string(&file).unwrap().contains(VALUE));
    let _ = stdout(&mut world.agentkernel(["secret", "rm", "TOKEN"]));
    assert!(desktop.kept(&ours).is_empty() && !file.exists());
}

#[test]
fn what_others_keep_there_is_found_by_its_attributes() {
    let Some(desktop) = Desktop::new() else { return };
    let world = &desktop.world;
    let theirs = ["service", "forge", "user", "me"];
    assert!(desktop.tool(&[&["store", "--label=x"][..], &theirs].concat(), &format!("{VALUE}\n")).status.success());
    let named = ["--from-keyring", "service=forge", "--from-keyring", "user=me", "--host", "forge.example.org"];
    let output = desktop.set(&[&["FORGE"][..], &named].concat(), "");
    assert!(told(&output).contains("is read from keyring:service=forge,user=me"), "{}", told(&output));
    let run = ["run", "--secret", "FORGE", "--allow", "forge.example.org", "--", "true"];
    let _ = stdout(&mut world.agentkernel(run));
    // Which is meant must be said.
    let others = ["service", "forge", "user", "you"];
    assert!(desktop.tool(&[&["store", "--label=y"][..], &others].concat(), "other").status.success());
    let _ = stdout(&mut world.agentkernel(run));
    assert!(desktop.set(&["FORGE", "--from-keyring", "service=forge"], "").status.success());
    let output = world.agentkernel(run).output().unwrap();
    let expected = "Secret 'FORGE': The keyring has 2 values with these attributes\n  hint: Name more";
    assert!(told(&output).contains(expected), "{}", told(&output));
    let output = desktop.set(&["FORGE", "--from-keyring", "user=me", "--from-keyring", "user=you"], "");
    assert!(told(&output).contains("--from-keyring names attribute 'user' twice"), "{}", told(&output));
    assert!(desktop.set(&[&["FORGE"][..], &named].concat(), "").status.success());
    // It is not ours to remove.
    let _ = stdout(&mut world.agentkernel(["secret", "rm", "FORGE"]));
    assert_eq!(desktop.kept(&theirs), format!("{VALUE}\n"));
    let output = desktop.set(&[&["FORGE"][..], &named].concat(), "");
    assert!(output.status.success());
    assert!(desktop.tool(&[&["clear"][..], &theirs].concat(), "").status.success());
    let output = world.agentkernel(run).output().unwrap();
    let expected = "Secret 'FORGE': the desktop's keyring has nothing with service=forge,user=me\n  hint: ";
    assert!(told(&output).contains(expected), "{}", told(&output));
}

#[test]
fn where_there_is_none_that_is_told() {
    let world = World::new(Who::Me);
    let set = ["secret", "set", "T", "--keyring", "--stdin", "--host", "a.example.org"];
    let output = fed(&mut world.agentkernel(set), VALUE);
    let text = told(&output);
    assert!(!output.status.success() && text.contains("Secret 'T': Can't reach the session bus"), "{text}");
    assert!(text.contains("  hint: A keyring is a desktop's") && !text.contains(VALUE), "{text}");
    assert!(!world.home().join(".config/agentkernel/secrets/T").exists());
}
