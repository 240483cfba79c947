//! What this server shows to those who connect: its certificates, and what a directory is to find.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::sign::CertifiedKey;

use super::certificate;
use super::kept::{Kind, Order};

/// What this server shows.
#[derive(Debug, Default)]
pub struct Shown {
    certificates: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
    http: Mutex<BTreeMap<String, String>>,
    alpn: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Shown {
    pub(super) fn certificate(&self, name: &str, key: Arc<CertifiedKey>) {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), key);
    }

    pub(super) fn show(&self, name: &str, order: &Order) -> Result<(), String> {
        let Some(answer) = &order.answer else { return Ok(()) };
        match order.kind {
            Kind::Http => {
                self.http
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(answer.token.clone(), answer.text.clone());
            }
            Kind::TlsAlpn => {
                let certified = certificate::answer(name, &answer.text)?;
                self.alpn.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), certified);
            }
            Kind::Dns => (),
        }
        Ok(())
    }

    pub(super) fn hide(&self, name: &str, order: &Order) {
        let Some(answer) = &order.answer else { return };
        match order.kind {
            Kind::Http => drop(self.http.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.token)),
            Kind::TlsAlpn => drop(self.alpn.lock().unwrap_or_else(PoisonError::into_inner).remove(name)),
            Kind::Dns => (),
        }
    }

    /// Returns what a directory is to find under a token.
    pub fn proof(&self, token: &str) -> Option<String> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// Returns what a directory is to find at a name.
    pub fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.alpn.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Returns what visitors get.
    pub fn certificate_of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let wildcard = || name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        certificates.get(name).or_else(|| certificates.get(&wildcard()?)).cloned()
    }
}
