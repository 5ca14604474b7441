//! Builds that are handed to an engine: what it makes is in the store, and what it can't be held to is refused.

use crate::workshop::Scene;
use std::process::Output;
use support::{
    Who,
    engine::{Engine, Kind},
    stdout, told,
};

/// What our own builder does not know, and Docker's does; and what both do.
const DOCKERFILE: &str = r#"ARG TAG=none
FROM base:1 AS first
ARG VERSION=0
ADD notes.tar.bz2 /notes
COPY . /all
RUN echo $VERSION > /version; ls -A /all > /list; ip -o link > /links 2>/dev/null; true
RUN cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us > /limits 2>/dev/null || cat memory.max cpu.max > /limits
FROM first AS last
ENV A=b
CMD ["cat", "/version"]
"#;

impl Scene {
    fn handed(&self, engine: &str, more: &[&str]) -> Output {
        let all = [&["image", "build", "--builder", "docker", "-t", "built:1"], more, &["."]].concat();
        self.world.agentkernel(all).env("DOCKER_HOST", engine).output().unwrap()
    }
}

#[test]
fn an_engine_builds_what_ours_does_not_know() {
    let Some(engine) = Engine::new(Kind::Docker) else { return };
    for who in Who::all() {
        let scene = Scene::new(who);
        engine.load(&scene.base());
        scene.sh("mkdir n && echo note > n/note && tar -cjf notes.tar.bz2 n && rm -r n");
        let text = told(&scene.try_build(DOCKERFILE, &[]));
        assert!(text.contains("Dockerfile:4") && text.contains("--builder docker"), "{text}");
        let output =
            scene.handed(&engine.host(), &["--build-arg", "VERSION=7", "--net", "none", "-m", "64M", "--cpus", "0.5"]);
        assert!(output.status.success(), "{}", told(&output));
        let digest = String::from_utf8(output.stdout).unwrap();
        let shown = scene.inspect("built:1");
        assert_eq!(digest.trim(), shown["manifest"].as_str().unwrap());
        // How far it is, as the engine tells it.
        assert!(String::from_utf8_lossy(&output.stderr).contains("RUN echo $VERSION"));
        assert_eq!(
            (&shown["run"]["Env"][2], &shown["run"]["Cmd"][1]),
            (&"A=b".into(), &"/version".into()),
            "{shown:#}"
        );
        assert_eq!(scene.run("cat /version /notes/n/note /all/docs/README.md; wc -l < /links"), "7\nnote\nreadme\n1\n");
        let limits = scene.run("cat /limits");
        assert!(limits.starts_with("67108864\n50000"), "{limits}");
        // What .dockerignore leaves out, and the two of ours.
        let list = scene.run("cat /list; ls -A /all/hidden /all/docs");
        assert!(list.contains("run.sh") && list.contains("Dockerfile\n") && list.contains("keep\n"), "{list}");
        for absent in ["a.log", ".dockerfile", ".dockerignore", "secret", "page.md"] {
            assert!(!list.contains(absent), "{absent}: {list}");
        }
        assert_eq!(scene.run("stat -c '%u:%g %a' /all/run.sh"), "0:0 755\n");
        // A stage, and no name: only the digest is told. The Dockerfile need not lie in the context.
        let again = ["image", "build", "--builder", "docker", "-q", "--target", "first", "-f", "-", "."];
        let mut again = scene.world.agentkernel(again);
        let input = scene.world.project().join("Dockerfile");
        let again =
            again.env("DOCKER_HOST", engine.host()).stdin(std::fs::File::open(input).unwrap()).output().unwrap();
        assert!(again.status.success() && again.stderr.is_empty(), "{}", told(&again));
        assert_ne!(String::from_utf8(again.stdout).unwrap(), digest);
        // Of what was under way nothing is left but locks.
        let work = scene.world.state().join("images/work").read_dir().unwrap();
        let names: Vec<String> = work.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|name| name.starts_with("layer-")), "{names:?}");
    }
}

#[test]
fn what_an_engine_says_is_told() {
    let Some(engine) = Engine::new(Kind::Docker) else { return };
    for who in Who::all() {
        let scene = Scene::new(who);
        engine.load(&scene.base());
        scene.write("Dockerfile", "FROM base:1\nRUN echo before; exit 3\n");
        for quiet in [&[][..], &["-q"]] {
            let output = scene.handed(&engine.host(), quiet);
            let text = told(&output);
            assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "{text}");
            assert!(text.contains("before") && text.contains("returned a non-zero code: 3"), "{text}");
        }
        scene.write("Dockerfile", "FROM base:1\nRUN --mount=type=ssh true\n");
        let text = told(&scene.handed(&engine.host(), &[]));
        assert!(text.contains("BuildKit"), "{text}");
        assert!(!scene.ok(&["image", "list"]).contains("built"));
        // What it can't be held to.
        for (flags, said) in [
            (&["--allow", "example.org"][..], "what flags say of the network"),
            (&["--sign"], "what flags say of the network"),
            (&["--net", "open"], "what flags say of the network"),
            (&["--bandwidth", "1M"], "what flags say of the network"),
            (&["--pids", "9"], "can't be held to --pids"),
            (&["--timeout", "9s"], "can't be held to --timeout"),
        ] {
            let output = scene.handed(&engine.host(), flags);
            assert!(!output.status.success() && told(&output).contains(said), "{flags:?}: {}", told(&output));
        }
        let config = scene.world.home().join(".config/agentkernel");
        let _ = stdout(scene.world.command("mkdir").arg("-p").arg(&config));
        let configured = |text: &str, flags: &[&str]| {
            let script = ["-c", "printf '%s' \"$1\" > \"$2\"", "sh", text];
            let _ = stdout(scene.world.command("sh").args(script).arg(config.join("config.toml")));
            told(&scene.handed(&engine.host(), flags))
        };
        assert!(configured("[sandbox]\nbackends = [\"native\"]\n", &[]).contains("doesn't allow the backend docker"));
        let limited = "[network]\nallow = [\"example.org\"]\n";
        assert!(configured(limited, &[]).contains("Your own configuration limits the network"));
        assert!(configured(limited, &["--net", "none"]).contains("BuildKit"));
        let _ = configured("", &[]);
        // Where nobody is, one line and what helps.
        let text = told(&scene.handed("unix:///nonexistent/socket", &[]));
        assert!(text.contains("Cannot connect to the engine at unix:///nonexistent/socket"), "{text}");
        assert!(text.contains("DOCKER_HOST"), "{text}");
    }
}
