//! Secrets in files.

use std::fmt;
use std::path::Path;

/// The most bytes of a secret. A file with more is another file.
const MAX_SECRET: usize = 4 << 10;

/// A secret of the operator. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The keys under which secrets are kept: the first seals, and any of them opens. `Debug` shows nothing of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsKeys(Vec<Secret>);

impl SecretsKeys {
    /// Returns the keys.
    #[must_use]
    pub fn all(&self) -> &[Secret] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Reads a secret from a file: its text without white space around it.
pub(super) fn secret_file(path: &str) -> Result<Secret, String> {
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let secret = text.trim();
    if secret.is_empty() || secret.len() > MAX_SECRET {
        return Err(format!("`{path}` has no secret: write one line of 1 to {MAX_SECRET} bytes into it"));
    }
    // Others could not be sent in a header.
    if !secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(format!("`{path}` has characters that no header can have: write letters and digits"));
    }
    Ok(Secret(secret.to_owned()))
}

/// The fewest characters of a key: those of 32 bytes at random in base64, without what that ends with.
const MIN_KEY: usize = 43;

/// Reads the keys under which secrets are kept: a line each.
pub(super) fn keys_file(path: &str) -> Result<SecretsKeys, String> {
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let keys: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if keys.is_empty() || keys.iter().any(|key| !(MIN_KEY..=MAX_SECRET).contains(&key.len())) {
        return Err(format!(
            "`{path}` has no key, or one that could be guessed: write lines of {MIN_KEY} characters and more, as \
             `openssl rand -base64 32` makes them"
        ));
    }
    Ok(SecretsKeys(keys.into_iter().map(Secret::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_line_in_a_file() {
        let path = std::env::temp_dir().join(format!("socket2me-secret-{}", std::process::id()));
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            secret_file(path.to_str().unwrap())
        };
        assert_eq!(read(" tell-nobody\n"), Ok(Secret::from("tell-nobody")));
        for wrong in ["", "\n", "a\nb", "gar\u{e7}on", &"a".repeat(MAX_SECRET + 1)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let keys = |content: &str| {
            std::fs::write(&path, content).unwrap();
            keys_file(path.to_str().unwrap())
        };
        let (one, other) = ("a".repeat(MIN_KEY), "b".repeat(MIN_KEY));
        let both = SecretsKeys(vec![Secret::from(&*one), Secret::from(&*other)]);
        assert_eq!(keys(&format!("{one}\n\n {other}\r\n")), Ok(both));
        for wrong in ["", "\n", "short", &format!("{one}\nshort")] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(secret_file(path.to_str().unwrap()).unwrap_err().starts_with("cannot read"));
        assert_eq!(format!("{:?}", Secret::from("tell-nobody")), "Secret");
    }
}
