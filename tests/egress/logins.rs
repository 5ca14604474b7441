//! Logins: they are renewed outside for all who use them, their files on the host with them, and no token gets in.

use crate::{
    ground::{Ground, PRELUDE},
    kept::signal,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::{
    Who, eventually, inspected,
    internet::{HIDDEN, OWN, WEB},
    stdout, told,
};

/// What the sandbox has.
const ACCESS: &str = "placeholder-access-5c1f00d2";
const REFRESH: &str = "placeholder-refresh-5c1f00d2";

/// How a program keeps its login.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// With a time in milliseconds, asked for in JSON.
    Claude,
    /// With tokens that say themselves when they expire.
    Codex,
    /// Flat, asked for by a form.
    Gemini,
}

const SHAPES: [Shape; 3] = [Shape::Claude, Shape::Codex, Shape::Gemini];

impl Shape {
    /// A token that is taken, or was, and expires so many seconds from now.
    fn access(self, number: usize, seconds: i64) -> String {
        let exp = now().saturating_add_signed(seconds);
        match self {
            Self::Codex => {
                let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
                format!("h.{claims}.{number}-real")
            }
            _ => format!("access-{number}-real"),
        }
    }

    /// A file with these tokens.
    fn file(self, access: &str, number: usize, seconds: i64) -> String {
        let (refresh, time) = (format!("refresh-{number}-real"), now().saturating_add_signed(seconds) * 1000);
        match self {
            Self::Claude => format!(
                "{{\"mcpOAuth\" : {{}},\n \"claudeAiOauth\":{{\"accessToken\":\"{access}\",\"refreshToken\":\"{refresh}\",\
                 \"expiresAt\":{time},\"scopes\":[\"user:inference\"],\"subscriptionType\":\"max\"}}}}"
            ),
            Self::Codex => format!(
                "{{\n  \"OPENAI_API_KEY\": null,\n  \"tokens\": {{\n    \"id_token\": \"h.id.old\",\n    \"access_token\": \
                 \"{access}\",\n    \"refresh_token\": \"{refresh}\",\n    \"account_id\": \"me\"\n  }},\n  \
                 \"last_refresh\": \"2026-01-01T00:00:00.0Z\"\n}}\n"
            ),
            Self::Gemini => format!(
                "{{\"access_token\":\"{access}\",\"scope\":\"cloud\",\"refresh_token\":\"{refresh}\",\"expiry_date\":{time}}}"
            ),
        }
    }

    fn fields(self) -> Value {
        let fields = |access, refresh, id, expires, renewed| json!({"access": access, "refresh": refresh, "id": id, "expires": expires, "renewed": renewed});
        let none = Vec::<&str>::new;
        let oauth = |key| vec!["claudeAiOauth", key];
        match self {
            Self::Claude => fields(oauth("accessToken"), oauth("refreshToken"), none(), oauth("expiresAt"), none()),
            Self::Codex => fields(
                vec!["tokens", "access_token"],
                vec!["tokens", "refresh_token"],
                vec!["tokens", "id_token"],
                none(),
                vec!["last_refresh"],
            ),
            Self::Gemini => fields(vec!["access_token"], vec!["refresh_token"], none(), vec!["expiry_date"], none()),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Whoever gives tokens, and takes them.
#[derive(Default)]
struct State {
    /// The number of the tokens that are taken.
    number: usize,
    /// The access token that is.
    access: String,
    /// How long it takes to give others.
    slow: Duration,
    /// None are given any more.
    refuses: bool,
    /// None can be given now.
    broken: bool,
    /// Requests for tokens: heads and bodies.
    asked: Vec<String>,
    /// The credentials of requests, with how they were answered.
    used: Vec<(String, u16)>,
}

#[derive(Clone)]
struct Service(Shape, Arc<Mutex<State>>);

impl Service {
    fn new(shape: Shape) -> Self {
        Self(shape, Arc::default())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.1.lock().unwrap())
    }

    fn asked(&self) -> usize {
        self.with(|state| state.asked.len())
    }

    fn serve(&self, ground: &Ground) {
        let own = self.clone();
        ground.internet.serve(OWN, move |stream| own.answer(&stream));
    }

    fn answer(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
            line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let (status, answer) = match head.split(' ').nth(1) {
            Some("/own/token") => self.renew(&head, &String::from_utf8(body).unwrap()),
            _ => self.with(|state| {
                let credentials = header("authorization");
                let status = if credentials == format!("Bearer {}", state.access) { 200 } else { 401 };
                state.used.push((credentials, status));
                (status, "api".to_owned())
            }),
        };
        let _ = write!(
            &*stream,
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        );
    }

    fn renew(&self, head: &str, body: &str) -> (u16, String) {
        let (number, slow) = self.with(|state| {
            state.asked.push(format!("{head}{body}"));
            (state.number, state.slow)
        });
        thread::sleep(slow);
        self.with(|state| {
            if state.broken {
                return (503, "overloaded".to_owned());
            }
            if state.refuses || state.number != number || !body.contains(&format!("refresh-{number}-real")) {
                return (400, r#"{"error":"invalid_grant","error_description":"a secret"}"#.to_owned());
            }
            state.number += 1;
            state.access = self.0.access(state.number, 3600);
            let answer = json!({
                "access_token": state.access, "refresh_token": format!("refresh-{}-real", state.number),
                "id_token": "h.id.new", "expires_in": 3600, "token_type": "Bearer"
            });
            (200, answer.to_string())
        })
    }
}

/// A user with a login, and a service that takes it.
struct Scene {
    ground: Ground,
    service: Service,
}

impl Scene {
    /// One for each user, whose login expires so many seconds from now.
    fn all(shape: Shape, seconds: i64) -> Vec<Self> {
        let scene = |ground: Ground| {
            let scene = Self { ground, service: Service::new(shape) };
            scene.service.serve(&scene.ground);
            scene.log_in(0, seconds);
            scene
        };
        Ground::all().into_iter().map(scene).collect()
    }

    fn folder(&self) -> PathBuf {
        let folder = self.ground.world.home().join(".agent");
        fs::create_dir_all(&folder).unwrap();
        folder.canonicalize().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.folder().join("auth.json")
    }

    /// As the program itself does on the host: these tokens are taken from now on.
    fn log_in(&self, number: usize, seconds: i64) {
        let shape = self.service.0;
        let access = shape.access(number, seconds);
        fs::write(self.file(), shape.file(&access, number, seconds)).unwrap();
        let (folder, home) = (self.folder(), self.ground.world.home());
        let script = format!("chown -R --reference={} {}", home.display(), folder.display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        self.service.with(|state| (state.number, state.access) = (number, access));
    }

    fn agentkernel(&self, arguments: &[&str]) -> Command {
        self.ground.internet.agentkernel(&self.ground.world, arguments)
    }

    /// Starts a sandbox that has the login, as it is recorded when an agent is run.
    fn start(&self, name: &str) {
        let id = stdout(&mut self.agentkernel(&["create", "--name", name, "--allow", WEB, "--allow", HIDDEN]));
        let path = self.ground.world.state().join("sandboxes").join(id.trim()).join("spec.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let (shape, file) = (self.service.0, self.file());
        let fields = shape.fields();
        let network = &mut spec["record"]["network"];
        network["secrets"] = json!([{
            "name": "access", "source": {"field": {"file": file, "keys": fields["access"]}}, "hosts": [WEB],
            "placeholder": ACCESS, "env": null, "file": null
        }]);
        let encoding = if shape == Shape::Gemini { "form" } else { "json" };
        network["logins"] = json!([{
            "login": {
                "name": "the login of ~/.agent/auth.json",
                "placeholders": {"access": ACCESS, "refresh": REFRESH, "id": null},
                "endpoint": {
                    "target": {"host": HIDDEN, "port": 443}, "path": "/own/token", "encoding": encoding,
                    "parameters": [["client_id", "me"]]
                },
                "scope": null, "expires_ms": null, "remedy": "log in with `agent login`"
            },
            "file": file, "fields": fields
        }]);
        fs::write(&path, spec.to_string()).unwrap();
        let _ = stdout(&mut self.agentkernel(&["start", name]));
    }

    fn exec(&self, name: &str, script: &str) -> Command {
        let script = format!("{PRELUDE}{CLIENT}\n{script}");
        self.agentkernel(&["exec", name, "timeout", "100", "python3", "-u", "-c", &script])
    }

    fn python(&self, name: &str, script: &str) -> Output {
        self.exec(name, script).output().unwrap()
    }

    #[track_caller]
    fn works(&self, name: &str, script: &str) {
        let output = self.python(name, script);
        assert!(output.status.success(), "{}\n{:#?}", told(&output), self.ground.log(&[]));
    }

    fn spawn(&self, name: &str, script: &str) -> Child {
        self.exec(name, script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// That the file has the tokens of this number, and nothing else has changed.
    #[track_caller]
    fn has(&self, number: usize) {
        let access = self.service.with(|state| state.access.clone());
        let text = self.text();
        let found: Value = serde_json::from_str(&text).unwrap();
        let at = |keys: &Value| {
            keys.as_array().unwrap().iter().fold(&found, |value, key| &value[key.as_str().unwrap()]).clone()
        };
        let fields = self.service.0.fields();
        assert_eq!(at(&fields["access"]), json!(access), "{text}");
        assert_eq!(at(&fields["refresh"]), json!(format!("refresh-{number}-real")), "{text}");
        if fields["expires"] != json!([]) {
            let left = at(&fields["expires"]).as_u64().unwrap() / 1000 - now();
            assert!((3000..=3600).contains(&left), "{text}");
        }
        if fields["id"] != json!([]) {
            assert!(text.contains("h.id.new") && !text.contains("2026-01-01T"), "{text}");
        }
        // Values aside, it is written as it was.
        let shape = |text: &str| text.chars().filter(|c| " \n{}[],".contains(*c)).collect::<String>();
        assert_eq!(shape(&text), shape(&self.service.0.file("x", number, 0)), "{text}");
        assert_eq!(self.names(), ["auth.json"]);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn egress(&self) -> u32 {
        let processes = self.ground.world.processes();
        processes.into_iter().find(|(_, name)| name == "ak-egress").expect("no egress").0
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.agentkernel(&["rm", "-f", "one", "two"]).output();
        if !thread::panicking() {
            eventually("nothing is left", || self.ground.world.leftovers().is_empty());
        }
    }
}

/// What an agent does.
const CLIENT: &str = r#"
import http.client, json
ACCESS, REFRESH, LOGIN = "placeholder-access-5c1f00d2", "placeholder-refresh-5c1f00d2", "hidden.example.net"

def ask(connection, method, path, headers={}, body=None):
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert "real" not in text and "secret" not in text, text
    return answer.status, text, answer.getheader("x-agentkernel-reason")

def api(connection=None):
    connection = connection or http.client.HTTPSConnection(WEB, timeout=90)
    return ask(connection, "GET", "/own/api", {"Authorization": f"Bearer {ACCESS}"})

def until(holds):
    while not holds():
        time.sleep(0.1)

def renew(token=REFRESH):
    body = json.dumps({"grant_type": "refresh_token", "refresh_token": token})
    connection = http.client.HTTPSConnection(LOGIN, timeout=90)
    return ask(connection, "POST", "/own/token", {"Content-Type": "application/json"}, body)
"#;

#[test]
fn a_login_is_renewed_before_it_expires_and_so_is_its_file() {
    for shape in SHAPES {
        for scene in Scene::all(shape, 20) {
            scene.start("one");
            scene.works("one", "assert api()[0] == 200; assert api()[0] == 200");
            scene.has(1);
            let state = scene.service.with(|state| (state.asked.clone(), state.used.clone()));
            let (asked, used) = state;
            let expected = match shape {
                Shape::Gemini => "\r\n\r\ngrant_type=refresh_token&refresh_token=refresh-0-real&client_id=me".to_owned(),
                _ => "\r\n\r\n{\"client_id\":\"me\",\"grant_type\":\"refresh_token\",\"refresh_token\":\"refresh-0-real\"}".to_owned(),
            };
            assert!(asked.len() == 1 && asked[0].ends_with(&expected), "{asked:?}");
            assert!(asked[0].to_lowercase().contains(&format!("\r\nhost: {HIDDEN}\r\n")), "{asked:?}");
            assert!(used.len() == 2 && used.iter().all(|(_, status)| *status == 200), "{used:?}");
            // Nor is any of it on record.
            let state = scene.ground.world.state();
            let found = Command::new("grep").args(["-rl", "[0-9]-real"]).arg(&state).output().unwrap();
            assert!(found.stdout.is_empty(), "{}", told(&found));
            // One that is started again has what the file says.
            let _ = stdout(&mut scene.agentkernel(&["restart", "one"]));
            scene.works("one", "assert api()[0] == 200");
            assert_eq!(scene.service.asked(), 1);
        }
    }
}

#[test]
fn one_that_is_refused_is_renewed_for_the_next_request() {
    for scene in Scene::all(Shape::Claude, 36_000) {
        scene.start("one");
        // On one connection, which goes on with another token.
        let script = "connection = http.client.HTTPSConnection(WEB)\nprint(api(connection)[0], api(connection)[0])";
        scene.service.with(|state| state.access = "access-1-real".into());
        let output = scene.python("one", script);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "401 200\n", "{}", told(&output));
        scene.has(1);
        assert_eq!(scene.service.asked(), 1);
    }
}

#[test]
fn an_agent_that_renews_it_gets_placeholders() {
    for scene in Scene::all(Shape::Claude, 36_000) {
        scene.start("one");
        let script = r#"
status, text, _ = renew()
told = json.loads(text)
assert status == 200 and (told["access_token"], told["refresh_token"]) == (ACCESS, REFRESH), text
assert told["expires_in"] > 1000000, text
status, text, reason = renew("refresh-of-somebody-else")
assert (status, reason) == (403, "request-not-allowed") and "outside" in text, text
assert api()[0] == 200
"#;
        scene.works("one", script);
        // There was no need.
        assert_eq!(scene.service.asked(), 0);
        scene.log_in(1, 20);
        let _ = stdout(&mut scene.agentkernel(&["restart", "one"]));
        scene.works("one", "assert renew()[0] == 200; assert api()[0] == 200");
        scene.has(2);
        assert_eq!(scene.service.asked(), 1);
    }
}

/// What a server takes for the place where tokens are given is not asked either, though all of its host is allowed.
#[test]
fn nothing_below_where_it_is_renewed_is_asked() {
    for scene in Scene::all(Shape::Claude, 36_000) {
        scene.start("one");
        let script = r#"
def take(path, method="POST", headers={}):
    connection = http.client.HTTPSConnection(LOGIN, timeout=90)
    return ask(connection, method, path, headers, "grant_type=authorization_code&code=X")

for path in ["/", "/x/y", ";x", "/.", ".json", "?x=1", "/?x=1", "%2f", "%20", "%3f"]:
    status, text, reason = take("/own/token" + path)
    assert (status, reason) == (403, "request-not-allowed") and "outside" in text, (path, status, text)
for path in ["//own/token", "/own//token", "/own/./token", "/x/../own/token", "/own%2ftoken", "/own/%74oken", "/OWN/Token"]:
    status, text, reason = take(path)
    assert (status, reason) == (403, "request-not-allowed") and "outside" in text, (path, status, text)
for method in ["GET", "PUT", "DELETE"]:
    assert take("/own/token", method)[0] == 403, method
status, text, reason = take("/own/other", headers={"X-Original-URL": "/own/token"})
assert (status, reason) == (403, "request-not-allowed"), (status, text)
# Refused one by one, on a connection that goes on.
connection = http.client.HTTPSConnection(LOGIN, timeout=90)
for path, status in [("/own/token/", 403), ("/own/tokens", 401), ("/own/token/x", 403), ("/own", 401)]:
    assert ask(connection, "POST", path, {}, "x")[0] == status, path
"#;
        scene.works("one", script);
        assert_eq!((scene.service.asked(), scene.service.with(|state| state.used.len())), (0, 2));
    }
}

#[test]
fn one_that_is_not_renewed_any_more_says_how_to_log_in() {
    for scene in Scene::all(Shape::Claude, -5) {
        scene.service.with(|state| state.refuses = true);
        scene.start("one");
        let before = scene.text();
        let script = r#"
status, text, reason = api()
assert (status, reason) == (403, "login-expired"), (status, text)
assert "the login of ~/.agent/auth.json has expired: its renewal is refused with 'invalid_grant'; log in with `agent login`" in text, text
status, text, _ = renew()
assert status == 400 and json.loads(text)["error"] == "invalid_grant" and "`agent login`" in text, text
"#;
        let output = scene.python("one", script);
        assert!(output.status.success(), "{}", told(&output));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("log in with `agent login`"), "{told}");
        scene.ground.told("login-expired");
        assert_eq!((scene.text(), scene.service.asked()), (before, 1));
        assert_eq!(scene.service.with(|state| state.used.len()), 0);
        // Whoever logs in again helps those that run.
        scene.log_in(5, 36_000);
        scene.works("one", "until(lambda: api()[0] == 200)");
        assert_eq!(scene.service.asked(), 1);
    }
}

/// Agents try again for long, and say nothing.
#[test]
fn one_that_cannot_be_renewed_now_is_told_at_the_end() {
    for scene in Scene::all(Shape::Claude, -5) {
        scene.service.with(|state| state.broken = true);
        scene.start("one");
        let output = scene.python("one", "assert (api()[0], api()[2]) == (502, 'renewal-failed')");
        assert!(output.status.success(), "{}", told(&output));
        let told = String::from_utf8(output.stderr).unwrap();
        let words = "refused, because the login of ~/.agent/auth.json could not be renewed: ";
        assert!(told.contains(words) && told.contains("503"), "{told}");
        assert_eq!(scene.ground.log(&["--denied"]).len(), 0);
        scene.service.with(|state| state.broken = false);
        scene.works("one", "until(lambda: api()[0] == 200)");
        scene.has(1);
    }
}

#[test]
fn what_the_host_has_renewed_is_taken_from_there() {
    for scene in Scene::all(Shape::Gemini, 36_000) {
        scene.start("one");
        scene.works("one", "assert api()[0] == 200");
        // The old token is not taken any more.
        scene.log_in(7, 36_000);
        scene.works("one", "assert api()[0] == 401; assert api()[0] == 200");
        assert_eq!(scene.service.asked(), 0);
    }
}

#[test]
fn sandboxes_that_share_it_renew_it_once() {
    for scene in Scene::all(Shape::Claude, 5) {
        scene.start("one");
        scene.start("two");
        scene.service.with(|state| state.slow = Duration::from_millis(500));
        let mut clients: Vec<Child> =
            ["one", "two", "one", "two"].map(|name| scene.spawn(name, "assert api()[0] == 200")).into();
        for client in &mut clients {
            assert!(client.wait().unwrap().success(), "{:#?}", scene.ground.log(&[]));
        }
        assert_eq!(scene.service.asked(), 1);
        scene.has(1);
    }
}

#[test]
fn an_egress_that_is_killed_leaves_it_as_it_was() {
    for scene in Scene::all(Shape::Codex, -5) {
        scene.start("one");
        let before = scene.text();
        scene.service.with(|state| (state.slow, state.refuses) = (Duration::from_secs(2), true));
        let mut client = scene.spawn("one", "api()");
        eventually("the service is asked", || scene.service.asked() == 1);
        assert_eq!(scene.names(), [".auth.json.agentkernel", "auth.json"]);
        signal(scene.egress(), Signal::KILL);
        assert!(!client.wait().unwrap().success());
        eventually("the room is given back", || scene.names() == ["auth.json"]);
        assert_eq!(scene.text(), before);
        // What was asked for then never came, so it was not taken away either.
        scene.service.with(|state| (state.slow, state.refuses) = (Duration::ZERO, false));
        scene.works("one", "assert api()[0] == 200");
        scene.has(1);
    }
}

#[test]
fn a_supervisor_that_is_killed_leaves_it_as_it_was() {
    for scene in Scene::all(Shape::Claude, -5) {
        scene.start("one");
        let before = scene.text();
        scene.service.with(|state| (state.slow, state.refuses) = (Duration::from_secs(2), true));
        let mut client = scene.spawn("one", "api()");
        eventually("the service is asked", || scene.service.asked() == 1);
        let supervisor: u32 = inspected(&scene.ground.world, "one", "supervisor_pid");
        signal(supervisor, Signal::KILL);
        assert!(!client.wait().unwrap().success());
        assert_eq!(scene.text(), before);
        // Nobody holds it, and what was left is cleared away.
        scene.service.with(|state| (state.slow, state.refuses) = (Duration::ZERO, false));
        let _ = scene.agentkernel(&["stop", "one"]).output();
        let _ = stdout(&mut scene.agentkernel(&["start", "one"]));
        scene.works("one", "assert api()[0] == 200");
        scene.has(1);
    }
}

#[test]
fn the_end_of_a_sandbox_waits_for_a_renewal() {
    for scene in Scene::all(Shape::Claude, -5) {
        scene.start("one");
        scene.service.with(|state| state.slow = Duration::from_secs(2));
        let mut client = scene.spawn("one", "api()");
        eventually("the service is asked", || scene.service.asked() == 1);
        let _ = stdout(&mut scene.agentkernel(&["rm", "-f", "one"]));
        let _ = client.wait();
        scene.has(1);
    }
}

#[test]
fn nothing_is_asked_for_that_cannot_be_kept() {
    for scene in Scene::all(Shape::Claude, -5) {
        scene.start("one");
        let words = |words: &str| {
            // What was told before is told for a while.
            let script = format!(
                "until(lambda: api()[0] == 502 and {words:?} in api()[1])\nassert api()[2] == 'renewal-failed'"
            );
            scene.works("one", &script);
            assert_eq!(scene.service.asked(), 0);
        };
        // By a link that came later.
        let (file, moved) = (scene.file(), scene.folder().join("moved.json"));
        fs::rename(&file, &moved).unwrap();
        std::os::unix::fs::symlink("moved.json", &file).unwrap();
        words("is reached by a symbolic link");
        fs::remove_file(&file).unwrap();
        words("No such file or directory");
        fs::rename(&moved, &file).unwrap();
        scene.works("one", "until(lambda: api()[0] == 200)");
        scene.has(1);
    }
}

#[test]
fn a_full_disk_is_found_out_before_anything_is_lost() {
    for scene in Scene::all(Shape::Gemini, -5) {
        if scene.ground.world.who() == Who::Nobody {
            continue;
        }
        let folder = scene.folder();
        let text = scene.text();
        // Seen by all who are in this internet, and by nobody else.
        let shell = |script: String| {
            let output =
                scene.ground.internet.command(&scene.ground.world, "sh").args(["-c", &script]).output().unwrap();
            assert!(output.status.success(), "{script}: {}", told(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        let own = folder.display();
        shell(format!("mount -t tmpfs -o size=256k,mode=700 tmpfs {own} && printf %s '{text}' > {own}/auth.json"));
        scene.start("one");
        shell(format!("cat /dev/zero > {own}/full 2> /dev/null || true"));
        let full = "status, text, _ = api()\nassert status == 502 and 'No space left on device' in text, text";
        scene.works("one", full);
        assert_eq!(scene.service.asked(), 0);
        assert_eq!(shell(format!("cat {own}/auth.json; ls -A {own}")), format!("{text}auth.json\nfull\n"));
        // Full only once there is room for what comes.
        shell(format!("rm {own}/full"));
        scene.service.with(|state| state.slow = Duration::from_secs(2));
        let mut client = scene.spawn("one", "until(lambda: api()[0] == 200)");
        eventually("the service is asked", || scene.service.asked() == 1);
        shell(format!("cat /dev/zero > {own}/full 2> /dev/null || true"));
        assert!(client.wait().unwrap().success(), "{:#?}", scene.ground.log(&[]));
        let found = shell(format!("cat {own}/auth.json"));
        assert!(found.contains("access-1-real") && found.contains("refresh-1-real"), "{found}");
    }
}
