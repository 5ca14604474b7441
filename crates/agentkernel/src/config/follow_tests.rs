use super::*;

#[test]
fn whoever_is_refused_hears_by_what_and_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let base = std::fs::canonicalize(dir.path()).unwrap();
    std::fs::create_dir_all(base.join("project")).unwrap();
    std::fs::write(base.join("file"), "").unwrap();
    std::os::unix::fs::symlink("../file", base.join("project/link")).unwrap();
    let places = [base.join("project")];
    let path = base.join("project/link");
    let error = follow(&path, true, "It", &places, Links::Inside).unwrap_err().at(&path);
    let (place, real) = (places[0].display(), base.join("file"));
    assert_eq!(error.to_string(), format!("It leads out of '{place}' by a link, to '{}'", real.display()));
    assert!(error.hint().ends_with(&format!("name '{}' itself", real.display())), "{}", error.hint());
    let gone = base.join("project/none/x");
    assert!(
        matches!(follow(&gone, true, "It", &places, Links::Inside), Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound)
    );
}
