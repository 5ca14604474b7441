//! Hides how images go to a registry: what it has is not sent, the rest goes whole or in parts, the manifest last.

use super::{Answered, Ask, Client, Place, RegistryError, connect::Answer, url::Url};
use crate::{Digest, Hasher, Reference, manifest::Descriptor};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, channel::Channel};
use serde::Deserialize;
use std::io::{self, Read, Seek, SeekFrom};
use tokio::time::timeout;

/// How much is read and sent at once.
const PIECE: usize = 64 << 10;
/// How much longer than for others is waited for the answer to a blob: the registry hashes and files it first.
const FILING: u32 = 5;
/// How many tags are listed on a page, how long a page is, and how many pages and tags there are at most.
const PAGE: usize = 1000;
const MAX_PAGE: u64 = 4 << 20;
const MAX_PAGES: usize = 1000;
const MAX_TAGS: usize = 100_000;

impl Client {
    /// Whether a registry has a blob.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let place = self.home(reference).await?;
        let url = place.url(&format!("blobs/{digest}"));
        let mut ask = Ask::new(Method::HEAD, url, place.scope("pull,push"), "blob");
        ask.wanted = &[404];
        let answer = self.ask(&place, &ask).await?;
        let has = answer.status.is_success();
        self.discard(answer).await;
        Ok(has)
    }

    /// Takes a blob over from another repository of the same registry. If that cannot be done, it is false.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount(&self, reference: &Reference, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let place = self.home(reference).await?;
        let url = place.url("blobs/uploads/").with("mount", &digest.to_string()).with("from", from);
        let mut scopes = place.scope("pull,push");
        scopes.push(format!("repository:{from}:pull"));
        let ask = Ask::new(Method::POST, url, scopes, "such repository");
        let answer = self.retried(async || self.ask_once(&place, &ask, Answered::Here).await).await?;
        if answer.status.as_u16() == 201 {
            self.discard(answer).await;
            return Ok(true);
        }
        // It has begun an upload instead, which nobody will end; if that cannot be said, it ends by itself.
        let begun = upload_url(&ask.url, &answer);
        self.discard(answer).await;
        if let Ok(url) = begun
            && url.origin == place.origin
        {
            let _ = self.ask_once(&place, &Ask::new(Method::DELETE, url, ask.scopes, "upload"), Answered::Here).await;
        }
        Ok(false)
    }

    /// Sends a blob, from the source's beginning. `progress` hears how many bytes have gone; that may become fewer when
    /// something has to be sent again.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::Changed`] if the source is not what the descriptor says.
    pub async fn push_blob<R: Read + Seek>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: &mut R,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let place = self.home(reference).await?;
        let mut failures = 0;
        loop {
            let chunk = self.settings.chunk.filter(|chunk| descriptor.size > u64::from(*chunk));
            let pushed = match chunk {
                Some(chunk) => self.push_in_parts(&place, descriptor, source, chunk, progress).await,
                None => self.push_whole(&place, descriptor, source, progress).await,
            };
            match pushed {
                Err(error) => self.pause(error, &mut failures).await?,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Files a manifest or an index under the reference's tag, or under its digest if it has no tag.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let place = self.home(reference).await?;
        let digest = Digest::of(bytes);
        let name = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = place.url(&format!("manifests/{name}"));
        let mut ask = Ask::new(Method::PUT, url, place.scope("pull,push"), "such repository")
            .header(header::CONTENT_TYPE, media_type)?;
        ask.body = Bytes::copy_from_slice(bytes);
        let answer = self.retried(async || self.ask_once(&place, &ask, Answered::Here).await).await?;
        let said = answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        self.discard(answer).await;
        match said.filter(|said| said.algorithm() == digest.algorithm() && *said != digest) {
            Some(found) => Err(RegistryError::Digest { host: place.host, expected: digest, found }),
            None => Ok(digest),
        }
    }

    /// The tags of a repository, in the registry's order. What is no tag is left out.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let place = self.home(reference).await?;
        let mut url = place.url("tags/list").with("n", &PAGE.to_string());
        let mut tags = Vec::new();
        let wrong = |why: &str| RegistryError::Protocol { host: place.host.clone(), why: why.to_owned() };
        for _ in 0..MAX_PAGES {
            let ask = Ask::new(Method::GET, url.clone(), place.scope("pull"), "such repository");
            let (bytes, next) = self
                .retried(async || {
                    let answer = self.ask_once(&place, &ask, Answered::Anywhere).await?;
                    let next = answer.header("link").and_then(next_page).map(str::to_owned);
                    Ok((answer.bytes(&self.pool, "a list of tags", MAX_PAGE).await?, next))
                })
                .await?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|_| wrong("it sends no list of tags"))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| reference.tagged(tag).is_ok()));
            if tags.len() > MAX_TAGS {
                return Err(wrong("it has too many tags"));
            }
            let Some(next) = next else { return Ok(tags) };
            let next = url.join(&next).filter(|next| next.origin == url.origin && *next != url);
            url = next.ok_or_else(|| wrong("its list of tags goes on elsewhere"))?;
        }
        Err(wrong("its list of tags does not end"))
    }

    /// Begins an upload.
    async fn begin(&self, place: &Place) -> Result<(Url, Option<u64>), RegistryError> {
        let ask = Ask::new(Method::POST, place.url("blobs/uploads/"), place.scope("pull,push"), "such repository");
        let answer = self.ask_once(place, &ask, Answered::Here).await?;
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok());
        let url = upload_url(&ask.url, &answer)?;
        self.discard(answer).await;
        Ok((url, least))
    }

    /// Sends a blob in one request.
    async fn push_whole<R: Read + Seek>(
        &self,
        place: &Place,
        descriptor: &Descriptor,
        source: &mut R,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let (url, _) = self.begin(place).await?;
        let url = url.with("digest", &descriptor.digest.to_string());
        source.seek(SeekFrom::Start(0)).map_err(RegistryError::Read)?;
        let scopes = place.scope("pull,push");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(descriptor.size));
        if url.origin != place.origin {
            self.pool.may_lead(&place.origin, &url.origin).await?;
        } else if let Some(value) = self.authorization(&place.host, &place.origin, &scopes).await? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let (sender, body) = Channel::<Bytes, io::Error>::new(4);
        let request = self.request(&url, &Method::PUT, &headers, body.boxed_unsync())?;
        let stall = self.settings.timeouts.stall;
        // The sender goes with it: the body ends when it does.
        let feed = async {
            let mut sender = sender;
            let mut hasher = Hasher::new(descriptor.digest.algorithm());
            let mut done = 0;
            while done < descriptor.size {
                let piece = read_piece(source, descriptor.size - done, PIECE)?;
                if piece.is_empty() {
                    break;
                }
                hasher.update(&piece);
                done += piece.len() as u64;
                if done == descriptor.size && hasher.clone().finish() != descriptor.digest {
                    return Err(RegistryError::Changed(descriptor.digest.clone()));
                }
                match timeout(stall, sender.send_data(piece)).await {
                    // Whoever took it tells why no more.
                    Ok(Err(_)) => return Ok(()),
                    Ok(Ok(())) => progress(done),
                    Err(_) => {
                        return Err(RegistryError::TimedOut { host: url.origin.authority(), seconds: stall.as_secs() });
                    }
                }
            }
            if done < descriptor.size { Err(RegistryError::Changed(descriptor.digest.clone())) } else { Ok(()) }
        };
        let patience = self.settings.timeouts.answer * FILING;
        // Nobody knows how long a body takes that gets on.
        let sent = self.pool.send(&url.origin, request, patience.max(std::time::Duration::from_secs(24 * 3600)));
        let (mut sent, mut feed) = (std::pin::pin!(sent), std::pin::pin!(feed));
        let answer = tokio::select! {
            answer = &mut sent => answer?,
            fed = &mut feed => {
                fed?;
                let late = |_| RegistryError::TimedOut { host: url.origin.authority(), seconds: patience.as_secs() };
                timeout(patience, sent).await.map_err(late)??
            }
        };
        self.pushed(place, answer).await
    }

    /// Sends a blob in parts; after a failure it goes on where the registry is.
    async fn push_in_parts<R: Read + Seek>(
        &self,
        place: &Place,
        descriptor: &Descriptor,
        source: &mut R,
        chunk: u32,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let (mut url, least) = self.retried(async || self.begin(place).await).await?;
        let chunk = usize::try_from(least.unwrap_or(0).min(1 << 30).max(chunk.into())).unwrap_or(usize::MAX);
        let mut done = 0;
        let mut failures = 0;
        while done < descriptor.size {
            source.seek(SeekFrom::Start(done)).map_err(RegistryError::Read)?;
            let part = read_piece(source, descriptor.size - done, chunk)?;
            if part.is_empty() {
                return Err(RegistryError::Changed(descriptor.digest.clone()));
            }
            let end = done + part.len() as u64;
            let mut ask = Ask::new(Method::PATCH, url.clone(), place.scope("pull,push"), "such upload")
                .header(header::CONTENT_TYPE, "application/octet-stream")?
                .header(header::CONTENT_RANGE, &format!("{done}-{}", end - 1))?;
            ask.body = part;
            match self.ask_once(place, &ask, Answered::Here).await {
                Ok(answer) => {
                    url = upload_url(&ask.url, &answer)?;
                    self.discard(answer).await;
                    (done, failures) = (end, 0);
                }
                Err(error) => {
                    self.pause(error, &mut failures).await?;
                    let status = Ask::new(Method::GET, url.clone(), place.scope("pull,push"), "such upload");
                    let answer = self.retried(async || self.ask_once(place, &status, Answered::Here).await).await?;
                    done = answer.header("range").and_then(received).unwrap_or(0).min(descriptor.size);
                    url = upload_url(&status.url, &answer).unwrap_or(url);
                    self.discard(answer).await;
                }
            }
            progress(done);
        }
        let url = url.with("digest", &descriptor.digest.to_string());
        let ask = Ask::new(Method::PUT, url, place.scope("pull,push"), "such upload");
        let answer = self.ask_once(place, &ask, Answered::Here).await?;
        self.pushed(place, answer).await
    }

    /// Whether a blob has been filed.
    async fn pushed(&self, place: &Place, answer: Answer) -> Result<(), RegistryError> {
        if answer.status.as_u16() == 401 {
            // The token has expired on the way: the next try gets another.
            self.discard(answer).await;
            let why = "the login has expired on the way".to_owned();
            return Err(RegistryError::Broken { host: place.host.clone(), why });
        }
        if !answer.status.is_success() {
            return Err(self.failed(place, "such upload", answer).await);
        }
        self.discard(answer).await;
        Ok(())
    }
}

/// Where an upload goes on.
fn upload_url(from: &Url, answer: &Answer) -> Result<Url, RegistryError> {
    super::leads_to(from, answer)
}

/// Bytes of the source, at most so many and at most what is left.
fn read_piece(source: &mut impl Read, left: u64, most: usize) -> Result<Bytes, RegistryError> {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(most);
    let mut piece = Vec::new();
    source.take(length as u64).read_to_end(&mut piece).map_err(RegistryError::Read)?;
    Ok(piece.into())
}

/// How many bytes a registry has, by the `Range` of an upload: `0-LAST`.
fn received(range: &str) -> Option<u64> {
    let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    // Nothing and one byte are written alike by some; too little is sent again, too much would be a hole.
    (first.trim() == "0" && last > 0).then_some(last.saturating_add(1))
}

/// What follows by `Link: <…>; rel="next"` (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (target, behind) = rest.split_once('<')?.1.split_once('>')?;
        let end = behind.find('<').unwrap_or(behind.len());
        let (parameters, others) = behind.split_at(end);
        let is_next = |parameter: &str| {
            let (name, value) = parameter.trim().trim_end_matches(',').split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        };
        if parameters.split(';').any(is_next) {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
