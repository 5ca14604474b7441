//! Hides certificates: who vouches, inside one sandbox, for the servers whose requests are read.
//!
//! The key is made for one sandbox and lives in memory: whoever has it can deceive the programs of that sandbox, and
//! nobody else.

use crate::{Host, Secret, control::AuthorityKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::{NoServerSessionStorage, ProducesTickets},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{cell::RefCell, fmt, sync::Arc};
use time::{Duration, OffsetDateTime};

/// Where the programs of a sandbox that has one find its certificate, PEM.
pub const CERTIFICATE: &str = "/etc/agentkernel/ca.pem";
/// What the authority is called in lists of certificates.
const NAME: &str = "agentkernel sandbox CA";
/// How long before its making a certificate is valid: clocks differ, and a sandbox's may stand still.
const BEFORE: Duration = Duration::DAY;
/// How long the authority is valid.
const LIFE: Duration = Duration::days(365);
/// How long a server's certificate is valid.
const LEAF_LIFE: Duration = Duration::days(30);
/// When a server's certificate is made anew, well before it ends.
const RENEW: Duration = Duration::days(7);
/// How many certificates are kept.
const KEPT: usize = 256;

/// An authority that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its certificate is none.
    #[error("The authority's certificate cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// A key or a certificate could not be made.
    #[error("A certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("A certificate cannot be used")]
    Use(#[from] rustls::Error),
}

/// Who vouches for servers, with what it has vouched for lately.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// The key of every server: what it would protect from each other is all in this process.
    key: KeyPair,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    /// What was used last stands last.
    made: RefCell<Vec<Made>>,
}

struct Made {
    host: Host,
    protocol: Option<Box<[u8]>>,
    at: OffsetDateTime,
    config: Arc<ServerConfig>,
}

impl Authority {
    /// Makes the key of a new one.
    ///
    /// # Errors
    /// [`AuthorityError`] if that fails.
    pub fn generate() -> Result<AuthorityKey, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = Self::params();
        params.serial_number = Some(serial(&ring::default_provider())?);
        params.not_before = OffsetDateTime::now_utc() - BEFORE;
        params.not_after = params.not_before + LIFE;
        let certificate = params.self_signed(&key)?;
        Ok(AuthorityKey { certificate: pem(certificate.der()), key: Secret::new(key.serialize_der()) })
    }

    /// What certificates say of it, times aside.
    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    /// Takes the key of one.
    ///
    /// # Errors
    /// [`AuthorityError`] if it is none.
    pub fn load(key: &AuthorityKey) -> Result<Self, AuthorityError> {
        let certificate =
            CertificateDer::from_pem_slice(key.certificate.as_bytes()).map_err(AuthorityError::Certificate)?;
        let own = PrivatePkcs8KeyDer::from(key.key.expose());
        let own = KeyPair::from_pkcs8_der_and_sign_algo(&own, &PKCS_ECDSA_P256_SHA256)?;
        Ok(Self {
            issuer: Issuer::new(Self::params(), own),
            certificate,
            key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            provider: Arc::new(ring::default_provider()),
            tickets: ring::Ticketer::new()?,
            made: RefCell::default(),
        })
    }

    /// How to be this host in TLS, going on with this protocol (ALPN).
    ///
    /// # Errors
    /// [`AuthorityError`] if that cannot be made.
    pub fn server(&self, host: &Host, protocol: Option<&[u8]>) -> Result<Arc<ServerConfig>, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let mut made = self.made.borrow_mut();
        let known = made.iter().position(|made| made.host == *host && made.protocol.as_deref() == protocol);
        if let Some(entry) = known.map(|index| made.remove(index))
            // A clock that was set back makes it new as well.
            && (Duration::ZERO..RENEW).contains(&(now - entry.at))
        {
            let config = entry.config.clone();
            made.push(entry);
            return Ok(config);
        }
        let config = Arc::new(self.config(host, protocol, now)?);
        if made.len() >= KEPT {
            made.remove(0);
        }
        let protocol = protocol.map(Box::from);
        made.push(Made { host: host.clone(), protocol, at: now, config: config.clone() });
        Ok(config)
    }

    fn config(
        &self,
        host: &Host,
        protocol: Option<&[u8]>,
        now: OffsetDateTime,
    ) -> Result<ServerConfig, AuthorityError> {
        let chain = vec![self.leaf(host, now)?, self.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(self.key.serialized_der().to_vec());
        let certified = CertifiedKey::from_der(chain, key.into(), &self.provider)?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        // Whoever resumes a session brings it along: nothing is kept here, and a hello for another name starts anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets.clone();
        Ok(config)
    }

    /// A certificate that says that we are this host. It may outlive the authority: whoever verifies it verifies the
    /// authority's own dates too.
    fn leaf(&self, host: &Host, now: OffsetDateTime) -> Result<CertificateDer<'static>, AuthorityError> {
        let (name, called_so) = match host {
            // A common name has at most 64 characters (RFC 5280, A.1); clients look at the other names only.
            Host::Name(name) if name.len() <= 64 => (SanType::DnsName((**name).try_into()?), called(name)),
            Host::Name(name) => (SanType::DnsName((**name).try_into()?), called("agentkernel")),
            Host::Address(address) => (SanType::IpAddress(*address), called(&address.to_string())),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = called_so;
        params.subject_alt_names = vec![name];
        // Two certificates of one authority with one number are a forgery to some.
        params.serial_number = Some(serial(&self.provider)?);
        params.not_before = now - BEFORE;
        params.not_after = now + LEAF_LIFE;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&self.key, &self.issuer)?.der().clone())
    }
}

/// Without its keys.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("made", &self.made.borrow().len()).finish_non_exhaustive()
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// A number that no other certificate has.
fn serial(provider: &CryptoProvider) -> Result<SerialNumber, rustls::Error> {
    let mut bytes = [0; 16];
    provider.secure_random.fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    // Positive, and as long as it says (RFC 5280, 4.1.2.2).
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem += line;
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
