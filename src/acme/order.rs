//! One step of an order. What is next is what the directory says of it, so a step is the same after a restart.

use std::path::Path;
use std::time::Duration;

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error, Identifier,
    NewOrder, OrderStatus,
};
use rustls::pki_types::Der;
use tokio::time::Instant;

use super::certificate;
use super::directory::Directory;
use super::hook::{self, Step};
use super::kept::{Answer, Kind, Order, Subject, Window};
use super::plan::{self, Blame};
use super::trouble::Trouble;

/// How long what a directory is to find is shown before it is told to look, where others must show it too.
const SPREAD: Duration = Duration::from_secs(3);

/// Times between two looks at an order, at first and at the most.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(30);

/// A name that is worked on.
pub(super) struct Work<'w> {
    pub(super) directory: &'w mut Directory,
    /// The name, which may begin with `*.`.
    pub(super) name: &'w str,
    pub(super) subject: &'w mut Subject,
    pub(super) pace: &'w mut Pace,
    pub(super) hook: Option<&'w Path>,
    /// How names are proved.
    pub(super) kinds: &'w [Kind],
    /// The time, in seconds since 1970.
    pub(super) now: u64,
}

/// What a process remembers of an order on its way.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Looks at the order without a change.
    looks: u32,
    /// The answer to a challenge that is shown, and since when.
    shown: Option<(Answer, Instant)>,
    /// The challenge at which the directory was told to look. Not all directories say that they do: Let's Encrypt's stays `pending`,
    /// and looks once more each time it is told.
    told: Option<String>,
}

impl Work<'_> {
    /// Begins an order, which is kept first. Returns how long to wait before the next step.
    pub(super) async fn begin(&mut self, kind: Kind) -> Result<Duration, Trouble> {
        self.pace.told = None;
        if self.subject.order.is_none() {
            let key = certificate::new_key().map_err(Trouble::refused)?;
            let key = self.directory.kept.conceal(self.name, &key);
            self.subject.order = Some(Order { key, kind, begun: self.now, ..Order::default() });
        }
        if let Some(order) = &mut self.subject.order {
            order.tries += 1;
        }
        self.put().await?;
        let account = self.directory.account().await?;
        let identifiers = [Identifier::Dns(self.name.to_owned())];
        let order = NewOrder::new(&identifiers);
        let replaced = self.replaced();
        let begun = match &replaced {
            None => account.new_order(&order).await,
            Some(replaced) => match account.new_order(&NewOrder::new(&identifiers).replaces(replaced.clone())).await {
                // The directory knows no ARI, or has replaced it before.
                Err(Error::Unsupported(_)) => account.new_order(&order).await,
                Err(error) if Trouble::is(&error, "alreadyReplaced") => account.new_order(&order).await,
                begun => begun,
            },
        };
        let url = begun?.url().to_owned();
        tracing::info!(name = self.name, challenge = kind.as_str(), order = url, "a certificate is ordered");
        if let Some(order) = &mut self.subject.order {
            order.url = Some(url);
        }
        plan::reached(self.subject);
        self.put().await?;
        Ok(Duration::ZERO)
    }

    /// Returns the certificate that an order replaces. None after a failure: it may have been the reason.
    fn replaced(&self) -> Option<CertificateIdentifier<'static>> {
        let issued = self.subject.certificate.as_ref().filter(|_| self.subject.failures == 0)?;
        let key = self.directory.kept.reveal(self.name, &issued.key).ok()?;
        let (_, facts) = certificate::read(self.name, &issued.chain, key).ok()?;
        identifier(&facts)
    }

    /// Looks at the order and does what it needs next. Returns how long to wait before the next step.
    pub(super) async fn go_on(&mut self) -> Result<Duration, Trouble> {
        let Some(Order { url: Some(url), key, .. }) = &self.subject.order else { return Ok(Duration::ZERO) };
        let key = self.directory.kept.reveal(self.name, key).map_err(Trouble::refused)?;
        let account = self.directory.account().await?;
        let mut order = account.order(url.clone()).await.map_err(of_lost)?;
        plan::reached(self.subject);
        match order.state().status {
            OrderStatus::Pending => {
                let mut authorizations = order.authorizations();
                while let Some(authorization) = authorizations.next().await {
                    if let Some(wait) = self.prove(authorization?).await? {
                        return Ok(wait);
                    }
                }
                Ok(self.later())
            }
            OrderStatus::Ready => {
                let request = certificate::request(self.name, &key).map_err(Trouble::refused)?;
                order.finalize_csr(&request).await?;
                self.pace.looks = 0;
                Ok(self.later())
            }
            OrderStatus::Processing => Ok(self.later()),
            OrderStatus::Valid => {
                let chain =
                    order.certificate().await?.ok_or_else(|| Trouble::refused("the order has no certificate"))?;
                let read = certificate::read(self.name, &chain, key);
                let (_, facts) = read.map_err(|what| Trouble::of_order(None, &what))?;
                let sealed = self.subject.order.take().map(|order| order.key).unwrap_or_default();
                plan::issued(self.subject, chain, sealed, facts.valid);
                self.put().await?;
                Ok(Duration::ZERO)
            }
            OrderStatus::Invalid => {
                if let Some(problem) = &order.state().error {
                    return Err(Trouble::of_order(Some(problem), ""));
                }
                while let Some(authorization) = order.authorizations().next().await {
                    let authorization = authorization?;
                    if authorization.status != AuthorizationStatus::Valid {
                        return Err(of_challenge(&authorization));
                    }
                }
                Err(Trouble::of_order(None, "the directory has refused the order, and does not say why"))
            }
        }
    }

    /// Shows what the directory is to find, and tells it to look. Returns how long to wait before; `None` if there is no more to do.
    async fn prove(&mut self, mut authorization: AuthorizationHandle<'_>) -> Result<Option<Duration>, Trouble> {
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(None),
            AuthorizationStatus::Pending => (),
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => return Err(of_challenge(&authorization)),
        }
        let kind = self.offered(&authorization);
        let challenge = kind.and_then(|kind| Some((kind, authorization.challenge(challenge_type(kind))?)));
        let Some((kind, mut challenge)) = challenge else {
            let what = "the directory offers no challenge for this name that this server can answer";
            return Err(Trouble::of_order(None, what));
        };
        if challenge.status != ChallengeStatus::Pending || self.pace.told.as_ref() == Some(&challenge.url) {
            return Ok(None);
        }
        let proof = challenge.key_authorization();
        let answer = Answer { token: challenge.token.clone(), text: proof.as_str().to_owned() };
        if let Some(wait) = self.show(kind, answer, &proof.dns_value()).await? {
            return Ok(Some(wait));
        }
        match challenge.set_ready().await {
            // The answer is the challenge, with what the directory has found at the name by now. The next look tells what became of it.
            Err(Error::Api(_)) if self.directory.is_success() => (),
            told => told?,
        }
        self.pace.told = Some(challenge.url.clone());
        self.pace.looks = 0;
        Ok(None)
    }

    /// Returns how a name is proved: as the order was begun, unless the directory does not offer that.
    fn offered(&mut self, authorization: &AuthorizationHandle<'_>) -> Option<Kind> {
        let order = self.subject.order.as_mut()?;
        let tried = &self.subject.tried;
        let untried = self.kinds.iter().copied().filter(|kind| !tried.contains(kind));
        let is_offered = |kind: &Kind| authorization.challenges.iter().any(|of| of.r#type == challenge_type(*kind));
        order.kind = [order.kind].into_iter().chain(untried).find(is_offered)?;
        Some(order.kind)
    }

    /// Has an answer shown, by all servers. Returns how long to wait until they do.
    async fn show(&mut self, kind: Kind, answer: Answer, record: &str) -> Result<Option<Duration>, Trouble> {
        let since = match &self.pace.shown {
            Some((shown, since)) if *shown == answer => *since,
            Some(_) | None => {
                if let Some(order) = &mut self.subject.order {
                    order.answer = Some(answer.clone());
                }
                self.put().await?;
                if let (Kind::Dns, Some(program)) = (kind, self.hook) {
                    let set = hook::run(program, Step::Present, &record_name(self.name), record).await;
                    set.map_err(|what| Trouble::new(Blame::Unreached, what, "mend the program"))?;
                }
                self.pace.shown = Some((answer, Instant::now()));
                // The next step is after this server has begun to show it.
                return Ok(Some(Duration::ZERO));
            }
        };
        let left =
            if self.directory.kept.is_shared() { SPREAD.saturating_sub(since.elapsed()) } else { Duration::ZERO };
        Ok(Some(left).filter(|left| !left.is_zero()))
    }

    /// Takes away what a directory was to find in DNS. That this fails is told, and is no reason to have no certificate.
    pub(super) async fn clean_up(&mut self, order: &Order) {
        self.pace.shown = None;
        let (Kind::Dns, Some(answer), Some(program)) = (order.kind, &order.answer, self.hook) else { return };
        let record = record_value(&answer.text);
        if let Err(what) = hook::run(program, Step::Cleanup, &record_name(self.name), &record).await {
            tracing::warn!(name = self.name, "{what}");
        }
    }

    /// Asks the directory when the certificate is to be renewed. Returns how long to wait before the next step.
    pub(super) async fn ask_renewal(&mut self, random: f64) -> Result<Duration, Trouble> {
        let Some(issued) = &self.subject.certificate else { return Ok(Duration::ZERO) };
        let key = self.directory.kept.reveal(self.name, &issued.key).map_err(Trouble::refused)?;
        let facts = certificate::read(self.name, &issued.chain, key).ok().and_then(|(_, facts)| identifier(&facts));
        let account = self.directory.account().await?;
        let info = match &facts {
            Some(id) => account.renewal_info(id).await.ok(),
            None => None,
        };
        let seconds = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or(0);
        if let Some(issued) = &mut self.subject.certificate {
            match info {
                Some((info, after)) => {
                    let window = info.suggested_window;
                    let window = Window { start: seconds(window.start), end: seconds(window.end) };
                    plan::renewal(self.now, issued, window, after.as_secs(), random);
                }
                None => plan::no_renewal(self.now, issued),
            }
        }
        self.put().await?;
        Ok(Duration::ZERO)
    }

    /// Returns when to look at the order again: when the directory says, else soon and then less often.
    fn later(&mut self) -> Duration {
        let wait = Duration::from_secs(self.directory.wait());
        let own = FIRST_LOOK.saturating_mul(1_u32.checked_shl(self.pace.looks).unwrap_or(u32::MAX));
        self.pace.looks += 1;
        if wait.is_zero() { own.min(LAST_LOOK) } else { wait.min(2 * LAST_LOOK) }
    }

    async fn put(&self) -> Result<(), Trouble> {
        Ok(self.directory.kept.put_subject(self.name, self.subject).await?)
    }
}

/// Returns by what a directory knows a certificate.
fn identifier(facts: &certificate::Facts) -> Option<CertificateIdentifier<'static>> {
    let (issuer, serial) = facts.id.as_ref()?;
    Some(CertificateIdentifier::new(Der::from_slice(issuer), Der::from_slice(serial)).into_owned())
}

fn challenge_type(kind: Kind) -> ChallengeType {
    match kind {
        Kind::Http => ChallengeType::Http01,
        Kind::TlsAlpn => ChallengeType::TlsAlpn01,
        Kind::Dns => ChallengeType::Dns01,
    }
}

/// Returns the name of the record that proves a name (RFC 8555, section 8.4).
fn record_name(name: &str) -> String {
    format!("_acme-challenge.{}", name.strip_prefix("*.").unwrap_or(name))
}

fn record_value(key_authorization: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;

    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(key_authorization))
}

/// An order that the directory does not know, or not of this account, is lost.
fn of_lost(error: Error) -> Trouble {
    let is_lost = match &error {
        Error::Api(problem) => matches!(problem.status, Some(403 | 404)) || Trouble::is(&error, "malformed"),
        _ => false,
    };
    let mut trouble = Trouble::from(error);
    if is_lost {
        trouble.blame = Blame::Order;
    }
    trouble
}

/// Returns why a challenge has failed.
fn of_challenge(authorization: &AuthorizationHandle<'_>) -> Trouble {
    let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
    Trouble::of_order(problem, "the name could not be proved, and the directory does not say why")
}
