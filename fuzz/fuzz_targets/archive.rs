//! A tar archive from the other side: no panic, and nothing outside of the directory that it is unpacked into.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{fs, os::fd::AsFd, path::Path};

fuzz_target!(|input: &[u8]| {
    // In memory, if there is such a place: a run makes and removes many files.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("agentkernel-fuzz-").tempdir_in(place).expect("a folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    fs::create_dir(&inside).expect("a directory");
    fs::write(&outside, "untouched").expect("a file");
    {
        let dest = fs::File::open(&inside).expect("the directory");
        let _ = archive::unpack(dest.as_fd(), None, &archive::UnpackOptions::default(), input);
        let _ = archive::unpack(dest.as_fd(), Some("name".as_ref()), &archive::UnpackOptions::default(), input);
    }
    assert_eq!(fs::read(&outside).expect("the file outside"), b"untouched");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().map(|e| e.file_name()).collect();
    assert!(names.iter().all(|name| name == "inside" || name == "outside"), "{names:?}");
    // Modes from the archive may forbid looking into a directory that has to go.
    let mut folders = vec![inside];
    while let Some(folder) = folders.pop() {
        let _ = fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
});
