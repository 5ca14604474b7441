//! TLS whose requests are read, beside mitmproxy: by curl, of a nginx.

use super::{
    ADDRESS, Arguments, Ground, NAME, Server,
    figures::{in_turn, of_direct, print},
};
use crate::run;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

const SANDBOX: &str = "bench-inspected";
const MITMPROXY: &str = "127.0.0.1:7002";
/// Where Debian keeps whom its clients trust.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Requests of one round.
const REQUESTS: usize = 300;
/// A body that takes its time.
const LARGE: u64 = 512 << 20;

/// mitmproxy, in a virtual environment of its own, which is made if it is not there.
pub fn mitmproxy() -> Result<PathBuf> {
    let folder = run::target().join("mitmproxy");
    let program = folder.join("bin/mitmdump");
    if !program.is_file() {
        run::capture(run::command("python3").args(["-m", "venv"]).arg(&folder))?;
        run::capture(run::command(folder.join("bin/pip")).args(["install", "--quiet", "mitmproxy"]))?;
    }
    Ok(program)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Egress,
    Mitmproxy,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Egress => "agentkernel",
            Self::Mitmproxy => "mitmproxy",
        })
    }
}

pub fn main(ground: &Ground, mitmproxy: Option<&Path>, arguments: &Arguments) -> Result<()> {
    let missing = run::need(&[("nginx", "nginx-light"), ("openssl", "openssl"), ("curl", "curl")]);
    if !missing.is_empty() {
        println!("SKIPPED: TLS whose requests are read: no {}", missing.join(", "));
        return Ok(());
    }
    let folder = ground.bench.folder.path().join("web");
    let _nginx = nginx(&folder)?;
    let authority = folder.join("authority.pem");
    let confdir = folder.join("mitmproxy");
    let mut ways = vec![Way::Direct, Way::Egress];
    let mitmproxy = match mitmproxy {
        Some(program) => {
            let mut command = run::command(program);
            let (host, port) = MITMPROXY.split_once(':').context("No port")?;
            command.args(["--quiet", "--listen-host", host, "--listen-port", port]);
            // Bodies as they come, as egress passes them on.
            command.args(["--set", "stream_large_bodies=64k", "--set"]).arg(format!("confdir={}", confdir.display()));
            command.arg("--set").arg(format!("ssl_verify_upstream_trusted_ca={}", authority.display()));
            ways.push(Way::Mitmproxy);
            Some(Server::start(command.stdout(Stdio::null()), MITMPROXY)?)
        }
        None => None,
    };
    sandbox(ground, &authority)?;
    let measured = measure(ground, &ways, mitmproxy.as_ref(), &folder, arguments);
    ground.agentkernel(&["rm", "--force", SANDBOX])?;
    measured
}

fn measure(
    ground: &Ground,
    ways: &[Way],
    mitmproxy: Option<&Server>,
    folder: &Path,
    arguments: &Arguments,
) -> Result<()> {
    println!("TLS whose requests are read:");
    let large = format!("https://{NAME}/large");
    let many = format!("https://{NAME}/small?[1-{REQUESTS}]");
    let fetch = |way, url: &str, options: &[&str]| -> Result<Vec<f64>> {
        let printed = ground.bench.check(&curl(way, ground, folder, url, options))?;
        printed.lines().map(|line| Ok(line.parse::<f64>()?)).collect()
    };
    fetch(Way::Egress, &large, &[])?;
    let workers = [None, Some(ground.egress(SANDBOX)?), mitmproxy.map(|server| u64::from(server.0.id()))];
    let rows = in_turn(arguments.rounds, ways, workers, |way| {
        Ok(fetch(way, &large, &[])?.into_iter().map(|seconds| LARGE as f64 / f64::from(1 << 20) / seconds).collect())
    })?;
    print(&format!("{} MiB", LARGE >> 20), "MiB/s", &rows, of_direct);
    for (what, options) in [("kept alive", &[][..]), ("new each", &["--no-sessionid", "-H", "Connection: close"])] {
        let rows = in_turn(arguments.rounds, ways, workers, |way| {
            Ok(fetch(way, &many, options)?.into_iter().map(|seconds| seconds * 1e3).collect())
        })?;
        print(what, "ms", &rows, |value, direct| format!("{:+.3} ms", value - direct));
    }
    Ok(())
}

/// A nginx with a certificate of an authority of its own.
fn nginx(folder: &Path) -> Result<Server> {
    fs::create_dir(folder)?;
    let openssl = |arguments: &[&str]| run::capture(run::command("openssl").current_dir(folder).args(arguments));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    let root = ["req", "-x509", "-subj", "/CN=bench", "-keyout", "authority.key", "-out", "authority.pem"];
    openssl(&[&root[..], &key].concat())?;
    let (subject, name) = (format!("/CN={NAME}"), format!("subjectAltName=DNS:{NAME}"));
    let leaf = ["req", "-x509", "-subj", &subject, "-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-CA", "authority.pem", "-CAkey", "authority.key", "-keyout", "key.pem", "-out", "certificate.pem"];
    openssl(&[&leaf[..], &signed, &key].concat())?;
    fs::File::create(folder.join("large"))?.set_len(LARGE)?;
    let configuration = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr crit;
         events {{ worker_connections 4096; }}
         http {{
             access_log off; sendfile on; keepalive_requests 1000000;
             server {{
                 listen {ADDRESS}:443 ssl;
                 ssl_certificate {0}/certificate.pem; ssl_certificate_key {0}/key.pem;
                 root {0};
                 location /small {{ return 200 ok; }}
             }}
         }}",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration)?;
    let program = run::find("nginx").context("nginx is not installed")?;
    Server::start(run::command(program).arg("-e").arg("stderr").arg("-c").arg(&file), &format!("{ADDRESS}:443"))
}

/// A sandbox with a secret for the server, so that its requests are read, whose egress trusts the authority.
fn sandbox(ground: &Ground, authority: &Path) -> Result<()> {
    // Nobody can write the file of a project in which a sandbox runs.
    let project = ground.bench.folder.path().join("inspected");
    fs::create_dir(&project)?;
    std::env::set_current_dir(&project)?;
    fs::write(
        "agentkernel.toml",
        format!("[secrets]\nBENCH = {{ hosts = [\"{NAME}\"], from = \"env:BENCH_SECRET\" }}\n"),
    )?;
    ground.agentkernel(&["trust"])?;
    run::capture(run::command("mount").arg("--bind").arg(authority).arg(TRUSTED))?;
    ground.agentkernel(&["create", "--name", SANDBOX, "--allow", NAME])?;
    let mut start = ground.bench.command(&ground.bench.agentkernel(&["start", SANDBOX]));
    run::capture(start.env("BENCH_SECRET", "a secret of the bench")).map(drop)
}

/// curl's command line by one way or another: it prints the seconds of every request.
fn curl(way: Way, ground: &Ground, folder: &Path, url: &str, options: &[&str]) -> Vec<String> {
    let curl = ["--http1.1", "-sSf", "-o", "/dev/null", "-w", "%{time_total}\\n", url];
    let proxy = format!("http://{MITMPROXY}");
    let authority = match way {
        Way::Mitmproxy => folder.join("mitmproxy/mitmproxy-ca-cert.pem"),
        _ => folder.join("authority.pem"),
    };
    let authority = authority.to_string_lossy();
    let mut argv = match way {
        Way::Egress => ground.bench.agentkernel(&["exec", SANDBOX, "--", "sh", "-c"]),
        _ => Vec::new(),
    };
    if way == Way::Egress {
        // The placeholder of the secret is in its environment.
        let script = "exec curl -H \"Authorization: Bearer $BENCH\" \"$@\"";
        argv.extend([script, "sh"].map(str::to_owned));
    } else {
        argv.extend(
            ["curl", "-H", "Authorization: Bearer a secret of the bench", "--cacert", &authority].map(str::to_owned),
        );
    }
    if way == Way::Mitmproxy {
        argv.extend(["--proxy", &proxy].map(str::to_owned));
    }
    argv.extend(curl.iter().chain(options).map(ToString::to_string));
    argv
}
