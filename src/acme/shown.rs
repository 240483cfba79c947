//! What this server shows to those who connect: its certificates, and what a directory is to find.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate;
use super::kept::{Kind, Order};
use crate::net::challenges::Challenges;
use crate::net::tls::Certificates;

/// What this server shows. Clones show the same.
#[derive(Debug, Clone)]
pub struct Shown {
    certificates: Arc<Certificates>,
    /// Whether the first name's certificate is also for clients that ask for no name, or for another one.
    has_default: bool,
    /// What a directory finds on port 80.
    challenges: Arc<Challenges>,
}

impl Shown {
    /// Shows certificates and challenges with these. `has_default` says whether they have a certificate for clients that ask for no
    /// name; otherwise they get that of the first name.
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, challenges: Arc<Challenges>, has_default: bool) -> Self {
        Self { certificates, has_default, challenges }
    }

    pub(super) fn certificate(&self, name: &str, is_first: bool, certified: Arc<CertifiedKey>) {
        self.certificates.set([name], &certified);
        if is_first && !self.has_default {
            self.certificates.set_default(certified);
        }
    }

    /// Shows the answer to the challenge of an order.
    pub(super) fn show(&self, name: &str, order: &Order) -> Result<(), String> {
        let Some(answer) = &order.answer else { return Ok(()) };
        match order.kind {
            Kind::Http => self.challenges.set(&answer.token, &answer.text),
            Kind::TlsAlpn => self.certificates.set_challenge(name, certificate::answer(name, &answer.text)?),
            Kind::Dns => (),
        }
        Ok(())
    }

    /// Shows it no longer.
    pub(super) fn hide(&self, name: &str, order: &Order) {
        let Some(answer) = &order.answer else { return };
        match order.kind {
            Kind::Http => self.challenges.remove(&answer.token),
            Kind::TlsAlpn => self.certificates.remove_challenge(name),
            Kind::Dns => (),
        }
    }
}
