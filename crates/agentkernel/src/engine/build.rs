//! Hides how an engine builds an image, and how that comes out of it.

use super::{Engine, EngineError, PATIENT, query, stream};
use http::Method;
use rustix::fd::OwnedFd;
use serde_json::json;
use std::{collections::BTreeMap, fs::File, io::Write as _};

/// What an engine is to build from the context that it is sent.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The path of the Dockerfile in the context.
    pub dockerfile: &'a str,
    /// The stage that is wanted; none: the last.
    pub target: Option<&'a str>,
    /// What `ARG` asks for.
    pub arguments: &'a BTreeMap<String, String>,
    /// What it is to run on; none: what the engine does.
    pub platform: Option<String>,
    /// Every step is done, known or not.
    pub fresh: bool,
    /// Whether commands have no network; else they have the engine's.
    pub offline: bool,
    /// Bytes of memory that commands may use.
    pub memory: Option<u64>,
    /// Processors that they may use, in thousandths.
    pub cpu_milli: Option<u64>,
}

impl Order<'_> {
    fn path(&self) -> String {
        let mut path = format!("/build?rm=1&forcerm=1&dockerfile={}", query(self.dockerfile));
        path.push_str(&format!("&buildargs={}", query(&json!(self.arguments).to_string())));
        let mut add = |name: &str, value: &str| path.push_str(&format!("&{name}={}", query(value)));
        if let Some(target) = self.target {
            add("target", target);
        }
        if let Some(platform) = &self.platform {
            add("platform", platform);
        }
        if self.fresh {
            add("nocache", "1");
        }
        if self.offline {
            add("networkmode", "none");
        }
        if let Some(memory) = self.memory {
            // No swap beside it.
            add("memory", &memory.to_string());
            add("memswap", &memory.to_string());
        }
        if let Some(milli) = self.cpu_milli {
            add("cpuperiod", "100000");
            add("cpuquota", &milli.saturating_mul(100).to_string());
        }
        path
    }
}

/// Has an engine build an image from a context, a tar archive, and gives the image's id. What it tells is for people.
///
/// # Errors
/// [`EngineError`], with what the engine says.
pub async fn build(
    engine: &Engine,
    order: &Order<'_>,
    context: OwnedFd,
    mut tell: impl FnMut(&str),
) -> Result<String, EngineError> {
    let sent = engine.send(Method::POST, &order.path(), Some("application/x-tar"), stream(context)?, PATIENT).await?;
    let mut id = None;
    engine
        .each_line(sent.into_body(), |told| {
            tell(told["stream"].as_str().unwrap_or_default());
            if let Some(made) = told["aux"]["ID"].as_str() {
                id = Some(made.to_owned());
            }
        })
        .await?;
    id.ok_or_else(|| EngineError::Nonsense("an image was built, and has no id".into()))
}

/// Writes an image, by its id, into a file, as `docker save` does.
///
/// # Errors
/// [`EngineError`]; if it can't be written.
pub async fn save(engine: &Engine, id: &str, mut to: &File) -> Result<(), EngineError> {
    let sent = engine.send(Method::GET, &format!("/images/{}/get", query(id)), None, super::whole(""), PATIENT).await?;
    let mut body = sent.into_body();
    while let Some(frame) = engine.next(&mut body).await? {
        if let Ok(data) = frame.into_data() {
            to.write_all(&data).map_err(EngineError::Write)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_asked_for() {
        let arguments = BTreeMap::from([("A".to_owned(), "1 2".to_owned())]);
        let order = Order {
            dockerfile: "a b",
            target: None,
            arguments: &arguments,
            platform: None,
            fresh: false,
            offline: false,
            memory: None,
            cpu_milli: None,
        };
        let bare = "/build?rm=1&forcerm=1&dockerfile=a%20b&buildargs=%7B%22A%22%3A%221%202%22%7D";
        assert_eq!(order.path(), bare);
        let all = Order {
            target: Some("x"),
            platform: Some("linux/arm64".into()),
            fresh: true,
            offline: true,
            memory: Some(5),
            cpu_milli: Some(1500),
            ..order
        };
        let more = "&target=x&platform=linux%2Farm64&nocache=1&networkmode=none&memory=5&memswap=5&cpuperiod=100000&cpuquota=150000";
        assert_eq!(all.path(), format!("{bare}{more}"));
    }
}
