use super::*;

#[test]
#[allow(clippy::disallowed_methods)] // a test starts its own programs
fn a_helper_that_hangs_is_given_up() {
    let said = |script: &str, patience: Duration| {
        let mut helper = std::process::Command::new("sh");
        let mut helper = helper.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = process::pidfd(rustix::process::Pid::from_child(&helper)).unwrap();
        let from = OwnedFd::from(helper.stdout.take().unwrap());
        let answer = answer_within(File::from(from), &pidfd, patience);
        let _ = helper.kill();
        helper.wait().unwrap();
        answer
    };
    let begin = Instant::now();
    assert_eq!(said("echo said", Duration::from_secs(30)).unwrap(), b"said\n");
    // One that is silent, and one that has said all and goes on.
    for script in ["exec sleep 60", "echo said; exec sleep 60 > /dev/null"] {
        let error = said(script, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
}
