//! Room for what waits in here: connections whose requests are read hold some of what they carry, as long as one side
//! does not read on.

use std::{cell::Cell, rc::Rc};

/// How much room there is, in connections of HTTP/1. What one holds at most, all of them hold within the limit that the
/// process has.
const ROOM: u32 = 1000;
/// What a connection of HTTP/2 takes besides, which carries many requests at once.
pub(crate) const MANY: u32 = 15;

/// How much of it is taken.
#[derive(Clone, Default)]
pub(crate) struct Room(Rc<Cell<u32>>);

/// Room that is taken until this is dropped.
pub(crate) struct Held {
    room: Room,
    count: u32,
}

impl Room {
    /// Takes room for so many connections of HTTP/1; `None` if there is not so much left.
    pub(crate) fn take(&self, count: u32) -> Option<Held> {
        let taken = self.0.get() + count;
        (taken <= ROOM).then(|| {
            self.0.set(taken);
            Held { room: self.clone(), count }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get() - self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let room = Room::default();
        let mut held: Vec<Held> = (0..ROOM).map_while(|_| room.take(1)).collect();
        assert_eq!(held.len(), 1000);
        assert!(room.take(1).is_none());
        held.truncate(1000 - MANY as usize);
        assert!(room.take(MANY + 1).is_none());
        let many = room.take(MANY);
        assert!(many.is_some() && room.take(1).is_none());
        drop((held, many));
        assert!(room.take(ROOM).is_some());
    }
}
