//! Archives made by hand, because no library would make what the tests want.

use super::*;
use tar::{EntryType, Header};

/// An archive under construction.
#[derive(Default)]
pub struct Archive(pub Vec<u8>);

impl Archive {
    pub fn header(self, kind: EntryType, name: &[u8], target: &[u8], size: u64, mode: u32) -> Self {
        self.changed(kind, name, target, size, mode, |_| {})
    }

    /// A header with something in it that others do not have.
    pub fn changed(
        mut self,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        size: u64,
        mode: u32,
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name);
        gnu.linkname[..target.len()].copy_from_slice(target);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub fn file(self, name: &[u8], data: &[u8]) -> Self {
        self.header(EntryType::Regular, name, b"", data.len() as u64, 0o644).data(data)
    }

    pub fn dir(self, name: &[u8]) -> Self {
        self.header(EntryType::Directory, name, b"", 0, 0o755)
    }

    pub fn symlink(self, name: &[u8], target: &[u8]) -> Self {
        self.header(EntryType::Symlink, name, target, 0, 0o777)
    }

    pub fn hard_link(self, name: &[u8], target: &[u8]) -> Self {
        self.header(EntryType::Link, name, target, 0, 0o644)
    }

    pub fn long_name(self, name: &[u8]) -> Self {
        let data = [name, b"\0"].concat();
        self.header(EntryType::GNULongName, b"././@LongLink", b"", data.len() as u64, 0).data(&data)
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            pax::write(key.as_bytes(), value, &mut data);
        }
        self.header(EntryType::XHeader, b"pax", b"", data.len() as u64, 0o644).data(&data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
