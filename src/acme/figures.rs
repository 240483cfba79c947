//! What an operator can watch.

use std::sync::atomic::{AtomicU64, Ordering};

/// Certificates by their names, and how attempts to get one have ended.
#[derive(Debug, Default)]
pub struct Figures {
    certificates: Vec<(String, AtomicU64)>,
    attempts: [AtomicU64; Ending::ALL.len()],
}

/// How an attempt to get a certificate has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a certificate.
    Issued,
    /// The directory has refused it.
    Failed,
    /// The directory was not reached, or has taken no nonce.
    Unreached,
}

impl Ending {
    /// All endings.
    pub const ALL: [Self; 3] = [Self::Issued, Self::Failed, Self::Unreached];

    /// Returns its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Failed => "failed",
            Self::Unreached => "unreached",
        }
    }
}

impl Figures {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self { certificates: names.map(|name| (name.to_owned(), AtomicU64::new(0))).collect(), ..Self::default() }
    }

    /// Returns the names, each with when its certificate expires, in seconds since 1970. 0 if it has none.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, u64)> {
        self.certificates.iter().map(|(name, until)| (name.as_str(), until.load(Ordering::Relaxed)))
    }

    /// Returns how many attempts have ended how.
    pub fn attempts(&self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL.into_iter().zip(&self.attempts).map(|(ending, count)| (ending, count.load(Ordering::Relaxed)))
    }

    pub(super) fn expires(&self, index: usize, until: u64) {
        if let Some((_, expires)) = self.certificates.get(index) {
            expires.store(until, Ordering::Relaxed);
        }
    }

    pub(super) fn count(&self, ending: Ending) {
        self.attempts[ending as usize].fetch_add(1, Ordering::Relaxed);
    }
}
