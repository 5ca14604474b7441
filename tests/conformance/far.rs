//! Engines that are reached by TLS and by ssh, as those of other machines are: this machine's own, by another way.

use crate::{
    DOCKERD,
    bench::{Bench, IMAGE},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use support::{Who, World, eventually, free_port, internet::installed, stdout, told};

/// A user's way to an engine.
struct Far<'a> {
    world: &'a World,
    variables: Vec<(&'a str, String)>,
}

impl Far<'_> {
    fn agentkernel(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.agentkernel(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.agentkernel(arguments).output().unwrap()
    }

    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        stdout(&mut self.agentkernel(arguments))
    }

    fn run(&self, script: &str) -> Command {
        let words =
            ["run", "--backend", "docker", "--image", IMAGE, "--workspace", "overlay", "--", "sh", "-c", script];
        self.agentkernel(&words)
    }

    fn running(&self) -> usize {
        self.says(&["ps", "-q"]).lines().count()
    }

    /// It says no, for this reason, and what to do.
    #[track_caller]
    fn refuses(&self, why: &str) {
        let output = self.run("true").output().unwrap();
        let text = told(&output);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(text.contains(why) && text.contains("  hint: "), "{text}");
    }

    /// What is promised of sandboxes in containers, as far as the way there matters.
    fn conforms(&self, bench: &Bench) {
        fs::write(self.world.project().join("file"), "text\n").unwrap();
        let output = self.run("cat file; echo x > file; cat; exit 7").output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"text\n"[..]), "{}", told(&output));
        assert_eq!(fs::read_to_string(self.world.project().join("file")).unwrap(), "text\n");
        let megabytes = self.run("head -c 5000000 /dev/zero").output().unwrap();
        assert_eq!(megabytes.stdout.len(), 5_000_000, "{}", told(&megabytes));
        // Its own files are not this machine's.
        let text = told(&self.output(&["run", "--backend", "docker", "--image", IMAGE, "--", "true"]));
        assert!(text.contains("which is another machine's") && text.contains("--workspace overlay"), "{text}");
        assert!(told(&self.output(&["doctor"])).contains("direct workspace"));
        // One that is kept.
        let create = ["create", "--backend", "docker", "--image", IMAGE, "--workspace", "overlay", "--name", "kept"];
        let _ = self.says(&create);
        let _ = self.says(&["start", "kept"]);
        assert_eq!(self.says(&["exec", "kept", "sh", "-c", "echo here > /tmp/there; cat file"]), "text\n");
        let _ = self.says(&["cp", "kept:/tmp/there", "."]);
        assert_eq!(fs::read_to_string(self.world.project().join("there")).unwrap(), "here\n");
        let _ = self.says(&["stop", "-t", "0", "kept"]);
        let _ = self.says(&["start", "kept"]);
        // An engine that hangs is noticed.
        let run = self.run("echo begun; sleep 600").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let engine = bench.engine.as_ref().unwrap();
        eventually("both run", || engine.containers().len() == 2 && self.running() == 2);
        engine.signal(Signal::STOP);
        let begin = Instant::now();
        let text = told(&run.wait_with_output().unwrap());
        assert!(begin.elapsed() < Duration::from_secs(60) && text.contains("was lost"), "{text}");
        engine.signal(Signal::CONT);
        eventually("what is left is cleared away", || {
            let _ = self.output(&["gc"]);
            engine.containers().len() == 1 && self.says(&["ps", "-a", "-q"]).lines().count() == 1
        });
        let _ = self.says(&["rm", "-f", "kept"]);
        bench.leaves_nothing();
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "Authority of engines");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `ca.pem`, `cert.pem` and `key.pem`.
fn certify(ca: &CertifiedIssuer<'static, KeyPair>, names: &[&str], purpose: ExtendedKeyUsagePurpose, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.extended_key_usages = vec![purpose];
    params.distinguished_name.push(DnType::CommonName, "engine");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    for (name, text) in [("ca.pem", ca.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
        fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn an_engine_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (ca, other) = (authority(), authority());
    certify(&ca, &["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth, &at("server"));
    certify(&ca, &["client"], ExtendedKeyUsagePurpose::ClientAuth, &at("client"));
    certify(&other, &["client"], ExtendedKeyUsagePurpose::ClientAuth, &at("stranger"));
    let place = |name: &str| at("server").join(name).display().to_string();
    let address = format!("tcp://127.0.0.1:{}", free_port());
    let options = [
        format!("--host={address}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", place("ca.pem")),
        format!("--tlscert={}", place("cert.pem")),
        format!("--tlskey={}", place("key.pem")),
    ];
    let options: Vec<&'static str> = options.into_iter().map(|option| &*option.leak()).collect();
    let Some(bench) = Bench::with(DOCKERD, Who::Me, options.leak()) else { return };
    let far = |certificates: &str| {
        let variables = vec![
            ("DOCKER_HOST", address.clone()),
            ("DOCKER_TLS_VERIFY", "1".to_owned()),
            ("DOCKER_CERT_PATH", at(certificates).display().to_string()),
        ];
        Far { world: &bench.world, variables }
    };
    far("client").conforms(&bench);
    // Whom we do not trust, and who does not trust us.
    fs::copy(at("client/ca.pem"), at("stranger/ours.pem")).unwrap();
    far("stranger").refuses("nobody vouches for its certificate whom ca.pem trusts");
    fs::rename(at("stranger/ours.pem"), at("stranger/ca.pem")).unwrap();
    far("stranger").refuses("it does not accept who we are");
    fs::remove_file(at("stranger/key.pem")).unwrap();
    far("stranger").refuses("no key.pem beside it");
    fs::remove_file(at("stranger/cert.pem")).unwrap();
    far("stranger").refuses("it does not accept who we are");
    let named = Far { variables: vec![("DOCKER_HOST", address.replace("127.0.0.1", "localhost"))], ..far("client") };
    let variables = [named.variables, far("client").variables[1..].to_vec()].concat();
    Far { world: &bench.world, variables }.refuses("its certificate is not accepted");
    // A context has its own.
    let docker = |arguments: &[&str]| stdout(bench.world.command("docker").args(arguments));
    let of = |name: &str| at("client").join(name).display().to_string();
    let files = format!("host={address},ca={},cert={},key={}", of("ca.pem"), of("cert.pem"), of("key.pem"));
    let _ = docker(&["context", "create", "far", "--docker", &files]);
    let context = Far { world: &bench.world, variables: vec![("DOCKER_CONTEXT", "far".to_owned())] };
    assert_eq!(stdout(&mut context.run("echo by context")), "by context\n");
    bench.leaves_nothing();
}

/// A server of OpenSSH of this test's own, and a user's ssh that knows it.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ak-sshd-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (at, port) = (|name: &str| folder.path().join(name), free_port());
        for key in ["host", "id"] {
            let _ = stdout(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)));
        }
        let host = fs::read_to_string(at("host.pub")).unwrap();
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let own = folder.path().display();
        let sshd = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {own}/host\nAuthorizedKeysFile {own}/id.pub\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
        );
        fs::write(at("sshd_config"), sshd).unwrap();
        let ssh = format!(
            "IdentityFile {own}/id\nIdentitiesOnly yes\nUserKnownHostsFile {own}/known_hosts\nGlobalKnownHostsFile none\n"
        );
        fs::write(at("ssh_config"), ssh).unwrap();
        // It looks for its configuration where the user's account says, which is nobody's to write in a test.
        fs::create_dir(at("bin")).unwrap();
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {own}/ssh_config \"$@\"\n");
        fs::write(at("bin/ssh"), script).unwrap();
        fs::set_permissions(at("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {own}/sshd_config"
        );
        let log = fs::File::create(at("log")).unwrap();
        let child = Command::new("unshare").args(["--mount", "sh", "-c", &script]).stderr(log).spawn().unwrap();
        let server = Self { folder, port, child };
        eventually("sshd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    /// The ids of what was started to get there.
    fn clients(&self) -> Vec<i32> {
        let wanted = format!("-p\0{}\0", self.port);
        processes().into_iter().filter(|id| file(*id, "cmdline").contains(&wanted)).collect()
    }
}

fn processes() -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn file(id: i32, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{id}/{name}")).unwrap_or_default()).into_owned()
}

#[track_caller]
fn with_title(title: &str) -> i32 {
    processes().into_iter().find(|id| file(*id, "cmdline").starts_with(title)).unwrap()
}

/// How many children a process has, those that have ended too.
fn children(id: i32) -> usize {
    let parent = |stat: &str| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<i32>().ok();
    processes().into_iter().filter(|child| parent(&file(*child, "stat")) == Some(id)).count()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_engine_by_ssh() {
    if !["sshd", "ssh", "ssh-keygen", "unshare"].into_iter().all(installed) {
        return;
    }
    let Some(bench) = Bench::new(DOCKERD, Who::Me) else { return };
    let server = Server::start();
    let socket = bench.engine.as_ref().unwrap().socket();
    let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", server.folder.path().display());
    let far = |host: String| {
        let variables = vec![("DOCKER_HOST", host), ("PATH", path.clone())];
        Far { world: &bench.world, variables }
    };
    let host = format!("ssh://root@127.0.0.1:{}", server.port);
    let near = far(format!("{host}{}", socket.display()));
    near.conforms(&bench);
    eventually("no ssh is left", || server.clients().is_empty());
    // It ends with whoever has started it, however that ends.
    let mut run = near.run("sleep 600").spawn().unwrap();
    eventually("it runs", || near.running() == 1);
    let id = near.says(&["ps", "-q"]).trim().to_owned();
    let adapter = with_title(&format!("ak[{id} engine]"));
    // None that has ended is left unburied.
    eventually("one connection is left", || children(adapter) == 1 && server.clients().len() == 1);
    kill_process(Pid::from_raw(adapter).unwrap(), Signal::KILL).unwrap();
    let _ = run.wait().unwrap();
    eventually("no ssh is left", || server.clients().is_empty());
    let _ = near.output(&["rm", "-f", &id]);
    eventually("what is left is cleared away", || {
        let _ = near.output(&["gc"]);
        bench.engine.as_ref().unwrap().containers().is_empty() && near.says(&["ps", "-a", "-q"]).is_empty()
    });
    // What ssh says, and what is said over there.
    far(format!("{host}/nonexistent/socket")).refuses("/nonexistent/socket");
    far(format!("ssh://root@127.0.0.1:{}", free_port())).refuses("Connection refused");
    far("ssh://-oProxyCommand=touch${IFS}hacked".to_owned()).refuses("not a host that ssh can be given");
    fs::write(server.folder.path().join("known_hosts"), "").unwrap();
    near.refuses("Host key verification failed");
    let nowhere = Far { world: &bench.world, variables: vec![("DOCKER_HOST", host), ("PATH", "/nonexistent".into())] };
    nowhere.refuses("ssh is not installed");
    bench.leaves_nothing();
}
