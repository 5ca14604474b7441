//! What real agents stand on: one that is installed once, an internet with services of models, and users on backends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use support::{
    NOBODY, Who, World,
    engine::{Engine, Kind},
    internet::{Internet, installed},
    screen::Screen,
    stdout, told,
};

/// What logs in, which no sandbox ever sees.
pub const KEY: &str = "sk-ant-real-5f2c1d7e9a8b4c3d";
/// The image that an engine has.
const IMAGE: &str = "agents:1";

/// A real agent, and how a test speaks to it.
pub struct Agent {
    pub name: &'static str,
    /// What it answers to `--version`.
    pub version: &'static str,
    /// The variable that holds its key.
    pub variable: &'static str,
    /// The variable inside.
    pub inside: &'static str,
    /// The service that it asks.
    pub host: &'static str,
    /// What it must be told besides.
    pub arguments: &'static [&'static str],
    /// What it shows when it waits for a person.
    pub ready: &'static str,
    /// The keys by which a person leaves it.
    pub leave: &'static [&'static str],
}

/// An agent that is installed, for somebody on a backend.
pub struct Scene<'a> {
    pub agent: &'a Agent,
    pub world: World,
    pub internet: &'a Internet,
    pub engine: Option<&'a Engine>,
    /// What it lies over, if not over what the user's backend has anyway.
    image: Option<String>,
}

/// A world of whoever runs the tests, with these installed; `None`, counted and named, if their registry is out of reach.
pub fn install(agents: &[&Agent]) -> Option<World> {
    install_for("glibc", agents)
}

/// The same for images with this C library.
pub fn install_for(libc: &str, agents: &[&Agent]) -> Option<World> {
    let world = World::new(Who::Me);
    for agent in agents {
        let output = world.agentkernel(["agents", "install", "-q", "--libc", libc, agent.name]).output().unwrap();
        if output.status.success() {
            continue;
        }
        let words = told(&output);
        let unreachable = ["It is not known where", "cannot be looked up", "cannot be reached", "There is no host"];
        assert!(unreachable.iter().any(|text| words.contains(text)), "{words}");
        let why = words.lines().next().unwrap_or_default().to_owned();
        support::skipped(&format!("installing {} from its registry", agent.name), &why);
        return None;
    }
    Some(world)
}

impl<'a> Scene<'a> {
    /// Whoever has installed it, and recorded its key where its adapter does not know that.
    pub fn of(world: World, agent: &'a Agent, internet: &'a Internet) -> Self {
        let scene = Self { agent, world, internet, engine: None, image: None };
        if agent.arguments.contains(&"--secret") {
            let set = ["secret", "set", agent.variable, "--from-env", agent.variable, "--host", agent.host];
            let _ = stdout(&mut scene.agentkernel(&set));
        }
        scene
    }

    /// The same agent with an ordinary user, who gets what another has installed as if he had.
    pub fn of_nobody(&self) -> Self {
        let world = World::new(Who::Nobody);
        let (from, to) = (self.world.state(), world.state());
        for command in [
            format!("mkdir -p {0} && cp -a {1}/version {1}/images {1}/cache {0}/", to.display(), from.display()),
            format!("chown -Rh {NOBODY}:{NOBODY} {}", to.display()),
        ] {
            assert!(Command::new("sh").args(["-ec", &command]).status().unwrap().success());
        }
        Self { world, agent: self.agent, internet: self.internet, engine: None, image: None }
    }

    /// The same user with an engine, which has an image of a shell and what agents are linked to.
    pub fn in_engine(self, engine: &'a Engine) -> Self {
        engine.load(&image(&self.world));
        Self { engine: Some(engine), image: Some(IMAGE.to_owned()), ..self }
    }

    /// The same user with an image whose C library is musl, as that of Alpine is; `None`, counted and named, if there is none
    /// to be had.
    pub fn over_musl(self) -> Option<Self> {
        if !installed("bash-static") {
            return None;
        }
        let Some(root) = musl(&self.world) else {
            support::skipped("an agent over musl", "there is no musl");
            return None;
        };
        Some(Self { image: Some(format!("dir:{}", root.display())), ..self })
    }

    /// An engine, if there can be one.
    pub fn engine(kind: Kind) -> Option<Engine> {
        Engine::new(kind)
    }

    pub fn maker(&self) -> String {
        let backend = self.engine.map_or("native", |engine| match engine.kind() {
            Kind::Docker => "docker",
            Kind::Podman => "docker (podman)",
        });
        format!("{} on {backend} as {:?}", self.agent.name, self.world.who())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.world.project().join(name)
    }

    /// Writes a file of the project, as its user.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        let script = "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"";
        let mut command = self.world.command("sh");
        let _ = stdout(command.args(["-ec", script, "sh", path.to_str().unwrap(), text]));
    }

    /// A script of the user's, in the project, which must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) {
        let _ = stdout(self.world.command("sh").args(["-ec", script]));
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.maker()))
    }

    pub fn read_if_there(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.file(name)).ok()
    }

    /// An agent, and what it lies over, as words.
    fn words(&self, command: &'static str, arguments: &[&'static str]) -> Vec<&str> {
        let backend: &[&str] = if self.engine.is_some() { &["--backend", "docker"] } else { &[] };
        let image: Vec<&str> = self.image.iter().flat_map(|image| ["--image", image]).collect();
        [&[command, self.agent.name], arguments, backend, &image].concat()
    }

    /// `agentkernel run AGENT`, as words.
    fn run_words(&self) -> Vec<&str> {
        self.words("run", self.agent.arguments)
    }

    /// `agentkernel run AGENT`.
    pub fn run(&self, arguments: &[&str]) -> Command {
        self.agentkernel(&[&self.run_words(), arguments].concat())
    }

    /// What it answers to `--version`, without a network and what logs in.
    pub fn version(&self) -> String {
        let words = self.words("run", &["--no-login", "--net", "none"]);
        stdout(&mut self.agentkernel(&[&words[..], &["--", "--version"]].concat()))
    }

    /// `agentkernel run AGENT`, as it is typed at a [`Scene::screen`].
    pub fn typed(&self) -> String {
        format!("{} {}", self.world.binary().display(), self.run_words().join(" "))
    }

    /// A terminal of the user's.
    pub fn screen(&self) -> Screen<'_> {
        Screen::by(&self.world, self.command(Path::new("/usr/bin/tmux")))
    }

    pub fn agentkernel(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.world.binary());
        command.args(arguments);
        command
    }

    /// `agentkernel acp AGENT`, as an editor has it.
    pub fn acp(&self) -> String {
        // What is told to OpenCode by an argument otherwise stands in its settings here.
        let arguments = if self.agent.name == "opencode" { &[] } else { self.agent.arguments };
        format!("{} {}", self.world.binary().display(), self.words("acp", arguments).join(" "))
    }

    /// A program with the user's key and engine.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.internet.command(&self.world, program);
        command.env(self.agent.variable, KEY);
        if let Some(engine) = self.engine {
            command.env("DOCKER_HOST", engine.host());
        }
        command
    }

    /// Has it do a task, whose lines say what the model wants.
    #[track_caller]
    pub fn task(&self, arguments: &[&str], lines: &[&str]) -> Output {
        let task = lines.join("\n");
        let output = self.run(&[arguments, &["-p", &task]].concat()).output().unwrap();
        assert!(output.status.success(), "{}: {}", self.maker(), told(&output));
        output
    }
}

/// A root directory with programs that are linked to nothing, and musl for those that are; `None` if there is no musl.
fn musl(world: &World) -> Option<PathBuf> {
    let script = r#"set -e
loader=$(ls /lib/ld-musl-*.so.1) && cd "$HOME" && mkdir -p musl/bin musl/lib musl/etc musl/tmp musl/usr/bin && chmod 1777 musl/tmp
cp -L $loader musl/lib/ && cp /bin/busybox musl/bin/ && cp "$(command -v bash-static)" musl/bin/bash
name=${loader##*/ld-musl-}
ln -s ${loader##*/} musl/lib/libc.musl-$name
# What bash would complain of otherwise, which is not the image's own.
cp -r --parents /usr/lib/locale/C.utf8 musl
for name in $(/bin/busybox --list); do [ $name = busybox ] || ln -s busybox musl/bin/$name; done
ln -s /bin/env musl/usr/bin/env
printf 'root:x:0:0:root:/root:/bin/sh\n' > musl/etc/passwd
printf 'root:x:0:\n' > musl/etc/group
"#;
    let made = world.command("sh").args(["-c", script]).output().unwrap();
    made.status.success().then(|| world.home().join("musl"))
}

/// An archive of Docker's form with an image of bash, busybox and the libraries that agents are linked to.
fn image(world: &World) -> PathBuf {
    let script = r#"set -e
cd "$HOME" && rm -rf image && mkdir -p image/root/bin image/root/etc image/root/tmp image/root/usr/bin
chmod 1777 image/root/tmp
cd image
cp /bin/busybox root/bin/busybox
for name in $(/bin/busybox --list); do [ $name = busybox ] || ln -s busybox root/bin/$name; done
ln -s /bin/env root/usr/bin/env
printf 'root:x:0:0:root:/root:/bin/sh\n' > root/etc/passwd
printf 'root:x:0:\n' > root/etc/group
libraries=$(ldconfig -p | sed -n 's/.*=> //p' | grep -E '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s|libatomic)\.so\.[0-9]+$' | grep -v i386 || true)
bash=$(command -v bash)
for file in $libraries $(ldd $bash | grep -o '/[^ ]*'); do cp -L --parents $file root; done
cp $bash root/bin/bash
tar -C root --owner=0 --group=0 -cf layer.tar .
layer=$(sha256sum layer.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{"Env":["PATH=/usr/bin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created_by":"test"}]}
END
echo '[{"Config":"config.json","RepoTags":["agents:1"],"Layers":["layer.tar"]}]' > manifest.json
tar -cf ../image.tar manifest.json config.json layer.tar
"#;
    let _ = stdout(world.command("sh").args(["-c", script]));
    world.home().join("image.tar")
}
