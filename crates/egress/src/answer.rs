//! Hides DNS messages: one question, and what of an answer to it is believed.

use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};
use std::net::IpAddr;

/// The most addresses of a name that are worth knowing.
const MAX_ADDRESSES: usize = 64;
/// The longest chain of names that stand for another.
const MAX_CHAIN: usize = 16;
/// The most records of a message that is worth reading.
const MAX_RECORDS: usize = 512;
/// The bytes that begin every message.
const HEADER: usize = 12;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

/// A question about a name, which must be one that [`Host`](crate::Host) knows as a name.
#[derive(Clone, Debug)]
pub struct Query {
    /// What only the server that is asked can know.
    pub id: u16,
    /// The name.
    pub name: String,
    /// Which of its addresses.
    pub family: Family,
}

/// What a server says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name exists and has these addresses, perhaps none, which hold for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// No such name exists.
    NoSuchName,
    /// There is more than this message can carry.
    Truncated,
    /// This server cannot say.
    Failed,
}

impl Query {
    /// The question as a message; `None` if the name cannot be asked for.
    #[must_use]
    pub fn to_message(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.name).ok()?;
        packet.questions.push(Question::new(name, self.qtype(), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().ok()
    }

    /// What a message says to this question; `None` if it is no answer to it, whoever sent it.
    #[must_use]
    pub fn read(&self, message: &[u8]) -> Option<Answer> {
        let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        let flags = PacketFlag::from_bits_truncate(number(2)?);
        if number(0)? != self.id || !flags.contains(PacketFlag::RESPONSE) || message.len() < HEADER {
            return None;
        }
        // What is cut off may end anywhere.
        if flags.contains(PacketFlag::TRUNCATION) {
            return Some(Answer::Truncated);
        }
        // Room is made for as many records as the header says, before one of them is read.
        let records: usize = [4, 6, 8, 10].into_iter().filter_map(number).map(usize::from).sum();
        if records > MAX_RECORDS {
            return Some(Answer::Failed);
        }
        let Ok(packet) = Packet::parse(message) else { return Some(Answer::Failed) };
        let known = matches!(packet.rcode(), RCODE::NoError | RCODE::NameError);
        match &packet.questions[..] {
            [question] if self.is(question) => {}
            // Whoever does not understand a question may not repeat it.
            [] if !known => {}
            _ => return None,
        }
        if packet.opcode() != OPCODE::StandardQuery || !known {
            return Some(Answer::Failed);
        }
        Some(match self.addresses(&packet) {
            Some((addresses, _)) if addresses.is_empty() && packet.rcode() == RCODE::NameError => Answer::NoSuchName,
            Some((addresses, seconds)) => Answer::Addresses(addresses, seconds),
            None => Answer::Failed,
        })
    }

    fn qtype(&self) -> QTYPE {
        QTYPE::TYPE(match self.family {
            Family::V4 => TYPE::A,
            Family::V6 => TYPE::AAAA,
        })
    }

    fn is(&self, question: &Question) -> bool {
        // By labels: a dot may stand in one.
        let asked = self.name.split('.').map(str::as_bytes);
        same(asked, question.qname.as_bytes())
            && question.qtype == self.qtype()
            && question.qclass == QCLASS::CLASS(CLASS::IN)
    }

    /// The addresses of the name, or of the one that it stands for; what is said of other names is not believed. `None`
    /// if the names go round in a circle.
    fn addresses(&self, packet: &Packet) -> Option<(Vec<IpAddr>, u32)> {
        let mut name = &packet.questions.first()?.qname;
        let mut seconds = u32::MAX;
        for _ in 0..=MAX_CHAIN {
            let of_it = || {
                packet
                    .answers
                    .iter()
                    .filter(|record| same(record.name.as_bytes(), name.as_bytes()) && record.class == CLASS::IN)
            };
            let mut addresses = Vec::new();
            for record in of_it() {
                let address = match (&record.rdata, self.family) {
                    (RData::A(a), Family::V4) => IpAddr::V4(a.address.into()),
                    (RData::AAAA(aaaa), Family::V6) => IpAddr::V6(aaaa.address.into()),
                    _ => continue,
                };
                if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                    addresses.push(address);
                }
                seconds = seconds.min(record.ttl);
            }
            if !addresses.is_empty() {
                return Some((addresses, seconds));
            }
            let next = of_it().find_map(|record| match &record.rdata {
                RData::CNAME(other) => Some((&other.0, record.ttl)),
                _ => None,
            });
            let Some((next, ttl)) = next else { return Some((addresses, seconds)) };
            (name, seconds) = (next, seconds.min(ttl));
        }
        None
    }
}

fn same<'a>(one: impl Iterator<Item = &'a [u8]>, other: impl Iterator<Item = &'a [u8]>) -> bool {
    one.map(<[u8]>::to_ascii_lowercase).eq(other.map(<[u8]>::to_ascii_lowercase))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
pub(crate) mod tests;
