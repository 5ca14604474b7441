//! Terminals of the editor's that show what an agent runs in its sandbox. Hides which of them are the agent's.

use super::{
    message::{Answer, Fault, Id},
    order::Order,
    place::Place,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most terminals of one session that are not released.
const MOST: usize = 64;
/// How many others are remembered that may be shown.
const SHOWN: usize = 1024;
/// The most bytes of what a session or a terminal is called.
const LONGEST: usize = 1024;
/// What an editor can that shows terminals which agents make up: they tell it what stands there.
const MADE_UP: &str = "terminal_output";

pub(super) const CREATE: &str = "terminal/create";
const KILL: &str = "terminal/kill";
const RELEASE: &str = "terminal/release";
/// What else is asked of a terminal.
const FURTHER: [&str; 4] = ["terminal/output", "terminal/wait_for_exit", KILL, RELEASE];

/// A terminal, by its session and what the editor calls it there.
type Name = (String, String);

/// What an agent wants run in a terminal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TerminalCall {
    pub(super) id: Id,
    pub(super) order: Order,
    session: String,
    limit: Option<u64>,
}

/// What an editor was asked.
#[derive(Debug)]
enum Asked {
    /// For one that takes the order with this token.
    Create { session: String, token: String },
    /// To end what runs in one.
    Kill(Name),
    /// The same, and to let go of it.
    Release(Name),
}

/// The terminals of an agent.
#[derive(Debug)]
pub(super) struct Terminals {
    /// How they begin; else why there are none here.
    place: Result<Place, String>,
    /// The agent was told that there are some.
    offered: bool,
    /// The editor shows those that agents make up.
    made_up: bool,
    /// Where sessions are.
    sessions: BTreeMap<String, String>,
    /// Those that it has, with the tokens of their orders.
    given: BTreeMap<Name, String>,
    /// Others of its: those that it has released, and those that it made up; and the same, the oldest first.
    others: BTreeSet<Name>,
    remembered: VecDeque<Name>,
    asked: BTreeMap<Id, Asked>,
    /// What it wants run, the oldest first, and how much is held for that.
    calls: VecDeque<TerminalCall>,
    held: usize,
    /// Tokens of orders that nobody is to take any more.
    spent: Vec<String>,
}

impl Terminals {
    pub(super) fn new(place: Result<Place, String>) -> Self {
        Self {
            place,
            offered: false,
            made_up: false,
            sessions: BTreeMap::new(),
            given: BTreeMap::new(),
            others: BTreeSet::new(),
            remembered: VecDeque::new(),
            asked: BTreeMap::new(),
            calls: VecDeque::new(),
            held: 0,
            spent: Vec::new(),
        }
    }

    /// Hears what the editor can, and gives whether the agent is told that it has terminals; or what humans are told instead.
    pub(super) fn offer(&mut self, capabilities: &Value) -> Result<bool, String> {
        self.made_up = capabilities["_meta"][MADE_UP] == true;
        let wanted = capabilities["terminal"] == true;
        self.offered = wanted && self.place.is_ok();
        match &self.place {
            Err(why) if wanted => Err(format!("The agent is not told of the editor's terminals: {why}")),
            _ => Ok(self.offered),
        }
    }

    /// A session is in this directory.
    pub(super) fn begin_session(&mut self, session: &str, cwd: &str) {
        if session.len() <= LONGEST {
            self.sessions.insert(session.to_owned(), cwd.to_owned());
        }
    }

    /// Whether a request is about a terminal that there may be.
    pub(super) fn are_meant(&self, method: &str) -> bool {
        self.offered && (method == CREATE || FURTHER.contains(&method))
    }

    /// Takes a request of the agent's, and gives what the editor is asked, unless there is something to do before.
    ///
    /// # Errors
    /// What the agent is to be told.
    pub(super) fn take(
        &mut self,
        id: &Id,
        method: &str,
        mut params: Map<String, Value>,
    ) -> Result<Option<Map<String, Value>>, Fault> {
        let invalid = |message: &str| Fault::new(Fault::PARAMS, message);
        let text = |name: &str| params.get(name).and_then(Value::as_str).map(str::to_owned);
        let session = text("sessionId").ok_or_else(|| invalid("'sessionId' is missing"))?;
        if method != CREATE {
            let terminal = text("terminalId").ok_or_else(|| invalid("'terminalId' is missing"))?;
            let name = (session, terminal);
            if !self.given.contains_key(&name) {
                return Err(invalid("This session has no such terminal, or has released it"));
            }
            let asked = json!({"sessionId": name.0, "terminalId": name.1});
            match method {
                KILL => drop(self.asked.insert(id.clone(), Asked::Kill(name))),
                RELEASE => drop(self.asked.insert(id.clone(), Asked::Release(name))),
                _ => {}
            }
            return Ok(asked.as_object().cloned());
        }
        let limit = match params.remove("outputByteLimit") {
            None | Some(Value::Null) => None,
            Some(limit) => Some(limit.as_u64().ok_or_else(|| invalid("'outputByteLimit' is a number"))?),
        };
        let cwd = self.sessions.get(&session).ok_or_else(|| invalid("There is no such session"))?;
        if self.count(&session) >= MOST {
            return Err(Fault::new(
                Fault::INTERNAL,
                format!("This session has {MOST} terminals, which is as many as it may have: release one before"),
            ));
        }
        let order = Order::of(params, cwd)?;
        self.held += order.size();
        self.calls.push_back(TerminalCall { id: id.clone(), order, session, limit });
        Ok(None)
    }

    /// How many terminals a session has, or will have.
    fn count(&self, session: &str) -> usize {
        let given = self.given.keys().filter(|(of, _)| of == session).count();
        let asked =
            self.asked.values().filter(|asked| matches!(asked, Asked::Create { session: of, .. } if of == session));
        given + asked.count() + self.calls.iter().filter(|call| call.session == session).count()
    }

    /// What is to be run next, and is to be left where it can be taken.
    pub(super) fn next(&mut self) -> Option<TerminalCall> {
        let call = self.calls.pop_front()?;
        self.held -= call.order.size();
        Some(call)
    }

    /// How much is held for what it wants run.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// It can be taken by this token: gives what the editor is asked.
    pub(super) fn ask(&mut self, call: TerminalCall, token: String) -> Option<Map<String, Value>> {
        let TerminalCall { id, session, limit, .. } = call;
        let params = self.place.as_ref().ok()?.request(&session, &token, limit);
        self.asked.insert(id, Asked::Create { session, token });
        Some(params)
    }

    /// The editor has answered: gives what the agent is told.
    pub(super) fn answered(&mut self, id: &Id, answer: Answer) -> Answer {
        match (self.asked.remove(id), answer) {
            (Some(Asked::Create { session, token }), Ok(result)) => {
                let terminal = result.get("terminalId").and_then(Value::as_str).filter(|name| name.len() <= LONGEST);
                let Some(terminal) = terminal else {
                    self.spent.push(token);
                    let fault = Fault::new(Fault::INTERNAL, "The editor has not said what the terminal is called");
                    return Err(fault.value());
                };
                // One that is called like an earlier one takes its place.
                self.spent.extend(self.given.insert((session, terminal.to_owned()), token));
                Ok(json!({"terminalId": terminal}))
            }
            (Some(Asked::Create { token, .. }), Err(error)) => {
                self.spent.push(token);
                Err(error)
            }
            (Some(Asked::Kill(name)), Ok(result)) => {
                // Nor does it begin after that.
                self.spent.extend(self.given.get(&name).cloned());
                Ok(result)
            }
            (Some(Asked::Release(name)), Ok(result)) => {
                self.spent.extend(self.given.remove(&name));
                self.remember(name);
                Ok(result)
            }
            (_, answer) => answer,
        }
    }

    /// Tokens of orders that nobody is to take any more.
    pub(super) fn take_spent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.spent)
    }

    fn remember(&mut self, name: Name) {
        if self.others.insert(name.clone()) {
            self.remembered.push_back(name);
        }
        if self.remembered.len() > SHOWN
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.others.remove(&oldest);
        }
    }

    /// Leaves out of what an agent tells of a call of a tool all terminals but its own, and gives whether there were any.
    pub(super) fn leave_out(&mut self, session: Option<&Value>, call: &mut Value) -> bool {
        let session = session.and_then(Value::as_str).unwrap_or_default();
        let name = |terminal: &str| (session.to_owned(), terminal.to_owned());
        if let Some(made) = call["_meta"]["terminal_info"]["terminal_id"].as_str()
            && self.made_up
            && made.len() + session.len() <= LONGEST
        {
            self.remember(name(made));
        }
        let called = call["toolCallId"].clone();
        let is_foreign = |block: &Value| {
            let is_its_own = block["terminalId"].as_str().is_some_and(|terminal| {
                // Those that make them up call them like their calls.
                let is_made_up = self.made_up && called == terminal;
                let name = name(terminal);
                is_made_up || self.given.contains_key(&name) || self.others.contains(&name)
            });
            block["type"] == "terminal" && !is_its_own
        };
        match call.get_mut("content") {
            Some(Value::Array(blocks)) => {
                let all = blocks.len();
                blocks.retain(|block| !is_foreign(block));
                blocks.len() < all
            }
            Some(block) if is_foreign(block) => {
                *block = Value::Array(Vec::new());
                true
            }
            _ => false,
        }
    }

    /// The agent is no more, and wants nothing.
    pub(super) fn forget(&mut self) {
        self.calls.clear();
        self.held = 0;
    }
}

#[cfg(test)]
#[path = "terminals_tests.rs"]
mod tests;
