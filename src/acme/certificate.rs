//! Certificates: what is asked of a directory, what it gives, and what answers its challenge.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// From when until when it is valid, in seconds since 1970.
    pub(super) valid: (u64, u64),
    /// The names that it is for.
    names: Vec<String>,
    /// The key of its issuer and its number, as a directory is asked about it (RFC 9773, section 4.1). `None` if it does not name its
    /// issuer's key.
    pub(super) id: Option<(Vec<u8>, Vec<u8>)>,
}

/// Makes a key for a certificate, in PKCS #8.
pub(super) fn new_key() -> Result<Vec<u8>, String> {
    KeyPair::generate().map(|key| key.serialize_der()).map_err(|error| error.to_string())
}

/// Returns the request for a certificate for a name, in DER.
pub(super) fn request(name: &str, key: &[u8]) -> Result<Vec<u8>, String> {
    let key = KeyPair::try_from(key).map_err(|error| error.to_string())?;
    let request = params(name).and_then(|params| params.serialize_request(&key)).map_err(|error| error.to_string())?;
    Ok(request.der().to_vec())
}

/// Returns the certificate that answers a challenge of TLS-ALPN-01 (RFC 8737, section 3).
pub(super) fn answer(name: &str, key_authorization: &str) -> Result<Arc<CertifiedKey>, String> {
    use sha2::Digest as _;

    let digest = sha2::Sha256::digest(key_authorization);
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = params(name)?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        Ok((params.self_signed(&key)?.der().clone(), key.serialize_der()))
    };
    let (certificate, key) = made().map_err(|error: rcgen::Error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(|error| error.to_string())?;
    // rustls refuses to compare the two: it does not know the extension.
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    // A name of a person, where rcgen has one by default.
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// Reads what a directory has given for a name, and joins it with its key.
///
/// # Errors
/// When it is no certificate, or one for another name or of another key.
pub(super) fn read(name: &str, chain: &str, key: Vec<u8>) -> Result<(Arc<CertifiedKey>, Facts), String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let certificates = certificates.map_err(|error| format!("the certificate is no PEM: {error}"))?;
    let first = certificates.first().ok_or("there is no certificate in the answer")?;
    let facts = facts(first)?;
    if !facts.names.iter().any(|of| of.eq_ignore_ascii_case(name)) {
        return Err(format!("the certificate is not for {name}"));
    }
    Ok((certified(certificates, key)?, facts))
}

fn certified(chain: Vec<CertificateDer<'static>>, key: Vec<u8>) -> Result<Arc<CertifiedKey>, String> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|error| error.to_string())
}

fn facts(certificate: &[u8]) -> Result<Facts, String> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|error| format!("no certificate: {error}"))?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let validity = read.validity();
    let (mut names, mut issuer) = (Vec::new(), None);
    for extension in read.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(all) => {
                let dns = |name: &GeneralName<'_>| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                };
                names.extend(all.general_names.iter().filter_map(dns));
            }
            ParsedExtension::AuthorityKeyIdentifier(of) => {
                issuer = of.key_identifier.as_ref().map(|key| key.0.to_vec());
            }
            _ => (),
        }
    }
    let id = issuer.map(|issuer| (issuer, read.raw_serial().to_vec()));
    Ok(Facts { valid: (seconds(validity.not_before), seconds(validity.not_after)), names, id })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer, KeyIdMethod, SerialNumber};

    use super::*;

    fn issued(name: &str, key: &[u8]) -> String {
        let mut ca = CertificateParams::default();
        (ca.is_ca, ca.key_identifier_method) =
            (IsCa::Ca(BasicConstraints::Unconstrained), KeyIdMethod::PreSpecified(vec![0xC0, 0xFF, 0xEE]));
        let ca = Issuer::new(ca, KeyPair::generate().unwrap());
        let csr = request(name, key).unwrap();
        let mut csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        csr.params.use_authority_key_identifier_extension = true;
        csr.params.serial_number = Some(SerialNumber::from_slice(&[0xCA, 0xFE]));
        csr.params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        csr.params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        csr.signed_by(&ca).unwrap().pem()
    }

    #[test]
    fn a_certificate_is_for_the_name_and_the_key_that_was_asked_for() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let chain = issued("*.t.example", &key);
        let (_, facts) = read("*.T.example", &chain, key.clone()).unwrap();
        assert_eq!(facts.valid, (1_767_225_600, 1_775_001_600));
        assert_eq!(facts.id, Some((vec![0xC0, 0xFF, 0xEE], vec![0, 0xCA, 0xFE])));
        for (name, chain, key) in [
            ("t.example", chain.as_str(), &key),
            ("*.t.example", chain.as_str(), &other),
            ("*.t.example", "", &key),
            ("*.t.example", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key),
        ] {
            assert!(read(name, chain, key.clone()).is_err(), "{name} {chain}");
        }
    }

    #[test]
    fn the_answer_to_a_challenge_has_the_name_and_the_digest() {
        let answer = answer("a.example", "token.thumbprint").unwrap();
        let (_, read) = X509Certificate::from_der(answer.end_entity_cert().unwrap()).unwrap();
        let extension =
            read.extensions().iter().find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(extension.critical && extension.value.starts_with(&[4, 32]));
        assert_eq!(facts(answer.end_entity_cert().unwrap()).unwrap().names, ["a.example"]);
    }
}
