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
    /// So many bytes of it, and then nothing more.
    Beginning(Vec<u8>, usize),
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
        let path = lines.first()?.split(' ').nth(1)?.to_owned();
        asked.lock().ok()?.push(path.clone());
        let says = files.lock().ok()?.get(&path).cloned();
        match says {
            None => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok()?,
            Some(Says::All(bytes)) => {
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes())
                    .ok()?;
                stream.write_all(&bytes).ok()?;
            }
            Some(Says::Beginning(bytes, count)) => {
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes())
                    .ok()?;
                stream.write_all(&bytes[..count]).ok()?;
                return None;
            }
        }
    }
}

/// A package as npm packs it.
fn package(folder: &std::path::Path) -> Vec<u8> {
    let script = "mkdir -p package/bin && cp /bin/busybox package/bin/busybox && echo unused > package/README
                  tar -czf package.tgz package && rm -r package";
    let status = std::process::Command::new("sh").args(["-euc", script]).current_dir(folder).status().unwrap();
    assert!(status.success());
    fs::read(folder.join("package.tgz")).unwrap()
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
         [[packages]]\nfile = 'agent.tgz'\nnpm = '@scope/mine'\nversion = '1.0'\nsize = {}\nintegrity = '{}'\n",
        bytes.len(),
        integrity(bytes)
    )
}

const PATH: &str = "@scope/mine/-/mine-1.0.tgz";

struct Scene {
    world: World,
    files: Files,
    bytes: Vec<u8>,
}

impl Scene {
    fn new(who: Who) -> Self {
        let (world, files) = (World::new(who), Files::start());
        let folder = tempfile::tempdir().unwrap();
        let bytes = package(folder.path());
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
        assert!(list.starts_with("AGENT") && list.contains("mine       Mine") && list.contains("claude"), "{list}");
        let output = scene.agents(&["install", "mine"]);
        assert!(output.status.success(), "{}", told(&output));
        let list = stdout(&mut scene.world.agentkernel(["agents", "--json"]));
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let mine = list.as_array().unwrap().iter().find(|row| row["name"] == "mine").unwrap();
        assert_eq!((&mine["installed"][0], &mine["current"]), (&"1.0".into(), &true.into()), "{list}");
        // Once more, nobody is asked.
        let asked = scene.files.asked.lock().unwrap().len();
        scene.files.put(PATH, Says::Beginning(Vec::new(), 0));
        let output = scene.agents(&["install", "mine"]);
        assert!(told(&output).contains("mine 1.0 is installed"), "{}", told(&output));
        assert_eq!(scene.files.asked.lock().unwrap().len(), asked);
        // Nothing of the way there is left.
        let usage = stdout(&mut scene.world.agentkernel(["image", "du"]));
        assert!(usage.contains("images            1\n") && usage.contains("layers            1\n"), "{usage}");
        let layer = "agents.invalid/mine:1.0";
        let run = ["run", "--layer", layer, "--", "/opt/agentkernel/agents/mine/busybox", "echo", "from the layer"];
        assert_eq!(stdout(&mut scene.world.agentkernel(run)), "from the layer\n");
        let output = scene.agents(&["remove", "mine"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "mine 1.0\n");
        scene.fails(&["remove", "mine"], &["Agent 'mine' is not installed", "agentkernel agents"]);
    }
}

#[test]
fn what_is_not_what_it_should_be_is_not_installed() {
    let scene = Scene::new(Who::Me);
    let mut other = scene.bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    scene.files.put(PATH, Says::All(other));
    scene.fails(&["install", "mine"], &["sha512:", "127.0.0.1"]);
    scene.files.put(PATH, Says::All(scene.bytes[1..].to_vec()));
    scene.fails(&["install", "mine"], &["bytes"]);
    scene.files.files.lock().unwrap().clear();
    scene.fails(&["install", "mine"], &["such file"]);
    // What is no archive is none, whatever its digest is.
    let junk = vec![7; 5000];
    scene.write(".config/agentkernel/agents/mine.toml", &adapter(&junk));
    scene.files.put(PATH, Says::All(junk));
    scene.fails(&["install", "mine"], &["mine.toml:4"]);
    assert!(stdout(&mut scene.world.agentkernel(["agents"])).contains("1.0       -"));
    let usage = stdout(&mut scene.world.agentkernel(["image", "du"]));
    assert!(usage.contains("images            0\n"), "{usage}");
}

/// What broke off goes on where it was.
#[test]
fn an_install_that_was_cut_off_goes_on() {
    let scene = Scene::new(Who::Me);
    scene.files.put(PATH, Says::Beginning(scene.bytes.clone(), scene.bytes.len() / 2));
    scene.fails(&["install", "mine"], &["127.0.0.1"]);
    let work = scene.world.state().join("images/work");
    let part = fs::read_dir(work)
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|e| e.path().extension().is_some_and(|e| e == "part"));
    assert_eq!(part.unwrap().metadata().unwrap().len(), scene.bytes.len() as u64 / 2);
    scene.files.put(PATH, Says::All(scene.bytes.clone()));
    let output = scene.agents(&["install", "mine"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn mistakes_are_told_in_one_line() {
    let scene = Scene::new(Who::Me);
    scene.fails(&["install", "claud"], &["No agent is called 'claud'", "Did you mean 'claude'?"]);
    scene.fails(&["show", "./none.toml"], &["Can't read ./none.toml: No such file"]);
    scene.write(".npmrc", "registry=http://127.0.0.1:1/\n");
    scene.fails(&["install", "mine"], &["127.0.0.1:1"]);
    scene.write(".npmrc", "registry=http://example.org/\n");
    scene.fails(&["install", "mine"], &["'http://example.org/@scope/mine/-/mine-1.0.tgz' is not an address"]);
    scene.write(".npmrc", "");
    let mut command = scene.world.agentkernel(["agents", "install", "mine"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    assert!(
        told(&output).contains("It is not known where npm's packages are") && told(&output).contains(".npmrc"),
        "{}",
        told(&output)
    );
    scene.write(".config/agentkernel/agents/mine.toml", &format!("{}comand = 1\n", adapter(&scene.bytes)));
    scene.fails(&["install", "mine"], &["mine.toml:18: unknown field `comand`"]);
}

/// The package that npm's own registry has.
#[test]
fn a_real_agent_is_installed_and_answers() {
    let world = World::new(Who::Me);
    let output = world.agentkernel(["agents", "install", "-q", "opencode"]).output().unwrap();
    if !output.status.success() {
        let words = told(&output);
        let unreachable = ["It is not known where", "cannot be looked up", "cannot be reached"];
        assert!(unreachable.iter().any(|text| words.contains(text)), "{words}");
        support::skipped("installing an agent from npm's registry", words.lines().next().unwrap_or_default());
        return;
    }
    let layer = ["run", "--layer", "agents.invalid/opencode:1.18.33", "-m", "2G"];
    let run = [&layer[..], &["--", "/opt/agentkernel/agents/opencode/opencode", "--version"]].concat();
    assert_eq!(stdout(&mut world.agentkernel(run)), "1.18.33\n");
}
