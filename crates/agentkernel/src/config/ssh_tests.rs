use super::*;
use crate::{
    Mount, Spec,
    config::{
        FILE_NAME, NetworkOverrides, Overrides, Project, ProjectFile, UserConfig, WorkspaceMode,
        identity::tests::host as facts, resolve,
    },
};
use egress::ssh::Key;
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    thread::{self, JoinHandle},
};

const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
const SIGNS: &str = "[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = ";

struct Scene {
    home: tempfile::TempDir,
    project: &'static str,
}

impl Scene {
    fn new(project: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        Self { home, project }
    }

    fn write(self, file: &str, text: &str) -> Self {
        std::fs::write(self.home.path().join(file), text).unwrap();
        self
    }

    fn resolve(&self, ssh: &[&str], sign: bool, overrides: Overrides) -> Result<Spec, ConfigError> {
        let mut host = facts(rustix::process::geteuid().as_raw());
        host.home = self.home.path().to_owned();
        host.cwd = "/srv/app".into();
        let file = ProjectFile::parse(host.cwd.join(FILE_NAME), self.project.into());
        let mut file = file.unwrap_or_else(|error| panic!("{error}"));
        file.trusted = true;
        let project = Project { dir: host.cwd.clone(), file: Some(file) };
        let ssh = ssh.iter().map(|server| parse_ssh_server(server).unwrap()).collect();
        let network = NetworkOverrides { ssh, sign, ..NetworkOverrides::default() };
        let overrides = Overrides { network, workspace: Some(WorkspaceMode::None), ..overrides };
        resolve(overrides, &project, &UserConfig::default(), &host)
    }

    fn lent(&self, ssh: &[&str], sign: bool) -> (LentKeys, Vec<String>, Vec<String>) {
        let spec = self.resolve(ssh, sign, Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        let allowed = spec.network.policy.rules.allow.iter().map(ToString::to_string).collect();
        let env = spec.env.iter().map(ToString::to_string).collect();
        (spec.network.lent_keys.unwrap(), allowed, env)
    }

    fn error(&self, ssh: &[&str], sign: bool) -> (String, String) {
        let error = self.resolve(ssh, sign, Overrides::default()).unwrap_err();
        (error.to_string(), error.hint())
    }
}

#[test]
fn a_server_is_known_by_its_keys_and_reached() {
    let known = format!("git.example.org {ONE}\n[git.example.org]:2222 {TWO}\n");
    let scene = Scene::new("").write(".ssh/known_hosts", &known);
    let (lent, allowed, env) = scene.lent(&["git.example.org"], false);
    assert_eq!(lent.known_hosts(), format!("git.example.org {ONE}\n"));
    assert_eq!(allowed, ["git.example.org:22"]);
    assert!(lent.signing.is_empty() && env.contains(&format!("SSH_AUTH_SOCK={AGENT}")));
    assert!(!env.iter().any(|entry| entry.starts_with("GIT_")));
    // What is revoked in another file is no key.
    let revoked =
        Scene::new("").write(".ssh/known_hosts", &known).write(".ssh/known_hosts2", &format!("@revoked * {ONE}\n"));
    assert!(revoked.error(&["git.example.org"], false).0.contains("No host key"));
    let (lent, allowed, _) = scene.lent(&["git.example.org:2222"], false);
    assert_eq!(lent.known_hosts(), format!("[git.example.org]:2222 {TWO}\n"));
    assert_eq!(allowed, ["git.example.org:2222"]);
    let (cause, hint) = scene.error(&["git.example.org:2200"], false);
    assert!(
        cause.starts_with("No host key of git.example.org is known") && hint.ends_with("ssh -p 2200 git.example.org")
    );
}

#[test]
fn a_project_asks_for_the_same() {
    let scene = Scene::new("[ssh]\nhosts = [\"git.example.org\"]\nsign = true\n");
    let (cause, _) = scene.error(&[], false);
    assert!(cause.contains("No host key"), "{cause}");
    let scene = scene.write(".ssh/known_hosts", &format!("git.example.org {ONE}"));
    let scene = scene.write(".gitconfig", &format!("{SIGNS}{TWO}\n"));
    let (lent, allowed, _) = scene.lent(&[], false);
    assert_eq!((lent.servers.len(), lent.signing.len()), (1, 1));
    assert_eq!(allowed, ["git.example.org:22"]);
}

#[test]
fn git_signs_with_one_key() {
    for (written, file) in [(TWO, ""), ("~/.ssh/id.pub", ".ssh/id.pub"), ("~/.ssh/id", ".ssh/id.pub")] {
        let scene = Scene::new("").write(".gitconfig", &format!("{SIGNS}{written}\n"));
        let scene = if file.is_empty() { scene } else { scene.write(file, &format!("{TWO} me@home\n")) };
        let (lent, allowed, env) = scene.lent(&[], true);
        assert_eq!(lent.signing.iter().map(ToString::to_string).collect::<Vec<_>>(), [TWO]);
        assert!(allowed.is_empty() && lent.servers.is_empty());
        for expected in ["GIT_CONFIG_COUNT=3", &format!("GIT_CONFIG_VALUE_1=key::{TWO}"), "GIT_CONFIG_VALUE_2=true"] {
            assert!(env.iter().any(|entry| entry == expected), "{expected}: {env:?}");
        }
    }
    let (cause, hint) = Scene::new("").error(&[], true);
    assert!(cause == "Git signs with openpgp and not with ssh" && hint.contains("gpg.format ssh"));
    let scene = Scene::new("").write(".gitconfig", "[gpg]\nformat = ssh\n");
    assert_eq!(scene.error(&[], true).0, "Git has no key to sign with: user.signingKey is not set");
    let scene = scene.write(".gitconfig", &format!("{SIGNS}~/.ssh/none\n"));
    assert!(scene.error(&[], true).0.starts_with("There is no public key of SSH at /"));
}

#[test]
fn the_place_of_the_agent_is_its_own() {
    let scene = Scene::new("").write(".ssh/known_hosts", &format!("a.example {ONE}"));
    let mount = Mount { source: "/srv".into(), target: "/run".into(), read_only: true };
    let overrides = Overrides { mounts: vec![mount], ..Overrides::default() };
    let error = scene.resolve(&["a.example"], false, overrides).unwrap_err();
    assert!(error.to_string().contains("/run, where something is mounted"), "{error}");
}

/// Nothing that was asked for is taken away without a word, and what is told names what was typed.
#[test]
fn what_takes_it_away_is_told() {
    let known = format!("a.example {ONE}");
    let scene = Scene::new("").write(".ssh/known_hosts", &known).write(".gitconfig", &format!("{SIGNS}{TWO}\n"));
    for variable in ["SSH_AUTH_SOCK=/mine", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=a.b"] {
        let env = vec![crate::config::parse_env(variable.as_ref()).unwrap()];
        let error = scene.resolve(&["a.example"], true, Overrides { env, ..Overrides::default() }).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{} is set", variable.split('=').next().unwrap())), "{error}");
    }
    let none = NetworkOverrides { mode: Some(egress::Mode::None), ..NetworkOverrides::default() };
    let ssh = NetworkOverrides { ssh: vec![parse_ssh_server("a.example").unwrap()], ..none };
    let project = Project { dir: "/srv/app".into(), file: None };
    let overrides = Overrides { network: ssh, workspace: Some(WorkspaceMode::None), ..Overrides::default() };
    let error = resolve(overrides, &project, &UserConfig::default(), &facts(1000)).unwrap_err();
    assert_eq!(error.to_string(), "`--ssh a.example:22` has no use with `--net none`");
    // A file that cannot be read could revoke what another has.
    std::fs::create_dir(scene.home.path().join(".ssh/known_hosts2")).unwrap();
    assert!(scene.error(&["a.example"], false).0.contains("known_hosts2"), "{:?}", scene.error(&["a.example"], false));
}

#[test]
fn what_is_no_server() {
    let wrong = |text| parse_ssh_server(text).unwrap_err().hint;
    assert_eq!(wrong("git@github.com"), "Leave the user out: write HOST or HOST:PORT");
    assert!(parse_ssh_server("").is_err() && parse_ssh_server("a:x").is_err() && parse_ssh_server("*").is_err());
    assert_eq!(parse_ssh_server("10.0.0.1").unwrap().to_string(), "10.0.0.1:22");
}

/// An agent that answers one request with these keys.
fn agent(path: &Path, keys: &[&str]) -> JoinHandle<()> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let keys = keys.iter().map(|key| [string(key.parse::<Key>().unwrap().bytes()), string(b"mine")].concat());
    let message = [&[12], &(keys.len() as u32).to_be_bytes()[..], &keys.collect::<Vec<_>>().concat()].concat();
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 5];
        client.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 1, 11]);
        client.write_all(&string(&message)).unwrap();
    })
}

#[test]
fn an_agent_must_be_there() {
    let mut host = facts(1000);
    let signs = |key: &str| LentKeys { signing: vec![key.parse().unwrap()], ..LentKeys::default() };
    let dir = tempfile::tempdir().unwrap();
    let mut ask = |path: &Path, lent: &LentKeys| {
        host.env = vec![("SSH_AUTH_SOCK".into(), path.into())];
        ssh_agent(&host, lent).map_err(|error| error.to_string())
    };
    let mut asked = |keys: &[&str], lent: &LentKeys| {
        let path = dir.path().join("agent");
        let _ = std::fs::remove_file(&path);
        let answering = agent(&path, keys);
        let told = ask(&path, lent);
        answering.join().unwrap();
        told
    };
    assert_eq!(asked(&[TWO, ONE], &signs(ONE)).unwrap(), dir.path().join("agent"));
    assert!(asked(&[TWO], &LentKeys::default()).is_ok());
    assert!(asked(&[TWO], &signs(ONE)).unwrap_err().contains("user.signingKey"));
    assert!(asked(&[], &LentKeys::default()).unwrap_err().contains("no key that could be lent"));
    let nowhere = ask(Path::new("/nowhere/agent"), &LentKeys::default()).unwrap_err();
    assert!(nowhere.contains("/nowhere/agent, SSH_AUTH_SOCK, does not answer"), "{nowhere}");
    assert!(ask(Path::new(""), &LentKeys::default()).unwrap_err().ends_with("SSH_AUTH_SOCK is not set"));
}
