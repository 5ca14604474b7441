//! A wheel from anyone: no panic, and nothing outside of the directory that it is unpacked into.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    fs,
    io::Write as _,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

fuzz_target!(|input: &[u8]| {
    // In memory, if there is such a place: a run makes and removes many files.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("agentkernel-fuzz-").tempdir_in(place).expect("a folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    fs::write(&outside, "untouched").expect("a file");
    fs::create_dir(&inside).expect("a directory");
    let mut wheel = tempfile::tempfile_in(folder.path()).expect("a file");
    wheel.write_all(input).expect("room");
    let dest = fs::File::open(&inside).expect("the directory");
    let options = archive::UnpackOptions { max_entries: 1000, max_bytes: 1 << 24, owner: None };
    let _ = archive::wheel::unpack(&wheel, dest.as_fd(), &options, &mut (0, 0));
    assert_eq!(fs::read(&outside).expect("the file outside"), b"untouched");
    assert_eq!(fs::metadata(&outside).expect("the file outside").nlink(), 1);
    let mut names: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["inside", "outside"]);
});
