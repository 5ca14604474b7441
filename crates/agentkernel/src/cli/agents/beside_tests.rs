use super::*;
use std::fs;

#[test]
fn names_stand_in_prose() {
    let text = "Read @a.md, (@~/b.md) and @/c.\n```\n@no.md\n```\n`@no.md` me@example.com @\n- @./d.md:\n";
    assert_eq!(names(text), ["a.md", "/c", "./d.md"]);
}

#[test]
fn what_a_text_names_is_found_once_and_followed_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().canonicalize().unwrap();
    for (name, text) in [
        (".a/M.md", "@one.md @~/far/two.md @none.md @../../out.md"),
        (".a/one.md", "@M.md @sub/three.md"),
        (".a/sub/three.md", ""),
        ("far/two.md", "@four.md"),
        ("far/four.md", ""),
    ] {
        fs::create_dir_all(own.join(name).parent().unwrap()).unwrap();
        fs::write(own.join(name), text).unwrap();
    }
    let found = imports_in(&own.join(".a/M.md"), Path::new(".a/M.md"), &own, &|below| own.join(below));
    let mut inside: Vec<_> = found.iter().map(|beside| beside.inside.clone().unwrap()).collect();
    inside.sort();
    let expected = [".a/M.md", ".a/one.md", ".a/sub/three.md", "far/two.md"].map(PathBuf::from);
    assert_eq!(inside, expected);
    let far = found.iter().find(|beside| beside.real == own.join("far/two.md")).unwrap();
    assert_eq!(far.named, format!("{} (which ~/.a/M.md names)", own.join("far/two.md").display()));
}
