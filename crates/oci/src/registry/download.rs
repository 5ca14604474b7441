//! Hides how blobs come: in pieces, from where it broke off, from another place if need be, and never other bytes than
//! those of the digest.

use super::{Ask, Client, Place, RegistryError, connect::Answer, settings::is_loopback, url::Url};
use crate::{Digest, Hasher, Reference, manifest::Descriptor};
use http::{Method, header};
use std::{
    future::poll_fn,
    io::{self, Read, Seek, SeekFrom, Write},
    pin::Pin,
    task::Poll,
};

/// How much must have come for failures before it not to count any more.
const GOT_ON: u64 = 1 << 20;
/// How much is hashed at once of what is there already.
const PIECE: usize = 64 << 10;

/// A blob on its way: what has come of it, and where it is put.
#[derive(Debug)]
pub struct Download<W> {
    output: W,
    /// Where in the output it begins.
    begin: u64,
    digest: Digest,
    size: u64,
    done: u64,
    hasher: Hasher,
    /// Whether something was there before, which may be anything.
    found: bool,
}

impl<W: Write + Seek> Download<W> {
    /// Nothing has come yet. It is put where the output is now, which must be its beginning.
    pub fn new(descriptor: &Descriptor, output: W) -> Self {
        let digest = descriptor.digest.clone();
        let hasher = Hasher::new(digest.algorithm());
        Self { output, begin: 0, digest, size: descriptor.size, done: 0, hasher, found: false }
    }

    /// The same, put into the output from this byte on.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be sought there.
    pub fn at(descriptor: &Descriptor, mut output: W, begin: u64) -> io::Result<Self> {
        output.seek(SeekFrom::Start(begin))?;
        Ok(Self { begin, ..Self::new(descriptor, output) })
    }

    /// Goes on with what an earlier download has left in a file, which is read from its beginning. If it turns out to be
    /// something else, everything comes anew. What the file has beyond the blob's size stays there.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be read.
    pub fn resume(descriptor: &Descriptor, output: W) -> io::Result<Self>
    where
        W: Read,
    {
        let mut download = Self::at(descriptor, output, 0)?;
        let mut piece = vec![0; PIECE];
        while download.done < download.size {
            let left = usize::try_from(download.size - download.done).unwrap_or(usize::MAX).min(PIECE);
            match download.output.read(&mut piece[..left]) {
                Ok(0) => break,
                Ok(length) => {
                    download.hasher.update(&piece[..length]);
                    download.done += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        download.found = download.done > 0;
        // Reading may have gone further than what counts.
        download.output.seek(SeekFrom::Start(download.done))?;
        Ok(download)
    }

    /// What is to come.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes it has in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes have come.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Where it was put.
    pub fn into_inner(self) -> W {
        self.output
    }

    /// Nothing has come.
    fn restart(&mut self) -> Result<(), RegistryError> {
        self.output.seek(SeekFrom::Start(self.begin)).map_err(RegistryError::Write)?;
        self.hasher = Hasher::new(self.digest.algorithm());
        self.done = 0;
        self.found = false;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        if let Err(error) = self.output.write_all(bytes) {
            // Some of it may be there: whoever goes on does so where it is known what there is.
            let _ = self.output.seek(SeekFrom::Start(self.begin + self.done));
            return Err(RegistryError::Write(error));
        }
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// Whether everything has come, and is what it should be.
    fn finish(&mut self, host: &str) -> Result<(), RegistryError> {
        let found = self.hasher.clone().finish();
        if found != self.digest {
            return Err(RegistryError::Digest { host: host.to_owned(), expected: self.digest.clone(), found });
        }
        self.output.flush().map_err(RegistryError::Write)
    }
}

/// Where something is that is brought, and what it is in words.
struct Wanted<'a> {
    url: Url,
    scopes: Vec<String>,
    what: &'a str,
}

impl Client {
    /// Gets a blob. `progress` hears how many bytes have come whenever more have.
    ///
    /// When it fails, the download has what has come, and can be given again.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob<W: Write + Seek>(
        &self,
        reference: &Reference,
        download: &mut Download<W>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        if download.done == download.size {
            // All was there before, perhaps.
            match download.finish("") {
                Ok(()) => return Ok(()),
                Err(RegistryError::Digest { .. }) => download.restart()?,
                Err(error) => return Err(error),
            }
        }
        let rest = format!("blobs/{}", download.digest);
        let get = async |place: &Place| {
            let wanted = Wanted { url: place.url(&rest), scopes: place.scope("pull"), what: "such part of the image" };
            self.get(place, &wanted, download, progress).await
        };
        self.anywhere(reference, get).await
    }

    /// Gets a file of a server that is no registry of images, by its address: `https://…`, or `http://…` on this machine.
    /// What logs in to that server is sent without being asked for.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn file<W: Write + Seek>(&self, address: &str, download: &mut Download<W>) -> Result<(), RegistryError> {
        let (place, url) = self.place_of(address)?;
        if download.done == download.size && download.finish("").is_ok() {
            return Ok(());
        }
        self.get(&place, &Wanted { url, scopes: Vec::new(), what: "such file" }, download, &|_| {}).await
    }

    /// How many bytes a file of such a server has.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn file_size(&self, address: &str) -> Result<u64, RegistryError> {
        let (place, url) = self.place_of(address)?;
        let ask = Ask::new(Method::HEAD, url, Vec::new(), "such file").header(header::ACCEPT_ENCODING, "identity")?;
        let answer = self.ask(&place, &ask).await?;
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        size.ok_or_else(|| {
            let why = "it does not say how many bytes that has".to_owned();
            RegistryError::Protocol { host: answer.origin.authority(), why }
        })
    }

    /// A file of such a server that is no longer than this, whatever it is.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn document_at(&self, address: &str, accept: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let (place, url) = self.place_of(address)?;
        let ask = Ask::new(Method::GET, url, Vec::new(), "such document").header(header::ACCEPT, accept)?;
        let ask = ask.header(header::ACCEPT_ENCODING, "identity")?;
        self.retried(async || {
            let answer = self.ask_once(&place, &ask, super::Answered::Anywhere).await?;
            answer.bytes(&self.pool, "a document", limit).await
        })
        .await
    }

    /// Whose an address is; what logs in there is known from now on.
    fn place_of(&self, address: &str) -> Result<(Place, Url), RegistryError> {
        let wrong = || {
            RegistryError::Settings(format!("'{}' is not an address that can be asked", crate::text::shown(address)))
        };
        let url = Url::parse(address).ok_or_else(wrong)?;
        if !url.origin.https && !is_loopback(&url.origin.host) {
            let address = crate::text::shown(address);
            let why = format!("'{address}' is plain HTTP, which only a registry on a loopback address may speak");
            return Err(RegistryError::Settings(why));
        }
        let host = url.origin.authority();
        self.introduce(&host)?;
        Ok((Place { host, origin: url.origin.clone(), repository: String::new() }, url))
    }

    /// Gets several blobs of one repository, [`super::Settings::parallel`] at once. `came` hears which one has come, and is
    /// what it should be.
    ///
    /// # Errors
    /// The first [`RegistryError`], with the number of the blob. The others have stopped where they were.
    pub async fn blobs<W: Write + Seek>(
        &self,
        reference: &Reference,
        downloads: &mut [Download<W>],
        came: &dyn Fn(usize),
    ) -> Result<(), (usize, RegistryError)> {
        type Running<'a> = Pin<Box<dyn Future<Output = Result<(), (usize, RegistryError)>> + 'a>>;
        let mut waiting = downloads.iter_mut().enumerate().map(|(index, download)| -> Running<'_> {
            Box::pin(async move {
                let done = self.blob(reference, download, &|_| {}).await;
                done.map(|()| came(index)).map_err(|error| (index, error))
            })
        });
        let parallel = self.settings.parallel.max(1);
        let mut running: Vec<Running<'_>> = waiting.by_ref().take(parallel).collect();
        poll_fn(|context| {
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => match waiting.next() {
                        // Polled next, so that it is woken.
                        Some(next) => running[index] = next,
                        None => drop(running.swap_remove(index)),
                    },
                }
            }
            if running.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Gets something from one place, as often as it takes.
    async fn get<W: Write + Seek>(
        &self,
        place: &Place,
        wanted: &Wanted<'_>,
        download: &mut Download<W>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        // What came from elsewhere may be anything.
        download.found |= download.done > 0;
        let mut failures = 0;
        let mut mark = download.done;
        loop {
            let found = download.found;
            let Err(error) = self.get_once(place, wanted, download, progress).await else { return Ok(()) };
            if matches!(error, RegistryError::Digest { .. }) {
                download.restart()?;
                if found {
                    mark = 0;
                    continue;
                }
                return Err(error);
            }
            if download.done.saturating_sub(mark) >= GOT_ON {
                failures = 0;
                mark = download.done;
            }
            self.pause(error, &mut failures).await?;
        }
    }

    /// Gets what is missing of it, or as much of that as comes.
    async fn get_once<W: Write + Seek>(
        &self,
        place: &Place,
        wanted: &Wanted<'_>,
        download: &mut Download<W>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let mut ask = Ask::new(Method::GET, wanted.url.clone(), wanted.scopes.clone(), wanted.what)
            .header(header::ACCEPT_ENCODING, "identity")?;
        if download.done > 0 && download.done < download.size {
            ask = ask.header(header::RANGE, &format!("bytes={}-", download.done))?;
            ask.wanted = &[416];
        }
        if download.done < download.size || download.size == 0 {
            let answer = self.ask_once(place, &ask, super::Answered::Anywhere).await?;
            if answer.status.as_u16() == 416 {
                // It has fewer bytes than we have, or does not know ranges.
                download.restart()?;
                let why = "what had come of it is not known there".to_owned();
                return Err(RegistryError::Broken { host: place.host.clone(), why });
            }
            self.receive(place, answer, download, progress).await?;
        }
        download.finish(&place.host)
    }

    async fn receive<W: Write + Seek>(
        &self,
        place: &Place,
        mut answer: Answer,
        download: &mut Download<W>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let host = || answer.origin.authority();
        let wrong = |why: String| RegistryError::Protocol { host: host(), why };
        if let Some(encoding) = answer.header("content-encoding").filter(|encoding| *encoding != "identity") {
            return Err(wrong(format!("it sends '{}' that was not asked for", crate::text::shown(encoding))));
        }
        // Whoever knows no ranges sends all of it.
        let mut skip = download.done;
        if answer.status.as_u16() == 206 {
            let range = answer.header("content-range").unwrap_or_default();
            if !is_range(range, download.done, download.size) {
                return Err(wrong(format!("it sends the range '{}'", crate::text::shown(range))));
            }
            skip = 0;
        }
        let size = |found| RegistryError::Size {
            host: place.host.clone(),
            digest: download.digest.clone(),
            expected: download.size,
            found,
        };
        let before = download.done - skip;
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| before.checked_add(*length) != Some(download.size)) {
            return Err(size(before.saturating_add(length)));
        }
        while let Some(chunk) = answer.chunk(&self.pool).await? {
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let chunk = &chunk[known..];
            let sum = download.done + chunk.len() as u64;
            if sum > download.size {
                return Err(RegistryError::Size {
                    host: place.host.clone(),
                    digest: download.digest.clone(),
                    expected: download.size,
                    found: sum,
                });
            }
            if !chunk.is_empty() {
                download.take(chunk)?;
                progress(download.done);
            }
        }
        if download.done < download.size || skip > 0 {
            let why = format!("it ended after {} of {} bytes", download.done, download.size);
            return Err(RegistryError::Broken { host: answer.origin.authority(), why });
        }
        Ok(())
    }
}

/// Whether a `Content-Range` says from this byte to the end (RFC 9110, 14.4).
fn is_range(text: &str, from: u64, size: u64) -> bool {
    let parse = || {
        let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { size } else { total.parse().ok()? };
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    };
    parse().is_some_and(|(first, last, total)| first == from && last.checked_add(1) == Some(size) && total == size)
}
