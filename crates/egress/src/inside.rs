//! Hides what is spoken inside of TLS that is read: requests, or, where a rule names the port, whatever else, which is
//! passed on as it is.

use crate::{
    Denial, Lift, Reason,
    first::{Replay, Speech, Version},
    heard::{Gate, Greeting, greeting},
    http::{self, Passage, Stream},
    later::{Watch, Watched},
    opening,
};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, split};
use tokio_rustls::{TlsStream, client, server};

/// Carries what is said inside of TLS from a client to a server until one of them ends.
///
/// # Errors
/// Why the whole connection failed.
pub(crate) async fn carry(
    client: server::TlsStream<impl Stream>,
    server: client::TlsStream<impl Stream>,
    passage: Passage,
) -> Result<(), Denial> {
    match server.get_ref().1.alpn_protocol() {
        Some(b"h2") => http::inside_tls(client, server, Version::Two, passage).await,
        Some(b"http/1.1") => http::inside_tls(client, server, Version::One, passage).await,
        _ => listen(client, server, passage).await,
    }
}

/// The same where they have not agreed in the handshake on what is read.
async fn listen(
    client: server::TlsStream<impl Stream>,
    server: client::TlsStream<impl Stream>,
    passage: Passage,
) -> Result<(), Denial> {
    let bare = [Arc::default(), Arc::default()];
    let mut client = Side { stream: client.into(), bare: bare.clone() };
    let [own, other] = bare;
    let mut server = Replay::new(Vec::new(), Side { stream: server.into(), bare: [other, own] });
    let (mut said, mut watch) = (Vec::new(), Watch::of(&passage.target, &passage.grant));
    let version = match speech(&mut client, &mut said, &mut server, &passage, &mut watch).await {
        Ok(Spoken::Http(version)) => version,
        Ok(Spoken::Other(gate)) => return pass_on(client, server, &said, &gate, &passage, watch).await,
        Err(denial) => {
            passage.report.broken();
            return Err(denial);
        }
    };
    let (ahead, server) = server.into_parts();
    let (client, server) = (Replay::new(said, client.stream), Replay::new(ahead, server.stream));
    http::inside_tls(client, server, version, passage).await
}

/// What may be spoken.
enum Spoken {
    /// Requests.
    Http(Version),
    /// Something else.
    Other(Gate),
}

/// What the client speaks, if that may be.
async fn speech(
    client: &mut Side<impl Stream>,
    said: &mut Vec<u8>,
    server: &mut Replay<Side<impl Stream>>,
    passage: &Passage,
    watch: &mut Watch,
) -> Result<Spoken, Denial> {
    let Passage { target, grant, .. } = passage;
    let web = opening::is_web(grant);
    let (speech, gate) = match web {
        true => tokio::select! {
            biased;
            speech = opening::web(client, said, target) => (speech?, Gate::default()),
            speech = unasked(server) => (speech, Gate::default()),
        },
        false => opening::any(client, said, server, target, watch).await?,
    };
    match speech {
        Speech::Http(version) => Ok(Spoken::Http(version)),
        // Whoever has nothing to say is taken leave of.
        Speech::Nothing => Ok(Spoken::Http(Version::One)),
        Speech::Other if web => {
            Err(opening::not_http(target, grant).because("inside of TLS that is read, it is no HTTP"))
        }
        Speech::Other => Ok(Spoken::Other(gate)),
        Speech::Tls(_) | Speech::BadTls(_) => {
            let denial = Denial::new(Reason::BadTls, target).because("TLS inside of TLS can't be read");
            Err(Denial { lift: Lift::Never, ..denial })
        }
    }
}

/// What is spoken where the server does not wait for its client, as none of the web does.
async fn unasked(server: &mut Replay<Side<impl Stream>>) -> Speech {
    match greeting(server).await {
        Greeting::Ended => Speech::Nothing,
        Greeting::Other => Speech::Other,
        // It waits all the same.
        Greeting::Http2 => std::future::pending().await,
    }
}

/// Passes on what was said, and whatever will be, both ways.
async fn pass_on(
    client: Side<impl Stream>,
    mut server: Replay<Side<impl Stream>>,
    said: &[u8],
    gate: &Gate,
    passage: &Passage,
    mut watch: Watch,
) -> Result<(), Denial> {
    let passing = async {
        watch.hear(said)?;
        opening::pass(&mut server, said).await?;
        let (from_client, to_client) = split(client);
        let from_client = Watched { stream: from_client, watch: &mut watch };
        let (from_server, to_server) = split(server);
        let mut from_server = Replay::new(Vec::new(), from_server);
        let back = async {
            match gate.opens(&mut from_server).await {
                true => pass(from_server, to_client).await,
                false => Err(io::ErrorKind::PermissionDenied.into()),
            }
        };
        tokio::try_join!(pass(from_client, to_server), back)
    };
    if passing.await.is_err() {
        passage.report.broken();
    }
    watch.verdict()?;
    gate.verdict(&passage.target)
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    // The other side may have gone already, and then nobody needs to be told.
    let _ = to.shutdown().await;
    Ok(())
}

/// One side of what is passed on. If it ends bare, without having taken leave in TLS (close_notify), so does the other:
/// there may have been more, and whoever wants to know sees that as if nobody were between.
struct Side<S> {
    stream: TlsStream<S>,
    /// Whether this side has ended so, and whether the other has.
    bare: [Arc<AtomicBool>; 2],
}

impl<S: Stream> AsyncRead for Side<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(cx, into)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.bare[0].store(true, Relaxed);
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl<S: Stream> AsyncWrite for Side<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.bare[1].load(Relaxed) {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Pin::new(self.stream.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "inside_tests.rs"]
mod tests;
