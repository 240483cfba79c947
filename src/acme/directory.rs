//! The directory, and the account that this server has with it.

use std::path::Path;

use instant_acme::{Account, Error, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::http::Http;
use super::kept::{self, ACCOUNT, Kept};
use super::trouble::Trouble;

/// A directory, and the store that this server shares with no other directory.
pub(super) struct Directory {
    pub(super) kept: Kept,
    http: Http,
    url: String,
    email: Option<String>,
    /// The account, once it was needed, and what is kept of it.
    account: Option<(Account, kept::Account)>,
}

impl Directory {
    /// Prepares for a directory, of which nothing is asked yet.
    ///
    /// # Errors
    /// When `ca` has no certificates, and when this machine has no roots.
    pub(super) fn new(kept: Kept, url: String, email: Option<String>, ca: Option<&Path>) -> Result<Self, String> {
        Ok(Self { kept, http: Http::new(ca)?, url, email, account: None })
    }

    /// Returns for how many seconds its last answer has asked to wait; 0 if it has not.
    pub(super) fn wait(&self) -> u64 {
        self.http.wait()
    }

    /// Tells whether its last answer says that what was asked for is done.
    pub(super) fn is_success(&self) -> bool {
        self.http.is_success()
    }

    /// Returns the account, and opens it if there is none.
    pub(super) async fn account(&mut self) -> Result<Account, Trouble> {
        let mut kept = match (self.kept.account().await?, &self.account) {
            (Some(kept), Some((account, known))) if kept == *known => return Ok(account.clone()),
            (Some(kept), _) => kept,
            // The store has lost it.
            (None, Some((_, known))) => known.clone(),
            (None, None) => {
                let (_, key) = Key::generate_pkcs8()?;
                let key = self.kept.conceal(ACCOUNT, key.secret_pkcs8_der());
                kept::Account { key, ..kept::Account::default() }
            }
        };
        let key = self.kept.reveal(ACCOUNT, &kept.key).map_err(Trouble::refused)?;
        // As the operator wants it sealed today.
        kept.key = self.kept.conceal(ACCOUNT, &key);
        self.kept.put_account(&kept).await?;
        let key = PrivatePkcs8KeyDer::from(key);
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let account = match &kept.url {
            Some(url) => builder.from_parts(url.clone(), key, self.url.clone()).await?,
            None => {
                // A directory that knows the key answers with its account (RFC 8555, section 7.3).
                let pair = (Key::from_pkcs8_der(key.clone_key())?, PrivateKeyDer::Pkcs8(key));
                let (account, _) = builder.create_from_key(pair, self.url.clone()).await?;
                kept.url = Some(account.id().to_owned());
                self.kept.put_account(&kept).await?;
                tracing::info!(directory = self.url, account = account.id(), "an account for certificates is there");
                account
            }
        };
        self.tell_email(&account, &mut kept).await?;
        self.account = Some((account.clone(), kept));
        Ok(account)
    }

    /// Writes the account again that the store has lost.
    pub(super) async fn restore(&self) -> Result<(), Trouble> {
        match &self.account {
            Some((_, known)) if self.kept.account().await?.is_none() => Ok(self.kept.put_account(known).await?),
            Some(_) | None => Ok(()),
        }
    }

    /// Tells the directory where mail is read. That it does not want to know is no reason to have no certificate.
    async fn tell_email(&self, account: &Account, kept: &mut kept::Account) -> Result<(), Trouble> {
        let Some(email) = self.email.as_ref().filter(|email| kept.email.as_ref() != Some(*email)) else {
            return Ok(());
        };
        match account.update_contacts(&[&format!("mailto:{email}")]).await {
            Ok(()) => {
                kept.email = Some(email.clone());
                Ok(self.kept.put_account(kept).await?)
            }
            Err(Error::Api(problem)) => {
                let trouble = Trouble::from(Error::Api(problem));
                tracing::warn!("the directory does not take the address of --acme-email: {trouble}");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has the account opened anew, with its key, since the directory does not know it.
    pub(super) async fn forget_account(&mut self) -> Result<(), Trouble> {
        self.account = None;
        if let Some(kept) = self.kept.account().await? {
            self.kept.put_account(&kept::Account { key: kept.key, ..kept::Account::default() }).await?;
        }
        Ok(())
    }
}
