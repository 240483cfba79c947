//! What the owner of a keyed tunnel demands of visitors' requests.
//!
//! - `signature`: the signatures of webhooks, of each vendor's kind

mod signature;

#[expect(unused_imports, reason = "nothing of the relay checks signatures yet")]
pub(in crate::relay) use self::signature::{Fault, Mode, Preset, ReplayKey, Signed, Verified, Verify};
