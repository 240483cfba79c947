//! Certificates and their keys as PEM, as certificate authorities and their clients write them.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// Why PEM is no certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemError {
    /// What should be the chain is not, with the words for that.
    Chain(String),
    /// What should be the key is not, with the words for that.
    Key(String),
    /// The key is another certificate's.
    Mismatch,
}

/// Reads a chain of certificates, the server's own first, and the key of that one: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC). What else is
/// in the texts is passed over.
///
/// # Errors
/// See [`PemError`].
pub fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, PemError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| PemError::Chain(format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(PemError::Chain("has no certificate (a section BEGIN CERTIFICATE)".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        PemError::Key(match error {
            pem::Error::NoItemsFound => {
                "has no key (a section BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, which is not encrypted)"
                    .to_owned()
            }
            error => format!("is not PEM: {error}"),
        })
    })?;
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PemError::Mismatch),
        Err(Error::InvalidCertificate(why)) => {
            Err(PemError::Chain(format!("has a certificate that cannot be read: {why}")))
        }
        Err(error) => Err(PemError::Key(format!("has a key that cannot be used: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};

    use super::*;

    /// A pair of PEM texts.
    fn generated() -> (String, String) {
        let Generated { cert, signing_key } = generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_read_and_all_else_is_told_apart() {
        let ((chain, key), (other, other_key)) = (generated(), generated());
        let read = |chain: &str, key: &str| certified(chain.as_bytes(), key.as_bytes());
        let whole = read(&format!("{chain}{other}"), &key).unwrap();
        assert_eq!(whole.cert.len(), 2);
        // Both in one file, as some programs want them.
        assert!(read(&format!("{key}{chain}"), &format!("{key}{chain}")).is_ok());
        assert_eq!(read(&chain, &other_key).unwrap_err(), PemError::Mismatch);
        assert_eq!(read(&format!("{other}{chain}"), &key).unwrap_err(), PemError::Mismatch);
        for wrong in ["", "\n", &key, "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            assert!(matches!(read(wrong, &key), Err(PemError::Chain(_))), "{wrong}");
        }
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(read(garbage, &key), Err(PemError::Chain(_) | PemError::Key(_))), "{:?}", read(garbage, &key));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for wrong in [
            "",
            &chain,
            encrypted,
            &key[..key.len() / 2],
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(matches!(read(&chain, wrong), Err(PemError::Key(_))), "{wrong}");
        }
    }
}
