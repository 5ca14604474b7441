//! Hides the name server of a test's internet: what it answers, and what it was asked.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Numbers of record types, as in RFC 1035 and RFC 3596.
const A: u16 = 1;
const AAAA: u16 = 28;
/// Longer answers go over TCP only (RFC 1035, 4.2.1).
const LONGEST_DATAGRAM: usize = 512;

/// One question that the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name, in lower case, without the last dot.
    pub name: String,
    /// The number of the record type.
    pub kind: u16,
    /// Whether it came over TCP.
    pub tcp: bool,
}

/// A table of names and a list of what was asked.
#[derive(Default)]
pub(super) struct Names {
    table: Mutex<HashMap<String, Name>>,
    queries: Mutex<Vec<Query>>,
    /// How long it thinks about a name; for ever if it is none.
    slow: Mutex<HashMap<String, Option<Duration>>>,
    /// Where it answers; elsewhere it says nothing any more.
    place: Mutex<String>,
}

/// What a name means.
struct Name {
    /// One set of addresses after another; the last one stays.
    turns: Vec<Vec<IpAddr>>,
    /// How often each record type was asked for.
    asked: HashMap<u16, usize>,
}

impl Names {
    pub(super) fn set(&self, name: &str, turns: Vec<Vec<IpAddr>>) {
        self.table.lock().unwrap().insert(name.to_owned(), Name { turns, asked: HashMap::new() });
    }

    pub(super) fn queries(&self) -> Vec<Query> {
        self.queries.lock().unwrap().clone()
    }

    /// Answers to a name after some time from now on, or never.
    pub(super) fn slow(&self, name: &str, time: Option<Duration>) {
        self.slow.lock().unwrap().insert(name.to_owned(), time);
    }

    /// Answers on these sockets until they are shut down, or the test ends; and nowhere else any more.
    pub(super) fn serve(self: Arc<Self>, place: &str, udp: UdpSocket, tcp: TcpListener) {
        place.clone_into(&mut self.place.lock().unwrap());
        let (names, place) = (Arc::clone(&self), place.to_owned());
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                if *names.place.lock().unwrap() != place {
                    continue;
                }
                let Some(answer) = names.answer(&packet[..length], false) else { continue };
                let name = question(&packet[..length]).unwrap_or_default().0;
                match names.slow.lock().unwrap().get(&name).copied() {
                    None => drop(udp.send_to(&answer, from)),
                    Some(None) => {}
                    Some(Some(time)) => {
                        let udp = udp.try_clone().unwrap();
                        thread::spawn(move || {
                            thread::sleep(time);
                            let _ = udp.send_to(&answer, from);
                        });
                    }
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let names = Arc::clone(&self);
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; u16::from_be_bytes(length).into()];
                        if stream.read_exact(&mut query).is_err() {
                            return;
                        }
                        let Some(answer) = names.answer(&query, true) else { return };
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        if stream.write_all(&[&length, &answer[..]].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    /// The answer to a message with one question; nothing to what is none.
    fn answer(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = question(query)?;
        let kind = u16::from_be_bytes(query.get(end - 4..end - 2)?.try_into().ok()?);
        self.queries.lock().unwrap().push(Query { name: name.clone(), kind, tcp });
        let mut table = self.table.lock().unwrap();
        let known = table.get_mut(&name);
        let code = if known.is_some() { 0 } else { 3 };
        let mut records = Vec::new();
        if let Some(known) = known {
            let turn = known.asked.entry(kind).or_default();
            let addresses = known.turns.get(*turn).or(known.turns.last())?;
            *turn += 1;
            let changes = known.turns.len() > 1;
            records.extend(addresses.iter().filter_map(|address| record(*address, kind, changes)));
        }
        let build = |truncated: bool, records: &[Vec<u8>]| {
            let mut answer = query[..2].to_vec();
            // A response, authoritative, to a recursive question.
            answer.extend([0x85 | if truncated { 2 } else { 0 }, 0x80 | code, 0, 1]);
            answer.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
            answer.extend([0; 4]);
            answer.extend(&query[12..end]);
            answer.extend(records.iter().flatten());
            answer
        };
        let whole = build(false, &records);
        Some(if !tcp && whole.len() > LONGEST_DATAGRAM { build(true, &[]) } else { whole })
    }
}

/// The name of the first question, and where that question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = query.get(at..at + length).filter(|_| length < 64)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    (query.len() >= at + 4).then(|| (labels.join("."), at + 4))
}

/// A record of an address, if it is of this type. An answer that changes is good for one question.
fn record(address: IpAddr, kind: u16, changes: bool) -> Option<Vec<u8>> {
    let data = match (address, kind) {
        (IpAddr::V4(address), A) => address.octets().to_vec(),
        (IpAddr::V6(address), AAAA) => address.octets().to_vec(),
        _ => return None,
    };
    // The name of the question, by a pointer.
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, if changes { 0 } else { 60 }]);
    record.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    record.extend(data);
    Some(record)
}
