//! What is kept in the store: an account of each directory, and of each name its certificate and its order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::{Seal, StoreError, Values};

/// The owner of the account's key. No name is like it.
pub(super) const ACCOUNT: &str = "the account";

/// An account with a directory. Its key is kept before the directory hears of it: a process that ends in between finds the account
/// again by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) key: KeptKey,
    /// Its URL; `None` while the directory has not confirmed it.
    pub(super) url: Option<String>,
    /// The address that the directory has.
    #[serde(default)]
    pub(super) email: Option<String>,
}

/// What is kept of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// The certificate that is used.
    pub(super) certificate: Option<Issued>,
    /// The order that is on its way.
    pub(super) order: Option<Order>,
    /// Attempts in a row that the directory has refused.
    pub(super) failures: u32,
    /// Attempts in a row that have not reached it.
    pub(super) unreached: u32,
    /// Nothing is asked of the directory before this time, in seconds since 1970.
    pub(super) retry_at: u64,
    /// Kinds of challenge that have failed since the last pause.
    pub(super) tried: Vec<Kind>,
}

/// A certificate. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Issued {
    /// The certificate and those of its issuers, in PEM.
    pub(super) chain: String,
    /// The certificate's.
    pub(super) key: KeptKey,
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) renew_at: u64,
    /// When the directory is asked for the time of the renewal.
    pub(super) ask_at: u64,
    /// When the directory wants it to be renewed, as far as it has told.
    pub(super) window: Option<Window>,
}

/// A key as [`Kept::conceal`] makes it. `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KeptKey(String);

impl fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptKey")
    }
}

/// A time for a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// An order. It is kept before the directory hears of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its URL; `None` while the directory has not confirmed it.
    pub(super) url: Option<String>,
    /// The certificate's.
    pub(super) key: KeptKey,
    /// How the name is proved.
    pub(super) kind: Kind,
    /// When it was begun, in seconds since 1970.
    pub(super) begun: u64,
    /// How often a process has asked the directory for it.
    #[serde(default)]
    pub(super) tries: u32,
    /// What the directory is to find. Each server of the store shows it.
    #[serde(default)]
    pub(super) answer: Option<Answer>,
}

/// What a directory is to find at a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) token: String,
    /// The key authorization (RFC 8555, section 8.1).
    pub(super) text: String,
}

/// How a name is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// By a file on port 80 (RFC 8555, section 8.3).
    #[default]
    #[serde(rename = "http-01")]
    Http,
    /// By a certificate on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
    /// By a record in DNS (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns,
}

impl Kind {
    /// Returns its name in the protocol.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
            Self::Dns => "dns-01",
        }
    }
}

/// The part of a store that is of one directory.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    values: Values,
    seal: Arc<Seal>,
    /// What the names of values begin with: another directory, such as a staging one, has other accounts and certificates.
    prefix: String,
}

impl Kept {
    pub(super) fn new(values: Values, seal: Seal, directory: &str) -> Self {
        let digest = Sha256::digest(directory);
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { values, seal: Arc::new(seal), prefix: format!("acme/{short}") }
    }

    /// Tells whether other servers may have the same store.
    pub(super) fn is_shared(&self) -> bool {
        self.values.are_shared()
    }

    pub(super) async fn account(&self) -> Result<Option<Account>, StoreError> {
        self.get(&format!("{}/account", self.prefix)).await
    }

    pub(super) async fn put_account(&self, account: &Account) -> Result<(), StoreError> {
        self.put(&format!("{}/account", self.prefix), account).await
    }

    pub(super) async fn subject(&self, name: &str) -> Result<Option<Subject>, StoreError> {
        self.get(&format!("{}/name/{name}", self.prefix)).await
    }

    pub(super) async fn put_subject(&self, name: &str, subject: &Subject) -> Result<(), StoreError> {
        self.put(&format!("{}/name/{name}", self.prefix), subject).await
    }

    /// Makes `holder` the one server that talks with the directory, for a time from now. Returns false if another one is.
    pub(super) async fn lease(&self, holder: &str, time: Duration) -> Result<bool, StoreError> {
        self.values.lease(&self.prefix, holder, time).await
    }

    /// Returns a key as it is to be kept: sealed, if the operator has given a key for that. `owner` is the name that it is for, or
    /// [`ACCOUNT`].
    pub(super) fn conceal(&self, owner: &str, key: &[u8]) -> KeptKey {
        KeptKey(self.seal.seal(&self.about(owner), &BASE64.encode(key)))
    }

    /// Returns a key that was kept.
    ///
    /// # Errors
    /// When it was sealed with a key that this server was not given, or for another owner.
    pub(super) fn reveal(&self, owner: &str, KeptKey(kept): &KeptKey) -> Result<Vec<u8>, String> {
        let text = self.seal.open(&self.about(owner), kept);
        let text = text.map_err(|_| {
            format!("--secrets-key-file has not the key with which the one of {owner} in the store was sealed")
        })?;
        BASE64.decode(text).map_err(|_| format!("the key of {owner} in the store is not as it was written"))
    }

    fn about(&self, owner: &str) -> String {
        format!("{}/key/{owner}", self.prefix)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(text) = self.values.get(name).await? else { return Ok(None) };
        // The error of JSON would quote what is kept.
        let read = serde_json::from_str(&text).map_err(|_| format!("`{name}` in the store is not as it was written"));
        read.map(Some).map_err(StoreError::Unavailable)
    }

    async fn put(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.values.put(name, &text).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_key_is_kept_as_the_operator_has_it_sealed_and_for_its_owner_alone() {
        let store: Store = Store::in_memory(1);
        let with = |keys: &[&[u8]]| Kept::new(store.values(), Seal::new(keys.iter().copied()), "https://ca.example");
        let (plain, sealing, other) = (with(&[]), with(&[b"key"]), with(&[b"another"]));
        let kept = sealing.conceal("a.example", b"secret");
        assert_ne!(kept, plain.conceal("a.example", b"secret"));
        assert_eq!(sealing.reveal("a.example", &kept).as_deref(), Ok(&b"secret"[..]));
        for (reader, owner) in
            [(&plain, "a.example"), (&other, "a.example"), (&sealing, "b.example"), (&sealing, ACCOUNT)]
        {
            assert!(reader.reveal(owner, &kept).unwrap_err().contains("--secrets-key-file"), "{owner}");
        }
        let before = plain.conceal("a.example", b"secret");
        assert_eq!(sealing.reveal("a.example", &before).as_deref(), Ok(&b"secret"[..]), "it was there before the key");
    }
}
