//! What the owner of a keyed tunnel demands of visitors' requests, before its end sees a byte of them.
//!
//! In reading order:
//!
//! - `settings`: the rules as JSON
//! - `guard`: the rules of one tunnel while it is open, in the order in which they are checked
//! - `rulebook`: reads and writes the rules of all tunnels
//! - `refusal`: what a visitor is told
//! - `basic`: names and passwords; `rate`: how many requests; `replays`: deliveries that have come before
//! - `signature`: the signatures of webhooks, of each vendor's kind

mod basic;
mod guard;
mod rate;
mod refusal;
mod replays;
mod rulebook;
mod settings;
mod signature;

pub(in crate::relay) use self::basic::Unhashed;
pub(in crate::relay) use self::guard::Guard;
pub(in crate::relay) use self::refusal::{Refusal, seconds_up};
pub(in crate::relay) use self::replays::Delivery;
pub(in crate::relay) use self::rulebook::Rulebook;
pub(in crate::relay) use self::settings::{Rules, RulesPatch};
pub(in crate::relay) use self::signature::Signed;
