//! `agents`: packages from a registry of npm's kind become images, without npm and without anybody's scripts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci::{Algorithm, Hasher};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Output,
    sync::{Arc, Mutex},
    thread,
};
use support::{Who, World, stdout, told};

/// What a server says about a path.
#[derive(Clone)]
enum Says {
    All(Vec<u8>),
    /// The same, to whoever shows this.
    For(String, Vec<u8>),
    /// So many bytes of it, and then nothing more.
    Beginning(Vec<u8>, usize),
    /// So many bytes of it, and then silence.
    Silent(Vec<u8>, usize),
}

/// A server of files on this machine.
struct Files {
    address: String,
    files: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Files {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/npm/", listener.local_addr().unwrap());
        let (files, asked) = (Arc::<Mutex<HashMap<_, _>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (known, heard) = (files.clone(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (known, heard) = (known.clone(), heard.clone());
                thread::spawn(move || answer(stream, &known, &heard));
            }
        });
        Self { address, files, asked }
    }

    fn put(&self, path: &str, says: Says) {
        self.files.lock().unwrap().insert(format!("/npm/{path}"), says);
    }
}

fn answer(stream: TcpStream, files: &Mutex<HashMap<String, Says>>, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let mut request = lines.first()?.split(' ');
        let (method, path) = (request.next()?, request.next()?.to_owned());
        asked.lock().ok()?.push(path.clone());
        let shown =
            |wanted: &String| lines.iter().any(|line| line.to_lowercase() == format!("authorization: {wanted}"));
        let says = files.lock().ok()?.get(&path).cloned();
        let (bytes, count) = match &says {
            Some(Says::For(wanted, bytes)) if shown(wanted) => (bytes, bytes.len()),
            Some(Says::All(bytes)) => (bytes, bytes.len()),
            Some(Says::Beginning(bytes, count) | Says::Silent(bytes, count)) => (bytes, *count),
            // As registries do that do not tell strangers what there is.
            None | Some(Says::For(..)) => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok()?;
                continue;
            }
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes()).ok()?;
        if method == "HEAD" {
            continue;
        }
        stream.write_all(&bytes[..count]).ok()?;
        match says {
            Some(Says::Beginning(..)) => return None,
            // Until the other side has enough of it.
            Some(Says::Silent(..)) => drop(reader.read_line(&mut String::new())),
            _ => {}
        }
    }
}

/// A package as npm packs it, whose program does this.
fn package(program: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mkdir -p package/bin && {program} && chmod 755 package/bin/busybox && echo unused > package/README
         tar -czf package.tgz package"
    );
    let status = std::process::Command::new("sh").args(["-euc", &script]).current_dir(folder.path()).status().unwrap();
    assert!(status.success());
    fs::read(folder.path().join("package.tgz")).unwrap()
}

/// One whose program says this and no more.
fn says(words: &str) -> Vec<u8> {
    package(&format!("printf '#!/bin/sh\\necho {words}\\n' > package/bin/busybox"))
}

const BUSYBOX: &str = "cp /bin/busybox package/bin/busybox";

/// What a registry says of a package with these versions, the first of which is the latest.
fn document(versions: &[(&str, &[u8])]) -> Says {
    let each = versions.iter().map(|(version, bytes)| {
        let dist = serde_json::json!({ "integrity": integrity(bytes), "tarball": "not asked" });
        ((*version).to_owned(), serde_json::json!({ "name": "@scope/mine", "dist": dist }))
    });
    let versions_of: serde_json::Map<String, serde_json::Value> = each.collect();
    let document = serde_json::json!({ "dist-tags": { "latest": versions[0].0 }, "versions": versions_of });
    Says::All(document.to_string().into_bytes())
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn integrity(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    let digest = hasher.finish();
    let hash: Vec<u8> = (0..digest.hex().len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digest.hex()[at..at + 2], 16).unwrap())
        .collect();
    format!("sha512-{}", STANDARD.encode(hash))
}

fn adapter(bytes: &[u8]) -> String {
    format!(
        "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/opt/agentkernel/agents/mine/busybox', 'echo']\n\
         dockerfile = \"\"\"\nFROM scratch AS agent\nADD agent.tgz /\nFROM scratch\n\
         COPY --from=agent /package/bin/ /opt/agentkernel/agents/mine/\n\"\"\"\n\n\
         [[packages]]\nfile = 'agent.tgz'\nnpm = '@scope/mine'\nsize = {}\nintegrity = '{}'\n",
        bytes.len(),
        integrity(bytes)
    )
}

const PATH: &str = "@scope/mine/-/mine-1.0.tgz";
const DOCUMENT: &str = "@scope%2fmine";

struct Scene {
    world: World,
    files: Files,
    bytes: Vec<u8>,
}

impl Scene {
    fn new(who: Who) -> Self {
        let (world, files) = (World::new(who), Files::start());
        let bytes = package(BUSYBOX);
        let scene = Self { world, files, bytes };
        scene.write(".config/agentkernel/agents/mine.toml", &adapter(&scene.bytes));
        scene.write(".npmrc", &format!("registry={}\n", scene.files.address));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.world.home().join(name);
        let script = format!("mkdir -p '{}' && cat > '{}'", path.parent().unwrap().display(), path.display());
        let mut command = self.world.command("sh");
        let mut child = command.args(["-c", &script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn agents(&self, arguments: &[&str]) -> Output {
        self.world.agentkernel([&["agents"], arguments].concat()).output().unwrap()
    }

    /// How much of a file that is on its way is here.
    fn part(&self) -> Option<u64> {
        let mut entries = fs::read_dir(self.world.state().join("images/work")).ok()?.flatten();
        let part = entries.find(|entry| entry.path().extension().is_some_and(|extension| extension == "part"))?;
        Some(part.metadata().ok()?.len())
    }

    /// Which versions are installed, and which is used.
    fn versions(&self) -> (Vec<String>, Option<String>) {
        let list = stdout(&mut self.world.agentkernel(["agents", "--json"]));
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let mine = list.as_array().unwrap().iter().find(|row| row["name"] == "mine").unwrap();
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        (mine["installed"].as_array().unwrap().iter().filter_map(text).collect(), text(&mine["used"]))
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], expected: &[&str]) {
        let output = self.agents(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && expected.iter().all(|text| words.contains(text)), "{expected:?}: {words}");
        let ours = words.lines().filter(|line| line.starts_with("agentkernel: "));
        assert_eq!(ours.count(), 1, "{words}");
    }
}

#[test]
fn an_agent_is_installed_once_and_lies_over_any_image() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.files.put(PATH, Says::All(scene.bytes.clone()));
        let list = stdout(&mut scene.world.agentkernel(["agents"]));
        assert!(
            list.starts_with("AGENT")
                && list.lines().any(|line| line.split_whitespace().take(2).eq(["mine", "Mine"]))
                && list.contains("claude"),
            "{list}"
        );
        let output = scene.agents(&["install", "mine"]);
        assert!(output.status.success(), "{}", told(&output));
        scene.write(".codex/auth.json", r#"{"OPENAI_API_KEY": "real"}"#);
        let list = stdout(&mut scene.world.agentkernel(["agents", "--json"]));
        assert!(!list.contains("real"), "{list}");
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let mine = list.as_array().unwrap().iter().find(|row| row["name"] == "mine").unwrap();
        assert_eq!((&mine["installed"][0], &mine["used"]), (&"1.0".into(), &"1.0".into()), "{list}");
        assert_eq!((&mine["tested"], &mine["credentials"]), (&false.into(), &serde_json::Value::Null), "{list}");
        let codex = list.as_array().unwrap().iter().find(|row| row["name"] == "codex").unwrap();
        assert_eq!(
            (&codex["credentials"], &codex["accepted"][0]),
            (&"~/.codex/auth.json".into(), &"CODEX_API_KEY".into())
        );
        // Once more, nobody is asked.
        let asked = scene.files.asked.lock().unwrap().len();
        scene.files.put(PATH, Says::Beginning(Vec::new(), 0));
        let output = scene.agents(&["install", "mine"]);
        assert!(told(&output).contains("mine 1.0 is installed"), "{}", told(&output));
        assert_eq!(scene.files.asked.lock().unwrap().len(), asked);
        // Nothing of the way there is left.
        let usage = stdout(&mut scene.world.agentkernel(["image", "du"]));
        assert!(usage.contains("images            1\n") && usage.contains("layers            1\n"), "{usage}");
        for layer in ["agents.invalid/mine:1.0", "agents.invalid/mine"] {
            let run = ["run", "--layer", layer, "--", "/opt/agentkernel/agents/mine/busybox", "echo", "from the layer"];
            assert_eq!(stdout(&mut scene.world.agentkernel(run)), "from the layer\n");
        }
        let output = scene.agents(&["remove", "mine"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "mine 1.0\n");
        scene.fails(&["remove", "mine"], &["Agent 'mine' is not installed", "agentkernel agents"]);
    }
}

/// Over whatever the sandbox is made of, which nobody removes meanwhile.
#[test]
fn what_runs_is_installed_first() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.files.put(PATH, Says::All(scene.bytes.clone()));
        scene.write(".config/agentkernel/agents/mine.toml", &(adapter(&scene.bytes) + "[interactive]\n"));
        let run = || scene.world.agentkernel(["run", "mine", "--", "it", "runs"]).output().unwrap();
        for is_first in [true, false] {
            let output = run();
            assert!(output.status.success() && output.stdout == b"it runs\n", "{}", told(&output));
            assert_eq!(told(&output).contains("Mine 1.0 is installed first"), is_first, "{}", told(&output));
        }
        assert_eq!(scene.versions(), (vec!["1.0".to_owned()], Some("1.0".to_owned())));
    }
}

#[test]
fn what_is_not_what_it_should_be_is_not_installed() {
    let scene = Scene::new(Who::Me);
    let mut other = scene.bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    scene.files.put(PATH, Says::All(other));
    scene.fails(&["install", "mine"], &["Can't bring Mine 1.0: ", "sha512:", "127.0.0.1"]);
    scene.files.put(PATH, Says::All(scene.bytes[1..].to_vec()));
    scene.fails(&["install", "mine"], &["bytes"]);
    scene.files.files.lock().unwrap().clear();
    scene.fails(&["install", "mine"], &["Can't bring Mine 1.0: ", "such file"]);
    // What is no archive is none, whatever its digest is.
    let junk = vec![7; 5000];
    scene.write(".config/agentkernel/agents/mine.toml", &adapter(&junk));
    scene.files.put(PATH, Says::All(junk));
    scene.fails(&["install", "mine"], &["mine.toml:4"]);
    assert_eq!(scene.versions(), (Vec::new(), None));
    let usage = stdout(&mut scene.world.agentkernel(["image", "du"]));
    assert!(usage.contains("images            0\n"), "{usage}");
}

/// What broke off goes on where it was.
#[test]
fn an_install_that_was_cut_off_goes_on() {
    let scene = Scene::new(Who::Me);
    scene.files.put(PATH, Says::Beginning(scene.bytes.clone(), scene.bytes.len() / 2));
    scene.fails(&["install", "mine"], &["127.0.0.1"]);
    assert_eq!(scene.part(), Some(scene.bytes.len() as u64 / 2));
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn mistakes_are_told_in_one_line() {
    let scene = Scene::new(Who::Me);
    scene.fails(&["install", "claud"], &["No agent is called 'claud'", "Did you mean 'claude'?"]);
    scene.fails(&["show", "./none.toml"], &["Can't read ./none.toml: "]);
    scene.fails(&["remove", "claude@9"], &["Agent 'claude@9' is not installed"]);
    scene.write(".npmrc", "registry=http://127.0.0.1:1/\n");
    scene.fails(&["install", "mine"], &["127.0.0.1:1"]);
    scene.write(".npmrc", "registry=http://example.org/\n");
    scene.fails(&["install", "mine"], &["'http://example.org/@scope/mine/-/mine-1.0.tgz' is plain HTTP"]);
    scene.write(".npmrc", "registry=nonsense\n");
    scene.fails(
        &["install", "mine"],
        &[
            "npm's configuration says that its packages are at 'nonsense', which is no address",
            "hint: Write `registry=",
        ],
    );
    scene.write(".npmrc", "");
    let mut command = scene.world.agentkernel(["agents", "install", "mine"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    assert!(
        told(&output).contains("It is not known where npm's packages are") && told(&output).contains(".npmrc"),
        "{}",
        told(&output)
    );
    let wrong = adapter(&scene.bytes).replace("command =", "comand =");
    scene.write(".config/agentkernel/agents/mine.toml", &wrong);
    scene.fails(&["install", "mine"], &["mine.toml:4:1: unknown key 'comand'", "hint: Did you mean `command`?"]);
    scene.fails(&["install", "shell"], &["Shell is part of images: there is nothing to install"]);
    for version in ["a b", "1@sha256", "", ".1"] {
        let text = format!("claude@{version}");
        scene.fails(&["install", &text], &[&format!("'{version}' is no version"), "'claude@2.1.330'"]);
    }
}

/// What stalls is waited for as long as the user likes, and goes on where it was.
#[test]
fn an_install_that_stalls_can_be_ended() {
    let scene = Scene::new(Who::Me);
    let half = scene.bytes.len() / 2;
    scene.files.put(PATH, Says::Silent(scene.bytes.clone(), half));
    let mut child = scene.world.agentkernel(["agents", "install", "mine"]).spawn().unwrap();
    support::eventually("half of it is here", || scene.part() == Some(half as u64));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
}

/// A version that the adapter does not know is what the registry says; one that does not answer is not used.
#[test]
fn a_new_version_takes_the_place_of_the_old_one_when_it_answers() {
    for who in Who::all() {
        new_version(&Scene::new(who));
    }
}

/// Its path is what it is called by, and its name what is installed.
#[test]
fn one_that_is_named_by_its_path_is_updated_by_that() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.files.put(PATH, Says::All(scene.bytes.clone()));
        let _ = std::fs::remove_file(scene.world.home().join(".config/agentkernel/agents/mine.toml"));
        scene.write("my-agent.toml", &adapter(&scene.bytes));
        let path = scene.world.home().join("my-agent.toml").display().to_string();
        let output = scene.agents(&["install", &path]);
        assert!(output.status.success(), "{}", told(&output));
        let good = says("mine v2.1");
        scene.files.put("@scope/mine/-/mine-2.1.tgz", Says::All(good.clone()));
        scene.files.put(DOCUMENT, document(&[("2.1", &good), ("1.0", &scene.bytes)]));
        let output = scene.agents(&["update", &path]);
        assert_eq!(stdout_of(&output), "mine 2.1, was 1.0\n", "{}", told(&output));
        let output = scene.agents(&["update", &path]);
        assert_eq!(stdout_of(&output), "mine 2.1 is the newest\n", "{}", told(&output));
        let output = scene.agents(&["update"]);
        assert!(output.status.success() && told(&output).contains("mine is left as it is"), "{}", told(&output));
    }
}

fn new_version(scene: &Scene) {
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    scene.fails(&["update", "mine"], &["Mine is not installed", "agentkernel agents install mine"]);
    let bad = package("printf '#!/bin/sh\\nexit 3\\n' > package/bin/busybox");
    scene.files.put("@scope/mine/-/mine-2.0.tgz", Says::All(bad.clone()));
    scene.files.put(DOCUMENT, document(&[("2.0", &bad), ("1.0", &scene.bytes)]));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
    scene.fails(&["update", "mine"], &["Mine 2.0 does not answer `--version`: it ends with status 3", "still used"]);
    assert_eq!(scene.versions(), (vec!["1.0".to_owned()], Some("1.0".to_owned())));
    // Nor is one that says it is another.
    for (words, told) in [("Mine 1.9", "it says 'Mine 1.9'"), ("", "it says nothing"), ("12.0", "it says '12.0'")] {
        let other = says(words);
        scene.files.put("@scope/mine/-/mine-2.0.tgz", Says::All(other.clone()));
        scene.files.put(DOCUMENT, document(&[("2.0", &other), ("1.0", &scene.bytes)]));
        scene.fails(&["update", "mine"], &["Mine 2.0 does not answer `--version`: ", told, "still used"]);
        assert_eq!(scene.versions(), (vec!["1.0".to_owned()], Some("1.0".to_owned())));
    }
    let good = says("2.1 of Mine");
    scene.files.put("@scope/mine/-/mine-2.1.tgz", Says::All(good.clone()));
    scene.files.put(DOCUMENT, document(&[("2.1", &good), ("2.0", &bad), ("1.0", &scene.bytes)]));
    // Also without a name: all that are installed.
    let output = scene.agents(&["update"]);
    assert_eq!(stdout_of(&output), "mine 2.1, was 1.0\n", "{}", told(&output));
    assert_eq!(scene.versions(), (vec!["2.1".to_owned()], Some("2.1".to_owned())));
    let output = scene.agents(&["update", "mine"]);
    assert_eq!(stdout_of(&output), "mine 2.1 is the newest\n", "{}", told(&output));
    let output = scene.agents(&["install", "mine@latest"]);
    assert_eq!(stdout_of(&output), "mine 2.1 is installed\n", "{}", told(&output));
    // Two beside each other: the one that was installed last is used.
    let output = scene.agents(&["install", "mine@1.0"]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(scene.versions(), (vec!["1.0".to_owned(), "2.1".to_owned()], Some("1.0".to_owned())));
    assert_eq!(stdout_of(&scene.agents(&["remove", "mine@1.0"])), "mine 1.0\n");
    assert_eq!(scene.versions(), (vec!["2.1".to_owned()], None));
    scene.fails(&["install", "mine@7.0"], &["The registry has no version 7.0 of @scope/mine", "The latest is 2.1"]);
    // What comes is what the registry said, or nothing.
    scene.files.put("@scope/mine/-/mine-2.2.tgz", Says::All(bad));
    scene.files.put(DOCUMENT, document(&[("2.2", &good)]));
    scene.fails(&["update", "mine"], &["sha512:", "127.0.0.1"]);
    scene.files.put(DOCUMENT, Says::All(b"<html>".to_vec()));
    scene.fails(&["update", "mine"], &["is not as npm has it"]);
}

/// Each C library has its own.
#[test]
fn an_agent_for_musl_lies_beside_the_one_for_glibc() {
    let scene = Scene::new(Who::Me);
    let other = package(&format!("{BUSYBOX} && echo musl > package/bin/musl"));
    let own = adapter(&scene.bytes);
    let begin = own.find("[[packages]]").unwrap();
    let second = adapter(&other)[begin..].replace("@scope/mine", "mine-musl");
    let text = format!("{}libc = 'glibc'\n\n{second}libc = 'musl'\n", own);
    scene.write(".config/agentkernel/agents/mine.toml", &text);
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    scene.files.put("mine-musl/-/mine-musl-1.0.tgz", Says::All(other));
    for libc in ["glibc", "musl"] {
        let output = scene.agents(&["install", "--libc", libc, "mine"]);
        assert!(output.status.success(), "{}", told(&output));
    }
    assert_eq!(scene.versions(), (vec!["1.0".to_owned(), "1.0-musl".to_owned()], Some("1.0".to_owned())));
    let has = |layer: &str| {
        let run = ["run", "--layer", layer, "--", "sh", "-c", "ls /opt/agentkernel/agents/mine"];
        stdout(&mut scene.world.agentkernel(run)).contains("musl")
    };
    assert!(!has("agents.invalid/mine") && has("agents.invalid/mine:latest-musl"));
    assert_eq!(stdout_of(&scene.agents(&["remove", "mine@1.0-musl"])), "mine 1.0-musl\n");
    assert_eq!(scene.versions(), (vec!["1.0".to_owned()], Some("1.0".to_owned())));
    scene.fails(&["install", "--libc", "dietlibc", "mine"], &["glibc, musl"]);
}

/// Registries that hide from strangers what they have.
#[test]
fn what_logs_in_to_the_registry_goes_to_it_alone() {
    let scene = Scene::new(Who::Me);
    scene.files.put(PATH, Says::For("bearer a-token".into(), scene.bytes.clone()));
    scene.fails(&["install", "mine"], &["such file", "~/.npmrc"]);
    scene.write(".npmrc", "registry=http://npm.example.org:8080/\n");
    let words =
        "'http://npm.example.org:8080/@scope/mine/-/mine-1.0.tgz' is plain HTTP, which only a registry on a loopback";
    scene.fails(&["install", "mine"], &[words]);
    let place = scene.files.address.strip_prefix("http:").unwrap();
    let other = "//npm.example.org/:_authToken=a-token\n";
    scene.write(".npmrc", &format!("registry={}\n{other}", scene.files.address));
    scene.fails(&["install", "mine"], &["such file"]);
    scene.write(".npmrc", &format!("registry={}\n{place}:_authToken=a-token\n", scene.files.address));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
}

/// A file of the web whose size nobody has said.
#[test]
fn an_agent_may_come_from_elsewhere_than_npm() {
    let scene = Scene::new(Who::Me);
    let own = adapter(&scene.bytes)
        .replace("npm = '@scope/mine'", &format!("url = '{}files/{{version}}.tgz'", scene.files.address))
        .replace(&format!("size = {}\n", scene.bytes.len()), "");
    scene.write(".config/agentkernel/agents/mine.toml", &own);
    scene.write(".npmrc", "");
    scene.files.put("files/1.0.tgz", Says::All(scene.bytes.clone()));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
    scene.fails(&["install", "mine@2.0"], &["Nobody says what Mine 2.0 is"]);
    scene.fails(&["update", "mine"], &["Nobody says which version of Mine is the newest", "mine@VERSION"]);
}

#[test]
fn a_projects_own_agent_needs_trust() {
    let scene = Scene::new(Who::Me);
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    let folder = scene.world.project().join(".agentkernel/agents");
    fs::create_dir_all(&folder).unwrap();
    let text = adapter(&scene.bytes).replace("'Mine'", "'Of the project'");
    fs::write(folder.join("mine.toml"), &text).unwrap();
    scene.fails(&["install", "mine"], &["agents/mine.toml asks for more", "the agent 'mine'", "agentkernel trust"]);
    assert_eq!(stdout_of(&scene.agents(&["show", "mine"])), text);
    let trusted = stdout(&mut scene.world.agentkernel(["trust"]));
    assert!(trusted.contains("Trusted as it is now: ") && trusted.contains("agents/mine.toml"), "{trusted}");
    let list = stdout(&mut scene.world.agentkernel(["agents"]));
    assert!(list.contains("Of the project"), "{list}");
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
    // No sandbox gives itself one.
    for path in [".agentkernel/agents/mine.toml", ".agentkernel/agents/other.toml"] {
        let write = format!("echo x > {path}");
        let output = scene.world.agentkernel(["run", "--", "sh", "-c", &write]).output().unwrap();
        assert!(told(&output).contains("Read-only file system"), "{}", told(&output));
    }
    fs::write(folder.join("mine.toml"), text + "# another\n").unwrap();
    scene.fails(&["install", "mine"], &["asks for more"]);
}
