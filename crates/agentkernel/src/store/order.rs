//! Orders that wait in a sandbox's directory: hides how each is taken once, by whoever has its token.
//!
//! The directory goes with the sandbox, whatever becomes of who has left an order in it.

use super::{Entry, StoreError, record};
use rustix::{
    fs::{AtFlags, unlinkat},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use serde::{Serialize, de::DeserializeOwned};

/// Begins the name of a file with one.
const PREFIX: &str = "order-";
/// The bytes of a token: nobody guesses 128 bits.
const TOKEN: usize = 16;

impl Entry {
    /// Leaves an order for one who is told the token that this gives: hexadecimal digits.
    ///
    /// # Errors
    /// The system's.
    pub fn leave_order<T: Serialize>(&self, order: &T) -> Result<String, StoreError> {
        let mut bytes = [0; TOKEN];
        let failed = |errno| StoreError::io("write", self.path().join(PREFIX), errno);
        getrandom(&mut bytes, GetRandomFlags::empty()).map_err(failed)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        record::create(self.dir(), self.path(), &format!("{PREFIX}{token}"), order)?;
        Ok(token)
    }

    /// Takes an order; `None` if there is none by this token, or none any more.
    ///
    /// # Errors
    /// [`Damaged`](StoreError::Damaged), [`Format`](StoreError::Format), or the system's.
    pub fn take_order<T: DeserializeOwned>(&self, token: &str) -> Result<Option<T>, StoreError> {
        let Some(name) = name(token) else { return Ok(None) };
        let order = record::read(self.dir(), self.path(), &name)?;
        // Of two who have read it, it is whose who has removed it.
        Ok(if self.withdraw_order(token)? { order } else { None })
    }

    /// Takes an order back; whether there was one still.
    ///
    /// # Errors
    /// The system's.
    pub fn withdraw_order(&self, token: &str) -> Result<bool, StoreError> {
        let Some(name) = name(token) else { return Ok(false) };
        match unlinkat(self.dir(), &name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(StoreError::io("remove", self.path().join(name), errno)),
        }
    }
}

/// The file of a token, if it is one.
fn name(token: &str) -> Option<String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (token.len() == 2 * TOKEN && token.bytes().all(is_digit)).then(|| format!("{PREFIX}{token}"))
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
