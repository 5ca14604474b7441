//! `agentkernel image build`: from a Dockerfile to an image, in sandboxes.

use crate::workshop::Scene;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};
use support::{SshAgent, Who, eventually, told};

/// How many steps were taken from an earlier build.
fn cached(told: &str) -> usize {
    told.lines().filter(|line| line.contains("] CACHED ")).count()
}

const STAGES: &str = "\
# syntax=docker/dockerfile:1
ARG BASE=base
FROM $BASE:1 AS made
ARG WORD=none
ENV SAID=$WORD
WORKDIR /srv/app
RUN <<EOF
echo $SAID > said
id -u > who
EOF
FROM base:1 AS unused
RUN exit 1
FROM base:1
COPY --from=made /srv/app /app
COPY run.sh /app/
ENTRYPOINT [\"/app/run.sh\"]
CMD [\"now\"]
USER app
";

#[test]
fn from_a_dockerfile_to_a_sandbox() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let (digest, told) = scene.build(STAGES, &["--build-arg", "WORD=hello"]);
        assert!(told.contains("[5/11] RUN <<EOF\n"), "{told}");
        assert!(!told.contains("exit 1"), "{told}");
        assert_eq!(scene.run("cat /app/said /app/who"), "hello\n0\n");
        let shown = scene.inspect("built:1");
        assert_eq!((&shown["run"]["User"], &shown["run"]["Cmd"]), (&"app".into(), &serde_json::json!(["now"])));
        assert_eq!(shown["manifest"].as_str(), Some(digest.as_str()));
        // As the image says: its entry point before the command, its user.
        let run = ["run", "--image", "built:1", "--workspace", "none", "--", "one", "two"];
        assert_eq!(scene.ok(&run), "run one two\n");
        // Again: nothing is done, and it is the same.
        let (again, told) = scene.build(STAGES, &["--build-arg", "WORD=hello"]);
        assert_eq!((again, cached(&told)), (digest.clone(), 4), "{told}");
        // Another word is another image.
        let (other, told) = scene.build(STAGES, &["--build-arg", "WORD=other"]);
        assert_ne!(other, digest);
        assert_eq!(cached(&told), 1, "{told}");
        // It goes out, and comes back.
        scene.ok(&["image", "export", "built:1", "built.tar"]);
        assert_eq!(scene.ok(&["image", "import", "built.tar", "back:1"]), format!("back:1 {other}\n"));
        eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

#[test]
fn a_here_document_is_a_commands_input_unless_it_stands_alone() {
    let scene = Scene::new(Who::Me);
    let dockerfile = "\
FROM base:1
RUN <<EOF sed s/in/out/ > /piped
in $HOME
EOF
RUN <<'EOF' cat > /plain
RUN $HOME
EOF
RUN cat << EOF > /spaced && echo $(( 1 << 3 )) >> /spaced
USER none
EOF
RUN << EOF
echo alone > /alone
EOF
";
    scene.build(dockerfile, &[]);
    assert_eq!(scene.run("cat /piped /plain /spaced /alone"), "out /root\nRUN $HOME\nUSER none\n8\nalone\n");
}

/// Engines mount these: what a step does to them is in no layer.
#[test]
fn what_a_step_finds_in_etc_beside_the_images_own_is_in_no_layer() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let dockerfile = "\
FROM base:1
RUN for file in hosts hostname resolv.conf; do echo x >> /etc/$file; done; rm -f /etc/hosts; chmod -R a+r /etc; echo x > /etc/made
";
        scene.build(dockerfile, &[]);
        let mut names = scene.last_layer();
        names.retain(|name| name.starts_with("etc/") || name.starts_with("./etc/"));
        names.sort();
        assert!(names.iter().any(|name| name.ends_with("etc/made")), "{names:?}");
        for file in ["hosts", "hostname", "resolv.conf"] {
            assert!(!names.iter().any(|name| name.contains(file)), "{names:?}");
        }
        // And an image keeps its own.
        scene.build("FROM base:1\nCOPY package.json /etc/hosts\nRUN echo x >> /etc/hosts; echo x > /etc/made\nRUN cp /etc/hosts /seen\n", &[]);
        assert!(scene.run("cat /seen").contains("localhost"));
        eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

#[test]
fn volumes_and_ports_are_as_engines_have_them() {
    let scene = Scene::new(Who::Me);
    let ports = "EXPOSE 1-65535 1-65535/udp\n".repeat(20);
    let begin = std::time::Instant::now();
    scene.build(&format!("FROM base:1\nWORKDIR /srv\nVOLUME data /a/../b\n{ports}"), &[]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
    let shown = scene.inspect("built:1");
    assert_eq!(shown["run"]["Volumes"], serde_json::json!({ "data": {}, "/a/../b": {} }));
    assert_eq!(shown["run"]["ExposedPorts"].as_object().unwrap().len(), 2 * 65535);
    let run = [
        "run",
        "--image",
        "built:1",
        "--workspace",
        "none",
        "--read-only",
        "-u",
        "0",
        "--",
        "touch",
        "/data/x",
        "/b/x",
    ];
    scene.ok(&run);
    let output = scene.try_build("FROM base:1\nVOLUME \"\"\n", &[]);
    assert!(told(&output).contains("VOLUME names no path"), "{}", told(&output));
}

#[test]
fn the_same_gives_the_same_everywhere() {
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let scene = Scene::new(Who::Me);
            scene.build(STAGES, &[]).0
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    let scene = Scene::new(Who::Me);
    scene.write("Dockerfile", STAGES);
    let dated = |epoch: &str| {
        let mut build = scene.world.agentkernel(["image", "build", "-q", "-t", "built:1", "."]);
        build.env("SOURCE_DATE_EPOCH", epoch).output().unwrap()
    };
    let output = dated("1700000000");
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(scene.inspect("built:1")["created"], "2023-11-14T22:13:20Z");
    assert_eq!(scene.run("stat -c %Y /app/said /app/run.sh"), "1700000000\n1700000000\n");
    let output = dated("yesterday");
    assert!(told(&output).contains("SOURCE_DATE_EPOCH is 'yesterday'"), "{}", told(&output));
}

#[test]
fn a_layer_has_what_its_command_has_written_and_nothing_else() {
    let scene = Scene::new(Who::Me);
    scene.build("FROM base:1\nRUN true\n", &[]);
    assert_eq!(scene.last_layer(), ["./"]);
    scene.build(
        "FROM base:1\nRUN rm /etc/group && mkdir /new && cd /new && touch a && ln a b && chmod 4755 a && mkfifo p && chown 7:8 p\n",
        &[],
    );
    assert_eq!(scene.last_layer(), ["./", "etc/", "etc/.wh.group", "new/", "new/a", "new/b", "new/p"]);
    assert_eq!(scene.run("stat -c '%a %u:%g %h' /new/a; stat -c '%F %u:%g' /new/p"), "4755 0:0 2\nfifo 7:8\n");
    // A directory that was made anew shows nothing of the old one.
    scene.build("FROM base:1\nRUN rm -r /home && mkdir /home && touch /home/new\n", &[]);
    assert_eq!(scene.last_layer(), ["./", "home/", "home/.wh..wh..opq", "home/new"]);
    // Twice the same is no hindrance.
    scene.build("FROM base:1\nRUN true\nRUN true\nRUN touch /x\nRUN true\n", &[]);
    assert_eq!(scene.run("ls /x"), "/x\n");
}

#[test]
fn a_step_is_known_by_what_decides_it() {
    let scene = Scene::new(Who::Me);
    let dockerfile = "FROM base:1\nCOPY src /src\nRUN cat /src/* > /all\nENV A=1\nRUN echo $A > /a\n";
    let again = |change: &str, dockerfile: &str, expected: usize| {
        scene.sh(change);
        let (_, told) = scene.build(dockerfile, &[]);
        assert_eq!(cached(&told), expected, "{change}: {told}");
    };
    again("true", dockerfile, 0);
    again("true", dockerfile, 3);
    // Neither times nor what is left out belongs to it.
    again("touch src/*; echo more >> src/b.log; echo x > src/new.log", dockerfile, 3);
    again("chmod 600 src/main.c", dockerfile, 0);
    // What is as it was once is known again; so is what follows the same files from elsewhere.
    again("chmod 644 src/main.c", dockerfile, 3);
    again("echo new > src/main.c", dockerfile, 0);
    again("true", &dockerfile.replace("A=1", "A=2"), 2);
    // A comment is nothing; another command is another step.
    again("true", &dockerfile.replace("ENV A=1", "# comment\nENV A=1"), 3);
    again("true", &dockerfile.replace("cat /src/*", "cat /src/*.c"), 1);
    let (_, told) = scene.build(dockerfile, &["--no-cache"]);
    assert_eq!(cached(&told), 0, "{told}");
}

#[test]
fn what_is_mounted_for_a_command_is_not_in_its_layer() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let dockerfile = "\
FROM base:1 AS other
RUN echo other > /file
FROM base:1
RUN --mount=type=cache,target=/cache,id=one echo $WORD >> /cache/words; cat /cache/words
RUN --mount=type=tmpfs,target=/memory echo x > /memory/x && ls /memory > /seen
RUN --mount=from=other,source=/file,target=/bound/file --mount=source=src,target=/context \\
    cat /bound/file /context/main.c > /joined && ! touch /context/new
RUN <<EOF
#!/bin/cat
a script of its own
EOF
";
        let word = |word: &str| dockerfile.replace("$WORD", word);
        let (_, told) = scene.build(&word("one"), &[]);
        assert!(told.contains("a script of its own"), "{told}");
        let (_, told) = scene.build(&word("two"), &[]);
        assert!(told.contains("one\ntwo\n"), "{told}");
        // It wrote nothing that stays, so that what follows is as it was.
        assert_eq!(cached(&told), 4, "{told}");
        assert_eq!(
            scene.run("cat /seen /joined; ls -A /cache /memory /bound /context 2>&1 | grep -c such"),
            "x\nother\nint main;\n4\n"
        );
        assert!(scene.layers("built:1").len() == 5);
        // Other files there make another step.
        scene.sh("echo changed > src/main.c");
        let (_, told) = scene.build(&word("two"), &[]);
        assert_eq!(cached(&told), 3, "{told}");
        assert_eq!(scene.run("cat /joined"), "other\nchanged\n");
        scene.ok(&["image", "prune", "--all"]);
        let caches = scene.sh("ls \"$HOME/state/cache\" | grep -c -e ^mount- -e ^lent- || true");
        assert_eq!(caches, "0\n");
    }
}

#[test]
fn a_cache_is_of_one_project() {
    let scene = Scene::new(Who::Me);
    scene.sh("mkdir -p other/sub && touch agentkernel.toml other/agentkernel.toml");
    let build = |context: &str, word: &str| {
        let step = "RUN --mount=type=cache,target=/cache echo $WORD >> /cache/words; cat /cache/words";
        let text = format!("FROM base:1\n{}\n", step.replace("$WORD", word));
        scene.write(&format!("{context}/Dockerfile"), &text);
        let output = scene.agentkernel(&["image", "build", context]);
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    };
    build(".", "one");
    let text = build("other", "two");
    assert!(text.contains("\ntwo\n") && !text.contains("\none\n"), "{text}");
    let text = build("other/sub", "three");
    assert!(text.contains("\ntwo\nthree\n"), "{text}");
    let text = build("src", "four");
    assert!(text.contains("\none\nfour\n"), "{text}");
    // What a command has made of one is not taken for another.
    assert_eq!(cached(&build("other", "one")), 0);
}

#[test]
fn a_cache_in_two_places_is_waited_for_by_nobody() {
    let scene = Scene::new(Who::Me);
    for other in ["locked", "shared"] {
        let (_, text) = scene.build(
            &format!(
                "FROM base:1\nRUN --mount=type=cache,id=a,sharing=locked,target=/x \
                 --mount=type=cache,id=a,sharing={other},target=/y echo {other} > /x/file; cat /y/file\n"
            ),
            &["--no-cache"],
        );
        assert!(text.contains(&format!("\n{other}\n")), "{text}");
    }
}

#[test]
fn a_working_directory_is_of_the_user_before_it() {
    for who in Who::all() {
        // Who is not root has one id to give.
        let root = who == Who::Me && rustix::process::getuid().is_root();
        let scene = Scene::new(who);
        let writes = if root { "RUN touch /made/by/app\n" } else { "" };
        let dockerfile = format!(
            "FROM base:1\nWORKDIR /root-s\nUSER app\nWORKDIR /made/by\n{writes}WORKDIR /root-s/new\nUSER none\nWORKDIR /made/by\n"
        );
        scene.build(&dockerfile, &[]);
        let app = if root { "7:8 755\n" } else { "0:0 755\n" };
        let owners = scene.run("stat -c '%u:%g %a' /root-s /made /made/by /root-s/new");
        assert_eq!(owners, format!("0:0 755\n{app}{app}{app}"));
        // Nothing can be of who is not there.
        let output = scene.try_build("FROM base:1\nUSER none\nWORKDIR /new\n", &[]);
        assert!(told(&output).contains("Dockerfile:3: USER none: the image's /etc/passwd"), "{}", told(&output));
    }
}

#[test]
fn an_image_without_a_name_is_used_by_its_digest() {
    let scene = Scene::new(Who::Me);
    scene.write("Dockerfile", "FROM base:1\nENV WHICH=unnamed\n");
    let digest = scene.ok(&["image", "build", "-q", "."]).trim().to_owned();
    let short = &digest["sha256:".len()..][..12];
    let listed = scene.ok(&["image", "list"]);
    assert!(listed.lines().any(|line| line.starts_with("<none>") && line.contains(short)), "{listed}");
    assert!(scene.ok(&["image", "list", "-q"]).lines().any(|line| line == digest));
    for name in [&*digest, short] {
        let run = ["run", "--image", name, "--workspace", "none", "--", "/bin/sh", "-c", "echo $WHICH"];
        assert_eq!(scene.ok(&run), "unnamed\n");
        assert_eq!(scene.inspect(name)["manifest"], *digest);
    }
    let output = scene.agentkernel(&["image", "export", short, "unnamed.tar"]);
    assert!(output.status.success(), "{}", told(&output));
    let output = scene.agentkernel(&["image", "import", "unnamed.tar"]);
    assert!(told(&output).contains("it has no name in it"), "{}", told(&output));
    // A name that is here is what it means, whatever it looks like.
    scene.ok(&["image", "tag", "base:1", &format!("{short}:1")]);
    assert!(!scene.agentkernel(&["image", "inspect", short]).status.success());
    scene.ok(&["image", "rm", &format!("{short}:1")]);
    assert!(!scene.agentkernel(&["image", "inspect", short]).status.success(), "rm takes what has no name");
    let again = scene.ok(&["image", "build", "-q", "."]);
    assert_eq!(again.trim(), digest);
    scene.ok(&["image", "tag", &digest, "named:1"]);
    scene.ok(&["image", "tag", short, "named:2"]);
    let output = scene.agentkernel(&["image", "rm", short]);
    assert!(told(&output).contains("several names: named:1, named:2"), "{}", told(&output));
    scene.ok(&["image", "rm", "named:1"]);
    assert_eq!(scene.ok(&["image", "rm", short]), format!("{short}\n"));
    assert!(!scene.agentkernel(&["image", "inspect", "named:2"]).status.success());
    assert!(!scene.agentkernel(&["image", "inspect", "sha256:0123456789ab"]).status.success());
}

#[test]
fn a_command_reaches_nothing_unless_it_is_allowed() {
    let scene = Scene::new(Who::Me);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ask = format!(
        "FROM base:1\nRUN printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | nc 203.0.113.1 80; \\\n\
         ip=$(nslookup host.agentkernel.internal 127.0.0.1 | sed -n 's/^Address.*: *\\(198\\.1[89]\\.[0-9.]*\\).*/\\1/p'); \\\n\
         nc $ip {port} < /dev/null | grep served > /got\n"
    );
    let output = scene.try_build(&ask, &[]);
    let told = told(&output);
    assert!(!output.status.success() && told.contains("Dockerfile:2: The command exited with status 1"), "{told}");
    assert!(told.contains("    2 | RUN printf 'GET"), "{told}");
    assert!(told.contains("X-Agentkernel-Reason: network-none") && told.contains("`--allow HOST`"), "{told}");
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"served\n").unwrap());
    scene.build(&ask, &["--open", &format!("localhost:{port}")]);
    server.join().unwrap();
    assert_eq!(scene.run("cat /got"), "served\n");
    // As a project says it, once it is trusted.
    scene.write("agentkernel.toml", &format!("[network]\nhost_services = [\"localhost:{port}\"]\n"));
    let output = scene.try_build(&ask.replace("served", "serve"), &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("agentkernel trust"), "{output:?}");
    eventually("nothing is left", || scene.world.leftovers().is_empty());
}

#[test]
fn a_command_that_was_refused_something_is_not_known_again() {
    let scene = Scene::new(Who::Me);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ask = format!(
        "FROM base:1\nRUN ip=$(nslookup host.agentkernel.internal 127.0.0.1 | sed -n 's/^Address.*: *\\(198\\.1[89]\\.[0-9.]*\\).*/\\1/p'); \\\n\
         nc ${{ip:-203.0.113.1}} {port} < /dev/null > /got; true\n"
    );
    for _ in 0..2 {
        let (_, told) = scene.build(&ask, &["-q"]);
        assert!(told.contains("refused, because the network mode is 'none'") || told.contains("was refused"), "{told}");
    }
    assert_ne!(scene.run("cat /got"), "served\n");
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"served\n").unwrap());
    let open = ["--open", &format!("localhost:{port}")];
    let (_, told) = scene.build(&ask, &open);
    assert_eq!(cached(&told), 0, "{told}");
    server.join().unwrap();
    assert_eq!(scene.run("cat /got"), "served\n");
    // What was allowed all that it wanted, is.
    let (_, told) = scene.build(&ask, &open);
    assert_eq!(cached(&told), 1, "{told}");
}

#[test]
fn a_pattern_passes_over_what_is_no_directory() {
    let scene = Scene::new(Who::Me);
    scene.sh("mkdir -p pk/a pk/b && echo {} > pk/a/package.json && touch pk/README pk/b/other");
    scene.build("FROM base:1\nCOPY pk/*/package.json /one/\nCOPY pk/*/nothing pk/b/other /two/\n", &[]);
    assert_eq!(scene.run("cd /; ls one two"), "one:\npackage.json\n\ntwo:\nother\n");
    let output = scene.try_build("FROM base:1\nCOPY pk/*/nothing /one/\n", &[]);
    assert!(told(&output).contains("Nothing fits pk/*/nothing"), "{}", told(&output));
    // A name that is none is a mistake still.
    let output = scene.try_build("FROM base:1\nCOPY pk/README/x /one/\n", &[]);
    assert!(!output.status.success(), "{}", told(&output));
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    let scene = Scene::new(Who::Me);
    for (dockerfile, expected) in [
        (
            "FROM base:1\n\nRUNN x\n",
            "Dockerfile:3: No instruction is called 'RUNN'\n    3 | RUNN x\n  hint: Did you mean RUN?",
        ),
        ("FROM base:1\nRUN --network=host x\n", "Dockerfile:2: RUN --network=host is not supported"),
        ("FROM base:1\nRUN --network=host x\n", "build it with `docker build`, whose BuildKit knows it"),
        ("FROM base:1\nCOPY --chmod=u+x run.sh /x\n", "build it with `docker build`, whose BuildKit knows it"),
        ("FROM base:1\nADD http://x.example/y /y\n", "`--builder docker`"),
        ("FROM base:1\nCOPY --from=0 /a /b\n", "Dockerfile:2: '0' is this stage itself"),
        ("FROM base:1 AS me\nCOPY --from=Me /a /b\n", "Dockerfile:2: 'Me' is this stage itself"),
        ("FROM base:1\nCOPY --from=1 /a /b\n", "Dockerfile:2: There is no stage 1 before this one"),
        ("FROM base:1\nSTOPSIGNAL NOTASIGNAL\n", "Dockerfile:2: 'NOTASIGNAL': no such signal"),
        ("FROM base:1\nCOPY none /x\n", "Dockerfile:2: There is no none"),
        ("FROM base:1\nCOPY yarn.lock* *.log /x/\n", "Dockerfile:2: Nothing fits yarn.lock* *.log"),
        ("FROM base:1\nCOPY run.sh yarn.lock /x/\n", "Dockerfile:2: There is no yarn.lock"),
        ("FROM base:1\nCOPY a.log /x\n", "`.dockerignore` leaves it out"),
        ("FROM base:1\nCOPY run.sh src /x\n", "2 sources can't all be /x"),
        ("FROM base:1\nCOPY --chown=none run.sh /x\n", "--chown=none: the image's /etc/passwd has no user none"),
        ("FROM base:1\nCOPY run.sh /etc/passwd/x\n", "Dockerfile:2: /etc/passwd/x: Not a directory"),
        ("FROM base:1\nUSER none\nRUN x\n", "Dockerfile:3: USER none: the image's /etc/passwd has no user none"),
        ("FROM base:1\nENV A=${B:?missing}\n", "Dockerfile:2: B: missing"),
        ("FROM base:1\nEXPOSE http\n", "Dockerfile:2: 'http' is no port such as 80/tcp"),
        (
            "FROM base:1\nRUN echo before; exit 7\n",
            "before\nagentkernel: Dockerfile:2: The command exited with status 7",
        ),
        ("FROM scratch\nRUN true\n", "Dockerfile:2: There is nothing to run in an empty image"),
        (
            &format!("FROM base:1\nARG A=x\n{}", "ARG A=$A$A\n".repeat(40)),
            "Dockerfile:20: Its variables make it longer than",
        ),
        ("FROM base:1\nRUN [\"/none\"]\n", "Dockerfile:2: Cannot execute /none: no such file or directory"),
    ] {
        let output = scene.try_build(dockerfile, &[]);
        let told = told(&output);
        assert!(output.status.code() == Some(1) && told.contains(expected), "{dockerfile}\n{told}");
    }
    // Where owners are kept.
    if rustix::process::geteuid().is_root() {
        let output = scene.try_build("FROM base:1\nCOPY --chown=0:99999 run.sh /x\n", &[]);
        assert!(told(&output).contains("Dockerfile:2: --chown=0:99999: 99999 is more than 65535"), "{}", told(&output));
    }
    // Of the network only if that was asked.
    let output = scene.try_build("FROM base:1\nRUN exit 7\n", &[]);
    assert!(!told(&output).contains("--allow"), "{}", told(&output));
    let output = scene.try_build("FROM base:1\n", &["--target", "none"]);
    assert!(told(&output).contains("No stage is called 'none'"), "{}", told(&output));
    // What is to leave something out, and can't be read.
    let list = scene.world.project().join(".dockerignore");
    let text = std::fs::read(&list).unwrap();
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir(&list).unwrap();
    let output = scene.try_build("FROM base:1\nCOPY run.sh /x\n", &[]);
    assert!(told(&output).contains(".dockerignore: it is no file"), "{}", told(&output));
    std::fs::remove_dir(&list).unwrap();
    std::fs::write(&list, text).unwrap();
    // What a silent build has heard is told when it fails.
    let output = scene.try_build("FROM base:1\nRUN echo heard; exit 7\n", &["-q"]);
    assert!(told(&output).contains("heard\n"), "{}", told(&output));
    let output = scene.try_build("FROM base:1\nRUN true\n", &["--build-arg", "UNUSED=1"]);
    assert!(told(&output).contains("No ARG asks for UNUSED"), "{}", told(&output));
    eventually("nothing is left", || scene.world.leftovers().is_empty());
}

#[test]
fn what_was_done_before_a_failure_is_not_done_again() {
    let scene = Scene::new(Who::Me);
    let dockerfile = |end: &str| format!("FROM base:1\nRUN touch /a\nRUN {end}\n");
    assert!(!scene.try_build(&dockerfile("false"), &[]).status.success());
    let (_, told) = scene.build(&dockerfile("true"), &[]);
    assert_eq!(cached(&told), 1, "{told}");
    // Nor by pruning, unless all is to go.
    scene.ok(&["image", "rm", "built:1"]);
    let (_, told) = scene.build(&dockerfile("true"), &[]);
    assert_eq!(cached(&told), 2, "{told}");
    scene.ok(&["image", "import", &scene.base().display().to_string()]);
    scene.ok(&["image", "prune", "--all"]);
    scene.ok(&["image", "import", &scene.base().display().to_string()]);
    let (_, told) = scene.build(&dockerfile("true"), &[]);
    assert_eq!(cached(&told), 0, "{told}");
}

/// Starts a build and waits until its second step runs.
fn until_it_sleeps(scene: &Scene) -> std::process::Child {
    scene.write("Dockerfile", "FROM base:1\nRUN touch /a\nRUN echo asleep; sleep 1000\n");
    let mut build = scene.world.agentkernel(["image", "build", "."]);
    let mut child = build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap() == "asleep"));
    // It is read to its end, whoever writes.
    thread::spawn(move || told.for_each(drop));
    child
}

#[test]
fn a_build_that_is_killed_leaves_nothing_in_the_way_of_the_next() {
    for who in Who::all() {
        let scene = Scene::new(who);
        for _ in 0..2 {
            let mut build = until_it_sleeps(&scene);
            build.kill().unwrap();
            build.wait().unwrap();
            let (_, told) = scene.build("FROM base:1\nRUN touch /a\nRUN touch /b\n", &[]);
            assert!(cached(&told) >= 1, "{told}");
            assert_eq!(scene.run("ls -d /a /b"), "/a\n/b\n");
            eventually("nothing is left", || scene.world.leftovers().is_empty());
        }
    }
}

#[test]
fn a_build_that_is_told_to_end_ends_its_command() {
    let scene = Scene::new(Who::Me);
    let mut build = until_it_sleeps(&scene);
    let pid = rustix::process::Pid::from_child(&build);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert_eq!(scene.world.leftovers(), Vec::<String>::new());
}

#[test]
fn two_builds_at_once_do_not_hinder_each_other() {
    let scene = Scene::new(Who::Me);
    scene.write("Dockerfile", "FROM base:1\nRUN touch /a\nCOPY src /src\nRUN sleep 1; cat /src/* > /all\n");
    let start = |tag: &'static str| {
        let mut build = scene.world.agentkernel(["image", "build", "-q", "-t", tag, "."]);
        build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let outputs = ["one:1", "two:1", "three:1"].map(start).map(|child| child.wait_with_output().unwrap());
    for output in &outputs {
        assert!(output.status.success(), "{}", told(output));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
}

#[test]
fn what_an_image_has_for_those_who_begin_with_it_is_done() {
    let scene = Scene::new(Who::Me);
    scene.build("FROM base:1\nONBUILD COPY run.sh /run.sh\nONBUILD RUN touch /triggered\n", &[]);
    scene.ok(&["image", "tag", "built:1", "parent:1"]);
    assert_eq!(scene.inspect("parent:1")["run"]["OnBuild"].as_array().unwrap().len(), 2);
    scene.build("FROM parent:1\nRUN ls /triggered\n", &[]);
    assert_eq!(scene.run("ls /triggered /run.sh"), "/run.sh\n/triggered\n");
    assert!(scene.inspect("built:1")["run"].get("OnBuild").is_none());
}

#[test]
fn a_context_can_do_no_harm() {
    let scene = Scene::new(Who::Me);
    // Links lead nowhere but in the context.
    scene.sh("echo outside > \"$HOME/outside\"; ln -s \"$HOME/outside\" leads-out; ln -s ../../../../etc etc-link; mkfifo pipe");
    let output = scene.try_build("FROM base:1\nCOPY leads-out /x\n", &[]);
    assert!(told(&output).contains("There is no leads-out"), "{}", told(&output));
    let output = scene.try_build("FROM base:1\nCOPY ../../../../etc/passwd /x\n", &[]);
    assert!(told(&output).contains("There is no etc/passwd"), "{}", told(&output));
    scene.build("FROM base:1\nCOPY . /all\n", &[]);
    assert_eq!(scene.run("readlink /all/etc-link; [ -p /all/pipe ] && echo fifo"), "../../../../etc\nfifo\n");
    // An archive leads out as little.
    scene.sh("mkdir out && echo x > out/x && tar -cPf evil.tar --transform 's|^|../../|' out/x");
    let output = scene.try_build("FROM base:1\nADD evil.tar /x/\n", &[]);
    assert!(!output.status.success() && told(&output).contains("ADD of evil.tar"), "{}", told(&output));
    scene.sh("printf 'BZh91AY' > notes.bz2");
    let output = scene.try_build("FROM base:1\nADD notes.bz2 /x/\n", &[]);
    assert!(told(&output).contains("compressed with bzip2, which is not supported"), "{}", told(&output));
    let names = Command::new("ls").arg(scene.world.state().join("images/work")).output().unwrap().stdout;
    let names = String::from_utf8(names).unwrap();
    assert!(!names.contains("add-") && !names.contains("build-"), "{names}");
}

/// Steps use what they are lent, and leave no trace of it in the image.
#[test]
fn keys_of_an_ssh_agent_are_lent_to_steps() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let agent = SshAgent::start(&scene.world);
        let known = "a.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        std::fs::write(scene.world.home().join(".ssh/known_hosts"), known).unwrap();
        scene.write(
            "Dockerfile",
            "FROM base:1\nRUN test -S $SSH_AUTH_SOCK && grep -q a.example /etc/ssh/ssh_known_hosts2 && echo ok > /done\n",
        );
        let mut build = scene.world.agentkernel(["image", "build", "-t", "built:1", "--ssh", "a.example", "."]);
        let output = build.env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let layer = scene.last_layer();
        assert!(layer.iter().any(|file| file == "done"), "{layer:?}");
        assert!(!layer.iter().any(|file| file.contains("ssh") || file.contains("agentkernel")), "{layer:?}");
        // What nothing could be lent for is refused, also where no step is executed: there is none, or all are known.
        for dockerfile in [None, Some("FROM base:1\nENV A=b\n")] {
            if let Some(text) = dockerfile {
                scene.write("Dockerfile", text);
            }
            let mut build = scene.world.agentkernel(["image", "build", "-t", "built:1", "--ssh", "nosuch", "."]);
            let output = build.env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
            let text = told(&output);
            assert!(!output.status.success() && text.contains("No host key of nosuch is known"), "{text}");
        }
    }
}

/// As Docker's client sends no sockets, and no layer can have devices: what is named is refused, what lies in a directory is told.
#[test]
fn what_no_layer_has_a_place_for_is_told() {
    use std::os::unix::net::UnixListener;
    let scene = Scene::new(Who::Me);
    scene.sh("mkdir odd; echo x > odd/x; mkfifo odd/pipe");
    let _socket = UnixListener::bind(scene.world.project().join("odd/sock")).unwrap();
    for (dockerfile, expected) in [
        ("FROM base:1\nCOPY odd/sock /x\n", "Dockerfile:2: odd/sock is a socket, for which no layer has a place"),
        ("FROM base:1\nCOPY odd/s* /x\n", "Dockerfile:2: Nothing fits odd/s*"),
    ] {
        let output = scene.try_build(dockerfile, &[]);
        assert!(output.status.code() == Some(1) && told(&output).contains(expected), "{}", told(&output));
    }
    let output = scene.try_build("FROM base:1\nCOPY odd/* /all/\n", &[]);
    assert!(output.status.success() && !told(&output).contains("without"), "{}", told(&output));
    let output = scene.try_build("FROM base:1\nCOPY odd /all\n", &[]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("The layer is without 1 socket: odd/sock"), "{}", told(&output));
    assert_eq!(scene.run("ls /all"), "pipe\nx\n");
}

/// What is made would lie in what it is made of.
#[test]
fn a_context_is_without_the_state_in_it() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let state = scene.world.project().join("deep/state");
        let build = |dockerfile: &str| {
            scene.write("Dockerfile", dockerfile);
            let mut build = scene.world.agentkernel(["image", "build", "-t", "built:1", "."]);
            build.env("AGENTKERNEL_STATE_DIR", &state).output().unwrap()
        };
        let _ = build("FROM scratch\nCOPY run.sh /\n");
        let output = build("FROM scratch\nCOPY . /all\n");
        let text = told(&output);
        assert!(output.status.success() && text.contains("without 1 state directory: deep/state"), "{who:?}: {text}");
        for path in ["deep/state", "deep/state/images/work"] {
            let output = build(&format!("FROM scratch\nCOPY {path} /of/{path}\n"));
            let text = told(&output);
            assert!(output.status.success() && text.contains(&format!("without 1 state directory: {path}")), "{text}");
        }
        let output = build("FROM scratch\nCOPY --chown=3:4 run.sh /a\nCOPY --chown=3:4 run.sh /b\n");
        let count = told(&output).matches("--chown has no effect").count();
        assert_eq!(count, usize::from(who != Who::Me), "{}", told(&output));
    }
}

/// As with `run`, and not only when something is executed.
#[test]
fn flags_of_the_network_that_cannot_hold_are_refused_first() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let dir = scene.world.home().join(".config/agentkernel");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.toml"), "[network]\nallow = ['a.example']\n").unwrap();
        scene.write("Dockerfile", "FROM base:1\nRUN echo ok > /done\n");
        let build = |flags: &[&str]| {
            scene.world.agentkernel(["image", "build", "-t", "built:1"]).args(flags).arg(".").output().unwrap()
        };
        // Once before anything is made, and once where every step is known.
        for known in [false, true] {
            for (flags, words) in [
                (["--secret", "nosuch"], "No secret 'nosuch' is recorded"),
                (["--allow", "b.example"], "`--allow b.example` is beyond your own limits: no rule allows it"),
            ] {
                let output = build(&flags);
                let text = told(&output);
                assert!(!output.status.success() && text.contains(words), "{text}");
                assert!(!text.contains("[1/"), "{text}");
            }
            let output = build(&["--allow", "a.example"]);
            let text = told(&output);
            assert!(output.status.success() && text.contains("CACHED") == known, "{text}");
        }
    }
}
