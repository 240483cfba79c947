//! Certificates that the server orders itself, by ACME (RFC 8555), for the names that its settings have and no others.
//!
//! In reading order:
//!
//! - this file: the task that tends all names
//! - `plan`: what is to be done for a name and when, as a state machine that is told the time
//! - `kept`: what is kept in the store, before a directory hears of it, and how keys are
//! - `order`: one step of an order; `hook`: the program that sets a record in DNS
//! - `directory`: the account; `http`: requests; `trouble`: what goes wrong, in words that say what to do
//! - `certificate`: what is asked for and what comes
//! - `shown`: what this server shows to those who connect
//! - [`Figures`]: what an operator can watch
//!
//! What holds:
//!
//! - All that matters is in the store before it is asked of the directory. A process that starts goes on with what it finds: it
//!   opens no second account, and begins no second order while one is on its way.
//! - After a failure nothing is asked for an hour or more, however often the server starts: that time is in the store too. Only the
//!   operator can shorten it, by a signal.
//! - Of the servers that share a store, one talks with the directory: the holder of a lease. All show what it has put into the store.
//! - No peer causes an order: names are those of the settings, whatever a ClientHello says.
//! - No key is in the log.

mod certificate;
mod directory;
mod figures;
mod hook;
mod http;
mod kept;
mod order;
mod plan;
mod shown;
mod trouble;

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;

use self::directory::Directory;
pub use self::figures::{Ending, Figures};
use self::kept::{Kept, Kind, Order, Subject};
use self::order::{Pace, Work};
use self::plan::{Action, Blame};
pub use self::shown::Shown;
use self::trouble::Trouble;
use crate::config::AcmeConfig;
use crate::store::{Seal, Values};

/// How long a step may take, which is several requests, or a program's run and some.
const STEP: Duration = Duration::from_secs(150);

/// How often a step is repeated after the directory has refused its nonces. instant-acme tries each request with three.
const MOST_NONCES: u32 = 3;

/// How long the server that talks with the directory is the one, after it has said so. Longer than a step takes.
const LEASE: Duration = STEP.saturating_add(Duration::from_secs(30));

/// Time between two looks at a store that other servers change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest time between two looks at the clock, which may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// Time after which a store that could not be used is used again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// The certificates of a server, which are there once [`Self::run`] has got them.
pub struct Acme {
    directory: Directory,
    hook: Option<PathBuf>,
    /// How names are proved, the first one first.
    kinds: Vec<Kind>,
    /// What tells this process from others.
    holder: String,
    has_lease: bool,
    names: Vec<Tended>,
    shown: Shown,
    retry: Arc<Notify>,
    figures: Arc<Figures>,
    has_complained: bool,
}

/// A name, and what this process knows of it.
struct Tended {
    name: String,
    subject: Subject,
    pace: Pace,
    /// When its order is looked at.
    look_at: Option<Instant>,
    /// What is shown of it.
    chain: Option<String>,
    answer: Option<Order>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme").finish_non_exhaustive()
    }
}

impl Acme {
    /// Prepares to get certificates for the names of the settings, and shows those that are in the store. `seal` is how keys are
    /// kept there. `has_http` says whether
    /// port 80 leads to this server.
    ///
    /// # Errors
    /// When the store does not outlive a restart, when keys in it cannot be read, and when `--acme-ca` has no certificates.
    pub async fn new(
        config: &AcmeConfig,
        (values, seal): (Values, Seal),
        shown: Shown,
        has_http: bool,
    ) -> Result<Self, String> {
        if !values.outlive_restarts() {
            return Err(MEMORY.to_owned());
        }
        let url = config.directory_url();
        let kept = Kept::new(values, seal, url);
        let directory = Directory::new(kept, url.to_owned(), config.email.clone(), config.ca.as_deref())?;
        let kinds = match (&config.dns_hook, has_http) {
            (Some(_), _) => vec![Kind::Dns],
            (None, true) => vec![Kind::Http, Kind::TlsAlpn],
            (None, false) => vec![Kind::TlsAlpn],
        };
        let mut names: Vec<String> = Vec::new();
        for name in config.names.iter().map(|name| name.as_str().to_owned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut acme = Self {
            directory,
            hook: config.dns_hook.clone(),
            kinds,
            holder: uuid::Uuid::new_v4().to_string(),
            has_lease: false,
            figures: Arc::new(Figures::new(names.iter().map(String::as_str))),
            names: names.into_iter().map(Tended::new).collect(),
            shown,
            retry: Arc::clone(&config.retry),
            has_complained: false,
        };
        if !acme.directory.kept.is_shared() {
            for index in 0..acme.names.len() {
                acme.read(index).await.map_err(|trouble| trouble.to_string())?;
            }
        }
        Ok(acme)
    }

    /// Returns the figures, which follow what happens.
    #[must_use]
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Gets certificates and renews them. Never completes.
    pub async fn run(mut self) -> Infallible {
        loop {
            let pause = self.round().await;
            let retry = Arc::clone(&self.retry);
            tokio::select! {
                () = tokio::time::sleep(pause) => (),
                () = retry.notified() => self.try_again().await,
            }
        }
    }

    /// Has what has failed tried again at once: the operator wants it, who may have mended it.
    async fn try_again(&mut self) {
        for tended in &mut self.names {
            if !plan::hurry(&mut tended.subject) {
                continue;
            }
            tended.look_at = None;
            tracing::info!(name = tended.name, "a certificate is asked for again, before its time");
            if let Err(error) = self.directory.kept.put_subject(&tended.name, &tended.subject).await {
                tracing::warn!(name = tended.name, %error, "it is not: the store cannot be used");
            }
        }
    }

    /// Takes a step for each name that needs one. Returns how long to wait before the next round.
    async fn round(&mut self) -> Duration {
        let mut pause = if self.directory.kept.is_shared() { LOOK_EVERY } else { LONGEST_SLEEP };
        for index in 0..self.names.len() {
            let wait = self.tend(index).await;
            let wait = wait.unwrap_or_else(|trouble| {
                // A store says itself what is wrong with it, and this many times.
                if !std::mem::replace(&mut self.has_complained, true) {
                    tracing::error!("certificates are neither ordered nor renewed: {trouble}");
                }
                STORE_PAUSE
            });
            pause = pause.min(wait);
        }
        if self.has_lease && self.names.iter().all(|tended| tended.subject.order.is_none()) {
            self.has_lease = false;
            // It ends by itself.
            let _ = self.directory.kept.lease(&self.holder, Duration::ZERO).await;
        }
        pause
    }

    /// Shows what is kept of a name, and takes the next step. Returns how long to wait before another one.
    ///
    /// # Errors
    /// When the store cannot be used, or has what cannot be read.
    async fn tend(&mut self, index: usize) -> Result<Duration, Trouble> {
        self.read(index).await?;
        self.has_complained = false;
        let (now, tended) = (seconds_since_1970(), &self.names[index]);
        if let Some(left) =
            tended.look_at.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
        {
            return Ok(left);
        }
        let mut action = plan::next(now, &tended.subject, &self.kinds);
        if !matches!(action, Action::Wait(_)) {
            if !self.directory.kept.lease(&self.holder, LEASE).await? {
                self.has_lease = false;
                return Ok(LOOK_EVERY);
            }
            if !std::mem::replace(&mut self.has_lease, true) {
                // Another server may have done it until now.
                self.read(index).await?;
                action = plan::next(now, &self.names[index].subject, &self.kinds);
            }
        }
        if let Action::Wait(until) = action {
            return Ok(Duration::from_secs(until.saturating_sub(now)));
        }
        let had_order = self.names[index].subject.order.is_some();
        let late = |_| Err(Trouble::late(STEP));
        let done = tokio::time::timeout(STEP, self.act(index, action, now)).await.unwrap_or_else(late);
        let ended = if had_order || done.is_err() { self.ended(index, done, now).await? } else { done? };
        self.names[index].look_at = Some(Instant::now() + ended);
        Ok(ended)
    }

    async fn act(&mut self, index: usize, action: Action, now: u64) -> Result<Duration, Trouble> {
        let mut refused = 0;
        loop {
            match self.act_once(index, action, now).await {
                // The directory has done nothing, and may take the next one (RFC 8555, section 6.5).
                Err(trouble) if trouble.is_of_nonce && refused < MOST_NONCES => refused += 1,
                done => return done,
            }
        }
    }

    async fn act_once(&mut self, index: usize, action: Action, now: u64) -> Result<Duration, Trouble> {
        let mut work = self.work(index, now);
        match action {
            Action::Wait(_) => Ok(Duration::ZERO),
            Action::Begin(kind) => work.begin(kind).await,
            Action::GoOn => work.go_on().await,
            Action::AskRenewal => work.ask_renewal(rand::random()).await,
            Action::GiveUp => Err(Trouble::of_order(None, "the order does not come to an end")),
        }
    }

    /// Notes how a step has ended that was of an order, or has failed.
    async fn ended(&mut self, index: usize, done: Result<Duration, Trouble>, now: u64) -> Result<Duration, Trouble> {
        let (wait, kinds) = (self.directory.wait(), self.kinds.clone());
        let before = self.names[index].answer.clone();
        let figures = Arc::clone(&self.figures);
        let mut work = self.work(index, now);
        let pause = match done {
            Ok(pause) => {
                if let (None, Some(issued)) = (&work.subject.order, &work.subject.certificate) {
                    figures.count(Ending::Issued);
                    let days = issued.until.saturating_sub(now) / 86_400;
                    tracing::info!(name = work.name, days, "a certificate is there");
                }
                pause
            }
            Err(trouble) => {
                figures.count(if trouble.blame == Blame::Unreached { Ending::Unreached } else { Ending::Failed });
                let challenge = work.subject.order.as_ref().map_or("none", |order| order.kind.as_str());
                let retry_at = plan::failed(now, work.subject, trouble.fault(wait), &kinds);
                let again = Duration::from_secs(retry_at.saturating_sub(now));
                tracing::error!(name = work.name, challenge, ?again, "no new certificate: {trouble}");
                if trouble.is_of_account {
                    work.directory.forget_account().await?;
                }
                again
            }
        };
        if let (Some(before), None) = (before, &work.subject.order) {
            work.clean_up(&before).await;
        }
        let name = work.name.to_owned();
        let subject = work.subject.clone();
        self.directory.kept.put_subject(&name, &subject).await?;
        Ok(pause.min(LONGEST_SLEEP))
    }

    fn work(&mut self, index: usize, now: u64) -> Work<'_> {
        let Tended { name, subject, pace, .. } = &mut self.names[index];
        Work {
            directory: &mut self.directory,
            name,
            subject,
            pace,
            hook: self.hook.as_deref(),
            kinds: &self.kinds,
            now,
        }
    }

    /// Reads what is kept of a name, and shows it.
    async fn read(&mut self, index: usize) -> Result<(), Trouble> {
        let (kept, tended) = (&self.directory.kept, &mut self.names[index]);
        match kept.subject(&tended.name).await? {
            Some(subject) => tended.subject = subject,
            // The store has lost it.
            None if tended.subject != Subject::default() => {
                kept.put_subject(&tended.name, &tended.subject).await?;
                self.directory.restore().await?;
            }
            None => (),
        }
        if let Some(issued) =
            tended.subject.certificate.as_ref().filter(|issued| tended.chain.as_ref() != Some(&issued.chain))
        {
            let key = kept.reveal(&tended.name, &issued.key).map_err(Trouble::refused)?;
            let (certified, _) = certificate::read(&tended.name, &issued.chain, key).map_err(Trouble::refused)?;
            self.shown.certificate(&tended.name, index == 0, certified);
            self.figures.expires(index, issued.until);
            tended.chain = Some(issued.chain.clone());
        }
        let answer = tended.subject.order.as_ref().filter(|order| order.answer.is_some());
        if tended.answer.as_ref() != answer {
            let answer = answer.cloned();
            if let Some(before) = tended.answer.take() {
                self.shown.hide(&tended.name, &before);
            }
            if let Some(order) = &answer {
                self.shown.show(&tended.name, order).map_err(Trouble::refused)?;
            }
            tended.answer = answer;
        }
        Ok(())
    }
}

impl Tended {
    fn new(name: String) -> Self {
        Self { name, subject: Subject::default(), pace: Pace::default(), look_at: None, chain: None, answer: None }
    }
}

const MEMORY: &str = "--acme needs a store that outlives a restart, or each start would order certificates anew until the directory refuses: \
                      choose one with --store file:PATH, such as --store file:/var/lib/socket2me/tunnels.redb, or --store redis://HOST:PORT";

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
