//! Hides which address stands for which name.

use std::{collections::BTreeMap, net::Ipv4Addr, rc::Rc};

/// The first address that is given out, of 198.18.0.0/15 (RFC 2544: for tests between two networks, so that no real
/// host has one).
const FIRST: u32 = Ipv4Addr::new(198, 18, 0, 1).to_bits();
/// The last address of the network. It is never given out.
pub const LAST: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 255);
/// Names that are remembered.
const CAPACITY: usize = 4096;

/// The names that were asked for, each with an address of its own. The one that was used longest ago is forgotten
/// when there are too many; its address is not given to another name before all others have had their turn.
#[derive(Debug)]
pub struct Names {
    by_name: BTreeMap<Rc<str>, u32>,
    by_address: BTreeMap<u32, Entry>,
    /// Addresses by the time of their last use.
    by_use: BTreeMap<u64, u32>,
    /// Counts uses; 0 is none.
    clock: u64,
    next: u32,
}

#[derive(Debug)]
struct Entry {
    name: Rc<str>,
    used: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), by_address: BTreeMap::new(), by_use: BTreeMap::new(), clock: 0, next: FIRST }
    }
}

impl Names {
    /// The address of a name, a new one if it has none.
    pub fn address(&mut self, name: &str) -> Ipv4Addr {
        if let Some(&address) = self.by_name.get(name) {
            self.touch(address);
            return Ipv4Addr::from_bits(address);
        }
        if self.by_name.len() >= CAPACITY
            && let Some((_, oldest)) = self.by_use.pop_first()
            && let Some(entry) = self.by_address.remove(&oldest)
        {
            self.by_name.remove(&entry.name);
        }
        // There are far more addresses than names, so a free one is found.
        let address = loop {
            let address = self.next;
            self.next = if address + 1 < LAST.to_bits() { address + 1 } else { FIRST };
            if !self.by_address.contains_key(&address) {
                break address;
            }
        };
        let name: Rc<str> = name.into();
        self.by_name.insert(name.clone(), address);
        self.by_address.insert(address, Entry { name, used: 0 });
        self.touch(address);
        Ipv4Addr::from_bits(address)
    }

    /// The name that an address stands for.
    pub fn name(&mut self, address: Ipv4Addr) -> Option<Rc<str>> {
        let address = address.to_bits();
        let name = self.by_address.get(&address)?.name.clone();
        self.touch(address);
        Some(name)
    }

    fn touch(&mut self, address: u32) {
        if let Some(entry) = self.by_address.get_mut(&address) {
            self.by_use.remove(&entry.used);
            self.clock += 1;
            entry.used = self.clock;
            self.by_use.insert(self.clock, address);
        }
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
