//! Files: the project, mounts, copies, and what is the sandbox's own.

use super::Row;
use crate::bench::{BOX, IMAGE};
use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use support::{engine::Kind, eventually, internet::WEB, told};

pub const CASES: &[Row] = &[
    ("what is written in a direct workspace is its caller's", "", |b| {
        b.write("given", "from outside\n");
        assert_eq!(b.works(&[], "cat given; echo from inside > made; mkdir dir; echo x > dir/x"), "from outside\n");
        assert_eq!(b.read("made"), "from inside\n");
        assert_eq!((b.owner("made"), b.owner("dir/x")), (b.caller(), b.caller()));
    }),
    ("protected paths cannot be written, nor made", "", |b| {
        b.write(".git/config", "[core]\n");
        b.write(".git/hooks/pre-commit", "#!/bin/sh\n");
        let script = "echo x >> .git/config; echo x > .git/hooks/post-commit; echo x > .envrc; mkdir .claude; rm -rf .git; mv .git away; \
                      echo x > agentkernel.toml; ln -sf /tmp .vscode; cat .git/config";
        assert_eq!(String::from_utf8(b.sh(&[], script).stdout).unwrap(), "[core]\n");
        assert_eq!(b.read(".git/config"), "[core]\n");
        let names: Vec<_> = fs::read_dir(b.world.project()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [".git"], "placeholders, or what was made in their place");
        assert_eq!(fs::read_dir(b.world.project().join(".git/hooks")).unwrap().count(), 1);
    }),
    ("changes of protected paths that are refused are on record", "", |b| {
        b.write(".git/config", "[core]\n");
        b.write(".git/hooks/pre-commit", "#!/bin/sh\n");
        let script = "echo x >> .git/config; rm -f .git/hooks/pre-commit; mv .git away; mkdir .claude/x; ln -sf /tmp .vscode; \
                      cd .git/hooks; echo x > ./new; echo fine > ../fine; cat ../config";
        let output = b.sh(&["--log-refused"], script);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[core]\n", "{}", told(&output));
        assert!(
            told(&output).contains("Changes of files were refused, because protected paths are read-only inside: ")
        );
        let project = b.world.project();
        let log: Vec<serde_json::Value> = b
            .says(&["net", "log", "--denied", "--json"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let refused: BTreeSet<_> = log
            .iter()
            .map(|event| {
                assert_eq!((&event["reason"], &event["denied"]), (&"protected-path".into(), &true.into()), "{event}");
                assert!(!event["program"].as_str().unwrap().is_empty(), "{event}");
                let path = Path::new(event["path"].as_str().unwrap()).strip_prefix(&project).unwrap();
                (path.to_str().unwrap(), event["request"].as_str().unwrap())
            })
            .collect();
        for change in [
            (".git/config", "write"),
            (".git/hooks/pre-commit", "remove"),
            (".git", "rename"),
            (".claude/x", "make"),
            (".git/hooks/new", "write"),
        ] {
            assert!(refused.contains(&change), "{change:?}: {refused:?}");
        }
        assert!(!refused.iter().any(|(path, _)| path.ends_with("fine")), "{refused:?}");
        // Who does not ask for it pays nothing for it, and is refused all the same.
        let _ = b.sh(&[], "echo x >> .git/config");
        assert_eq!(b.says(&["net", "log", "--denied", "--json"]).lines().count(), log.len());
        assert_eq!(b.read(".git/config"), "[core]\n");
    }),
    ("where a protected path has lost its cover nothing is started", "", |b| {
        b.write(".git/config", "[core]\n");
        b.write(".envrc", "one\n");
        b.kept(&[], &["sleep", "600"]);
        assert_eq!(b.exec("cat .envrc"), "one\n");
        // As editors write, and `git config`.
        b.write("other", "two\n");
        fs::rename(b.world.project().join("other"), b.world.project().join(".envrc")).unwrap();
        let cause = ".envrc was replaced or removed outside, which took its protection away";
        b.refuses(&["exec", BOX, "sh", "-c", "echo evil > .envrc"], cause);
        let file = b.world.home().join("file");
        fs::write(&file, "evil\n").unwrap();
        let place = format!("{BOX}:{}", b.world.project().join(".envrc").display());
        b.refuses(&["cp", file.to_str().unwrap(), &place], cause);
        // What is read is read.
        let _ = b.says(&["cp", &place, file.to_str().unwrap()]);
        assert_eq!((b.read(".envrc").as_str(), &*fs::read_to_string(&file).unwrap()), ("two\n", "two\n"));
        let _ = b.says(&["stop", "-t", "0", BOX]);
        let _ = b.says(&["start", BOX]);
        assert_eq!(b.exec("(echo x > .envrc) 2> /dev/null; cat .envrc"), "two\n");
        let _ = b.says(&["rm", "-f", BOX]);
    }),
    ("what lies beside protected files can be made", "", |b| {
        let script = "mkdir .github/workflows && echo ci > .github/workflows/c.yml && echo made; ls .qwen; (mkdir -p .github/hooks/x; echo x > .qwen; echo x > .aider.conf.yml; \
                      mv .github away; rm -rf .github/hooks; mkdir -p .github/hooks/x; mkdir -p .qwen/x) 2> /dev/null; echo done";
        let output = b.sh(&[], script);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "made\ndone\n", "{}", told(&output));
        assert_eq!(b.read(".github/workflows/c.yml"), "ci\n");
        let names = |dir: &str| -> Vec<_> {
            fs::read_dir(b.world.project().join(dir)).unwrap().map(|e| e.unwrap().file_name()).collect()
        };
        eventually("only what was made is there", || names("") == [".github"] && names(".github") == ["workflows"]);
        // Where nothing is made in it, it is gone.
        fs::remove_dir_all(b.world.project().join(".github")).unwrap();
        assert_eq!(b.works(&[], "ls -A .github | wc -l"), "7\n");
        eventually("nothing is there", || names("").is_empty());
    }),
    ("what is obeyed where a command is started is protected there", "", |b| {
        b.write(".git/config", "[core]\n");
        b.write("sub/.claude/settings.json", "{}\n");
        b.write("sub/deep/mine", "mine\n");
        b.write("beside/mine", "mine\n");
        // Where it is started, and on the way there; not beside that.
        let script = "for dir in . ..; do for f in .claude/settings.json .mcp.json opencode.json .envrc .codex/config.toml .gemini/settings.json .git/config; do
                mkdir -p $dir/$(dirname $f) && echo bad > $dir/$f && echo $dir/$f
            done; done 2> /dev/null
            (mv ../deep ../away; mv ../.claude ../away; rm -rf ../.claude; ln -sfn /tmp ../.vscode) 2> /dev/null
            cat ../.claude/settings.json opencode.json .opencode/x 2>&1 | grep -v 'No such'
            mkdir ../../beside/.claude && echo made > made && cat made mine";
        let mut run = b.run(&[], &["sh", "-c", script]);
        let output = run.current_dir(b.world.project().join("sub/deep")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "{}\nmade\nmine\n", "{}", told(&output));
        let names = |dir: &str| -> Vec<_> {
            let mut names: Vec<_> =
                fs::read_dir(b.world.project().join(dir)).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        eventually("only what was made is there", || {
            (names("sub"), names("sub/deep"), names("beside"))
                == (
                    vec![".claude".into(), "deep".into()],
                    vec!["made".into(), "mine".into()],
                    vec![".claude".into(), "mine".into()],
                )
        });
        assert_eq!(b.read("sub/.claude/settings.json"), "{}\n");
        assert_eq!(names("sub/.claude"), ["settings.json"]);
    }),
    ("a start that fails leaves nothing behind", "", |b| {
        b.write(".git/config", "[core]\n");
        let bad = format!("{}:/bin/busybox/below", b.world.project().display());
        let names =
            || -> Vec<_> { fs::read_dir(b.world.project()).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
        b.refuses(&["run", "--backend", b.backend, "--image", crate::bench::IMAGE, "-v", &bad, "--", "true"], "");
        assert_eq!(names(), [".git"]);
        let create = ["create", "--backend", b.backend, "--image", crate::bench::IMAGE, "--name", BOX, "-v", &bad];
        let _ = b.says(&create);
        b.refuses(&["start", BOX], "");
        assert_eq!(names(), [".git"]);
        assert_eq!(fs::read_dir(b.world.project().join(".git")).unwrap().count(), 1);
        if let Some(engine) = &b.engine {
            assert!(engine.says(&["ps", "-q"]).is_empty());
        }
        let _ = b.says(&["rm", BOX]);
        b.leaves_nothing();
    }),
    ("a start that init refuses leaves nothing behind when it is told", "", |b| {
        b.write(".git/config", "[core]\n");
        for _ in 0..5 {
            b.refuses(
                &["run", "--backend", b.backend, "--image", IMAGE, "-w", "/etc/passwd", "--", "true"],
                "/etc/passwd",
            );
            let names: Vec<_> = fs::read_dir(b.world.project()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, [".git"]);
        }
    }),
    ("the rest of .git is the project's", "", |b| {
        b.write(".git/config", "[core]\n");
        let _ = b.works(&[], "echo ref > .git/HEAD && mkdir -p .git/objects/ab && cat .git/HEAD");
        assert_eq!(b.read(".git/HEAD"), "ref\n");
    }),
    ("a path can be unprotected", "", |b| {
        let _ = b.works(&["--unprotect", ".envrc"], "echo x > .envrc");
        assert_eq!(b.read(".envrc"), "x\n");
    }),
    ("a protected path that is a link is protected as one", "protected links", |b| {
        b.write("target", "x\n");
        std::os::unix::fs::symlink("target", b.world.project().join(".envrc")).unwrap();
        b.own();
        let _ = b.sh(&[], "rm -f .envrc; ln -sf /etc/passwd .envrc");
        assert_eq!(fs::read_link(b.world.project().join(".envrc")).unwrap().to_str(), Some("target"));
    }),
    ("an overlay workspace never changes the project", "", |b| {
        b.write("file", "before\n");
        let text = b.works(
            &["--workspace", "overlay"],
            "cat file; echo after > file; echo new > new; rm -f gone; cat file new",
        );
        assert_eq!(text, "before\nafter\nnew\n");
        assert_eq!(b.read("file"), "before\n");
        assert!(!b.world.project().join("new").exists());
    }),
    ("an overlay workspace keeps modes and links", "", |b| {
        let tool = b.write("bin/tool", "#!/bin/sh\necho ran\n");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("bin/tool", b.world.project().join("link")).unwrap();
        b.own();
        assert_eq!(b.works(&["--workspace", "overlay"], "./link; readlink link"), "ran\nbin/tool\n");
    }),
    ("an overlay shows what changes outside", "live overlay", |b| {
        b.kept(&["--workspace", "overlay"], &[]);
        b.write("later", "seen\n");
        assert_eq!(b.exec("cat later"), "seen\n");
    }),
    ("a project lies behind a link of the image", "", |b| {
        let folder = b.world.project().parent().unwrap().to_owned();
        b.derive("linked", "", &format!("mkdir -p tmp data && chmod 1777 tmp && ln -s /data .{}", folder.display()));
        b.write(".git/config", "[core]\n");
        b.write("given", "x\n");
        let script = "pwd -P; cat given; echo y > made; for place in . /data/project; do \
                      (echo x >> $place/.git/config) 2>/dev/null || echo refused; (echo x > $place/.envrc) 2>/dev/null || echo refused; done";
        let wanted = "/data/project\nx\nrefused\nrefused\nrefused\nrefused\n";
        assert_eq!(b.works(&["--image", "linked:1"], script), wanted);
        b.kept(&["--image", "linked:1"], &[]);
        let _ = b.says(&["restart", "-t", "0", BOX]);
        assert_eq!(b.says(&["exec", BOX, "sh", "-c", script]), wanted);
        let _ = b.says(&["rm", "-f", BOX]);
        assert_eq!((b.read("made"), b.read(".git/config")), ("y\n".into(), "[core]\n".into()));
    }),
    ("without a workspace the project is not there", "", |b| {
        b.write("file", "x\n");
        let place = b.world.project().join("file");
        assert_eq!(
            b.works(&["--workspace", "none"], &format!("cat {} 2>/dev/null || echo none", place.display())),
            "none\n"
        );
    }),
    ("mounts, also read-only ones", "", |b| {
        b.write("data/x", "x\n");
        let data = b.world.project().join("data");
        let (writable, read_only) = (format!("{}:/mnt/w", data.display()), format!("{}:/mnt/r:ro", data.display()));
        let script = "cat /mnt/r/x; echo y > /mnt/w/y; cat /mnt/r/y; echo z 2>/dev/null > /mnt/r/z || echo refused";
        assert_eq!(b.works(&["-v", &writable, "-v", &read_only, "--workspace", "none"], script), "x\ny\nrefused\n");
        assert_eq!((b.owner("data/y"), data.join("z").exists()), (b.caller(), false));
    }),
    ("a file can be mounted", "", |b| {
        let file = b.write("one", "alone\n");
        let mount = format!("{}:/etc/one:ro", file.display());
        assert_eq!(b.works(&["-v", &mount, "--workspace", "none"], "cat /etc/one"), "alone\n");
    }),
    ("what is mounted over /etc, or a file in it, stays as it is", "", |b| {
        for (name, text) in
            [("hosts", "127.0.0.1 mine\n"), ("passwd", "root:x:0:0::/:/bin/sh\n"), ("group", "root:x:0:\n")]
        {
            b.write(&format!("etc/{name}"), text);
        }
        let etc = b.world.project().join("etc");
        let whole = format!("{}:/etc", etc.display());
        let files = ["hosts", "passwd", "group"].map(|name| format!("{}:/etc/{name}", etc.join(name).display()));
        // Something that it must trust an authority for.
        let set = ["secret", "set", "KEY", "--stdin", "--host", WEB];
        assert!(b.with_input(&mut b.agentkernel(&set), b"value-value-value").status.success());
        let inspected = ["--allow", WEB, "--secret", "KEY", "-u", "7", "--workspace", "none"];
        for extra in [&[][..], &["--read-only"]] {
            let files: Vec<&str> = files.iter().flat_map(|file| ["-v", file]).collect();
            let text = b.works(&[&files[..], &inspected, extra].concat(), "cat /etc/hosts /etc/passwd /etc/group");
            assert_eq!(text, "127.0.0.1 mine\nroot:x:0:0::/:/bin/sh\nroot:x:0:\n", "{extra:?}");
            // An engine mounts three files of its own over those of such a directory.
            let text = b.works(&[&["-v", &whole][..], &inspected, extra].concat(), "cat /etc/passwd /etc/group");
            assert_eq!(text, "root:x:0:0::/:/bin/sh\nroot:x:0:\n", "{extra:?}");
        }
        let mut names: Vec<_> = fs::read_dir(&etc).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| !matches!(name.to_str(), Some("hostname" | "resolv.conf")) || b.engine.is_none());
        names.sort();
        assert_eq!(names, ["group", "hosts", "passwd"]);
    }),
    ("a mount that is not there is refused", "", |b| {
        let output = b.run(&["-v", "/no/such:/mnt"], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    }),
    ("a tmpfs has its size", "", |b| {
        let script =
            "echo x > /scratch/x && cat /scratch/x; head -c 9000000 /dev/zero > /scratch/big 2>/dev/null || echo full";
        assert_eq!(b.works(&["--tmpfs", "/scratch:4M"], script), "x\nfull\n");
    }),
    ("read-only means everything but what must be writable", "", |b| {
        let script = "for place in / /etc /bin /srv; do touch $place/x 2>/dev/null && echo wrote $place; done; \
                      for place in /tmp /var/tmp /run $HOME .; do touch $place/x && echo ok; done";
        assert_eq!(b.works(&["--read-only"], script), "ok\nok\nok\nok\nok\n");
    }),
    ("a read-only sandbox has a copy of its project", "", |b| {
        b.write("file", "before\n");
        let script =
            "cat file; echo after > file && echo new > new && cat file new; touch /srv/x 2>/dev/null || echo refused";
        let wanted = "before\nafter\nnew\nrefused\n";
        assert_eq!(b.works(&["--read-only", "--workspace", "overlay"], script), wanted);
        b.leaves_nothing();
        b.kept(&["--read-only", "--workspace", "overlay"], &[]);
        assert_eq!(b.exec(script), wanted);
        let _ = b.says(&["restart", "-t", "0", BOX]);
        assert_eq!(b.exec("cat file new"), "after\nnew\n");
        assert!(b.read("file") == "before\n" && !b.world.project().join("new").exists());
        let _ = b.says(&["rm", "-f", BOX]);
        b.leaves_nothing();
    }),
    ("a volume of a read-only image is writable, and ends with the sandbox", "", |b| {
        b.derive(
            "volumes",
            r#""Volumes":{"/data":{},"/data/below":{},"/not/there":{},"/tmp/in":{}}"#,
            "mkdir data; echo x > data/x",
        );
        let script = "cat /data/x && echo y > /data/y && for place in /data/below /not/there /tmp/in; do touch $place/x; done; \
                      cat /data/*; rm /data/x; ls /data; touch /x 2>/dev/null || echo refused; touch /not/x 2>/dev/null || echo refused";
        for _ in 0..2 {
            let text = b.works(&["--image", "volumes:1", "--read-only", "-u", "0", "--workspace", "none"], script);
            assert_eq!(text, "x\nx\ny\nbelow\ny\nrefused\nrefused\n");
        }
        b.leaves_nothing();
        b.kept(&["--image", "volumes:1", "--read-only", "-u", "0", "--workspace", "none"], &[]);
        let _ = b.exec("echo kept > /data/x");
        let _ = b.says(&["restart", "-t", "0", BOX]);
        assert_eq!(b.exec("cat /data/x; touch /x 2>/dev/null || echo refused"), "kept\nrefused\n");
        let _ = b.says(&["rm", "-f", BOX]);
        b.leaves_nothing();
    }),
    ("a volume that its image has not is made, and is root's", "", |b| {
        b.derive("volumes", r#""Volumes":{"/not/there":{},"/etc/below":{}}"#, "");
        for read_only in [&[][..], &["--read-only"]] {
            let arguments = [&["--image", "volumes:1", "-u", "0", "--workspace", "none"], read_only].concat();
            let script = "for place in /not/there /etc/below; do stat -c '%a %u:%g' $place; touch $place/x; done";
            assert_eq!(b.works(&arguments, script), "755 0:0\n755 0:0\n");
            // An ordinary user's sandbox has no other ids than one.
            if b.world.who() == support::Who::Me {
                let arguments =
                    [&["--image", "volumes:1", "-u", "1234:1234", "--workspace", "none"], read_only].concat();
                let script = "stat -c '%a %u:%g' /not/there; touch /not/there/x 2>/dev/null || echo refused";
                assert_eq!(b.works(&arguments, script), "755 0:0\nrefused\n");
            }
        }
        b.leaves_nothing();
    }),
    ("accounts that are no file keep nobody waiting", "", |b| {
        b.derive("fifo", "", "mkdir etc; mkfifo etc/passwd");
        b.derive("link", "", "mkdir -p etc run; ln -s ../../run/group etc/group; mkfifo run/group");
        let begin = Instant::now();
        for image in ["fifo:1", "link:1"] {
            // An engine reads them itself.
            let output = b.sh(&["--image", image, "-u", "7", "--workspace", "none"], "id -u");
            let text = told(&output);
            match b.engine {
                None => assert_eq!(output.stdout, b"7\n", "{text}"),
                Some(_) => assert!(text.contains("is no file") && text.contains("hint: "), "{text}"),
            }
        }
        b.kept(&["-u", "0", "--workspace", "none"], &[]);
        let _ = b.exec("rm /etc/passwd && mkfifo /etc/passwd");
        let _ = b.says(&["stop", "-t", "0", BOX]);
        match b.engine {
            None => drop(b.says(&["start", BOX])),
            Some(_) => b.refuses(&["start", BOX], "/etc/passwd is no file"),
        }
        let _ = b.says(&["rm", "-f", BOX]);
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    }),
    ("the image is writable for its own root", "", |b| {
        let script = "echo changed > /srv/file; mkdir /data && echo x > /data/x && cat /srv/file /data/x";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "changed\nx\n");
        assert_eq!(
            b.works(&["--workspace", "none"], "cat /srv/file; ls /data 2>/dev/null || echo none"),
            "original\nnone\n"
        );
    }),
    ("/tmp is everybody's, and sticky", "", |b| {
        assert_eq!(b.works(&["--workspace", "none"], "stat -c %a /tmp; stat -c %a /var/tmp"), "1777\n1777\n");
    }),
    ("what the image has not, is its user's", "", |b| {
        let script = "stat -c '%a %u:%g' /run /var /var/tmp /home /home/app; echo x > /var/tmp/own";
        let text = b.works(&["-u", "app", "--workspace", "none"], script);
        // Podman makes it for what it has there itself.
        let run = if b.engine.as_ref().is_some_and(|engine| engine.kind() == Kind::Podman) { "0:0" } else { "7:8" };
        // This is in the image.
        let home = if b.backend == "native" && b.caller() != 0 { "755 7:8" } else { "755 0:0" };
        assert_eq!(text, format!("755 {run}\n755 7:8\n1777 7:8\n{home}\n755 7:8\n"));
    }),
    ("cp brings files in, the user's own", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        let file = b.write("file", "copied\n");
        let _ = b.says(&["cp", file.to_str().unwrap(), &format!("{BOX}:/tmp/there")]);
        assert_eq!(b.exec("cat /tmp/there; test -O /tmp/there && echo mine"), "copied\nmine\n");
    }),
    ("cp brings a tree out as it is", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        let _ = b
            .exec("cd /tmp && mkdir -p tree/sub && echo x > tree/sub/x && ln -s sub/x tree/link && chmod 750 tree/sub");
        let _ = b.says(&["cp", &format!("{BOX}:/tmp/tree"), "."]);
        assert_eq!(b.read("tree/sub/x"), "x\n");
        assert_eq!(fs::read_link(b.world.project().join("tree/link")).unwrap().to_str(), Some("sub/x"));
        assert_eq!(fs::metadata(b.world.project().join("tree/sub")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(b.owner("tree/sub/x"), b.caller());
    }),
    ("cp to standard output is a tar archive", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        let _ = b.exec("echo x > /tmp/x");
        let output = b.agentkernel(&["cp", &format!("{BOX}:/tmp/x"), "-"]).output().unwrap();
        assert!(output.status.success() && output.stdout.len() >= 1024 && output.stdout.starts_with(b"x\0"));
    }),
    ("cp of what is not there is told", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        b.refuses(&["cp", &format!("{BOX}:/no/such"), "."], "/no/such");
    }),
    ("the host's programs are an image", "image host", |b| {
        let text = b.works(&["--image", "host"], "ls /usr/bin/env");
        assert_eq!(text, "/usr/bin/env\n");
    }),
    ("a directory is an image", "image dir", |b| {
        let dir = b.world.home().join("image/root");
        let text =
            b.works(&["--image", &format!("dir:{}", dir.display()), "--workspace", "none", "-w", "/"], "cat /srv/file");
        assert_eq!(text, "original\n");
    }),
    ("a project's image is the one that it names", "", |b| {
        b.write("agentkernel.toml", &format!("[image]\nfrom = \"{IMAGE}\"\n"));
        let _ = b.says(&["trust"]);
        assert_eq!(b.says(&["run", "--backend", b.backend, "--", "cat", "/srv/file"]), "original\n");
    }),
    ("a project's image is made as it says", "", |b| {
        b.write("agentkernel.toml", &format!("[image]\nfrom = \"{IMAGE}\"\nsetup = [\"echo made > /srv/made\"]\n"));
        let _ = b.says(&["trust"]);
        assert_eq!(b.says(&["run", "--backend", b.backend, "--", "cat", "/srv/made"]), "made\n");
    }),
    ("an image is found by its id", "", |b| {
        let ids = match &b.engine {
            Some(engine) => [&["images", "-q", IMAGE][..], &["inspect", "--format", "{{.Id}}", IMAGE]]
                .map(|words| engine.says(words)),
            None => {
                let shown: serde_json::Value = serde_json::from_str(&b.says(&["image", "inspect", IMAGE])).unwrap();
                let digest = shown[0]["manifest"].as_str().unwrap();
                [digest.trim_start_matches("sha256:")[..12].to_owned(), digest.to_owned()]
            }
        };
        // The whole of it without its algorithm, as engines list it.
        let digits = ids[1].trim().trim_start_matches("sha256:").to_owned();
        for id in ids.into_iter().chain([digits]) {
            let output = b.sh(&["--image", id.trim(), "--workspace", "none"], "cat /srv/file");
            assert_eq!(output.stdout, b"original\n", "{id}: {}", told(&output));
        }
    }),
    ("an image that is nowhere is told", "", |b| {
        let output = b.run(&["--image", "127.0.0.1:9/no/such:1"], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    }),
    ("a protected path that is replaced by a link stays what it is", "", |b| {
        b.write(".git/config", "[core]\n");
        let _ = b.sh(&[], "mv .git/config .git/other; ln -s /etc/passwd .git/config; mv .git .tig");
        assert!(fs::symlink_metadata(b.world.project().join(".git/config")).unwrap().is_file());
    }),
    ("what is to be protected is what is there at each start", "", |b| {
        b.kept(&[], &["sleep", "600"]);
        let again = || {
            let _ = b.says(&["stop", "-t", "0", BOX]);
            let _ = b.says(&["start", BOX]);
        };
        assert_eq!(
            b.exec("(echo x > .envrc) 2>/dev/null && echo wrote; (mkdir .git/x) 2>/dev/null && echo made; echo end"),
            "end\n"
        );
        // What was missing was made outside, and what was there is another one.
        let _ = b.says(&["stop", "-t", "0", BOX]);
        b.write(".envrc", "one\n");
        b.write(".git/config", "[core]\n");
        b.write(".git/hooks/pre-commit", "#!/bin/sh\n");
        let _ = b.says(&["start", BOX]);
        let script = "cat .envrc .git/config; for file in .envrc .git/config .git/hooks/new .git/hooks/pre-commit; do (echo x >> $file) 2>/dev/null && echo wrote $file; done; \
                      rm -rf .git .envrc 2>/dev/null; mv .git away 2>/dev/null && echo moved; echo end";
        assert_eq!(b.exec(script), "one\n[core]\nend\n");
        again();
        assert_eq!(b.exec(script), "one\n[core]\nend\n");
        // Replaced by name, as editors write.
        b.write("other", "two\n");
        fs::rename(b.world.project().join("other"), b.world.project().join(".envrc")).unwrap();
        again();
        assert_eq!(b.exec(script), "two\n[core]\nend\n");
        // And gone again: nobody makes it inside.
        let _ = b.says(&["stop", "-t", "0", BOX]);
        fs::remove_file(b.world.project().join(".envrc")).unwrap();
        let _ = b.says(&["start", BOX]);
        assert_eq!(b.exec("(echo x > .envrc) 2>/dev/null && echo wrote; cat .git/config"), "[core]\n");
        let _ = b.says(&["rm", "-f", BOX]);
        assert_eq!((b.read(".git/config").as_str(), b.world.project().join(".envrc").exists()), ("[core]\n", false));
    }),
    ("two sandboxes share a project and tidy up after both", "", |b| {
        b.kept(&[], &[]);
        assert_eq!(b.works(&[], "echo x > shared; echo made"), "made\n");
        assert_eq!(b.exec("cat shared; echo y 2>/dev/null > .envrc || echo refused"), "x\nrefused\n");
        let _ = b.says(&["rm", "-f", BOX]);
        let names: Vec<_> = fs::read_dir(b.world.project()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["shared"]);
        // Whichever ends first.
        b.kept(&[], &[]);
        let mut last = b.run(&[], &["sh", "-c", "echo begun; sleep 5"]);
        let mut last = last.stdout(Stdio::piped()).spawn().unwrap();
        let mut begun = [0; 6];
        last.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
        let _ = b.says(&["rm", "-f", BOX]);
        assert!(last.wait().unwrap().success());
        support::eventually("nothing but its own file is left", || {
            fs::read_dir(b.world.project()).unwrap().map(|e| e.unwrap().file_name()).eq(["shared"])
        });
    }),
];
