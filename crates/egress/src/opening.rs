//! Hides how a conversation opens of which it is not known what is spoken: in clear, or inside of TLS that is read. Both
//! sides are listened to until the client's first bytes, or the server's, tell.

use crate::{
    Denial, Grant, Lift, Reason, Target,
    first::{self, Expected, Listener, Speech},
    heard::{Ahead, Gate, Greeting, greeting},
    later::Watch,
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

/// How long a client may be silent where it has to speak first.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may be silent, once it has begun, before what it has said is passed on unknown: who waits for an
/// answer says no more.
const UNDECIDED: Duration = Duration::from_millis(200);

/// Whether only the protocols of the web may be spoken, where nobody waits for the server to begin.
pub(crate) fn is_web(grant: &Grant) -> bool {
    !grant.any_protocol || grant.is_restricted()
}

/// Refuses what is none of them.
pub(crate) fn not_http(target: &Target, grant: &Grant) -> Denial {
    let lift = if grant.web_by_limits { Lift::Limits(None) } else { Lift::Own };
    Denial { lift, ..Denial::new(Reason::NotHttp, target) }
}

/// What the client speaks where only the web's protocols may be spoken.
pub(crate) async fn web(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    target: &Target,
) -> Result<Speech, Denial> {
    tokio::select! {
        biased;
        // Whoever has gone before saying what he wants is not told of, and does not hear.
        speech = first::first(client, buffer, Expected::Web) => Ok(speech.unwrap_or(Speech::Nothing)),
        () = sleep(SILENCE) => Err(Denial::new(Reason::TimedOut, target)),
    }
}

/// What the client speaks where anything may be spoken, and what keeps the server's answer back if that is unknown. What
/// cannot be told for a while, or by as much as is kept, is passed on, until it can or the server answers: no server
/// answers what could still become the line of a request. If it becomes one, it is too late to read it, and it goes no
/// further. `watch` hears what is passed on.
pub(crate) async fn any(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    server: &mut (impl Ahead + AsyncWrite + Unpin),
    target: &Target,
    watch: &mut Watch,
) -> Result<(Speech, Gate), Denial> {
    let denial = |reason| Denial::new(reason, target);
    let mut listener = Listener::new(Expected::Any);
    let (mut passed, mut due, mut since) = (0, false, Instant::now());
    let mut answered = false;
    let speech = loop {
        if let Some(speech) = listener.hear(buffer) {
            break speech;
        }
        let full = first::is_full(buffer) && !listener.is_tls();
        if full || due {
            let told = tell(server, &buffer[passed..], watch).await;
            watch.verdict()?;
            let Ok((count, began)) = told else { break Speech::Nothing };
            passed += count;
            if began {
                answered = true;
                break Speech::Other;
            }
            if full {
                listener.shorten(buffer);
                passed = buffer.len();
            }
            due = false;
        }
        let waits = buffer.len() > passed;
        let patience = if listener.is_tls() { SILENCE } else { UNDECIDED };
        tokio::select! {
            biased;
            more = first::more(client, buffer) => match more {
                Ok(true) if waits => {}
                Ok(true) => since = Instant::now(),
                Ok(false) => break listener.ended(buffer),
                Err(_) => break Speech::Nothing,
            },
            began = begins(server) => match began {
                true => {
                    answered = true;
                    break Speech::Other;
                }
                false => return Err(denial(Reason::TimedOut)),
            },
            () = sleep_until(since + patience), if waits => {
                if listener.is_tls() {
                    return Err(denial(Reason::TimedOut));
                }
                due = true;
            }
        }
    };
    let gate = if speech == Speech::Other { Gate::of(buffer) } else { Gate::default() };
    // If it took for a request what it has answered, what follows may be the rest of that.
    if answered && !gate.opens(server).await {
        gate.verdict(target)?;
    }
    let reason = match speech {
        _ if passed == 0 => return Ok((speech, gate)),
        Speech::Other | Speech::Nothing => {
            buffer.drain(..passed);
            return Ok((speech, gate));
        }
        Speech::Http(_) => Reason::BadRequest,
        Speech::Tls(_) | Speech::BadTls(_) => Reason::BadTls,
    };
    Err(denial(reason).because("it came so slowly, or its line is so long, that its beginning was passed on unread"))
}

/// Passes on what was said.
///
/// # Errors
/// The server takes no more.
pub(crate) async fn pass(server: &mut (impl AsyncWrite + Unpin), said: &[u8]) -> std::io::Result<()> {
    server.write_all(said).await?;
    server.flush().await
}

/// Passes on what was said until the server speaks, since who is not heard stops to hear: how much, and whether it does.
async fn tell(
    server: &mut (impl Ahead + AsyncWrite + Unpin),
    said: &[u8],
    watch: &mut Watch,
) -> std::io::Result<(usize, bool)> {
    let mut passed = 0;
    for piece in said.chunks(first::PIECE) {
        watch.hear(piece)?;
        pass(server, piece).await?;
        passed += piece.len();
        tokio::select! {
            biased;
            true = begins(server) => return Ok((passed, true)),
            () = yield_now() => {}
        }
    }
    Ok((passed, false))
}

/// Waits until a server speaks without having been asked, or has ended, unless it says what one of HTTP/2 may: false, if
/// the client then never does.
async fn begins(server: &mut impl Ahead) -> bool {
    if greeting(server).await != Greeting::Http2 {
        return true;
    }
    sleep(SILENCE).await;
    false
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
