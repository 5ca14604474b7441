//! Hides the configuration of the real servers of a test's internet.
//!
//! Every name is one that nobody can register, and every address one of the public internet, which is why it must be one
//! of a test's own.

use super::{Internet, authority::run};
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// A site of the web: HTTP on port 80, HTTPS on 443 and 8443, HTTP/2 without TLS on 8080.
pub const WEB: &str = "www.example.com";
/// Its address.
pub const WEB_V4: &str = "93.184.215.14";
/// Its address.
pub const WEB_V6: &str = "2606:2800:21f:cb07:6820:80da:af6b:8b2c";
/// Another site, on the same server.
pub const HIDDEN: &str = "hidden.example.net";
/// A third one, there as well, below the same domain as the first.
pub const SHARED: &str = "shared.example.com";
/// Repositories, by HTTPS and by SSH.
pub const GIT: &str = "git.example.org";
/// PostgreSQL.
pub const DATABASE: &str = "db.example.org";
/// Redis.
pub const CACHE: &str = "cache.example.org";

const GIT_V4: &str = "8.8.4.4";
const DATABASE_V4: &str = "9.9.9.9";
const CACHE_V4: &str = "1.0.0.1";
/// Where answers come from that a file cannot give.
const LIVE: &str = "127.0.0.1:8001";
/// Where a test may answer itself to what is asked below `/own` of any site.
pub const OWN: &str = "127.0.0.1:8002";
/// nobody of Debian, who has a name, as PostgreSQL wants.
const NAMED: u32 = 65_534;

impl Internet {
    /// Starts nginx for these sites, each the directory of [`site`](Self::site), with a certificate of its own.
    pub fn nginx(&self, sites: &[&str]) {
        let folder = self.path("nginx");
        fs::create_dir_all(&folder).unwrap();
        let mut servers = String::new();
        for site in sites {
            self.authority.certify(site, &folder);
            self.name(site, &[WEB_V4, WEB_V6]);
            let root = self.site(site);
            fs::write(root.join("hello"), format!("Hello from {site}\n")).unwrap();
            let _ = write!(
                servers,
                "server {{ listen {WEB_V4}:80; listen [{WEB_V6}]:80; listen {WEB_V4}:443 ssl http2;
                 listen [{WEB_V6}]:443 ssl http2; listen {WEB_V4}:8443 ssl http2; listen {WEB_V4}:8080 http2; server_name {site};
                 ssl_certificate {site}.pem; ssl_certificate_key {site}.key; root {};
                 location /to-another-host {{ return 302 https://{HIDDEN}/hello; }}
                 location /no {{ client_max_body_size 0; return 401 \"no\\n\"; }}
                 location /to-the-metadata {{ return 302 http://169.254.169.254/latest/meta-data; }}
                 location /own {{ proxy_pass http://{OWN}; proxy_http_version 1.1; proxy_buffering off;
                  client_max_body_size 0; proxy_request_buffering off; proxy_set_header Host $host; }}
                 location /live {{ proxy_pass http://{LIVE}; proxy_http_version 1.1; proxy_buffering off;
                  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; }} }}\n",
                root.display(),
            );
        }
        let user = if rustix::process::getuid().is_root() { "user root root;" } else { "" };
        let own = folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {own}/{name};"))
            .join(" ");
        let configuration = format!(
            "{user} daemon off; worker_processes 1; pid {own}/pid; error_log stderr;
             worker_rlimit_nofile 4096; events {{ worker_connections 2048; }}
             http {{ types {{ text/html html; }} default_type application/octet-stream; {temporary}
             log_format seen '$server_name $ssl_server_name $server_port $request'; access_log {own}/access seen;
             ssl_protocols TLSv1.2 TLSv1.3;
             server {{ listen {WEB_V4}:80 default_server; listen {WEB_V4}:443 ssl default_server; server_name _;
              ssl_certificate {}.pem; ssl_certificate_key {}.key; return 421; }}
             {servers} }}",
            sites[0], sites[0],
        );
        self.write("nginx/nginx.conf", &configuration);
        self.serve(LIVE, live);
        let file = folder.join("nginx.conf");
        self.start(
            None,
            &["nginx", "-p", folder.to_str().unwrap(), "-c", file.to_str().unwrap()],
            &format!("{WEB_V4}:80"),
        );
    }

    /// The directory of what a site has.
    #[must_use]
    pub fn site(&self, name: &str) -> PathBuf {
        let path = self.path("sites").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// What nginx was asked for: a line for each request, which begins with the site that answered it.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("nginx/access")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// A file of so many bytes on a site.
    pub fn big_file(&self, site: &str, bytes: u64) {
        let file = fs::File::create(self.site(site).join("big")).unwrap();
        file.set_len(bytes).unwrap();
    }

    /// A repository with one file, `hello`, bare, at a path.
    fn repository(&self, path: &Path) {
        let work = self.path("work");
        fs::create_dir_all(&work).unwrap();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]);
            git.arg("-C").arg(&work).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
            run(git.env("GIT_CONFIG_NOSYSTEM", "1"))
        };
        if !work.join(".git").is_dir() {
            git(&["init", "-q"]);
            fs::write(work.join("hello"), format!("Hello from {GIT}\n")).unwrap();
            git(&["add", "."]);
            git(&["commit", "-q", "-m", "Say hello"]);
        }
        let path = path.to_str().unwrap();
        git(&["clone", "-q", "--bare", ".", path]);
        git(&["-C", path, "update-server-info"]);
    }

    /// Puts `hello.git` on a site, as files: git's "dumb" protocol.
    pub fn repository_on(&self, site: &str) {
        self.repository(&self.site(site).join("hello.git"));
    }

    /// Starts OpenSSH's server on [`GIT`], with the repository `/hello.git` of its user `git`. What a client needs is put
    /// into a directory, for its owner: `id`, a key, and `known_hosts`.
    pub fn sshd(&self, client: &Path) {
        self.name(GIT, &[GIT_V4]);
        let folder = self.path("sshd");
        fs::create_dir_all(&folder).unwrap();
        let (uid, privileged) = match rustix::process::getuid().as_raw() {
            0 => (crate::NOBODY, true),
            uid => (uid, false),
        };
        for key in [folder.join("host"), client.join("id")] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        }
        let host = fs::read_to_string(folder.join("host.pub")).unwrap();
        fs::write(client.join("known_hosts"), format!("{GIT} {host}")).unwrap();
        if privileged {
            use std::os::unix::fs::MetadataExt as _;
            let owner = fs::metadata(client).unwrap().uid();
            chown(client.join("id"), Some(owner), Some(owner)).unwrap();
        }
        fs::copy(client.join("id.pub"), folder.join("authorized")).unwrap();
        let home = self.path("git-home");
        self.repository(&home.join("hello.git"));
        if privileged {
            run(Command::new("chown").args(["-R", &format!("{uid}:{uid}")]).arg(&home));
        }
        let own = folder.display();
        let passwd = format!(
            "root:x:0:0:root:/root:/bin/sh\nsshd:x:103:65534::/run/sshd:/usr/sbin/nologin\ngit:*:{uid}:{uid}::{}:/bin/sh\n",
            home.display()
        );
        self.write("sshd/passwd", &passwd);
        self.write("sshd/group", &format!("root:x:0:\nnogroup:x:65534:\ngit:x:{uid}:\n"));
        let configuration = format!(
            "ListenAddress {GIT_V4}:22\nHostKey {own}/host\nAuthorizedKeysFile {own}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        );
        self.write("sshd/config", &configuration);
        // Its users, and the directory that it wants below /run, in a mount namespace of its own.
        let script = format!(
            "mount --bind {own}/passwd /etc/passwd && mount --bind {own}/group /etc/group && \
             mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {own}/config",
        );
        self.start(None, &["unshare", "--mount", "sh", "-c", &script], &format!("{GIT_V4}:22"));
    }

    /// Starts PostgreSQL on [`DATABASE`], with TLS for whoever asks for it: user `postgres`, password `secret`.
    pub fn postgres(&self) {
        self.name(DATABASE, &[DATABASE_V4]);
        let folder = self.path("postgres");
        fs::create_dir_all(&folder).unwrap();
        self.authority.certify(DATABASE, &folder);
        let [certificate, key] = ["pem", "key"].map(|ending| folder.join(format!("{DATABASE}.{ending}")));
        let mut uid = None;
        if rustix::process::getuid().is_root() {
            uid = Some(NAMED);
            for path in [&folder, &certificate, &key] {
                chown(path, uid, uid).unwrap();
            }
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let [certificate, key] = [certificate.display(), key.display()];
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let password = self.write("password", "secret\n");
        let (folder, password) = (folder.to_str().unwrap(), password.display());
        let script = format!(
            "PATH=$(echo /usr/lib/postgresql/*/bin | tr ' ' '\\n' | tail -1):$PATH; cd /
             initdb -N -E UTF8 --locale C -U postgres -A scram-sha-256 --pwfile {password} -D {folder}/data &&
             echo 'host all all all scram-sha-256' >> {folder}/data/pg_hba.conf &&
             exec postgres -D {folder}/data -c listen_addresses={DATABASE_V4} -c unix_socket_directories= \
              -c dynamic_shared_memory_type=mmap -c fsync=off \
              -c ssl=on -c ssl_cert_file={certificate} -c ssl_key_file={key}"
        );
        self.start(uid, &["sh", "-c", &script], &format!("{DATABASE_V4}:5432"));
    }

    /// Starts Redis on [`CACHE`]: in clear on port 6379, with TLS on 6380.
    pub fn redis(&self) {
        self.name(CACHE, &[CACHE_V4]);
        let folder = self.path("redis");
        fs::create_dir_all(&folder).unwrap();
        self.authority.certify(CACHE, &folder);
        let [certificate, key] = ["pem", "key"].map(|ending| folder.join(format!("{CACHE}.{ending}")));
        let [folder, certificate, key] = [&folder, &certificate, &key].map(|path| path.to_str().unwrap());
        let own = ["redis-server", "--bind", CACHE_V4, "--save", "", "--dir", folder, "--protected-mode", "no"];
        let tls = ["--tls-port", "6380", "--tls-cert-file", certificate, "--tls-key-file", key];
        let command = [&own[..], &tls, &["--tls-auth-clients", "no"]].concat();
        self.start(None, &command, &format!("{CACHE_V4}:6379"));
    }
}

/// Answers below `/live`: `/live/head` is what the request was, `/live/events` three events with pauses between them,
/// `/live/never` nothing, `/live/chat` a WebSocket.
fn live(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    // Whoever asked may be gone.
    let _ = match path {
        "/live/head" => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()),
        "/live/events" => (|| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
            for event in 0..3 {
                write!(stream, "data: event {event}\n\n")?;
                thread::sleep(Duration::from_millis(300));
            }
            Ok(())
        })(),
        "/live/chat" => chat(&head, &mut reader, &mut stream),
        _ => reader.read(&mut [0]).map(drop),
    };
}

/// A WebSocket (RFC 6455) that says each short text that it is told, until it is closed.
fn chat(head: &str, reader: &mut impl std::io::Read, stream: &mut TcpStream) -> std::io::Result<()> {
    let key = head.lines().find_map(|line| {
        line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, key)| key)
    });
    let script = "printf %s258EAFA5-E914-47DA-95CA-C5AB0DC85B11 \"$1\" | openssl dgst -sha1 -binary | openssl base64";
    let accept = Command::new("sh").args(["-c", script, "sh", key.unwrap_or_default().trim()]).output()?;
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        String::from_utf8_lossy(&accept.stdout).trim()
    )?;
    loop {
        let mut begin = [0; 6];
        reader.read_exact(&mut begin)?;
        let [kind, length, mask @ ..] = begin;
        let mut text = vec![0; usize::from(length & 0x7f)];
        reader.read_exact(&mut text)?;
        text.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        stream.write_all(&[&[kind, text.len() as u8], &text[..]].concat())?;
        if kind & 0xf == 8 {
            return Ok(());
        }
    }
}
