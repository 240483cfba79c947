//! What is to be done for one name, and when: a state machine that is told the time. All times are seconds since 1970.
//!
//! ```text
//!            ┌──────────────── renewal is due ◄─────────────────┐
//!            ▼                                                  │
//!  nothing: Begin ──► an order: GoOn ──► a certificate: Wait, AskRenewal
//!            ▲              │
//!            └── retry_at ◄─┴─ a failure: the next kind of challenge at once, and an hour or more after the last
//! ```

use super::kept::{Issued, KeptKey, Kind, Subject, Window};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest pause after failures. A directory may ask for more, up to [`LONGEST_ASKED`].
const LONGEST_PAUSE: u64 = DAY;

/// The longest pause that a directory may ask for. What is kept beyond is of a clock that was wrong.
const LONGEST_ASKED: u64 = 8 * DAY;

/// How long an order may take; then it has failed.
const LONGEST_ORDER: u64 = HOUR;

/// How often an order is begun of which no process has noted how that ended; then it has failed.
const MOST_TRIES: u32 = 3;

/// How often the directory may refuse to go on with an order; then another one is begun.
const MOST_REFUSALS: u32 = 2;

/// When the directory is asked again for the time of a renewal that it did not tell.
const ASK_AGAIN: u64 = 6 * HOUR;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing before this time.
    Wait(u64),
    /// To ask the directory when the certificate is to be renewed (RFC 9773).
    AskRenewal,
    /// To begin an order whose name is proved so.
    Begin(Kind),
    /// To look at the order, and do what it needs next.
    GoOn,
    /// To note that the order has failed: it takes too long, or the process ends whenever it begins one.
    GiveUp,
}

/// How an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) blame: Blame,
    /// How long the directory has asked to wait, in seconds; 0 if it has not.
    pub(super) wait: u64,
}

/// What an attempt has failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The directory was not reached, or has refused each nonce of a request: it has done nothing. The order is kept.
    Unreached,
    /// The directory has refused something. The order is kept, if there is one, and given up after [`MOST_REFUSALS`].
    Refused,
    /// The order is lost, such as by a challenge that has failed.
    Order,
}

/// Returns what is to be done for a name that can be proved by these kinds of challenge.
pub(super) fn next(now: u64, subject: &Subject, kinds: &[Kind]) -> Action {
    let retry_at = if subject.retry_at > now + LONGEST_ASKED { now } else { subject.retry_at };
    if retry_at > now {
        return Action::Wait(retry_at);
    }
    if let Some(order) = &subject.order {
        return match order.url {
            _ if now > order.begun + LONGEST_ORDER => Action::GiveUp,
            Some(_) => Action::GoOn,
            None if order.tries >= MOST_TRIES => Action::GiveUp,
            None => Action::Begin(order.kind),
        };
    }
    let begin = || untried(subject, kinds).map_or(Action::Wait(now + HOUR), Action::Begin);
    match &subject.certificate {
        None => begin(),
        Some(issued) if issued.renew_at <= now => begin(),
        Some(issued) if issued.ask_at <= now => Action::AskRenewal,
        Some(issued) => Action::Wait(issued.renew_at.min(issued.ask_at)),
    }
}

/// Returns the kind of challenge that is tried next. All of them are after a pause.
fn untried(subject: &Subject, kinds: &[Kind]) -> Option<Kind> {
    kinds.iter().find(|kind| !subject.tried.contains(kind)).or_else(|| kinds.first()).copied()
}

/// Notes that an attempt has failed. Returns when the next one is.
pub(super) fn failed(now: u64, subject: &mut Subject, fault: Fault, kinds: &[Kind]) -> u64 {
    let kind = subject.order.as_ref().map(|order| order.kind);
    let pause = match fault.blame {
        Blame::Unreached => {
            subject.unreached = subject.unreached.saturating_add(1);
            doubled(MINUTE, subject.unreached).min(HOUR)
        }
        Blame::Order => {
            subject.order = None;
            subject.tried.extend(kind);
            if fault.wait == 0 && kinds.iter().any(|kind| !subject.tried.contains(kind)) {
                0
            } else {
                pause_of(subject)
            }
        }
        Blame::Refused => {
            let pause = pause_of(subject);
            if subject.failures > MOST_REFUSALS {
                subject.order = None;
            }
            pause
        }
    };
    subject.retry_at = now + pause.max(fault.wait.min(LONGEST_ASKED));
    if let Some(order) = &mut subject.order {
        // The pause is not the order's fault.
        order.begun = subject.retry_at;
        order.tries = 0;
    }
    subject.retry_at
}

/// Counts a failure, and returns the pause after it: an hour, then two, and so on.
fn pause_of(subject: &mut Subject) -> u64 {
    subject.tried.clear();
    subject.failures = subject.failures.saturating_add(1);
    doubled(HOUR, subject.failures).min(LONGEST_PAUSE)
}

/// Returns a pause that doubles with each failure after the first.
fn doubled(first: u64, failures: u32) -> u64 {
    first.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX))
}

/// Notes that the directory was reached, and has done what it was asked for.
pub(super) fn reached(subject: &mut Subject) {
    (subject.unreached, subject.retry_at) = (0, 0);
}

/// Ends a pause. Returns false if there is none.
pub(super) fn hurry(subject: &mut Subject) -> bool {
    let pauses = subject.retry_at > 0;
    subject.retry_at = 0;
    pauses
}

/// Takes up a certificate: what was before it is over.
pub(super) fn issued(subject: &mut Subject, chain: String, key: KeptKey, valid: (u64, u64)) {
    let (from, until) = valid;
    let life = until.saturating_sub(from);
    // Where the directory does not say when, two thirds of its life are the custom.
    let issued = Issued { chain, key, from, until, renew_at: from + life / 3 * 2, ask_at: 0, window: None };
    *subject = Subject { certificate: Some(issued), ..Subject::default() };
}

/// Takes up when the directory wants a certificate to be renewed: at a moment of the window that `random` chooses, from 0 to 1. It
/// is asked again after `ask_after` seconds (RFC 9773, section 4.2).
pub(super) fn renewal(now: u64, issued: &mut Issued, window: Window, ask_after: u64, random: f64) {
    issued.ask_at = now + ask_after.clamp(MINUTE, DAY);
    if issued.window == Some(window) || window.end < window.start {
        return;
    }
    issued.window = Some(window);
    let width = (window.end - window.start) as f64;
    // From 0 to the width, which is a number of seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between two numbers of seconds")]
    let chosen = window.start + (width * random.clamp(0.0, 1.0)) as u64;
    // A window after the end would leave visitors without a certificate.
    issued.renew_at = chosen.min(issued.until.saturating_sub((issued.until - issued.from.min(issued.until)) / 10));
}

/// Notes that the directory did not say when a certificate is to be renewed: what it said before holds.
pub(super) fn no_renewal(now: u64, issued: &mut Issued) {
    issued.ask_at = now + ASK_AGAIN;
}

#[cfg(test)]
mod tests {
    use super::super::kept::Order;
    use super::*;

    const NOW: u64 = 1_795_000_000;
    const BOTH: &[Kind] = &[Kind::Http, Kind::TlsAlpn];

    fn ordered(kind: Kind, url: Option<&str>) -> Subject {
        let order = Order { url: url.map(str::to_owned), kind, begun: NOW, ..Order::default() };
        Subject { order: Some(order), ..Subject::default() }
    }

    fn certified() -> Subject {
        let mut subject = ordered(Kind::Http, Some("o"));
        issued(&mut subject, "chain".to_owned(), KeptKey::default(), (NOW, NOW + 90 * DAY));
        subject
    }

    const fn fault(blame: Blame) -> Fault {
        Fault { blame, wait: 0 }
    }

    #[test]
    fn a_name_without_anything_is_ordered_and_an_order_is_gone_on_with() {
        assert_eq!(next(NOW, &Subject::default(), BOTH), Action::Begin(Kind::Http));
        assert_eq!(next(NOW, &ordered(Kind::TlsAlpn, None), BOTH), Action::Begin(Kind::TlsAlpn), "with the same key");
        assert_eq!(next(NOW, &ordered(Kind::Http, Some("o")), BOTH), Action::GoOn);
        assert_eq!(next(NOW + HOUR + 1, &ordered(Kind::Http, Some("o")), BOTH), Action::GiveUp);
        let mut tried = ordered(Kind::Http, None);
        tried.order.as_mut().unwrap().tries = MOST_TRIES;
        assert_eq!(next(NOW, &tried, BOTH), Action::GiveUp, "the process has ended each time");
    }

    #[test]
    fn the_other_challenge_is_tried_at_once_and_after_it_there_is_an_hour_and_then_more() {
        let mut subject = ordered(Kind::Http, Some("o"));
        assert_eq!(failed(NOW, &mut subject, fault(Blame::Order), BOTH), NOW);
        assert_eq!(next(NOW, &subject, BOTH), Action::Begin(Kind::TlsAlpn));
        subject.order = ordered(Kind::TlsAlpn, Some("p")).order;
        assert_eq!(failed(NOW, &mut subject, fault(Blame::Order), BOTH), NOW + HOUR);
        assert_eq!(next(NOW, &subject, BOTH), Action::Wait(NOW + HOUR));
        assert_eq!(next(NOW + HOUR - 1, &subject, BOTH), Action::Wait(NOW + HOUR), "an hour is the least");
        assert_eq!(next(NOW + HOUR, &subject, BOTH), Action::Begin(Kind::Http));
        for hours in [2, 4, 8, 16, 24, 24] {
            subject.order = ordered(Kind::Http, Some("o")).order;
            assert_eq!(failed(NOW, &mut subject, fault(Blame::Order), &[Kind::Http]), NOW + hours * HOUR);
        }
        let mut subject = certified();
        assert_eq!(failed(NOW, &mut subject, fault(Blame::Refused), BOTH), NOW + HOUR, "a certificate changes nothing");
    }

    #[test]
    fn a_directory_that_asks_for_more_time_gets_it_and_a_clock_that_was_wrong_does_not() {
        let mut subject = ordered(Kind::Http, None);
        let asked = |wait| Fault { blame: Blame::Refused, wait };
        assert_eq!(failed(NOW, &mut subject, asked(3 * DAY), BOTH), NOW + 3 * DAY);
        assert_eq!(failed(NOW, &mut subject, asked(1), BOTH), NOW + 2 * HOUR);
        assert_eq!(failed(NOW, &mut subject, asked(u64::MAX), BOTH), NOW + LONGEST_ASKED);
        assert_eq!(next(NOW, &subject, BOTH), Action::Wait(NOW + LONGEST_ASKED));
        assert_eq!(next(NOW - DAY, &subject, BOTH), Action::Begin(Kind::Http));
        let mut subject = ordered(Kind::Http, Some("o"));
        let limited = Fault { blame: Blame::Order, wait: HOUR };
        assert_eq!(failed(NOW, &mut subject, limited, BOTH), NOW + HOUR, "not even for the other challenge");
    }

    #[test]
    fn a_directory_that_is_not_reached_is_tried_within_the_hour_and_the_order_is_kept() {
        let mut subject = ordered(Kind::Http, Some("o"));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(failed(NOW, &mut subject, fault(Blame::Unreached), BOTH), NOW + minutes * MINUTE);
        }
        assert_eq!(next(NOW + HOUR, &subject, BOTH), Action::GoOn);
        reached(&mut subject);
        assert_eq!(failed(NOW, &mut subject, fault(Blame::Unreached), BOTH), NOW + MINUTE);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_unless_the_directory_says_when() {
        let mut subject = certified();
        assert_eq!(next(NOW, &subject, BOTH), Action::AskRenewal);
        no_renewal(NOW, subject.certificate.as_mut().unwrap());
        assert_eq!(next(NOW, &subject, BOTH), Action::Wait(NOW + 6 * HOUR));
        assert_eq!(next(NOW + 60 * DAY, &subject, BOTH), Action::Begin(Kind::Http));
        let issued = subject.certificate.as_mut().unwrap();
        let window = Window { start: NOW + 20 * DAY, end: NOW + 22 * DAY };
        renewal(NOW, issued, window, 2 * HOUR, 0.5);
        assert_eq!((issued.renew_at, issued.ask_at), (NOW + 21 * DAY, NOW + 2 * HOUR));
        renewal(NOW, issued, window, 0, 0.9);
        assert_eq!((issued.renew_at, issued.ask_at), (NOW + 21 * DAY, NOW + MINUTE), "the moment is chosen once");
        renewal(NOW, issued, Window { start: NOW - 2 * DAY, end: NOW - DAY }, u64::MAX, 0.0);
        assert_eq!(issued.ask_at, NOW + DAY);
        assert_eq!(next(NOW, &subject, BOTH), Action::Begin(Kind::Http), "it was revoked");
    }

    #[test]
    fn a_window_after_the_end_of_a_certificate_and_one_that_ends_before_it_begins_are_not_believed() {
        let mut subject = certified();
        let issued = subject.certificate.as_mut().unwrap();
        renewal(NOW, issued, Window { start: NOW + 9, end: NOW + 8 }, HOUR, 0.5);
        assert_eq!(issued.renew_at, NOW + 60 * DAY);
        renewal(NOW, issued, Window { start: NOW + 91 * DAY, end: NOW + 99 * DAY }, HOUR, 0.5);
        assert_eq!(issued.renew_at, NOW + 81 * DAY);
    }
}
