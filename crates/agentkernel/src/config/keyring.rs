//! Hides the desktop's keyring: the [Secret Service](https://specifications.freedesktop.org/secret-service-spec/0.2/)
//! of the user's session bus.

use super::HostFacts;
use egress::Secret;
use std::{collections::BTreeMap, future::poll_fn, pin::pin, time::Duration};
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, Type, Variant,
    export::futures_core::Stream as _,
};

/// What a value is found by.
pub(super) type Attributes = BTreeMap<String, String>;

const SERVICE: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
/// How long the keyring may take to answer, and its user to unlock it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// The keyring did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    /// There is no bus, or none that answers.
    #[error("Can't reach the session bus: {0}")]
    Bus(zbus::Error),
    /// The service said no, or there is none.
    #[error("The keyring refused: {0}")]
    Refused(zbus::Error),
    /// The user did not unlock it.
    #[error("The keyring stays locked")]
    Locked,
    /// More than one value has the attributes: which is meant is not said.
    #[error("The keyring has {0} values with these attributes")]
    Ambiguous(usize),
    /// Nothing was heard in time.
    #[error("The keyring does not answer")]
    Late,
    /// The runtime could not be made.
    #[error("Can't wait for the keyring")]
    Runtime(#[source] std::io::Error),
}

impl From<zbus::Error> for KeyringError {
    fn from(error: zbus::Error) -> Self {
        Self::Refused(error)
    }
}

/// What a value of ours is found by.
pub(super) fn ours(name: &str) -> Attributes {
    [("application", "agentkernel"), ("secret", name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Puts a value into the default keyring, in place of another with the same attributes.
pub(super) fn store(bus: &Bus, name: &str, value: &Secret) -> Result<(), KeyringError> {
    bus.with(async |keyring| {
        let default: OwnedObjectPath = keyring.ask(ROOT, "Service", "ReadAlias", &("default",)).await?;
        // Where none is the default one, there is one for the session at least.
        let collection = match default.as_str() {
            "/" => "/org/freedesktop/secrets/aliases/session",
            default => default,
        };
        keyring.unlock(vec![OwnedObjectPath::try_from(collection)?]).await?;
        let session = keyring.session().await?;
        let properties = BTreeMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(format!("agentkernel: {name}"))),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(ours(name).into_iter().collect::<Map>())),
        ]);
        let secret = (session, Vec::<u8>::new(), value.expose(), "text/plain");
        let body = (properties, secret, true);
        let (_, prompt): (OwnedObjectPath, OwnedObjectPath) =
            keyring.ask(collection, "Collection", "CreateItem", &body).await?;
        keyring.prompt(&prompt).await
    })
}

/// The one value that has these attributes; `None` if none has.
pub(super) fn lookup(bus: &Bus, attributes: &Attributes) -> Result<Option<Secret>, KeyringError> {
    bus.with(async |keyring| {
        let found = keyring.search(attributes).await?;
        let item = match found.as_slice() {
            [] => return Ok(None),
            [item] => item,
            several => return Err(KeyringError::Ambiguous(several.len())),
        };
        let session = keyring.session().await?;
        type Found = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);
        let (_, _, value, _): Found = keyring.ask(item.as_str(), "Item", "GetSecret", &(session,)).await?;
        Ok(Some(Secret::new(value)))
    })
}

/// Removes every value that has these attributes.
pub(super) fn forget(bus: &Bus, attributes: &Attributes) -> Result<(), KeyringError> {
    bus.with(async |keyring| {
        for item in keyring.search(attributes).await? {
            let prompt: OwnedObjectPath = keyring.ask(item.as_str(), "Item", "Delete", &()).await?;
            keyring.prompt(&prompt).await?;
        }
        Ok(())
    })
}

type Map = std::collections::HashMap<String, String>;

/// Where the session bus is.
#[derive(Clone, Debug)]
pub(super) struct Bus(String);

/// The service, by a connection to it.
struct Keyring(Connection);

impl Bus {
    /// The caller's.
    pub(super) fn of(host: &HostFacts) -> Self {
        Self(match (host.var("DBUS_SESSION_BUS_ADDRESS"), host.var("XDG_RUNTIME_DIR")) {
            (Some(address), _) => address.to_string_lossy().into_owned(),
            (None, Some(dir)) => format!("unix:path={}/bus", dir.to_string_lossy()),
            (None, None) => format!("unix:path=/run/user/{}/bus", host.uid),
        })
    }

    fn with<T>(&self, act: impl AsyncFnOnce(Keyring) -> Result<T, KeyringError>) -> Result<T, KeyringError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(KeyringError::Runtime)?.block_on(async {
            let connect = zbus::connection::Builder::address(self.0.as_str()).build();
            let connected = tokio::time::timeout(PATIENCE.0, connect).await.map_err(|_| KeyringError::Late)?;
            act(Keyring(connected.map_err(KeyringError::Bus)?)).await
        })
    }
}

impl Keyring {
    /// Calls a method, and takes its answer.
    async fn ask<B, T>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<T, KeyringError>
    where
        B: serde::Serialize + DynamicType,
        T: serde::de::DeserializeOwned + Type,
    {
        let interface = format!("org.freedesktop.Secret.{interface}");
        let call = self.0.call_method(Some(SERVICE), path, Some(interface.as_str()), method, body);
        let answer: Message = tokio::time::timeout(PATIENCE.0, call).await.map_err(|_| KeyringError::Late)??;
        Ok(answer.body().deserialize()?)
    }

    /// A session in which values pass as they are: whoever can read this bus can ask the keyring himself.
    async fn session(&self) -> Result<OwnedObjectPath, KeyringError> {
        let body = ("plain", Variant::from(""));
        let (_, session): (OwnedVariant, OwnedObjectPath) = self.ask(ROOT, "Service", "OpenSession", &body).await?;
        Ok(session)
    }

    /// What has these attributes, unlocked.
    async fn search(&self, attributes: &Attributes) -> Result<Vec<OwnedObjectPath>, KeyringError> {
        type Found = (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>);
        let (mut found, locked): Found = self.ask(ROOT, "Service", "SearchItems", &(attributes,)).await?;
        if !locked.is_empty() {
            self.unlock(locked.clone()).await?;
            found.extend(locked);
        }
        Ok(found)
    }

    async fn unlock(&self, what: Vec<OwnedObjectPath>) -> Result<(), KeyringError> {
        type Unlocked = (Vec<OwnedObjectPath>, OwnedObjectPath);
        let (_, prompt): Unlocked = self.ask(ROOT, "Service", "Unlock", &(what,)).await?;
        self.prompt(&prompt).await
    }

    /// Has the keyring ask its user, if it must.
    async fn prompt(&self, prompt: &OwnedObjectPath) -> Result<(), KeyringError> {
        if prompt.as_str() == "/" {
            return Ok(());
        }
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(SERVICE).path(prompt.as_str());
        let rule = rule.member("Completed").build()?;
        let mut signals = pin!(MessageStream::for_match_rule(rule, &self.0, None).await?);
        let () = self.ask(prompt.as_str(), "Prompt", "Prompt", &("",)).await?;
        let signal = poll_fn(|context| signals.as_mut().poll_next(context));
        let signal = tokio::time::timeout(PATIENCE.1, signal).await.map_err(|_| KeyringError::Late)?;
        let signal = signal.ok_or(KeyringError::Late)??;
        let (dismissed, _): (bool, OwnedVariant) = signal.body().deserialize().map_err(KeyringError::from)?;
        if dismissed { Err(KeyringError::Locked) } else { Ok(()) }
    }
}
