use super::*;
use std::os::unix::fs::symlink;

struct Scene {
    _dir: tempfile::TempDir,
    base: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        for (path, text) in [("project/file", "in"), ("project/sub/file", "sub"), ("outside/file", "out")] {
            std::fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            std::fs::write(base.join(path), text).unwrap();
        }
        Self { _dir: dir, base }
    }

    fn link(&self, place: &str, to: impl AsRef<Path>) {
        symlink(to, self.base.join(place)).unwrap();
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let places = [self.base.join("project")];
        let fd = open(&self.base.join(path), "It", &places).map_err(|refusal| match refusal {
            Refusal::Io(error) => error.to_string(),
            Refusal::Out(error) => format!("{error} | {}", error.hint()),
        })?;
        Ok(io::read_to_string(std::fs::File::from(fd)).unwrap())
    }
}

#[test]
fn a_path_may_lead_anywhere_but_out_of_where_sandboxes_write() {
    let scene = Scene::new();
    scene.link("project/inner", "sub/../file");
    scene.link("project/dir", "sub");
    scene.link("project/absolute", scene.base.join("project/sub"));
    scene.link("project/out", "../outside/file");
    scene.link("project/far", scene.base.join("outside"));
    scene.link("project/back", "../outside/through");
    scene.link("project/end", "file");
    // The user's own, elsewhere: into the project, and to what is there a link that a sandbox can change.
    scene.link("outside/through", "../project/file");
    scene.link("outside/by", "../project/out");
    scene.link("outside/plain", "file");
    for (path, text) in [
        ("project/file", "in"),
        ("project/../outside/file", "out"),
        ("project/inner", "in"),
        ("project/dir/file", "sub"),
        ("project/absolute/file", "sub"),
        ("project/back", "in"),
        ("outside/through", "in"),
        ("outside/plain", "out"),
    ] {
        assert_eq!(scene.read(path).as_deref(), Ok(text), "{path}");
    }
    for path in ["project/out", "project/far/file", "outside/by", "project/sub/../out"] {
        let told = scene.read(path).unwrap_err();
        let real = scene.base.join("outside/file");
        let (place, real) = (scene.base.join("project").display().to_string(), real.display().to_string());
        assert!(told.starts_with(&format!("It leads out of '{place}' by a link, to '{real}' | ")), "{path}: {told}");
    }
    assert!(scene.read("project/none").unwrap_err().contains("No such file"));
    assert!(scene.read("project/end/x").unwrap_err().contains("Not a directory"));
}

#[test]
fn circles_end_and_the_kernels_links_are_its_own() {
    let scene = Scene::new();
    scene.link("project/circle", "circle");
    assert!(scene.read("project/circle").unwrap_err().contains("Too many levels"));
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&writes, b"piped").unwrap();
    drop(writes);
    let path = format!("/dev/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&reads));
    let fd = open(Path::new(&path), "It", std::slice::from_ref(&scene.base)).unwrap();
    assert_eq!(io::read_to_string(std::fs::File::from(fd)).unwrap(), "piped");
    scene.link("project/magic", &path);
    assert!(scene.read("project/magic").unwrap_err().contains("leads out of"));
}
