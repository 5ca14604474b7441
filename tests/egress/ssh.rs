//! The user's ssh-agent: programs log in and sign with keys that they never have, where those are lent, and nowhere else.

use std::{
    fs,
    process::{Command, Output},
};
use support::{
    NOBODY, SshAgent, Who, World,
    internet::{GIT, Internet, installed},
    stdout, told,
};

/// A user with an agent that has one key, and an SSH server that takes it.
struct Scene {
    internet: Internet,
    world: World,
    agent: Option<SshAgent>,
}

impl Scene {
    fn all() -> Vec<Self> {
        let named = Command::new("id").arg("-un").output().is_ok_and(|output| output.status.success());
        if !["sshd", "ssh", "ssh-agent", "git", "python3"].into_iter().all(installed) {
            return Vec::new();
        }
        if !named {
            support::skipped("a server of OpenSSH", "this user has no name");
            return Vec::new();
        }
        let scene = |who| {
            let internet = Internet::new()?;
            let world = World::new(who);
            internet.sshd(&world.project());
            let ssh = world.home().join(".ssh");
            fs::create_dir(&ssh).unwrap();
            for file in ["id", "id.pub", "known_hosts"] {
                fs::rename(world.project().join(file), ssh.join(file)).unwrap();
            }
            fs::write(world.home().join(".gitconfig"), "[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = ~/.ssh/id\n")
                .unwrap();
            if who == Who::Nobody {
                let owner = format!("{NOBODY}:{NOBODY}");
                let _ = stdout(Command::new("chown").args(["-R", &owner]).args([world.home(), world.project()]));
            }
            let agent = Some(SshAgent::start(&world));
            Some(Self { internet, world, agent })
        };
        Who::all().into_iter().filter_map(scene).collect()
    }

    fn agentkernel(&self, arguments: &[&str]) -> Command {
        let mut command = self.internet.agentkernel(&self.world, arguments);
        command.env("SSH_AUTH_SOCK", self.world.home().join("agent"));
        command
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Output {
        self.agentkernel(&[&["run"], options, &["--", "timeout", "60"], command].concat()).output().unwrap()
    }

    fn shell(&self, options: &[&str], script: &str) -> Output {
        self.run(options, &["sh", "-c", script])
    }

    /// The causes of refusals with this reason.
    fn refused(&self, reason: &str) -> Vec<String> {
        let text = stdout(&mut self.agentkernel(&["net", "log", "--json"]));
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let wanted = events.filter(|event| event["event"] == "refused" && event["reason"] == reason);
        wanted.map(|event| event["cause"].as_str().unwrap().to_owned()).collect()
    }
}

#[track_caller]
fn is_well(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CLONE: &str = "rm -rf clone; git clone -q git@git.example.org:hello.git clone && cat clone/hello";

#[test]
fn a_login_without_a_key() {
    for scene in Scene::all() {
        let said = is_well(&scene.shell(&["--ssh", GIT, "--name", "lent"], &format!("{CLONE} && ssh-add -l")));
        assert!(said.contains("Hello from git.example.org") && said.contains("(ED25519)"), "{said}");
        // The agent's name for the key is the user's business.
        assert!(!said.contains("id") || !said.contains('@'), "{said}");
        // The key is nowhere in there: without the agent there is no way in.
        let output = scene.shell(&["--allow", "git.example.org:22"], &format!("test -z \"$SSH_AUTH_SOCK\" && {CLONE}"));
        assert!(!output.status.success(), "{}", told(&output));
        let output = scene.shell(&["--ssh", GIT], &format!("unset SSH_AUTH_SOCK; {CLONE}"));
        assert!(!output.status.success() && told(&output).contains("Permission denied"), "{}", told(&output));
        assert_eq!(scene.refused("ssh-key"), [""; 0]);
    }
}

/// Programs that speak to the agent themselves.
const SPEAK: &str = r#"
import os, socket, struct
def string(text): return struct.pack(">I", len(text)) + text
def connect():
    agent = socket.socket(socket.AF_UNIX)
    agent.settimeout(30)
    agent.connect(os.environ["SSH_AUTH_SOCK"])
    return agent
def exactly(agent, count):
    got = b""
    while len(got) < count:
        part = agent.recv(count - len(got))
        if not part: return got
        got += part
    return got
def ask(message, agent=None):
    agent = agent or connect()
    agent.sendall(string(message))
    length = exactly(agent, 4)
    return exactly(agent, struct.unpack(">I", length)[0]) if length else None
keys = ask(b"\x0b")
assert keys[:5] == b"\x0c\0\0\0\1", keys
length = struct.unpack(">I", keys[5:9])[0]
key = keys[9:9 + length]
assert keys[9 + length:] == string(b""), keys
login = string(b"session") + b"\x32" + string(b"git") + string(b"ssh-connection") + string(b"publickey") + b"\1" + string(b"ssh-ed25519") + string(key)
sign = lambda data: b"\x0d" + string(key) + string(data) + b"\0\0\0\0"
"#;

#[test]
fn no_signature_for_anything_else() {
    for scene in Scene::all() {
        let known = fs::read_to_string(scene.world.home().join(".ssh/known_hosts")).unwrap();
        let host = known.split_whitespace().nth(2).unwrap();
        let script = format!(
            r#"{SPEAK}
import base64
host = base64.b64decode("{host}")
assert ask(sign(login)) == b"\5"
# Who says that it is the server has not shown it.
agent = connect()
bind = b"\x1b" + string(b"session-bind@openssh.com") + string(host) + string(b"session") + string(string(b"ssh-ed25519") + string(bytes(64))) + b"\0"
assert ask(bind, agent) == b"\5" and ask(sign(login), agent) == b"\5"
for data in b"", b"anything", b"SSHSIG" + string(b"git") + string(b"") + string(b"sha512") + string(bytes(64)):
    assert ask(sign(data)) == b"\5", data
# To add a key, remove all, lock, and what nobody knows.
for kind in 0, 17, 19, 22, 25, 255:
    assert ask(bytes([kind]) + string(b"secret")) == b"\5", kind
# Nobody fills memory, or keeps others out.
agent = connect()
agent.sendall(struct.pack(">I", 1 << 30))
assert agent.recv(1) == b""
agents = [connect() for _ in range(300)]
for agent in agents: agent.close()
answer = None
while answer != keys:
    try: answer = ask(b"\x0b")
    except ConnectionError: pass
for _ in range(200): assert ask(b"\x0b") == keys
"#
        );
        is_well(&scene.run(&["--ssh", GIT], &["python3", "-c", &script]));
        let refused = scene.refused("ssh-key");
        let told = |what: &str| assert!(refused.iter().any(|cause| cause.contains(what)), "{what}: {refused:#?}");
        told("ssh has not proved to which server it is connected");
        told("a signature for something unknown");
        told("a signature for git");
        // The agent is as it was.
        let socket = scene.world.home().join("agent");
        let keys = stdout(scene.world.command("ssh-add").arg("-l").env("SSH_AUTH_SOCK", socket));
        assert_eq!(keys.lines().count(), 1, "{keys}");
    }
}

#[test]
fn gits_signatures() {
    for scene in Scene::all() {
        let init = "git init -q . && git config user.name Me && git config user.email me@example.org";
        let _ = stdout(scene.world.command("sh").args(["-c", init]));
        let key = fs::read_to_string(scene.world.home().join(".ssh/id.pub")).unwrap();
        let script = "git commit -q --allow-empty -m one && echo x > /tmp/x && \
                      echo \"${GIT_CONFIG_VALUE_1#key::}\" > /tmp/key.pub && ! ssh-keygen -q -Y sign -n file -f /tmp/key.pub /tmp/x";
        is_well(&scene.shell(&["--sign", "--unprotect", ".git"], script));
        let allowed = scene.world.home().join("allowed");
        fs::write(&allowed, format!("me@example.org {key}")).unwrap();
        let file = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
        let mut git = Command::new("git");
        git.current_dir(scene.world.project()).args([
            "-c",
            "safe.directory=*",
            "-c",
            &file,
            "verify-commit",
            "-v",
            "HEAD",
        ]);
        let output = git.output().unwrap();
        assert!(output.status.success() && told(&output).contains("Good \"git\" signature"), "{}", told(&output));
        let refused = scene.refused("ssh-key");
        assert!(refused.len() == 1 && refused[0].contains("\"file\", and not for git"), "{refused:#?}");
    }
}

/// An agent that goes and comes back is there again; one that is not there at the start is told.
#[test]
fn an_agent_that_is_gone() {
    for mut scene in Scene::all() {
        let create = ["create", "--name", "box", "--ssh", GIT, "--workspace", "none"];
        let _ = stdout(&mut scene.agentkernel(&create));
        let _ = stdout(&mut scene.agentkernel(&["start", "box"]));
        let list = |scene: &Scene| scene.agentkernel(&["exec", "box", "ssh-add", "-l"]).output().unwrap();
        assert!(is_well(&list(&scene)).contains("(ED25519)"));
        drop(scene.agent.take());
        assert!(!list(&scene).status.success());
        assert!(
            scene.refused("unreachable").iter().any(|cause| cause.contains("reached")),
            "{:?}",
            scene.refused("unreachable")
        );
        scene.agent = Some(SshAgent::start(&scene.world));
        assert!(is_well(&list(&scene)).contains("(ED25519)"));
        drop(scene.agent.take());
        let output = scene.agentkernel(&["restart", "box"]).output().unwrap();
        assert!(told(&output).contains("SSH_AUTH_SOCK, does not answer"), "{}", told(&output));
    }
}
