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
        std::fs::remove_file(&path).unwrap();
        assert!(secret_file(path.to_str().unwrap()).unwrap_err().starts_with("cannot read"));
        assert_eq!(format!("{:?}", Secret::from("tell-nobody")), "Secret");
    }
}
