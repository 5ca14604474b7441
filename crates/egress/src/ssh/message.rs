//! Hides how SSH encodes what it says (RFC 4251, 5).

/// Reads from the front. `None` where there is too little.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub fn boolean(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    pub fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A positive number, without zeros before it.
    pub fn magnitude(&mut self) -> Option<&'a [u8]> {
        let number = self.string()?;
        if number.first().is_some_and(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.get(zeros..)
    }

    /// Whether this was all of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a string.
pub(super) fn put(to: &mut Vec<u8>, string: &[u8]) {
    // Nothing here is longer than a message.
    to.extend_from_slice(&u32::try_from(string.len()).unwrap_or_default().to_be_bytes());
    to.extend_from_slice(string);
}
