//! Hides who may vouch for a registry.

use super::settings::Settings;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;

/// How TLS is spoken with a host for which the roots may vouch, which are those of the settings, and these authorities, in
/// DER.
///
/// # Errors
/// If the library can't do it.
pub(super) fn config(
    roots: &RootCertStore,
    settings: &Arc<Settings>,
    authorities: &[Vec<u8>],
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut roots = roots.clone();
    roots.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from_slice(der)));
    if roots.is_empty() {
        // It refuses all.
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let chains = chains.map_err(|error| error.to_string())?;
    let verifier = Verifier { chains, settings: settings.clone(), authorities: authorities.to_vec() };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Takes the certificate of an authority that is trusted from a host itself, too: `openssl req -x509` makes no other, and all
/// engines take it. webpki has servers' certificates and authorities', and none that is both.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    settings: Arc<Settings>,
    authorities: Vec<Vec<u8>>,
}

impl Verifier {
    fn is_trusted(&self, certificate: &CertificateDer<'_>) -> bool {
        self.settings.roots.iter().chain(&self.authorities).any(|own| own == certificate.as_ref())
    }
}

/// Whether an authority's certificate was shown as a server's. Its time was right: that is looked at before.
fn is_authority(why: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(source)) = why else { return false };
    matches!(source.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether a certificate is refused because nobody vouches for it.
pub(super) fn is_unknown(why: &CertificateError) -> bool {
    *why == CertificateError::UnknownIssuer || is_authority(why)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(why)) if is_authority(&why) && self.is_trusted(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
