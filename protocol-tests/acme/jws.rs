//! Requests to the directory, of which each signature, nonce and URL is checked (RFC 8555, section 6).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

/// A request whose signature is right.
pub(super) struct Signed {
    /// Who has signed.
    pub(super) signer: Signer,
    pub(super) nonce: String,
    /// What was asked for; `None` for a POST-as-GET.
    pub(super) payload: Option<Value>,
}

/// How a request names the key that signed it.
pub(super) enum Signer {
    /// By the key itself.
    Key(Key),
    /// By the URL of an account.
    Account(String),
}

/// A key of P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    x: String,
    y: String,
}

impl Key {
    fn of(jwk: &Value) -> Result<Self, String> {
        let text = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        if text("kty") != "EC" || text("crv") != "P-256" || jwk.get("d").is_some() {
            return Err(format!("a key of another kind: {jwk}"));
        }
        Ok(Self { x: text("x"), y: text("y") })
    }

    /// The point, as a certificate has it.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        let [x, y] = [&self.x, &self.y].map(|part| BASE64.decode(part).unwrap_or_default());
        if x.len() != 32 || y.len() != 32 {
            return Err("a coordinate that has not 32 bytes".to_owned());
        }
        Ok([&[4], &x[..], &y].concat())
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        BASE64.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
    }
}

/// Reads a request to a URL. `key_of` knows the keys of accounts.
pub(super) fn read(url: &str, body: &[u8], key_of: impl Fn(&str) -> Option<Key>) -> Result<Signed, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let member = |name: &str| body[name].as_str().ok_or_else(|| format!("no `{name}` in {body}"));
    let (protected, payload, signature) = (member("protected")?, member("payload")?, member("signature")?);
    if body.as_object().is_some_and(|body| body.len() != 3) {
        return Err(format!("more members than a flattened JWS has: {body}"));
    }
    let decode = |text: &str| BASE64.decode(text).map_err(|error| format!("no base64url without padding: {error}"));
    let head: Value = serde_json::from_slice(&decode(protected)?).map_err(|error| error.to_string())?;
    if head["alg"] != "ES256" {
        return Err(format!("another algorithm: {head}"));
    }
    if head["url"] != url {
        return Err(format!("signed for {}, sent to {url}", head["url"]));
    }
    let (signer, key) = match (head.get("jwk"), head.get("kid").and_then(Value::as_str)) {
        (Some(jwk), None) => (Signer::Key(Key::of(jwk)?), Key::of(jwk)?),
        (None, Some(kid)) => {
            let key = key_of(kid).ok_or_else(|| format!("an unknown account: {kid}"))?;
            (Signer::Account(kid.to_owned()), key)
        }
        _ => return Err(format!("either `jwk` or `kid`: {head}")),
    };
    let signed = format!("{protected}.{payload}");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.bytes()?);
    key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| "a wrong signature".to_owned())?;
    let nonce = head["nonce"].as_str().ok_or("no nonce")?.to_owned();
    let payload = match payload {
        "" => None,
        payload => Some(serde_json::from_slice(&decode(payload)?).map_err(|error| error.to_string())?),
    };
    Ok(Signed { signer, nonce, payload })
}
