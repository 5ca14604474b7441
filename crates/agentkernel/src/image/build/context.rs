//! Hides how what is built from leaves for a builder elsewhere: what does not count is left out here.

use super::{
    super::{ImageError, Images, view::View},
    copy::{self, Changes, CopyFailure, Origin, Recorder, Said, Tree},
};
use dockerfile::Ignore;
use rustix::fd::OwnedFd;
use std::path::Path;
use wire::Failure;

impl Images {
    /// The state directory, and where layers are made, by device and inode.
    fn own_directories(&self) -> Vec<(u64, u64)> {
        let state = self.path.parent().and_then(|state| rustix::fs::stat(state).ok());
        let all = [state, rustix::fs::fstat(&self.work).ok()];
        all.into_iter().flatten().map(|stat| (stat.st_dev, stat.st_ino)).collect()
    }

    /// Where files come from: another image, or the context.
    pub(super) fn origin<'a>(&self, image: Option<&'a View>, context: &'a View, ignore: &'a Ignore) -> Origin<'a> {
        match image {
            Some(view) => Origin::image(view),
            None => Origin::context(context, ignore, self.own_directories()),
        }
    }

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
            let origin = self.origin(None, &view, ignore);
            origin.transfer(b"", b"", Some(&mut tree), Changes::default(), &mut Recorder::new()).map_err(refused)?;
            let said = Said { mode: 0o644, owner: (0, 0) };
            tree.put(name.as_bytes(), dockerfile.as_bytes(), said).map_err(refused)?;
            tree.put(b".dockerignore", format!("{name}\n.dockerignore\n").as_bytes(), said).map_err(refused)?;
            self.packed(&scratch.dir, |archive| send(archive, &name))
        })();
        drop(scratch.dir);
        let removed = self.remove_tree(&self.work, "work", &scratch.name);
        let made = made?;
        removed.map(|()| made)
    }
}
