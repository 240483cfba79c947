//! What certificate authorities find at this server over plain HTTP.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What certificate authorities find below `/.well-known/acme-challenge/` (RFC 8555, section 8.3), by its token.
#[derive(Default)]
pub struct Challenges(Mutex<HashMap<String, Bytes>>);

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

impl Challenges {
    /// Answers the challenge of this token with a key authorization.
    pub fn set(&self, token: &str, authorization: &str) {
        self.lock().insert(token.to_owned(), Bytes::copy_from_slice(authorization.as_bytes()));
    }

    /// Forgets a challenge.
    pub fn remove(&self, token: &str) {
        self.lock().remove(token);
    }

    /// Returns the key authorization that answers the challenge of a token. `None` if there is no such challenge.
    #[must_use]
    pub fn get(&self, token: &str) -> Option<Bytes> {
        self.lock().get(token).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_until_it_is_removed() {
        let challenges = Challenges::default();
        challenges.set("token", "token.thumbprint");
        assert_eq!(challenges.get("token").as_deref(), Some(&b"token.thumbprint"[..]));
        assert_eq!(challenges.get("other"), None);
        challenges.remove("token");
        assert_eq!(challenges.get("token"), None);
    }
}
