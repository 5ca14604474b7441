//! Programs that a call of `exec` has left running, for this client and as long as it is there.

use super::{
    answers::Answers,
    frames::{Order, Word},
    helper::{Workers, Working},
};
use rmcp::{RoleServer, service::RequestContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use wire::Failure;

/// So many there may be, ended ones too.
const MOST: usize = 64;
/// Bytes of output that are kept of each.
const KEPT: usize = 1 << 20;
/// Bytes of it that are given back where nothing is said, and at most.
const READ: (u32, u32) = (64 << 10, 1 << 20);
/// How long one that was told to end may take.
const END: Duration = Duration::from_secs(6);

/// What `read_output` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OutputOf {
    /// The id that 'exec' gave.
    pub(super) id: String,
    /// Bytes to leave out: 'next' of the last answer. Without, all that is kept is given.
    #[serde(default)]
    pub(super) offset: u64,
    /// Wait so many seconds for more, at most 30.
    #[serde(default)]
    #[schemars(range(max = 30))]
    pub(super) wait_seconds: u8,
    /// Bytes to give back: 65536 if nothing is said, at most 1048576.
    #[serde(default)]
    pub(super) limit: Option<u32>,
}

/// What `stop_exec` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct StopExec {
    /// The id that 'exec' gave.
    pub(super) id: String,
}

/// A command that goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Left {
    /// For 'read_output' and 'stop_exec'.
    pub(super) id: String,
}

/// What one wrote, and how it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Output {
    id: String,
    /// What it was told to do.
    command: String,
    running: bool,
    /// Standard output and standard error, as they came.
    output: String,
    /// The offset of what comes after that.
    next: u64,
    /// Bytes from the offset on that are not kept any more.
    missing_bytes: u64,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Over>,
}

/// How one ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Over {
    /// Its exit status, as 'exec' has it.
    status: Option<u8>,
    /// Why, if its status does not say all.
    #[serde(default)]
    reason: Option<String>,
    /// What the sandbox says of it.
    #[serde(default)]
    notices: Vec<String>,
}

/// All of one client.
#[derive(Debug)]
pub(super) struct Background {
    /// The last number that was given, and what has one.
    all: Mutex<(u32, BTreeMap<u32, Arc<One>>)>,
    /// What runs, or is about to, holds one of these.
    free: Arc<Semaphore>,
}

#[derive(Debug)]
struct One {
    id: String,
    /// What its sandbox is for.
    project: Option<PathBuf>,
    command: String,
    state: Mutex<State>,
    /// There is more to read.
    changed: Notify,
    /// It is to end.
    cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// Bytes before that.
    dropped: u64,
    ended: Option<Over>,
}

/// How a program began.
pub(super) enum Begun {
    Left(Left),
    /// It has ended already, or not begun.
    Over(Result<serde_json::Value, Failure>),
}

impl Background {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { all: Mutex::default(), free: Arc::new(Semaphore::new(MOST)) }
    }

    /// Starts one; `None` if the call was cancelled meanwhile. If its answer does not go out, nothing is left running.
    pub(super) async fn begin(
        &self,
        workers: &Workers,
        order: &Order,
        command: String,
        answers: &Arc<Answers>,
        context: &RequestContext<RoleServer>,
    ) -> io::Result<Option<Begun>> {
        let over = |result| Ok(Some(Begun::Over(result)));
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            let cause = format!("{MOST} commands are running in the background");
            return over(Err(Failure { cause, hint: "'stop_exec' ends one".into() }));
        };
        let mut working = workers.begin(order).await?;
        let word = tokio::select! {
            biased;
            // The worker ends with what holds it here, and so does its program.
            () = context.ct.cancelled() => return Ok(None),
            word = working.next() => word?,
        };
        let project = match word {
            Word::Done(value) => return over(Ok(value)),
            Word::Failed(failure) => return over(Err(failure)),
            Word::Started(project) => project,
            Word::Made(_) | Word::Output(_) | Word::Asks(_) => None,
        };
        let one = {
            let mut all = self.lock();
            if all.1.len() >= MOST {
                // All that run have a permit, and one of those is not in here yet: one of these has ended.
                let ended = all.1.iter().find(|(_, one)| one.lock().ended.is_some()).map(|(id, _)| *id);
                ended.map(|ended| all.1.remove(&ended));
            }
            all.0 += 1;
            let (number, id) = (all.0, format!("exec-{}", all.0));
            let (state, changed, cut) = (Mutex::default(), Notify::new(), Notify::new());
            let one = Arc::new(One { id, project, command, state, changed, cut });
            all.1.insert(number, one.clone());
            one
        };
        let left = Left { id: one.id.clone() };
        let (goes_out, unheard) = (answers.goes_out(context), one.clone());
        tokio::spawn(async move {
            if !goes_out.await {
                unheard.cut.notify_one();
            }
        });
        tokio::spawn(async move {
            follow(one, working).await;
            drop(permit);
        });
        Ok(Some(Begun::Left(left)))
    }

    /// What one has written.
    pub(super) async fn read(&self, wanted: OutputOf, projects: &[PathBuf]) -> Result<Output, Failure> {
        let one = self.find(&wanted.id, projects)?;
        let wait = Duration::from_secs(wanted.wait_seconds.min(30).into());
        let news = async {
            loop {
                let changed = one.changed.notified();
                tokio::pin!(changed);
                // From here on nothing is missed.
                changed.as_mut().enable();
                if one.lock().is_news(wanted.offset) {
                    return;
                }
                changed.await;
            }
        };
        // If nothing comes, that is told.
        let _ = timeout(wait, news).await;
        Ok(one.output(wanted.offset, wanted.limit.unwrap_or(READ.0).min(READ.1)))
    }

    /// Ends one.
    pub(super) async fn stop(&self, StopExec { id }: StopExec, projects: &[PathBuf]) -> Result<Output, Failure> {
        let one = self.find(&id, projects)?;
        if !one.end().await {
            return Err(Failure::from(format!("Command {id} does not end")));
        }
        let from = one.lock().end().saturating_sub(u64::from(READ.0));
        Ok(one.output(from, READ.0))
    }

    /// Ends all of them.
    pub(super) async fn leave(&self) {
        let all: Vec<_> = self.lock().1.values().cloned().collect();
        all.iter().for_each(|one| one.cut.notify_one());
        for one in all {
            one.end().await;
        }
    }

    /// One of a sandbox of these projects. The client may have had others when it was begun.
    fn find(&self, id: &str, projects: &[PathBuf]) -> Result<Arc<One>, Failure> {
        let number = id.strip_prefix("exec-").and_then(|number| number.parse().ok());
        let found = number.and_then(|number: u32| self.lock().1.get(&number).cloned());
        let found = found.filter(|one| one.project.as_ref().is_some_and(|project| projects.contains(project)));
        found.ok_or_else(|| Failure {
            cause: format!("There is no background command '{id}'"),
            hint: "'exec' gives the id of one with background".into(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, (u32, BTreeMap<u32, Arc<One>>)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what a program writes, until it ends.
async fn follow(one: Arc<One>, mut working: Working) {
    let over = loop {
        let word = tokio::select! {
            word = working.next() => word,
            () = one.cut.notified() => {
                working.cut();
                continue;
            }
        };
        match word {
            Ok(Word::Output(text)) => one.lock().push(&text),
            Ok(Word::Started(_) | Word::Made(_) | Word::Asks(_)) => {}
            Ok(Word::Done(value)) => {
                break serde_json::from_value(value).unwrap_or_else(|_| Over::because("Nobody knows"));
            }
            Ok(Word::Failed(failure)) => break Over::because(&failure.cause),
            Err(_) => break Over::because("Its worker ended"),
        }
        one.changed.notify_waiters();
    };
    one.lock().ended = Some(over);
    one.changed.notify_waiters();
}

impl Over {
    fn because(reason: &str) -> Self {
        Self { status: None, reason: Some(reason.to_owned()), notices: Vec::new() }
    }
}

impl One {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has ended, by force if it must.
    async fn end(&self) -> bool {
        self.cut.notify_one();
        let ended = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.lock().ended.is_some() {
                    return;
                }
                changed.await;
            }
        };
        timeout(END, ended).await.is_ok()
    }

    fn output(&self, from: u64, limit: u32) -> Output {
        let state = self.lock();
        let (output, next, missing_bytes) = state.from(from, limit as usize);
        Output {
            id: self.id.clone(),
            command: self.command.clone(),
            running: state.ended.is_none(),
            output: output.to_owned(),
            next,
            missing_bytes,
            ended: state.ended.clone(),
        }
    }
}

impl State {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        // Not at every byte more.
        if self.text.len() > 2 * KEPT {
            let over = boundary(&self.text, self.text.len() - KEPT);
            self.text.drain(..over);
            self.dropped += over as u64;
        }
    }

    fn end(&self) -> u64 {
        self.dropped + self.text.len() as u64
    }

    fn is_news(&self, from: u64) -> bool {
        self.ended.is_some() || self.end() > from
    }

    /// What is kept from an offset on, the offset behind that, and how much before it is missing.
    fn from(&self, from: u64, limit: usize) -> (&str, u64, u64) {
        let begin = usize::try_from(from.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let begin = boundary(&self.text, begin.min(self.text.len()));
        let end = begin.saturating_add(limit).min(self.text.len());
        let end = if end < self.text.len() { boundary(&self.text, end) } else { end };
        (&self.text[begin..end], self.dropped + end as u64, self.dropped.saturating_sub(from))
    }
}

/// The next place where a character begins.
fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_read_from_an_offset() {
        let mut state = State::default();
        state.push("ab€cd");
        assert_eq!(state.from(0, 100), ("ab€cd", 7, 0));
        assert_eq!(state.from(3, 1), ("c", 6, 0));
        assert_eq!(state.from(7, 100), ("", 7, 0));
        assert_eq!(state.from(u64::MAX, usize::MAX), ("", 7, 0));
        assert!(!state.is_news(7) && state.is_news(6));
        state.push(&"x".repeat(2 * KEPT));
        let (text, next, missing) = state.from(0, usize::MAX);
        assert_eq!((text.len(), next, missing), (KEPT, 7 + 2 * KEPT as u64, 7 + KEPT as u64));
    }
}
