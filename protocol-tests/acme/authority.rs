//! The directory's authority: it signs what requests ask for, and its own certificate.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa,
    KeyPair, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::state::{Issued, random};

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "The tests' authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes the root to a file.
    pub(super) fn write_root(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// Makes a certificate for a server of HTTPS at this name or address, and its key.
    pub(super) fn server(&self, host: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// The settings of a server of HTTPS on localhost.
    pub(super) fn of_directory(&self) -> rustls::ServerConfig {
        let (certificate, key) = self.server("localhost");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// Signs a request, whose own signature must be right, for this name and no other. `account` is the key of the account, which must
    /// not be that of the certificate (RFC 8555, section 11.1).
    pub(super) fn sign(&self, csr: &[u8], name: &str, account: &[u8], validity: (i64, i64)) -> Result<Issued, String> {
        let csr = CertificateSigningRequestParams::from_der(&csr.to_vec().into());
        let mut csr = csr.map_err(|error| format!("not a request, or not signed by its key: {error}"))?;
        let names: Vec<_> = csr
            .params
            .subject_alt_names
            .iter()
            .map(|name| match name {
                SanType::DnsName(name) => name.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        if names != [name] {
            return Err(format!("a request for {names:?} in an order for {name}"));
        }
        if csr.public_key.der_bytes() == account {
            return Err("the key of the account is that of the certificate".to_owned());
        }
        if csr.params.distinguished_name.iter().any(|(kind, _)| *kind == DnType::CommonName) {
            return Err("a common name".to_owned());
        }
        let now = OffsetDateTime::now_utc();
        let (from, until) = validity;
        csr.params.not_before = now + time::Duration::seconds(from);
        csr.params.not_after = now + time::Duration::seconds(until);
        csr.params.serial_number = Some(SerialNumber::from_slice(&random().into_bytes()[..16]));
        csr.params.use_authority_key_identifier_extension = true;
        let signed = csr.signed_by(&self.0).map_err(|error| error.to_string())?;
        Ok(Issued { pem: format!("{}{}", signed.pem(), self.0.pem()), id: id(signed.der()), replaced: false })
    }
}

/// Returns by what ARI names a certificate (RFC 9773, section 4.1).
fn id(certificate: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(of) => of.key_identifier.as_ref().map(|key| BASE64.encode(key.0)),
        _ => None,
    });
    format!("{}.{}", issuer.unwrap(), BASE64.encode(certificate.raw_serial()))
}
