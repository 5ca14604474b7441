//! Images beside other tools: how long it takes until one from a registry is there unpacked, and until a program runs in
//! one that is there.

use super::{
    Bench, Entry,
    docker::engine,
    server::{Server, eventually},
    table,
};
use crate::{ci, run};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// How often the image is pulled
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB that its files have
    #[arg(long, default_value_t = 500)]
    size: u64,
    /// How many layers they are in
    #[arg(long, default_value_t = 5)]
    layers: u64,
    /// How often a program is run
    #[arg(long, default_value_t = 50)]
    runs: usize,
}

/// What is needed, as (program, Debian package).
const TOOLS: [(&str, &str); 4] =
    [("busybox", "busybox-static"), ("docker-registry", "docker-registry"), ("skopeo", "skopeo"), ("umoci", "umoci")];

/// Ways from a registry to unpacked files, each with what takes its result away.
struct Way {
    entry: Entry,
    undo: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let missing = run::need(&TOOLS);
    ensure!(missing.is_empty(), "{} could not be installed", missing.join(", "));
    let bench = Bench::new(ci::release()?)?;
    let folder = bench.folder.path().to_owned();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let reference = format!("127.0.0.1:{port}/bench:1");
    let _registry = registry(&folder, port)?;
    make(&folder, &reference, arguments)?;

    let shell = |script: String| vec!["sh".to_owned(), "-euc".to_owned(), script];
    let ours = Way {
        entry: Entry::new("agentkernel image pull", bench.agentkernel(&["image", "pull", &reference])),
        undo: shell(format!("rm -r '{}'", folder.join("state").display())),
    };
    let (layout, unpacked) = (folder.join("layout"), folder.join("unpacked"));
    let script = format!(
        "skopeo copy --quiet --src-tls-verify=false docker://{reference} oci:{0}:bench && umoci unpack --image {0}:bench {1}",
        layout.display(),
        unpacked.display()
    );
    let undo = shell(format!("rm -r {} {}", layout.display(), unpacked.display()));
    let mut ways = vec![ours, Way { entry: Entry::new("skopeo + umoci", shell(script)), undo }];
    let engine = engine(&folder);
    match &engine {
        Ok((_engine, client)) => {
            let call = |words: &[&str]| client.iter().cloned().chain(words.iter().map(ToString::to_string)).collect();
            let entry = Entry::new("docker pull", call(&["pull", "--quiet", &reference]));
            ways.push(Way { entry, undo: call(&["image", "rm", &reference]) });
        }
        Err(error) => println!("  SKIPPED: docker pull: {}", format!("{error:#}").replace('\n', " ")),
    }
    pulls(&bench, &mut ways, arguments.rounds)?;
    drop(engine);

    bench.check(&bench.agentkernel(&["image", "pull", &reference]))?;
    println!("start to exit of `true`:");
    let with_image = bench.agentkernel(&["run", "--image", &reference, "--", "/bin/busybox", "true"]);
    let host = bench.agentkernel(&["run", "--", "busybox", "true"]);
    let rounds = super::Arguments::of(arguments.runs);
    bench.compare(Entry::new("of the image host", host), [("of the one pulled", Ok(with_image))], &rounds)
}

/// Every way in turn, each from nothing. What one has left to write does not count for the next.
fn pulls(bench: &Bench, ways: &mut [Way], rounds: usize) -> Result<()> {
    println!("from the registry to unpacked files:");
    for round in 0..=rounds {
        for way in &mut *ways {
            bench.check(&["sync".to_owned()])?;
            // The first warms up, and is what tells of errors.
            match round {
                0 => bench.check(&way.entry.argv).map(drop)?,
                _ => way.entry.samples.push(bench.once(&way.entry.argv)?),
            }
            bench.check(&way.undo)?;
        }
    }
    table(ways.iter_mut().map(|way| &mut way.entry));
    Ok(())
}

/// An image of this machine's own files, and one program, in the registry.
fn make(folder: &Path, reference: &str, arguments: &Arguments) -> Result<()> {
    let layout = folder.join("made").display().to_string();
    let image = format!("{layout}:bench");
    let umoci = |words: &[&str]| run::capture(run::command("umoci").args(words));
    umoci(&["init", "--layout", &layout])?;
    umoci(&["new", "--image", &image])?;
    let busybox = run::find("busybox").context("No busybox")?;
    umoci(&["insert", "--image", &image, &busybox.display().to_string(), "/bin/busybox"])?;
    let layer = arguments.size * 1024 * 1024 / arguments.layers.max(1);
    let mut files = files(Path::new("/usr"))?.into_iter();
    let mut whole = 0;
    for number in 0..arguments.layers {
        let part = folder.join(format!("part{number}"));
        let mut size = 0;
        while size < layer {
            let Some(path) = files.next() else { break };
            let copy = part.join(path.strip_prefix("/")?);
            fs::create_dir_all(copy.parent().context("No folder")?)?;
            size += fs::copy(&path, copy)?;
        }
        whole += size;
        umoci(&["insert", "--image", &image, &part.display().to_string(), "/"])?;
        fs::remove_dir_all(part)?;
    }
    println!("an image of {} MiB in {} layers", whole >> 20, arguments.layers + 1);
    let to = format!("docker://{reference}");
    let copy = ["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{image}"), &to];
    run::capture(run::command("skopeo").args(copy)).map(drop)
}

/// All files below a folder, each folder's in their order, none larger than 16 MiB.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut all, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let mut entries = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() <= 16 << 20 {
                all.push(entry.path());
            }
        }
    }
    Ok(all)
}

fn registry(folder: &Path, port: u16) -> Result<Server> {
    let file = folder.join("registry.yml");
    let config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": folder.join("registry")}},
        "http": {"addr": format!("127.0.0.1:{port}"), "secret": "x"},
    });
    // JSON is YAML.
    fs::write(&file, config.to_string())?;
    let server = Server::start(run::command("docker-registry").arg("serve").arg(file))?;
    eventually("the registry answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(server)
}
