//! agentkernel in a container, installed there as its Dockerfile has it: built by itself and by Docker, and used from within.

use crate::{
    DOCKERD,
    bench::{Bench, IMAGE},
};
use std::{fs, path::Path, process::Command};
use support::{Who, engine::Engine, internet::installed, stdout};

const OURS: &str = "agentkernel-ours:1";
const THEIRS: &str = "agentkernel-theirs:1";

/// Builds its image in both ways.
fn build(bench: &Bench, engine: &Engine) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let context = bench.world.home().join("context");
    // Where `cargo build --release` puts it.
    let release = context.join(format!("target/{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    fs::create_dir_all(&release).unwrap();
    for name in ["Dockerfile", ".dockerignore"] {
        fs::copy(root.join(name), context.join(name)).unwrap();
    }
    for path in [context.join("left-out"), release.join("left-out")] {
        fs::write(path, "").unwrap();
    }
    assert!(Command::new("ln").arg(bench.world.binary()).arg(release.join("agentkernel")).status().unwrap().success());
    // As the guide has it.
    let build = ["build", "--network", "none", "-t", THEIRS, "."];
    let _ = stdout(engine.docker(&build).env("DOCKER_BUILDKIT", "0").current_dir(&context));
    let _ = stdout(bench.agentkernel(&["image", "build", "-q", "-t", OURS, "."]).current_dir(&context));
    let home = bench.world.home();
    let (archive, loaded) = (home.join("agentkernel.tar"), home.join("loaded.tar"));
    let _ = bench.says(&["image", "export", OURS, archive.to_str().unwrap()]);
    // Debian's Docker reads no OCI archives yet.
    let (from, to) =
        (format!("oci-archive:{}", archive.display()), format!("docker-archive:{}:{OURS}", loaded.display()));
    let _ = stdout(Command::new("skopeo").args(["copy", "--quiet", &from, &to]));
    engine.load(&loaded);
}

#[test]
fn installed_by_docker() {
    let Some(bench) = Bench::new(DOCKERD, Who::Me) else { return };
    let Some(engine) = bench.engine.as_ref().filter(|_| installed("skopeo")) else { return };
    build(&bench, engine);
    let version = bench.says(&["--version"]);
    bench.write("given", "from outside\n");
    let project = bench.world.project();
    let project = project.to_str().unwrap();
    let socket = format!("{}:/var/run/docker.sock", engine.socket().display());
    for image in [OURS, THEIRS] {
        // Nothing but the program.
        assert_eq!(engine.says(&["run", "--rm", "--network", "none", image, "--version"]), version);
        assert_eq!(engine.says(&["inspect", "-f", "{{len .RootFS.Layers}}", image]).trim(), "1");
        let within = |more: &[&str], arguments: &[&str]| {
            let run = ["run", "--rm", "--network", "host", "-v", &socket, "-v", "state:/state"];
            engine.docker(&[&run[..], more, &[image], arguments].concat())
        };
        let same = format!("{project}:{project}");
        let at = ["-v", &same, "-w", project];
        let script = ["sh", "-c", "cat given; echo from inside > made; hostname"];
        let run = ["run", "--backend", "docker", "--image", IMAGE, "--name", "beside", "--keep", "--"];
        let text = stdout(&mut within(&at, &[&run[..], &script].concat()));
        assert_eq!((text.as_str(), bench.read("made").as_str()), ("from outside\nbeside\n", "from inside\n"));
        // It is known the next time, by what the volume keeps.
        assert!(stdout(&mut within(&[], &["ps", "-a"])).contains("beside"));
        let _ = stdout(&mut within(&[], &["rm", "beside"]));
        // Elsewhere it is another directory than the engine's: no sandbox has that.
        let elsewhere = ["--tmpfs", "/elsewhere", "-w", "/elsewhere"];
        let run = ["run", "--backend", "docker", "--image", IMAGE, "--", "true"];
        let output = within(&elsewhere, &run).output().unwrap();
        let told = support::told(&output);
        assert!(output.status.code() == Some(125) && told.contains("/elsewhere"), "{told}");
        fs::remove_file(bench.world.project().join("made")).unwrap();
    }
    let _ = engine.says(&["volume", "rm", "state"]);
    bench.leaves_nothing();
}
