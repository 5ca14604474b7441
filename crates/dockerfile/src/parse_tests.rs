use super::*;
use crate::{
    error::Kind,
    instruction::{Mount, Sharing},
};
use proptest::prelude::*;

fn word(text: &str) -> Word {
    Word::new(text, '\\')
}

/// The instructions of the only stage.
fn steps(text: &str) -> Vec<Instruction> {
    let mut made = parse(&format!("FROM x\n{text}")).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    made.stages.remove(0).steps.into_iter().map(|step| step.instruction).collect()
}

fn one(text: &str) -> Instruction {
    let mut steps = steps(text);
    assert_eq!(steps.len(), 1, "{text}");
    steps.remove(0)
}

fn fails(text: &str) -> DockerfileError {
    parse(text).expect_err(text)
}

#[test]
fn stages_and_what_is_in_them() {
    let text = "# syntax=docker/dockerfile:1\n# escape=\\\n\nARG V=1 W\n\nFROM --platform=linux/amd64 debian:$V AS Base\n\
                RUN one \\\n  # comment\n\n  two \\  \n three\nfrom base\ncmd x\n";
    let made = parse(text).unwrap();
    assert_eq!(made.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(made.arguments, [("V".into(), Some(word("1"))), ("W".into(), None)]);
    let [first, second] = &made.stages[..] else { panic!("{made:?}") };
    assert_eq!((first.line, first.name.as_deref(), first.image.raw()), (6, Some("base"), "debian:$V"));
    assert_eq!(first.platform, Some(word("linux/amd64")));
    assert_eq!(first.text, "FROM --platform=linux/amd64 debian:$V AS Base");
    let run = Run { command: Command::Shell("one   two  three".into()), mounts: vec![] };
    assert_eq!(first.steps, [Step { line: 7, text: "RUN one two three".into(), instruction: Instruction::Run(run) }]);
    assert_eq!((second.line, &second.name, second.image.raw(), second.steps[0].line), (12, &None, "base", 13));
}

#[test]
fn the_escape_can_be_another() {
    let made = parse("# escape=`\nFROM x\nRUN a `\n b\\\nENV c=`$d\n").unwrap();
    let steps: Vec<_> = made.stages[0].steps.iter().map(|step| &step.instruction).collect();
    let run = Run { command: Command::Shell("a  b\\".into()), mounts: vec![] };
    assert_eq!(*steps[0], Instruction::Run(run));
    let Instruction::Env(pairs) = steps[1] else { panic!("{steps:?}") };
    assert_eq!(pairs[0].1.expand(&|_: &str| None).as_deref(), Ok("$d"));
    // Behind a comment it is none.
    let late = parse("# comment\n# escape=`\nFROM x\nRUN a `\nRUN b").unwrap();
    assert_eq!(late.stages[0].steps.len(), 2);
}

#[test]
fn commands_are_for_the_shell_or_not() {
    let shell = |text: &str| Command::Shell(text.into());
    let exec = |list: &[&str]| Command::Exec(list.iter().map(ToString::to_string).collect());
    for (text, expected) in [
        ("CMD a  \"b\"", Instruction::Cmd(shell("a  \"b\""))),
        (r#"CMD ["a", "b\t\u0041"]"#, Instruction::Cmd(exec(&["a", "b\tA"]))),
        ("CMD []", Instruction::Cmd(exec(&[]))),
        ("CMD ['a']", Instruction::Cmd(shell("['a']"))),
        (r#"ENTRYPOINT ["a"]"#, Instruction::Entrypoint(exec(&["a"]))),
        (r#"RUN ["a", "b"]"#, Instruction::Run(Run { command: exec(&["a", "b"]), mounts: vec![] })),
        (r#"SHELL ["/bin/bash", "-c"]"#, Instruction::Shell(vec!["/bin/bash".into(), "-c".into()])),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn here_documents_are_scripts_files_or_input() {
    let command = |text: &str| match one(text) {
        Instruction::Run(run) => run.command,
        other => panic!("{other:?}"),
    };
    assert_eq!(command("RUN <<EOF\na\n  b # c\nEOF"), Command::Shell("a\n  b # c\n".into()));
    assert_eq!(command("RUN <<-'X'\n\ta\n\tX"), Command::Shell("a\n".into()));
    assert_eq!(
        command("RUN <<EOF\n#!/usr/bin/env python3\n1\nEOF"),
        Command::Script("#!/usr/bin/env python3\n1\n".into())
    );
    assert_eq!(command("RUN cat <<A <<B > f\na\nA\nb\nB"), Command::Shell("cat <<A <<B > f\na\nA\nb\nB\n".into()));
    assert_eq!(command("RUN echo $((1 << 2)) <<<x"), Command::Shell("echo $((1 << 2)) <<<x".into()));
    assert_eq!(command("RUN echo '<<EOF'"), Command::Shell("echo '<<EOF'".into()));
    // What else is on the line is the shell's, and so is the document.
    for line in ["<<EOF bash", "<<EOF cat > /x", "<<-EOF awk '{ print $1 }'", "<<'EOF' | sh", "3<<EOF sh", "<<EOF <<<x"]
    {
        let text = format!("RUN {line}\na\nEOF\nUSER b");
        let Instruction::Run(run) = steps(&text).remove(0) else { panic!("{text}") };
        assert_eq!(run.command, Command::Shell(format!("{line}\na\nEOF\n")), "{line}");
        assert_eq!(steps(&text).len(), 2, "{line}");
    }
    assert_eq!(command("RUN <<'one two'\na\none two"), Command::Shell("a\n".into()));
    // A space may stand before the name.
    assert_eq!(command("RUN cat << EOF > /x\na\nEOF"), Command::Shell("cat << EOF > /x\na\nEOF\n".into()));
    assert_eq!(command("RUN cat <<- \"EOF\"\n\ta\n\tEOF"), Command::Shell("cat <<- \"EOF\"\na\nEOF\n".into()));
    assert_eq!(command("RUN <<  EOF\na\nEOF"), Command::Shell("a\n".into()));
    assert_eq!(command("RUN cat << -EOF\na\n-EOF"), Command::Shell("cat << -EOF\na\n-EOF\n".into()));
    assert_eq!(command("RUN a=$(( 1 << b )) c<< d"), Command::Shell("a=$(( 1 << b )) c<< d".into()));
    let Instruction::Copy(copy) = one("COPY <<one.txt <<\"two\" /d/\n$a\none.txt\n$b\ntwo") else { panic!() };
    let inline = |name: &str, content: &str, expand| {
        Source::Inline(Inline { name: name.into(), content: word(content), expand })
    };
    assert_eq!(copy.sources, [inline("one.txt", "$a\n", true), inline("two", "$b\n", false)]);
    assert_eq!(steps("RUN <<EOF\na\nEOF\nUSER b").len(), 2);
    let error = fails("FROM x\n\nRUN <<EOF\na\n");
    assert_eq!((error.line, error.cause.as_str()), (3, "The here-document 'EOF' has no end"));
}

#[test]
fn what_is_copied_and_where_to() {
    let Instruction::Copy(copy) = one("COPY --from=0 --chown=1:2 --chmod=755 --link a b* /c/") else { panic!() };
    let path = |text: &str| Source::Path(word(text));
    assert_eq!(
        copy,
        Copy {
            from: Some(word("0")),
            chown: Some(word("1:2")),
            chmod: Some(word("755")),
            sources: vec![path("a"), path("b*")],
            to: word("/c/"),
        }
    );
    let Instruction::Add(copy) = one(r#"ADD ["a b", "c"]"#) else { panic!() };
    assert_eq!((copy.sources, copy.to), (vec![path("a b")], word("c")));
}

#[test]
fn variables_come_in_pairs() {
    let env = |text: &str| match one(text) {
        Instruction::Env(pairs) => pairs,
        other => panic!("{other:?}"),
    };
    assert_eq!(env("ENV a=1 b=\"2 3\""), [(word("a"), word("1")), (word("b"), word("\"2 3\""))]);
    assert_eq!(env("ENV a b  c=d"), [(word("a"), word("b  c=d"))]);
    assert_eq!(one("ARG a=1 b"), Instruction::Arg(vec![("a".into(), Some(word("1"))), ("b".into(), None)]));
}

#[test]
fn mounts_of_every_kind() {
    let Instruction::Run(run) =
        one("RUN --mount=type=cache,target=/a,id=x,sharing=locked,uid=1,mode=0700 --mount=type=tmpfs,dst=/b,size=9 \
         --mount=from=base,target=/c --network=default true")
    else {
        panic!()
    };
    assert_eq!(
        run.mounts,
        [
            Mount::Cache {
                id: Some(word("x")),
                target: word("/a"),
                read_only: false,
                sharing: Sharing::Locked,
                mode: 0o700,
                owner: (1, 0),
            },
            Mount::Tmpfs { target: word("/b"), size: Some(9) },
            Mount::Bind { from: Some(word("base")), source: word("/"), target: word("/c") },
        ]
    );
    assert_eq!(run.command, Command::Shell("true".into()));
    for (text, size) in [("1m", 1 << 20), ("64MB", 64 << 20), ("1.5g", 3 << 29), ("32KiB", 32 << 10), ("7b", 7)] {
        let Instruction::Run(run) = one(&format!("RUN --mount=type=tmpfs,target=/x,size={text} true")) else {
            panic!()
        };
        assert_eq!(run.mounts, [Mount::Tmpfs { target: word("/x"), size: Some(size) }], "{text}");
    }
}

#[test]
fn a_healthcheck_is_kept() {
    let Instruction::Healthcheck(check) = one("HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl x")
    else {
        panic!()
    };
    assert_eq!((check.interval, check.timeout, check.retries), (90_000_000_000, 1_500_000_000, 3));
    assert_eq!(check.check, Check::Cmd(Command::Shell("curl x".into())));
    let Instruction::Healthcheck(check) = one("HEALTHCHECK NONE") else { panic!() };
    assert_eq!(check.check, Check::None);
}

#[test]
fn mistakes_have_a_line_and_a_cause() {
    for (text, line, cause) in [
        ("", 1, "There is no FROM"),
        ("# escape=x\nFROM x", 1, "'x' can't be the escape character"),
        ("# escape=`\n# escape=`\nFROM x", 2, "The directive 'escape' is there twice"),
        ("RUN x", 1, "RUN stands before the first FROM"),
        ("FROM x\n\nRUNN x", 3, "No instruction is called 'RUNN'"),
        ("FROM", 1, "FROM: IMAGE, or IMAGE AS NAME, must follow it"),
        ("FROM x as", 1, "FROM: IMAGE, or IMAGE AS NAME, must follow it"),
        ("FROM x AS 1a", 1, "FROM: '1a' can't be the name of a stage"),
        ("FROM x\nRUN", 2, "RUN: a command must follow it"),
        ("FROM x\nRUN []", 2, "RUN: a program must follow it"),
        ("FROM x\nCOPY a", 2, "COPY: SOURCE... and TARGET must follow it"),
        ("FROM x\nCOPY --form=a b c", 2, "COPY has no flag '--form'"),
        ("FROM x\nCOPY --from= b c", 2, "COPY: --from has no value"),
        ("FROM x\nENV a", 2, "ENV: 'a' has no value"),
        ("FROM x\nENV a=b c", 2, "ENV: 'c' is no NAME=VALUE"),
        ("FROM x\nARG 1=b", 2, "ARG: '1' is no name of a variable"),
        ("FROM x\nSHELL bash", 2, "SHELL: a list must follow it"),
        ("FROM x\nHEALTHCHECK --interval=1 CMD x", 2, "HEALTHCHECK: --interval='1' is no time"),
        ("FROM x\nONBUILD FROM y", 2, "ONBUILD can't have FROM behind it"),
        ("FROM x\nONBUILD RUNN y", 2, "No instruction is called 'RUNN'"),
        ("FROM x\nRUN --mount=type=cache x", 2, "RUN: a mount of type 'cache' has no target"),
        ("FROM x\nRUN --mount=type=tmpfs,target=/x,size=1x x", 2, "RUN: size='1x' is no size"),
        ("FROM x\nRUN --mount=type=tmpfs,target=/x,size=0 x", 2, "RUN: size='0' is no size"),
        ("FROM x\nRUN --mount=type=disk,target=/x x", 2, "RUN: 'disk' is no type of mount"),
        ("FROM x\nRUN --mount=type=tmpfs,target=/x,tmpfs=1 x", 2, "RUN: a mount of type tmpfs has no 'tmpfs'"),
    ] {
        let error = fails(text);
        assert_eq!((error.line, error.cause.as_str(), error.kind), (line, cause, Kind::Mistake), "{text}");
    }
    assert_eq!(fails("FROM x\nRUNN x").hint, "Did you mean RUN?");
}

#[test]
fn what_other_builders_know_is_told_so() {
    for (text, cause) in [
        ("ADD https://example.org/x /x", "ADD of an address is not supported"),
        ("ADD git@example.org:x.git /x", "ADD of an address is not supported"),
        ("ADD --checksum=sha256:0 a /x", "ADD --checksum is not supported"),
        ("COPY --parents a /x", "COPY --parents is not supported"),
        ("RUN --network=host x", "RUN --network=host is not supported"),
        ("RUN --security=insecure x", "RUN --security=insecure is not supported"),
        ("RUN --mount=type=secret,id=x x", "RUN --mount=type=secret is not supported"),
        ("RUN --mount=type=bind,rw,target=/x x", "RUN --mount=type=bind,rw is not supported"),
        ("RUN --mount=type=cache,target=/x,from=y x", "RUN --mount=type=cache,from is not supported"),
    ] {
        let error = fails(&format!("FROM x\n\n{text}"));
        let kind = if cause.contains("address") { Kind::Unsupported } else { Kind::BuildKit };
        assert_eq!((error.line, error.cause.as_str(), error.kind), (3, cause, kind), "{text}");
    }
}

#[test]
fn a_trigger_is_an_instruction() {
    let step = parse_trigger("COPY . /src").unwrap();
    assert_eq!((step.line, step.text.as_str()), (0, "COPY . /src"));
    assert!(parse_trigger("FROM x").is_err() && parse_trigger("ONBUILD RUN x").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_line_of_it(
        lines in proptest::collection::vec(
            "(FROM x( AS b)?|RUN |COPY |ADD |ENV |ARG |# escape=`|EOF|HEALTHCHECK |ONBUILD )?[a-z<=\"'$\\[\\]\\\\` -]{0,20}", 0..12,
        )
    ) {
        let text = lines.join("\n");
        match parse(&text) {
            Ok(made) => prop_assert!(!made.stages.is_empty()),
            Err(error) => {
                prop_assert!((1..=lines.len().max(1)).contains(&error.line), "{:?}", error);
                prop_assert!(!error.cause.contains('\n'));
            }
        }
    }
}
