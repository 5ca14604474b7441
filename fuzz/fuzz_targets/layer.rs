//! A layer of an image from anyone: no panic, nothing outside of the directory that it is unpacked into, nothing that an
//! image must not have; and what was unpacked can be packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    fs,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

fuzz_target!(|input: &[u8]| {
    // In memory, if there is such a place: a run makes and removes many files.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("agentkernel-fuzz-").tempdir_in(place).expect("a folder");
    let outside = folder.path().join("outside");
    fs::write(&outside, "untouched").expect("a file");
    for owners in [archive::layer::Owners::Squashed, archive::layer::Owners::Kept] {
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).expect("a directory");
        // A file may be all hole; and then it is read as if it were there.
        let options = archive::layer::LayerOptions {
            owners,
            max_entries: 10_000,
            max_bytes: 1 << 24,
            ..archive::layer::LayerOptions::default()
        };
        let dest = fs::File::open(&inside).expect("the directory");
        let unpacked = archive::layer::unpack(dest.as_fd(), &options, input);
        assert_eq!(fs::read(&outside).expect("the file outside"), b"untouched");
        assert_eq!(fs::metadata(&outside).expect("the file outside").nlink(), 1);
        let names: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().map(|e| e.file_name()).collect();
        assert!(names.iter().all(|name| name == "inside" || name == "outside"), "{names:?}");
        // Modes from the archive may forbid looking into a directory that has to go.
        let mut folders = vec![inside.clone()];
        while let Some(folder) = folders.pop() {
            let _ = fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700));
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let meta = entry.metadata().expect("an entry");
                let kind = meta.file_type();
                assert!(!kind.is_block_device() && !kind.is_socket(), "{:?}", entry.path());
                assert!(!kind.is_char_device() || meta.rdev() == 0, "{:?}", entry.path());
                if kind.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        if unpacked.is_ok() {
            let options = archive::layer::PackLayerOptions::default();
            if let Err(error) = archive::layer::pack(dest.as_fd(), &options, std::io::sink()) {
                // Not even its owner may read what the layer has forbidden.
                let denied = matches!(&error, archive::PackError::Read { source, .. }
                    if source.kind() == std::io::ErrorKind::PermissionDenied);
                assert!(denied, "{error:?}");
            }
        }
        fs::remove_dir_all(&inside).expect("a directory that can go");
    }
});
