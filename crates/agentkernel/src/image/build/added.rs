//! Hides how an archive that `ADD` names is known as one, and unpacked: in a worker, as all that others have packed.

use crate::image::{
    ImageError, Images,
    compression::{looks, plain},
    error::told,
    view::View,
    worker::{self, Reach},
};
use archive::layer::{LayerOptions, Owners};
use oci::manifest::media::Compression;
use rustix::fd::{AsFd as _, OwnedFd};
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _},
};
use wire::Failure;

/// The beginning of a file that tells.
const BEGINNING: usize = 512;

/// The time of directories that an archive does not name: what is in them says nothing of them. It is before 1970, where nothing
/// is.
pub(super) const IMPLIED: i64 = -0x616b;

/// What was in an archive.
pub(super) struct Unpacked {
    pub view: View,
    /// Where it lies in `work`.
    pub name: String,
}

/// What no decoder is here for, by how it begins.
const UNSUPPORTED: [(&[u8], &str); 2] = [(b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")];

fn is_tar(begin: &[u8]) -> bool {
    begin.get(257..262) == Some(b"ustar")
}

impl Images {
    /// Unpacks what may be an archive; `None` if it is none.
    pub(super) fn unpack_added(&self, file: &OwnedFd) -> Result<Option<Unpacked>, ImageError> {
        let mut begin = [0; BEGINNING];
        let failed = |error: io::Error| self.failed("read", "the file", error);
        let count = rustix::io::pread(file, &mut begin, 0).map_err(|errno| failed(errno.into()))?;
        let begin = &begin[..count];
        if let Some((_, what)) = UNSUPPORTED.iter().find(|(magic, _)| begin.starts_with(magic)) {
            let cause = format!("it is compressed with {what}, which is not supported");
            let hint = "Compress it with gzip or zstd, or COPY it and unpack it in a RUN".to_owned();
            return Err(ImageError::Refused(Failure { cause, hint }));
        }
        let compression = looks(begin);
        if compression == Compression::None && !is_tar(begin) {
            return Ok(None);
        }
        let scratch = self.scratch("add")?;
        let owners = if rustix::process::geteuid().is_root() { Owners::Kept } else { Owners::Squashed };
        let unpacked = worker::start(&[file.as_fd()], Reach::Files(scratch.dir.as_fd()), || {
            let copy = || -> Result<File, Failure> {
                let mut file = File::from(file.try_clone().map_err(|error| Failure::from(error.to_string()))?);
                file.rewind().map_err(|error| Failure::from(error.to_string()))?;
                Ok(file)
            };
            // Something else may be compressed as well.
            let mut begin = Vec::new();
            let first = plain(compression, BufReader::new(copy()?)).take(BEGINNING as u64).read_to_end(&mut begin);
            if first.is_err() || !is_tar(&begin) {
                return Ok(false);
            }
            let options = LayerOptions { owners, implied: IMPLIED, ..LayerOptions::default() };
            let input = plain(compression, BufReader::with_capacity(1 << 17, copy()?));
            let made = archive::layer::unpack(scratch.dir.as_fd(), &options, input);
            made.map(|_| true).map_err(|error| told(&error))
        })?
        .wait();
        match unpacked {
            Ok(true) => Ok(Some(Unpacked { view: View::directory(scratch.dir), name: scratch.name })),
            other => {
                let _ = self.remove_tree(&self.work, "work", &scratch.name);
                other.map(|_| None)
            }
        }
    }
}
