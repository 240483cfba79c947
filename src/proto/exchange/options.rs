//! What an end asked for when it connected: its `auth` (PROTOCOL.md, "Options of an end").

use bytestring::ByteString;

use crate::proto::json;

/// An end's choices. The default is what the original gives to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndOptions {
    /// `body: 'raw'`: every body comes as its exact bytes. Signatures of webhooks need them.
    pub raw_body: bool,
    /// `rawHeaders: true`: the request has a list of its header lines too.
    pub raw_headers: bool,
}

impl EndOptions {
    /// Reads the `auth` object. What it does not know is somebody else's.
    ///
    /// # Errors
    /// With a message for the end's author when a known option has a value that means nothing.
    pub fn parse(auth: Option<&ByteString>) -> Result<Self, String> {
        let Some(auth) = auth else { return Ok(Self::default()) };
        let raw_body = match json::member(auth, "body").as_deref() {
            Some(r#""raw""#) => true,
            None | Some(r#""parsed""# | "null") => false,
            Some(_) => return Err("auth.body must be 'raw' or 'parsed'".to_owned()),
        };
        let raw_headers = match json::member(auth, "rawHeaders").as_deref() {
            Some("true") => true,
            None | Some("false" | "null") => false,
            Some(_) => return Err("auth.rawHeaders must be true or false".to_owned()),
        };
        Ok(Self { raw_body, raw_headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_end_asks_for() {
        let options = |raw_body, raw_headers| Ok(EndOptions { raw_body, raw_headers });
        for (auth, expected) in [
            (None, options(false, false)),
            (Some("{}"), options(false, false)),
            (Some(r#"{"token":"x","body":"raw"}"#), options(true, false)),
            (Some(r#"{"body":"parsed","rawHeaders":true}"#), options(false, true)),
            (Some(r#"{"body":null,"rawHeaders":false}"#), options(false, false)),
            (Some(r#"{"body":"stream"}"#), Err("auth.body must be 'raw' or 'parsed'".to_owned())),
            (Some(r#"{"rawHeaders":"yes"}"#), Err("auth.rawHeaders must be true or false".to_owned())),
        ] {
            assert_eq!(EndOptions::parse(auth.map(ByteString::from).as_ref()), expected, "{auth:?}");
        }
    }
}
