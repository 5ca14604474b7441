//! What cases stand on: a user's world, an internet, an engine if the backend has one, and one image for all.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
};
use support::{
    NOBODY, Who, World,
    engine::{Engine, Kind},
    eventually,
    internet::{HIDDEN, Internet, OWN, WEB, installed},
    stdout, told,
};

/// What every sandbox of a case is made of.
pub const IMAGE: &str = "box:1";
/// What every kept sandbox of a case is called.
pub const BOX: &str = "box";

/// What makes sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Native,
    /// The backend docker, by this engine.
    Engine(Kind),
}

impl Maker {
    /// Its backend.
    fn backend(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Engine(_) => "docker",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Engine(kind) => kind.program(),
        }
    }
}

/// A backend, and somebody who uses it.
pub struct Bench {
    pub backend: &'static str,
    pub world: World,
    pub internet: Internet,
    pub engine: Option<Engine>,
    /// What the backend cannot do, by name, with the reason.
    pub lacks: BTreeMap<String, String>,
    /// The requests that the internet's own server has had, once it is there.
    heard: OnceLock<Arc<Mutex<String>>>,
}

impl Bench {
    /// `None`, counted and named, if there can be none here.
    pub fn new(maker: Maker, who: Who) -> Option<Self> {
        Self::with(maker, who, &[])
    }

    /// One whose engine was started with further options.
    pub fn with(maker: Maker, who: Who, options: &'static [&'static str]) -> Option<Self> {
        if !["busybox", "curl", "nginx", "ssh-agent"].into_iter().all(installed) {
            return None;
        }
        let engine = match maker {
            Maker::Native => None,
            Maker::Engine(kind) => Some(Engine::with(kind, options)?),
        };
        let backend = maker.backend();
        let internet = Internet::new()?;
        internet.nginx(&[WEB, HIDDEN]);
        let world = World::new(who);
        let mut bench = Self { backend, world, internet, engine, lacks: BTreeMap::new(), heard: OnceLock::new() };
        bench.has(&bench.image());
        let report = bench.agentkernel(&["doctor", "--json"]).output().unwrap();
        let report: serde_json::Value =
            serde_json::from_slice(&report.stdout).unwrap_or_else(|_| panic!("{}", told(&report)));
        let backends = report["backends"].as_array().unwrap();
        let found = backends.iter().find(|found| found["name"] == backend).unwrap();
        assert_eq!(found["works"], true, "{found:#}");
        for finding in found["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] == "missing") {
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            bench.lacks.insert(text("name"), text("detail"));
        }
        if !support::may_limit(who) && backend == "native" {
            bench.lacks.insert("limits".into(), "this user may make no cgroups".into());
        }
        Some(bench)
    }

    /// An archive of Docker's form with an image of busybox, curl and some of OpenSSH, which trusts the internet's authority.
    fn image(&self) -> PathBuf {
        let script = r#"set -e
cd "$HOME"
trusted=$1
mkdir -p image/root/bin image/root/etc image/root/tmp image/root/srv image/root/home/app
chmod 1777 image/root/tmp
cd image
cp /bin/busybox root/bin/busybox
for name in $(/bin/busybox --list); do [ $name = busybox ] || ln -s busybox root/bin/$name; done
printf 'nameserver 192.0.2.1\n' > root/etc/resolv.conf
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:7:8:app:/home/app:/bin/sh\n' > root/etc/passwd
printf 'root:x:0:\napp:x:8:\nstaff:x:50:app\n' > root/etc/group
echo original > root/srv/file
for program in curl ssh-add ssh-keygen; do
for file in $(command -v $program) $(ldd $(command -v $program) | grep -o '/[^ ]*'); do cp -L --parents $file root; done
mv root$(command -v $program) root/bin/$program
done
mkdir -p root/etc/ssl/certs
cat $trusted/ca-certificates.crt > root/etc/ssl/certs/ca-certificates.crt
tar -C root --owner=0 --group=0 -cf layer.tar bin etc lib lib64 tmp srv
tar -C root --owner=7 --group=8 -rf layer.tar home/app
layer=$(sha256sum layer.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{"Env":["PATH=/bin","COLOR=blue"],"WorkingDir":"/srv","Labels":{"a":"b"}},
"history":[{"created_by":"test"}],
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
echo '[{"Config":"config.json","RepoTags":["box:1"],"Layers":["layer.tar"]}]' > manifest.json
tar -cf ../image.tar manifest.json config.json layer.tar
"#;
        let trusted = self.internet.path("trusted");
        let _ = stdout(self.world.command("sh").args(["-c", script, "sh"]).arg(trusted));
        self.world.home().join("image.tar")
    }

    /// Makes the image `NAME:1` of [`IMAGE`]: with a layer of what a script puts into the directory where it runs, root's
    /// own, and with this in its config: the inside of a JSON object.
    #[track_caller]
    pub fn derive(&self, name: &str, config: &str, script: &str) {
        const DERIVE: &str = r#"set -e
cd "$HOME" && mkdir -p "$1/new" && cd "$1"
(umask 022 && cd new && eval "$3")
tar -C new --owner=0 --group=0 -cf 1.tar .
cp ../image/layer.tar 0.tar
digest() { sha256sum $1 | cut -d' ' -f1; }
cat > config.json <<END
{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{"Env":["PATH=/bin"]${2:+,$2}},
"rootfs":{"type":"layers","diff_ids":["sha256:$(digest 0.tar)","sha256:$(digest 1.tar)"]}}
END
echo '[{"Config":"config.json","RepoTags":["'$1':1"],"Layers":["0.tar","1.tar"]}]' > manifest.json
tar -cf ../$1.tar manifest.json config.json 0.tar 1.tar
"#;
        let _ = stdout(self.world.command("sh").args(["-c", DERIVE, "sh", name, config, script]));
        self.has(&self.world.home().join(format!("{name}.tar")));
    }

    /// Brings an image in an archive to where the backend has its own.
    #[track_caller]
    fn has(&self, archive: &Path) {
        match &self.engine {
            Some(engine) => engine.load(archive),
            None => drop(self.says(&["image", "import", archive.to_str().unwrap()])),
        }
    }

    /// `agentkernel` with these arguments.
    pub fn agentkernel(&self, arguments: &[&str]) -> Command {
        let mut command = self.internet.agentkernel(&self.world, arguments);
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine.host());
        }
        command
    }

    /// What it says, which must succeed.
    #[track_caller]
    pub fn says(&self, arguments: &[&str]) -> String {
        stdout(&mut self.agentkernel(arguments))
    }

    /// What it does to say no.
    #[track_caller]
    pub fn refuses(&self, arguments: &[&str], with: &str) {
        let output = self.agentkernel(arguments).output().unwrap();
        let text = told(&output);
        assert!(!output.status.success() && text.contains(with), "{with}: {text}");
    }

    fn words<'a>(&self, verb: &'a str, options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![verb, "--backend", self.backend];
        if !options.contains(&"--image") {
            words.extend(["--image", IMAGE]);
        }
        words.extend(options);
        words.extend(command.first().map(|_| "--"));
        words.extend(command);
        words
    }

    /// `run` with these options.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Command {
        self.agentkernel(&self.words("run", options, command))
    }

    /// How a script ends in a new sandbox, and what it writes.
    pub fn sh(&self, options: &[&str], script: &str) -> Output {
        self.run(options, &["sh", "-c", script]).output().unwrap()
    }

    /// What a script writes in a new sandbox, where it must end well.
    #[track_caller]
    pub fn works(&self, options: &[&str], script: &str) -> String {
        stdout(&mut self.run(options, &["sh", "-c", script]))
    }

    /// A program with this input.
    #[track_caller]
    pub fn with_input(&self, command: &mut Command, input: &[u8]) -> Output {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // Whoever ends early takes no more.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Makes the sandbox [`BOX`] and starts it.
    #[track_caller]
    pub fn kept(&self, options: &[&str], command: &[&str]) {
        let _ = self.says(&self.words("create", &[&["--name", BOX], options].concat(), command));
        let _ = self.says(&["start", BOX]);
    }

    /// What a script writes in [`BOX`], where it must end well.
    #[track_caller]
    pub fn exec(&self, script: &str) -> String {
        self.says(&["exec", BOX, "sh", "-c", script])
    }

    /// The first of what `inspect` tells of [`BOX`].
    #[track_caller]
    pub fn inspect(&self) -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&self.says(&["inspect", BOX])).unwrap()[0].take()
    }

    /// A file of the project, its user's.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.world.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.own();
        path
    }

    /// What the test has put into the project is its user's.
    pub fn own(&self) {
        if self.world.who() == Who::Nobody {
            let owner = format!("{NOBODY}:{NOBODY}");
            let chown = Command::new("chown").args(["-Rh", &owner]).arg(self.world.project()).status();
            assert!(chown.unwrap().success());
        }
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.world.project().join(name)).unwrap()
    }

    /// Whose a file of the project is.
    #[track_caller]
    pub fn owner(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.world.project().join(name)).unwrap().uid()
    }

    /// Who the caller is.
    pub fn caller(&self) -> u32 {
        if self.world.who() == Who::Nobody { NOBODY } else { rustix::process::getuid().as_raw() }
    }

    /// The heads of the requests that [`OWN`] hears from now on. It answers `ok` to each.
    pub fn heard(&self) -> Arc<Mutex<String>> {
        let serve = || {
            let heard = Arc::new(Mutex::new(String::new()));
            let tell = heard.clone();
            self.internet.serve(OWN, move |stream: TcpStream| {
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                tell.lock().unwrap().push_str(&head);
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            });
            heard
        };
        let heard = self.heard.get_or_init(serve);
        heard.lock().unwrap().clear();
        heard.clone()
    }

    /// Removes what a case has left, whether it went well or not.
    pub fn clear(&self) {
        let all = self.says(&["ps", "-a", "-q"]);
        for id in all.lines() {
            let _ = self.agentkernel(&["rm", "-f", id]).output();
        }
        let _ = Command::new("sh").arg("-c").arg("rm -rf ./* ./.[!.]*").current_dir(self.world.project()).status();
        let _ = fs::remove_dir_all(self.world.home().join(".config"));
    }

    /// That all sandboxes are gone from the host and from the engine.
    pub fn leaves_nothing(&self) {
        // Who has lost an engine waits longer for it than others wait for anything.
        let mut left = self.world.leftovers();
        for _ in 0..1200 {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
            left = self.world.leftovers();
        }
        assert!(left.is_empty(), "left on the host: {left:?}");
        if let Some(engine) = &self.engine {
            eventually("no container is left", || engine.containers().is_empty());
            eventually("no volume is left", || engine.volumes().is_empty());
        }
    }
}
