//! One call: progress on its way, its cancellation, and what a human is asked.

use super::{
    answers::Answers,
    delivery,
    frames::{Order, Question, Word},
    helper::Workers,
};
use http::{HeaderValue, request::Parts};
use rmcp::{
    ErrorData, RoleServer,
    model::{
        ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
        InputRequest, InputRequiredResult, InputResponses, ProgressNotificationParam, ProgressToken, ProtocolVersion,
        ServerRequest,
    },
    service::RequestContext,
};
use serde_json::Value;
use std::{future::pending, io, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, broadcast},
    time::{Instant, sleep_until},
};
use wire::Failure;

/// How often progress is told at most.
const PACE: Duration = Duration::from_millis(250);
/// Bytes of output that are told with it: the last ones.
const TAIL: usize = 2000;
/// The word in the answer of a human.
const AGREE: &str = "allow";

/// A call of a client.
pub(super) struct Call<'a> {
    pub(super) workers: &'a Workers,
    /// So many workers there may be at once; the others wait.
    pub(super) free: &'a Semaphore,
    pub(super) context: &'a RequestContext<RoleServer>,
    /// What the client was asked by the last answer.
    pub(super) answers: Option<&'a InputResponses>,
    /// Tells of sessions that their clients have ended.
    pub(super) ended: &'a broadcast::Sender<HeaderValue>,
    /// Tells whether the client is given its answer.
    pub(super) given: &'a Arc<Answers>,
}

/// How it ended.
pub(super) enum Course {
    Done(Value),
    Failed(Failure),
    /// It goes on when the client has answered.
    Asked(InputRequiredResult),
}

/// Whether the client speaks a revision in which a server asks by its answers, and never by itself.
pub(super) fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

/// What is told of a worker that is not there.
pub(super) fn broken(error: &io::Error) -> Failure {
    Failure { cause: format!("The worker ended: {error}"), hint: "'agentkernel gc' removes what it left behind".into() }
}

impl Call<'_> {
    /// Makes it.
    pub(super) async fn make(&self, mut order: Order) -> Result<Course, ErrorData> {
        let question = match self.work(&order).await? {
            Word::Asks(question) => question,
            word => return Ok(course(word)),
        };
        match self.ask(&question).await? {
            Ok(true) => {}
            Ok(false) => {
                let cause = "A human was asked, and did not agree".to_owned();
                return Ok(Course::Failed(Failure { cause, hint: "Go on without it".into() }));
            }
            Err(course) => return Ok(course),
        }
        // What is meant may be another thing by now, such as the last checkpoint, or another sandbox of this name: of that
        // nobody was asked, and the worker looks.
        order.agreed = Some(question);
        match self.work(&order).await? {
            Word::Asks(_) => {
                let cause = "It is something else now than what a human was asked".to_owned();
                Ok(Course::Failed(Failure { cause, hint: "Call it again".into() }))
            }
            word => Ok(course(word)),
        }
    }

    /// Has a worker do it, to its last word. If the call is cancelled, the worker ends what it runs.
    async fn work(&self, order: &Order) -> Result<Word, ErrorData> {
        let ended = ended(self.ended.subscribe(), session(self.context));
        tokio::pin!(ended);
        let _one = tokio::select! {
            one = self.free.acquire() => one,
            () = self.context.ct.cancelled() => return Err(cancelled()),
            () = &mut ended => return Err(cancelled()),
        };
        let begun = self.workers.begin(order).await;
        let mut working = match begun {
            Ok(working) => working,
            Err(error) => return Ok(Word::Failed(broken(&error))),
        };
        let mut progress = self.context.meta.get_progress_token().map(Progress::new);
        // Who does not listen to what is told may cancel all the same.
        let mut telling = None;
        loop {
            let due = progress.as_ref().and_then(Progress::due).filter(|_| telling.is_none());
            tokio::select! {
                word = working.next() => match word {
                    Ok(Word::Output(text)) => {
                        if let Some(progress) = &mut progress {
                            progress.push(&text);
                        }
                    }
                    Ok(Word::Started(_)) => {}
                    // It stays if the client hears of it; else its worker, whom nobody holds any more, takes it back.
                    Ok(Word::Made(value)) => {
                        let goes_out = self.given.goes_out(self.context);
                        tokio::spawn(async move {
                            if goes_out.await {
                                // A worker that is gone has let it stay.
                                let _ = working.keep().await;
                            }
                        });
                        return Ok(Word::Done(value));
                    }
                    Ok(word) => return Ok(word),
                    Err(error) => return Ok(Word::Failed(broken(&error))),
                },
                () = self.context.ct.cancelled() => return Err(cancelled()),
                () = &mut ended => return Err(cancelled()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    telling = progress.as_mut().map(|it| Box::pin(self.context.peer.notify_progress(it.told())));
                }
                () = told(&mut telling) => telling = None,
            }
        }
    }

    /// Asks the human; an end of the call in place of an answer, if there is none yet or never will be.
    async fn ask(&self, question: &Question) -> Result<Result<bool, Course>, ErrorData> {
        let capabilities = self.context.client_capabilities();
        let asks = capabilities.and_then(|capabilities| capabilities.elicitation);
        // One that names no mode knows forms.
        if !asks.is_some_and(|asks| asks.form.is_some() || asks.url.is_none()) {
            return Ok(Err(Course::Failed(Failure {
                cause: "A human must agree to this, and this client can't ask one".into(),
                hint: format!("A human can type: {}", question.command),
            })));
        }
        let form = ElicitationSchema::builder().required_bool(AGREE).build();
        let requested_schema = form.map_err(|error| ErrorData::internal_error(error, None))?;
        let message = question.text.clone();
        let params = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
        let request = ElicitRequest::new(params);
        if is_stateless(self.context) {
            // By its key, an answer is one to this question.
            return Ok(match self.answers.and_then(|answers| answers.get(&question.key())) {
                Some(answer) => Ok(serde_json::from_value(answer.clone()).is_ok_and(|answer| agrees(&answer))),
                None => {
                    let requests = [(question.key(), InputRequest::Elicitation(request))].into();
                    Err(Course::Asked(InputRequiredResult::from_input_requests(requests)))
                }
            });
        }
        tokio::select! {
            answer = self.context.peer.send_request(ServerRequest::ElicitRequest(request)) => Ok(Ok(match answer {
                Ok(ClientResult::ElicitResult(answer)) => agrees(&answer),
                _ => false,
            })),
            () = self.context.ct.cancelled() => Err(cancelled()),
        }
    }
}

/// The session of HTTP that a call is made in.
fn session(context: &RequestContext<RoleServer>) -> Option<HeaderValue> {
    delivery::session(&context.extensions.get::<Parts>()?.headers).cloned()
}

/// Waits for the end of a session, which one without never has.
async fn ended(mut ended: broadcast::Receiver<HeaderValue>, session: Option<HeaderValue>) {
    use broadcast::error::RecvError;
    loop {
        match ended.recv().await {
            Ok(gone) if Some(&gone) == session.as_ref() => return,
            // If one is missed, the protocol's own end is a little later.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => pending().await,
        }
    }
}

/// Waits until it is told, if anything is. Who does not hear of it will hear the end.
async fn told<T>(telling: &mut Option<impl Future<Output = T> + Unpin>) {
    match telling {
        Some(telling) => drop(telling.await),
        None => pending().await,
    }
}

/// Who cancels a call does not hear this.
pub(super) fn cancelled() -> ErrorData {
    ErrorData::internal_error("Cancelled", None)
}

/// Whether a human has said yes: the form sent off, and the word in it.
fn agrees(answer: &ElicitResult) -> bool {
    let word = answer.content.as_ref().and_then(|content| content.get(AGREE));
    answer.action == ElicitationAction::Accept && word == Some(&Value::Bool(true))
}

fn course(word: Word) -> Course {
    match word {
        Word::Done(value) => Course::Done(value),
        Word::Failed(failure) => Course::Failed(failure),
        Word::Started(_) | Word::Made(_) | Word::Output(_) | Word::Asks(_) => {
            Course::Failed(broken(&io::ErrorKind::InvalidData.into()))
        }
    }
}

/// What a client hears of a program as it goes: how much it has written, and the last of that.
struct Progress {
    token: ProgressToken,
    bytes: u64,
    tail: String,
    last: Option<Instant>,
    news: bool,
}

impl Progress {
    fn new(token: ProgressToken) -> Self {
        Self { token, bytes: 0, tail: String::new(), last: None, news: false }
    }

    fn push(&mut self, text: &str) {
        self.news |= !text.is_empty();
        self.bytes += text.len() as u64;
        self.tail.push_str(text);
        let over = (self.tail.len().saturating_sub(TAIL)..).find(|&at| self.tail.is_char_boundary(at));
        self.tail.drain(..over.unwrap_or(0));
    }

    /// When it is to be told, if it is.
    fn due(&self) -> Option<Instant> {
        self.news.then(|| self.last.map_or_else(Instant::now, |last| last + PACE))
    }

    fn told(&mut self) -> ProgressNotificationParam {
        (self.last, self.news) = (Some(Instant::now()), false);
        ProgressNotificationParam::new(self.token.clone(), self.bytes as f64).with_message(self.tail.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        let answer = |json: &str| agrees(&serde_json::from_str(json).unwrap());
        assert!(answer(r#"{"action":"accept","content":{"allow":true}}"#));
        for no in [
            r#"{"action":"accept"}"#,
            r#"{"action":"accept","content":{"allow":false}}"#,
            r#"{"action":"accept","content":{"allow":"true"}}"#,
            r#"{"action":"decline","content":{"allow":true}}"#,
            r#"{"action":"cancel"}"#,
        ] {
            assert!(!answer(no), "{no}");
        }
    }

    #[test]
    fn the_last_of_the_output_is_told() {
        let mut progress = Progress::new(ProgressToken(rmcp::model::NumberOrString::Number(1)));
        assert_eq!(progress.due(), None);
        progress.push(&"€".repeat(1000));
        assert!(progress.due().is_some());
        let told = progress.told();
        assert_eq!(told.progress, 3000.0);
        assert!(told.message.unwrap().len() <= TAIL);
        assert_eq!(progress.due(), None);
    }
}
