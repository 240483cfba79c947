//! The certificates that a server shows, by the name that a client asks for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol of a certificate authority that asks for proof of a name (RFC 8737, section 3).
pub(super) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The certificates of a server, which may change while it serves: a handshake that has begun keeps its own, and connections that are
/// open keep what they have.
///
/// A client gets the certificate of the name that it asks for (server name indication), else that of the name's wildcard, else the
/// default. Without a default, a client that asks for another name is refused.
///
/// A client that offers `acme-tls/1` alone is a certificate authority that asks for proof (RFC 8737): it gets the certificate of its
/// challenge, or is refused, and its connection is closed after the handshake.
#[derive(Debug, Default)]
pub struct Certificates {
    served: RwLock<Served>,
    /// Certificates of challenges, by the name that is to be proved, in small letters.
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// What visitors get.
#[derive(Debug, Default, Clone)]
struct Served {
    default: Option<Arc<CertifiedKey>>,
    /// By name, in small letters. A wildcard has its `*.` in front.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Returns no certificates: every client is refused until there is one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows this certificate to clients whose name has none, and to clients that ask for no name.
    pub fn set_default(&self, certificate: Arc<CertifiedKey>) {
        self.served.write().unwrap_or_else(PoisonError::into_inner).default = Some(certificate);
    }

    /// Shows this certificate to clients that ask for one of `names`, such as `relay.example`; `*.t.example` is for each name with
    /// one label more than `t.example`. The names change together.
    pub fn set<'n>(&self, names: impl IntoIterator<Item = &'n str>, certificate: &Arc<CertifiedKey>) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            served.named.insert(name.to_ascii_lowercase(), Arc::clone(certificate));
        }
    }

    /// Forgets the certificate of a name, as it was [set](Self::set).
    pub fn remove(&self, name: &str) {
        self.served.write().unwrap_or_else(PoisonError::into_inner).named.remove(&name.to_ascii_lowercase());
    }

    /// Shows this certificate to certificate authorities that ask for proof of a name.
    pub fn set_challenge(&self, name: &str, certificate: Arc<CertifiedKey>) {
        let mut challenges = self.challenges.write().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(name.to_ascii_lowercase(), certificate);
    }

    /// Forgets the challenge of a name.
    pub fn remove_challenge(&self, name: &str) {
        let mut challenges = self.challenges.write().unwrap_or_else(PoisonError::into_inner);
        challenges.remove(&name.to_ascii_lowercase());
    }

    /// Returns what a visitor that asks for this name gets.
    fn served(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let named = name.filter(|_| !served.named.is_empty()).and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || served.named.get(&format!("*{}", &name[name.find('.')?..]));
            served.named.get(&name).or_else(wildcard)
        });
        named.or(served.default.as_ref()).cloned()
    }

    /// Returns what a certificate authority that asks for proof of this name gets.
    fn challenge(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
        challenges.get(&name?.to_ascii_lowercase()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        let wants_proof = offered.next() == Some(ACME_TLS_ALPN) && offered.next().is_none();
        if wants_proof { self.challenge(hello.server_name()) } else { self.served(hello.server_name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::certified;
    use super::*;

    #[test]
    fn a_client_gets_the_certificate_of_its_name_of_the_names_wildcard_or_the_default() {
        let [default, exact, wildcard] = [(); 3].map(|()| certified("relay.example"));
        let certificates = Certificates::new();
        assert!(certificates.served(Some("relay.example")).is_none() && certificates.served(None).is_none());
        certificates.set(["Relay.example"], &exact);
        assert!(certificates.served(Some("other.example")).is_none());
        certificates.set(["*.t.example", "www.relay.example"], &wildcard);
        certificates.set_default(Arc::clone(&default));
        for (name, expected) in [
            (Some("relay.example"), &exact),
            (Some("RELAY.example"), &exact),
            (Some("www.relay.example"), &wildcard),
            (Some("app.t.example"), &wildcard),
            (Some("a.b.t.example"), &default),
            (Some("t.example"), &default),
            (Some("localhost"), &default),
            (None, &default),
        ] {
            assert!(Arc::ptr_eq(&certificates.served(name).unwrap(), expected), "{name:?}");
        }
        certificates.remove("relay.EXAMPLE");
        assert!(Arc::ptr_eq(&certificates.served(Some("relay.example")).unwrap(), &default));
    }

    #[test]
    fn a_challenge_is_of_one_name_and_no_visitor_gets_it() {
        let certificates = Certificates::new();
        certificates.set_challenge("Relay.example", certified("relay.example"));
        assert!(certificates.challenge(Some("relay.example")).is_some());
        assert!(certificates.challenge(Some("other.example")).is_none() && certificates.challenge(None).is_none());
        assert!(certificates.served(Some("relay.example")).is_none());
        certificates.remove_challenge("relay.example");
        assert!(certificates.challenge(Some("relay.example")).is_none());
    }
}
