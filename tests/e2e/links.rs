//! What was laid in the project by a sandbox decides nothing about the rest of the host: each test trusts the project, lets
//! a sandbox lay a link, and runs the next.

use std::{fs, process::Output};
use support::{Who, World, stdout, told};

struct Scene {
    world: World,
    /// What a sandbox does not see, and is after.
    outside: String,
}

impl Scene {
    fn new(who: Who, settings: &str) -> Self {
        let world = World::new(who);
        let outside = world.home().join("outside");
        let script = "mkdir -p ~/outside/d sub/d && echo A=hostonly > ~/outside/d/f && echo A=mine > sub/d/f && chmod 700 ~/outside";
        let _ = stdout(world.command("sh").args(["-c", script]));
        fs::write(world.project().join("agentkernel.toml"), settings).unwrap();
        let _ = stdout(&mut world.agentkernel(["trust"]));
        Self { outside: outside.display().to_string(), world }
    }

    fn run(&self, flags: &[&str], script: &str) -> Output {
        let arguments = [&["run"], flags, &["--", "sh", "-c", script]].concat();
        self.world.agentkernel(arguments).output().unwrap()
    }

    /// Runs the first, which lays the link, and the second, which is to be refused.
    fn is_refused(&self, flags: &[&str], lay: &str, then: &str) {
        let lay = lay.replace("OUTSIDE", &self.outside);
        let laid = self.run(&[], &lay);
        assert!(laid.status.success(), "{}", told(&laid));
        let output = self.run(flags, then);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(125), "{lay}: {text}");
        let leads_out = text.contains("by a link, to") && text.contains(&self.outside);
        assert!(leads_out || text.contains("is a symbolic link where the sandbox can change it"), "{lay}: {text}");
        assert!(!text.contains("hostonly"), "{lay}: {text}");
    }
}

#[test]
fn mounts() {
    for who in Who::all() {
        let scene = Scene::new(who, "[workspace]\nmounts = ['sub/d:/mnt/d']\n");
        let own = scene.run(&[], "cat /mnt/d/f; mv sub old; mkdir sub; mkdir sub/d; echo B=2 > sub/d/f");
        assert!(told(&own).contains("A=mine"), "{}", told(&own));
        let own = scene.run(&[], "cat /mnt/d/f");
        assert!(told(&own).contains("B=2"), "{}", told(&own));
        scene.is_refused(&[], "rm -r sub; ln -s OUTSIDE sub", "cat /mnt/d/f; echo x > /mnt/d/new");
        assert!(!scene.world.home().join("outside/d/new").exists());

        let scene = Scene::new(who, "");
        scene.is_refused(&["-v", "./sub/d:/mnt/d"], "rm -r sub; ln -s OUTSIDE sub", "cat /mnt/d/f");
        // A link of one's own that leads elsewhere in the project is none.
        let script = "rm sub; mkdir -p real/d; echo A=near > real/d/f; ln -s real sub";
        assert!(scene.run(&[], script).status.success());
        let output = scene.run(&["-v", "./sub/d:/mnt/d:ro"], "cat /mnt/d/f");
        assert!(told(&output).contains("A=near"), "{}", told(&output));
        let output = scene.run(&["-v", "./sub/d:/mnt/d"], "echo x > /mnt/d/f");
        assert!(
            told(&output).contains("'sub' is a symbolic link where the sandbox can change it"),
            "{}",
            told(&output)
        );
        // What another mount lets it write to is the same.
        let _ = stdout(scene.world.command("sh").args(["-c", "mkdir -p ~/lent/sub/d"]));
        let lent = scene.world.home().join("lent");
        let (whole, part) = (format!("{}:/mnt/w", lent.display()), format!("{}/sub/d:/mnt/d:ro", lent.display()));
        let flags = ["-v", whole.as_str(), "-v", part.as_str()];
        let laid = scene.run(&flags, &format!("mv /mnt/w/sub /mnt/w/old; ln -s {} /mnt/w/sub", scene.outside));
        assert!(laid.status.success(), "{}", told(&laid));
        let output = scene.run(&flags, "cat /mnt/d/f");
        assert!(told(&output).contains("by a link, to"), "{}", told(&output));
    }
}

/// A mount that can be written is a second way to what is protected: no link leads there.
#[test]
fn mounts_of_protected_paths() {
    for who in Who::all() {
        for (target, below) in [(".git", "config"), (".git/hooks", ""), (".", ".git/config"), (".claude", "hooks")] {
            let scene = Scene::new(who, "[workspace]\nmounts = ['sub/deploy:/mnt/d']\n");
            let make = "git init -q .; mkdir -p sub/deploy .claude/hooks; touch sub/deploy/config sub/deploy/hooks";
            let _ = stdout(scene.world.command("sh").args(["-c", make]));
            let _ = stdout(&mut scene.world.agentkernel(["trust"]));
            let flag = format!("sub/deploy/{below}:/mnt/f");
            let laid = scene.run(&[], &format!("mv sub old; mkdir sub; ln -s ../{target} sub/deploy"));
            assert!(laid.status.success(), "{}", told(&laid));
            let refused = |output: Output| {
                let text = told(&output);
                assert!(output.status.code() == Some(125) && text.contains("symbolic link"), "{target}: {text}");
            };
            refused(scene.run(&[], "touch /mnt/d/made"));
            fs::write(scene.world.project().join("agentkernel.toml"), "").unwrap();
            refused(scene.run(&["-v", &flag], "echo x >> /mnt/f; touch /mnt/f/made"));
        }
    }
}

#[test]
fn directories_that_are_images() {
    for who in Who::all() {
        let scene = Scene::new(who, "");
        let lay = "rm -r sub; ln -s OUTSIDE sub";
        scene.is_refused(&["--image", "dir:./sub/d", "--workspace", "none"], lay, "cat /f");
    }
}

#[test]
fn files_of_variables() {
    for who in Who::all() {
        let scene = Scene::new(who, "[sandbox]\nenv_file = 'sub/d/f'\n");
        assert!(told(&scene.run(&[], "echo $A")).contains("mine"));
        scene.is_refused(&[], "ln -sf OUTSIDE/d/f sub/d/f", "env");
        let scene = Scene::new(who, "");
        scene.is_refused(&["--env-file", "sub/d/f"], "ln -sf OUTSIDE/d/f sub/d/f", "env");
        let _ = stdout(&mut scene.world.agentkernel(["run", "-d", "--name", "box", "--", "sleep", "600"]));
        let exec = scene.world.agentkernel(["exec", "--env-file", "sub/d/f", "box", "env"]).output().unwrap();
        assert!(!exec.status.success() && told(&exec).contains("by a link, to"), "{}", told(&exec));
    }
}

#[test]
fn files_of_secrets() {
    for who in Who::all() {
        // One that the sandbox reads is none, and one that it can choose neither.
        let rule = "[network]\nallow = ['api.example.org']\n[secrets]\n";
        let scene = Scene::new(who, &format!("{rule}KEY = {{ hosts = ['api.example.org'], from = 'file:sub/d/f' }}\n"));
        let output = scene.run(&[], "cat sub/d/f");
        let text = told(&output);
        assert!(output.status.code() == Some(125) && text.contains("which the sandbox reads"), "{text}");
        assert!(text.contains("agentkernel secret set KEY --stdin"), "{text}");
        // Without the workspace it is none of the sandbox's.
        let output = scene.run(&["--workspace", "none"], "echo $KEY");
        assert!(told(&output).contains("agentkernel-KEY-"), "{}", told(&output));
        for lay in ["ln -sf OUTSIDE/d/f sub/d/f", "rm -r sub; ln -s OUTSIDE sub"] {
            let lay = lay.replace("OUTSIDE", &scene.outside);
            let _ = stdout(scene.world.command("sh").args(["-c", &lay]));
            let output = scene.run(&[], "echo");
            assert!(told(&output).contains("by a link, to"), "{lay}: {}", told(&output));
        }

        // What an image of the host's has, it reads as well.
        let at = scene.world.home().join("root");
        let _ = stdout(scene.world.command("sh").args(["-c", "mkdir ~/root && echo value > ~/root/key"]));
        let file = at.join("key").display().to_string();
        let set = ["secret", "set", "IN", "--host", "api.example.org", "--from-file", &file];
        let _ = stdout(&mut scene.world.agentkernel(set));
        let image = format!("dir:{}", at.display());
        let output = scene.run(&["--workspace", "none", "--image", &image, "--secret", "IN"], "cat /key");
        let text = told(&output);
        assert!(output.status.code() == Some(125) && text.contains("which the sandbox reads"), "{text}");

        // One that is recorded, and a kept sandbox.
        let scene = Scene::new(who, &format!("{rule}KEY = ['api.example.org']\n"));
        let file = format!("{}/d/f", scene.outside);
        let _ = stdout(&mut scene.world.agentkernel(["secret", "set", "KEY", "--from-file", &file]));
        let _ = stdout(&mut scene.world.agentkernel(["create", "--name", "box", "--", "sleep", "600"]));
        let _ = stdout(&mut scene.world.agentkernel(["start", "box"]));
        let _ = stdout(&mut scene.world.agentkernel(["stop", "box"]));
        let _ = stdout(&mut scene.world.agentkernel(["secret", "set", "KEY", "--from-file", "sub/d/f"]));
        let output = scene.world.agentkernel(["start", "box"]).output().unwrap();
        assert!(told(&output).contains("which the sandbox reads"), "{}", told(&output));
    }
}

/// What agentkernel itself is told by its user is for no sandbox.
#[test]
fn the_users_own_configuration() {
    for who in Who::all() {
        let scene = Scene::new(who, "");
        let secret = ["secret", "set", "KEY", "--host", "api.example.org", "--from-env", "V"];
        let _ = stdout(&mut scene.world.agentkernel(secret));
        let config = scene.world.home().join(".config");
        for place in [config.clone(), config.join("agentkernel"), config.join("agentkernel/secrets")] {
            for mode in ["", ":ro"] {
                let mount = format!("{}:/mnt/c{mode}", place.display());
                let output = scene.run(&["-v", &mount], "ls /mnt/c");
                let text = told(&output);
                assert!(output.status.code() == Some(125) && text.contains("own configuration"), "{text}");
            }
        }
        let image = format!("dir:{}", scene.world.home().display());
        let output = scene.run(&["--workspace", "none", "--image", &image], "ls /");
        assert!(told(&output).contains("own configuration"), "{}", told(&output));
        let mut within = scene.world.agentkernel(["run", "--", "true"]);
        let output = within.env("XDG_CONFIG_HOME", scene.world.project().join("sub")).output().unwrap();
        assert!(told(&output).contains("own configuration"), "{}", told(&output));
    }
}

/// What it leads to by links is for no sandbox either: a project with the user's dotfiles would choose its own limits.
#[test]
fn what_the_users_own_configuration_leads_to() {
    for who in Who::all() {
        let scene = Scene::new(who, "");
        let home = scene.world.home();
        let lay = |script: &str| drop(stdout(scene.world.command("sh").args(["-c", script])));
        let refused = |flags: &[&str], link: &str| {
            for flags in [flags, &[flags, &["--workspace", "overlay"]].concat()] {
                let output = scene.run(flags, "printf '[network]\\nmode = \"open\"\\n' > ak.toml");
                let text = told(&output);
                assert!(output.status.code() == Some(125) && text.contains("own configuration"), "{link}: {text}");
                assert!(text.contains(&format!("{link} leads to")) && text.contains("put a copy"), "{link}: {text}");
            }
        };
        let (project, config) = (scene.world.project().display().to_string(), home.join(".config/agentkernel"));
        let toml = config.join("config.toml").display().to_string();
        let _ = stdout(&mut scene.world.agentkernel(["create", "--name", "box", "--", "sleep", "600"]));
        lay(&format!("mkdir -p {} && printf '[network]\\nmode = \"none\"\\n' > {project}/ak.toml", config.display()));
        lay(&format!("chmod go-w {project} {project}/ak.toml {} && ln -s {project}/ak.toml {toml}", config.display()));
        refused(&[], &toml);
        // One that was made before the link was laid.
        let output = scene.world.agentkernel(["start", "box"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("own configuration"), "{}", told(&output));
        let _ = stdout(&mut scene.world.agentkernel(["rm", "box"]));
        assert_eq!(fs::read_to_string(&toml).unwrap(), "[network]\nmode = \"none\"\n");
        // By way of the project, to where no sandbox is: who changes what is on the way leads it elsewhere.
        lay(&format!("mv {project}/ak.toml ~/real.toml && ln -s ~/real.toml {project}/ak.toml"));
        refused(&[], &toml);
        lay(&format!("rm {toml} {project}/ak.toml && mkdir -p {project}/dir && ln -s ~ {project}/dir/home"));
        lay(&format!("ln -s {project}/dir/home/real.toml {toml}"));
        refused(&[], &toml);
        // A mount, of a directory or of the file alone, to be read or written.
        lay(&format!("rm {toml} && mkdir ~/dots && mv ~/real.toml ~/dots/ak.toml && ln -s ~/dots/ak.toml {toml}"));
        for place in ["dots", "dots/ak.toml"] {
            for mode in ["", ":ro"] {
                refused(&["-v", &format!("{}:/mnt/d{mode}", home.join(place).display())], &toml);
            }
        }
        assert!(scene.run(&[], "true").status.success(), "nothing of it is in the project");
        // What else lies there.
        let agent = config.join("agents/one.toml").display().to_string();
        lay(&format!("mkdir {}/agents && ln -s {project}/one.toml {agent}", config.display()));
        refused(&[], &agent);
    }
}

#[test]
fn variables_in_the_place_of_a_placeholder() {
    for who in Who::all() {
        let scene = Scene::new(who, "[network]\nallow = ['a.example']\n[secrets]\nKEY = ['a.example']\n");
        let run = |arguments: &[&str]| {
            let mut command = scene.world.agentkernel(arguments);
            command.env("KEY", "re4l").env("OTHER", "0ther").output().unwrap()
        };
        let output = run(&["run", "-d", "--keep", "--name", "box", "--", "sleep", "600"]);
        assert!(output.status.success(), "{}", told(&output));
        for flag in ["KEY", "KEY=else"] {
            let output = run(&["exec", "-e", flag, "box", "env"]);
            assert!(output.status.code() == Some(125) && !told(&output).contains("re4l"), "{}", told(&output));
            assert!(told(&output).contains("would be in variable KEY, which is set already"), "{}", told(&output));
        }
        // Without the value it is not even stopped.
        let output = scene.world.agentkernel(["restart", "box"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("KEY"), "{}", told(&output));
        let output = run(&["exec", "box", "env"]);
        assert!(output.status.success() && told(&output).contains("KEY=agentkernel-KEY-"), "{}", told(&output));
        // By the name that its value has outside, too.
        let _ =
            stdout(&mut scene.world.agentkernel(["secret", "set", "S", "--from-env", "OTHER", "--host", "a.example"]));
        for arguments in [
            &["run", "--secret", "S", "-e", "OTHER", "--", "env"],
            &["run", "--secret", "S", "-e", "OTHER=0ther", "--", "env"],
        ] {
            let output = run(arguments);
            assert!(output.status.code() == Some(125) && !told(&output).contains("OTHER=0ther"), "{}", told(&output));
        }
        let output = run(&["run", "--secret", "S", "-e", "OTHER=harmless", "--", "env"]);
        assert!(output.status.success(), "{}", told(&output));
        // A kept sandbox has had a variable since before its value was a secret's.
        let set = ["secret", "set", "T", "--from-env", "KEY", "--host", "a.example"];
        let _ = stdout(scene.world.agentkernel(set).env("KEY", "first"));
        let _ = stdout(
            scene
                .world
                .agentkernel(["create", "--name", "kept", "--secret", "T", "-e", "OTHER", "--", "env"])
                .env("OTHER", "0ther")
                .env("KEY", "re4l"),
        );
        let set = ["secret", "set", "T", "--from-env", "OTHER", "--host", "a.example"];
        let _ = stdout(scene.world.agentkernel(set).env("OTHER", "0ther"));
        let output = run(&["start", "kept"]);
        assert!(!output.status.success(), "{}", told(&output));
        assert!(told(&output).contains("OTHER holds the value of secret 'T'"), "{}", told(&output));
    }
}
