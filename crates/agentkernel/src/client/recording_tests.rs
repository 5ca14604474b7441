use super::*;
use proptest::prelude::*;

fn events(text: &[u8]) -> Result<Vec<Happened>, RecordingError> {
    let mut recording = Recording::new(text)?;
    let mut all = Vec::new();
    while let Some((_, event)) = recording.next_event()? {
        all.push(event);
    }
    Ok(all)
}

fn output(text: &str) -> Happened {
    Happened::Output(text.to_owned())
}

#[test]
fn what_is_recorded_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cast");
    let size = WinSize { rows: 24, cols: 80 };
    let mut recorder = Recorder::create(&path, size, Some("sh -c 'x'".into())).unwrap();
    recorder.output(Channel::Stdout, b"a\x1b[31m\xc3");
    recorder.output(Channel::Stderr, b"err");
    recorder.output(Channel::Stdout, b"\xa4\xff\xe2\x82");
    recorder.resized(WinSize { rows: 10, cols: 20 });
    recorder.output(Channel::Stdout, b"\xac");
    recorder.output(Channel::Stdout, b"\xf0\x9f");
    assert!(recorder.finish().is_none());
    let text = std::fs::read(&path).unwrap();
    assert!(text.starts_with(b"{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":"));
    let euro = [output("a\u{1b}[31m"), output("err"), output("\u{e4}\u{fffd}")];
    let rest = [Happened::Resized(WinSize { rows: 10, cols: 20 }), output("\u{20ac}"), output("\u{fffd}")];
    assert_eq!(events(&text).unwrap(), [&euro[..], &rest].concat());
    let recording = Recording::open(&path).unwrap();
    assert_eq!((recording.header.width, recording.header.command.as_deref()), (80, Some("sh -c 'x'")));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(Recorder::create(&path, size, None).is_err(), "what is there is not written over");
}

#[test]
fn what_is_no_recording_is_told_by_its_line() {
    let line = |text: &str| match events(text.as_bytes()) {
        Err(RecordingError::Malformed(line)) => line,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(line(""), 1);
    assert_eq!(line("text"), 1);
    assert_eq!(line("{\"version\":3,\"width\":1,\"height\":1}"), 1);
    let header = "{\"version\":2,\"width\":80,\"height\":24,\"env\":{}}\n";
    assert_eq!(line(&format!("{header}\n[1,\"o\",\"a\"]\n[1,2]\n[1,\"o\",\"a\"]\n")), 4);
    assert_eq!(line(&format!("{header}[-1,\"o\",\"a\"]\n")), 2);
    assert_eq!(line(&format!("{header}[1e300,\"o\",\"a\"]\n")), 2);
    let whole = format!("{header}[0.5,\"o\",\"a\"]\n[1,\"i\",\"x\"]\n[1,\"r\",\"axb\"]\n[2,\"o\",\"cut of");
    assert_eq!(events(whole.as_bytes()).unwrap(), [output("a"), Happened::Other, Happened::Other]);
}

/// A full disk ends the recording, and not what is recorded.
#[test]
fn what_cannot_be_written_is_told_at_the_end() {
    let full = Path::new("/dev/full");
    let out = File::options().write(true).open(full).unwrap();
    let mut recorder = Recorder { out: Ok(out), began: Instant::now(), begun: Default::default() };
    recorder.output(Channel::Stdout, b"text");
    recorder.output(Channel::Stdout, b"text");
    assert_eq!(recorder.finish().unwrap().raw_os_error(), Some(28));
}

proptest! {
    #[test]
    fn however_it_comes_in_pieces_the_text_is_the_same(text in "\\PC{0,40}", cuts in prop::collection::vec(1usize..4, 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cast");
        let mut recorder = Recorder::create(&path, WinSize::default(), None).unwrap();
        let mut rest = text.as_bytes();
        for cut in cuts.into_iter().chain([text.len()]) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            recorder.output(Channel::Stdout, piece);
            rest = after;
        }
        prop_assert!(recorder.finish().is_none());
        let read: String = events(&std::fs::read(&path).unwrap()).unwrap().into_iter().map(|event| match event {
            Happened::Output(text) => text,
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(read, text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = events(&bytes);
        let _ = events(&[b"{\"version\":2,\"width\":80,\"height\":24}\n", &bytes[..]].concat());
    }
}
