//! Images beside other tools: how long it takes until one from a registry is there unpacked, and until a program runs in
//! one that is there.

use super::{
    Bench, Entry,
    docker::{client, engine},
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

/// A way from a registry to unpacked files.
struct Way {
    entry: Entry,
    /// Below this, all that it makes.
    ground: PathBuf,
    /// Whether an engine does it, which keeps what it has there.
    engine: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let missing = run::need(&TOOLS);
    ensure!(missing.is_empty(), "{} could not be installed", missing.join(", "));
    ensure!(run::is_root(), "Only root can mount a new file system for each pull");
    let bench = Bench::new(ci::release()?)?;
    let folder = bench.folder.path().to_owned();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let reference = format!("127.0.0.1:{port}/bench:1");
    let _registry = registry(&folder, port)?;
    make(&folder, &reference, arguments)?;

    let pull = bench.agentkernel(&["image", "pull", &reference]);
    let unpacked = folder.join("unpacked");
    let script = format!(
        "skopeo copy --quiet --src-tls-verify=false docker://{reference} oci:{0}/layout:bench && umoci unpack --image {0}/layout:bench {0}/bundle",
        unpacked.display(),
    );
    let script = vec!["sh".to_owned(), "-euc".to_owned(), script];
    let mut ways = vec![
        Way { entry: Entry::new("agentkernel image pull", pull.clone()), ground: folder.join("state"), engine: false },
        Way { entry: Entry::new("skopeo + umoci", script), ground: unpacked, engine: false },
    ];
    // Once, to see whether it can be.
    match engine(&folder) {
        Ok(_) => {
            let words = ["pull", "--quiet", &reference].map(str::to_owned);
            let argv = client(&folder).into_iter().chain(words).collect();
            let entry = Entry::new("docker pull", argv);
            ways.push(Way { entry, ground: folder.join("docker"), engine: true });
        }
        Err(error) => println!("  SKIPPED: docker pull: {}", format!("{error:#}").replace('\n', " ")),
    }
    pulls(&bench, &mut ways, arguments.rounds)?;

    bench.check(&pull)?;
    println!("start to exit of `true`:");
    let with_image = bench.agentkernel(&["run", "--image", &reference, "--", "/bin/busybox", "true"]);
    let host = bench.agentkernel(&["run", "--", "busybox", "true"]);
    let rounds = super::Arguments::of(arguments.runs);
    bench.compare(Entry::new("of the image host", host), [("of the one pulled", Ok(with_image))], &rounds)
}

/// Every way in turn, each on a new file system: ext4 looks for inodes the longer the more were removed lately. What one
/// has left to write does not count for the next.
fn pulls(bench: &Bench, ways: &mut [Way], rounds: usize) -> Result<()> {
    println!("from the registry to unpacked files:");
    let folder = bench.folder.path();
    for round in 0..=rounds {
        for way in &mut *ways {
            let _ground = Ground::new(&folder.join("ground.ext4"), &way.ground)?;
            let _engine = if way.engine { Some(engine(folder)?) } else { None };
            bench.check(&["sync".to_owned()])?;
            // The first warms up, and is what tells of errors.
            match round {
                0 => bench.check(&way.entry.argv).map(drop)?,
                _ => way.entry.samples.push(bench.once(&way.entry.argv)?),
            }
        }
    }
    table(ways.iter_mut().map(|way| &mut way.entry));
    Ok(())
}

/// A new file system, gone with this.
struct Ground {
    file: PathBuf,
    at: PathBuf,
}

impl Ground {
    fn new(file: &Path, at: &Path) -> Result<Self> {
        fs::File::create(file)?.set_len(8 << 30)?;
        fs::create_dir_all(at)?;
        let made = Self { file: file.to_owned(), at: at.to_owned() };
        // Nothing is left to be done in the background.
        let whole = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run::capture(run::command("mkfs.ext4").args(["-q", "-E", whole]).arg(file))?;
        run::capture(run::command("mount").args(["-o", "loop"]).args([file, at]))?;
        Ok(made)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = run::capture(run::command("umount").arg(&self.at));
        let _ = fs::remove_file(&self.file);
    }
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
