//! Keys as they are kept.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;

/// What a key that is not encrypted begins with.
const PLAIN: &str = "plain:";

/// Returns a secret as it is kept.
pub(super) fn seal(plain: &[u8]) -> String {
    format!("{PLAIN}{}", BASE64.encode(plain))
}

/// Returns a secret that was kept.
///
/// # Errors
/// When it was sealed with a key that this server does not have.
pub(super) fn open(kept: &str) -> Result<Vec<u8>, String> {
    let encoded = kept.strip_prefix(PLAIN).ok_or("a key in the store is encrypted: give --secrets-key-file")?;
    BASE64.decode(encoded).map_err(|_| "a key in the store is not as it was written".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_kept() {
        assert_eq!(open(&seal(b"secret")).as_deref(), Ok(&b"secret"[..]));
        assert!(open("v1:abc").is_err() && open("plain:é").is_err());
    }
}
