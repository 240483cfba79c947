//! Checks the signature of a webhook: that its sender knows the secret, signed exactly these bytes, and did so lately. Pure: the
//! request and the time go in, a verdict comes out.
//!
//! In reading order:
//!
//! - `verify`: the rule itself, [`Verify`], and its check
//! - `settings`: the rule as JSON, the member `verify` of a tunnel's rules
//! - `preset`: the names of the kinds of signatures; `secret`: what signatures are made with
//! - `recipe` and `template`: signatures that a header, a digest and a template describe
//! - `listed`: Stripe and Standard Webhooks, whose header lists several signatures
//! - `twilio`: Twilio, which signs the URL and the fields of a form
//! - `claim`: what a request says was signed, and the comparison with what the secrets make of it
//! - `request` and `fault`: what is checked, and why it is refused
//!
//! What holds everywhere here: a signature is compared in constant time; a signature is checked before the time that it covers; a
//! header that could be read in two ways is refused; no message and no `Debug` shows a secret or the signature that was expected.

mod claim;
mod fault;
mod listed;
mod preset;
mod recipe;
mod request;
mod secret;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod twilio;
mod verify;

pub(in crate::relay) use self::claim::ReplayKey;
pub(in crate::relay) use self::fault::Fault;
pub(in crate::relay) use self::preset::Preset;
pub(in crate::relay) use self::request::Signed;
pub(in crate::relay) use self::verify::{Mode, Verify};
