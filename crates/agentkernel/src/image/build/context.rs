//! Hides how what is built from leaves for a builder elsewhere: what does not count is left out here.

use super::{
    super::{
        ImageError, Images,
        view::View,
        worker::{self, Reach},
    },
    copy::{self, Changes, CopyFailure, Origin, Recorder, Said, Tree},
};
use archive::{
    PackError,
    layer::{PackLayerOptions, PackOwners, pack},
};
use dockerfile::Ignore;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    pipe::PipeFlags,
};
use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};
use wire::Failure;

impl Images {
    /// Gives `send` a tar archive of a context, all of it root's, and the path in there of a Dockerfile with this text. The
    /// builder is told by a list of its own that neither of the two belongs to the context.
    ///
    /// # Errors
    /// If something can't be read, or copied.
    pub fn context<T>(
        &self,
        context: &Path,
        ignore: &Ignore,
        dockerfile: &str,
        send: impl FnOnce(OwnedFd, &str) -> T,
    ) -> Result<T, ImageError> {
        let _guard = self.keep()?;
        let refused = |CopyFailure { cause, hint }: CopyFailure| ImageError::Refused(Failure { cause, hint });
        let view = copy::context(context).map(View::directory);
        let view = view.map_err(|errno| self.failed("open", context, errno))?;
        let scratch = self.scratch("context")?;
        let made = (|| {
            let name = format!(".dockerfile.{}", super::super::random().map_err(|e| self.failed("name", "work", e))?);
            let nothing = View::nothing();
            let mut tree = Tree::new(&scratch.dir, &nothing, (0, 0)).map_err(refused)?;
            let origin = Origin { view: &view, ignore: Some(ignore), owned: false };
            origin.transfer(b"", b"", Some(&mut tree), Changes::default(), &mut Recorder::new()).map_err(refused)?;
            let said = Said { mode: 0o644, owner: (0, 0) };
            tree.put(name.as_bytes(), dockerfile.as_bytes(), said).map_err(refused)?;
            tree.put(b".dockerignore", format!("{name}\n.dockerignore\n").as_bytes(), said).map_err(refused)?;
            let (read, write) =
                rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ImageError::Worker(e.into()))?;
            let worker = worker::start(&[write.as_fd()], Reach::Files(scratch.dir.as_fd()), || {
                let options = PackLayerOptions { owners: PackOwners::Squashed, latest: None };
                let copy = write.try_clone().map_err(|error| Failure::from(error.to_string()))?;
                let mut to = io::BufWriter::with_capacity(1 << 17, File::from(copy));
                let packed = pack(scratch.dir.as_fd(), &options, &mut to).map(drop);
                match packed.and_then(|()| to.flush().map_err(PackError::Write)) {
                    // Who wants no more of it says why.
                    Err(PackError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    packed => packed.map_err(|error| Failure::from(wire::cause(&error))),
                }
            })?;
            drop(write);
            let sent = send(read, &name);
            worker.wait().map(|()| sent)
        })();
        drop(scratch.dir);
        let removed = self.remove_tree(&self.work, "work", &scratch.name);
        let made = made?;
        removed.map(|()| made)
    }
}
