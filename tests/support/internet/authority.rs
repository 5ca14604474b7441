//! Hides who vouches for the servers of a test's internet, and how its clients come to trust them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where Debian keeps whom its clients trust.
pub(super) const TRUSTED: &str = "/etc/ssl/certs";

/// A certificate authority.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Authority of a test's internet");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Writes `NAME.pem`, a certificate for a host, and `NAME.key`.
    pub(super) fn certify(&self, name: &str, folder: &Path) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Makes a copy of [`TRUSTED`] that has this authority as well: in the bundle, and in a file of its own, which OpenSSL
    /// finds by a hash of its name.
    pub(super) fn trusted(&self, copy: &Path) {
        run(Command::new("cp").arg("-a").arg(TRUSTED).arg(copy));
        let own = copy.join("test-internet.pem");
        fs::write(&own, self.issuer.pem()).unwrap();
        let hash = run(Command::new("openssl").args(["x509", "-noout", "-subject_hash", "-in"]).arg(&own));
        std::os::unix::fs::symlink("test-internet.pem", copy.join(format!("{}.0", hash.trim()))).unwrap();
        let bundle = copy.join("ca-certificates.crt");
        let text = fs::read_to_string(&bundle).unwrap() + &self.issuer.pem();
        fs::write(bundle, text).unwrap();
    }
}

/// Makes Java trust it too: it has a store of its own among [`TRUSTED`], of which this is a copy.
pub(super) fn trust_in_java(copy: &Path) {
    let store: PathBuf = copy.join("java/cacerts");
    let mut keytool = Command::new("keytool");
    keytool.args(["-importcert", "-noprompt", "-storepass", "changeit", "-alias", "test-internet", "-keystore"]);
    run(keytool.arg(store).arg("-file").arg(copy.join("test-internet.pem")));
}

/// What a program printed, which must succeed.
pub(super) fn run(command: &mut Command) -> String {
    crate::stdout(command.stdin(Stdio::null()))
}
