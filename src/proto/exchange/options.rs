//! What an end asked for when it connected (PROTOCOL.md, "Connecting as an end").

use bytestring::ByteString;

use crate::proto::json;

/// The options of an end. The default is what the original does for every end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndOptions {
    /// `body: 'raw'`: the end gets every body as its exact bytes, which a webhook's signature is checked against.
    pub raw_body: bool,
    /// `rawHeaders: true`: the end gets a list of the request's header lines too.
    pub raw_headers: bool,
}

/// What an end brought when it connected: its options, and the text of its key, which is not kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EndAuth {
    /// The options.
    pub options: EndOptions,
    /// `key`: the end shows that it may be the end of a keyed tunnel.
    pub key: Option<String>,
}

impl std::fmt::Debug for EndAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndAuth").field("options", &self.options).finish_non_exhaustive()
    }
}

impl EndAuth {
    /// Reads the JSON object `auth` of an end on Engine.IO 4. Unknown keys are ignored: the application may use them.
    ///
    /// # Errors
    /// Fails with a message for the end's author if an option has a value that means nothing.
    pub fn from_auth(auth: Option<&ByteString>) -> Result<Self, String> {
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
        let key = match json::member(auth, "key").as_deref() {
            None | Some("null") => None,
            Some(text) if text.starts_with('"') => Some(json::unquote(text).into_owned()),
            Some(_) => return Err("auth.key must be a string".to_owned()),
        };
        Ok(Self { options: EndOptions { raw_body, raw_headers }, key })
    }

    /// Reads the query of an end on Engine.IO 3, which has no `auth`. Of a repeated option the last value counts. Unknown names
    /// are ignored.
    ///
    /// # Errors
    /// Fails with a message for the end's author if an option has a value that means nothing.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let Self { mut options, mut key } = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("body", "raw") => options.raw_body = true,
                ("body", "parsed") => options.raw_body = false,
                ("body", _) => return Err("body must be raw or parsed in the namespace's query".to_owned()),
                ("rawHeaders", "true") => options.raw_headers = true,
                ("rawHeaders", "false") => options.raw_headers = false,
                ("rawHeaders", _) => return Err("rawHeaders must be true or false in the namespace's query".to_owned()),
                ("key", value) => key = Some(value.to_owned()),
                _ => (),
            }
        }
        Ok(Self { options, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(raw_body: bool, raw_headers: bool) -> EndAuth {
        EndAuth { options: EndOptions { raw_body, raw_headers }, key: None }
    }

    fn key(key: &str) -> EndAuth {
        EndAuth { key: Some(key.to_owned()), ..EndAuth::default() }
    }

    #[test]
    fn reads_the_options_of_an_auth_object() {
        for (auth, expected) in [
            (None, Ok(options(false, false))),
            (Some("{}"), Ok(options(false, false))),
            (Some(r#"{"token":"x","body":"raw"}"#), Ok(options(true, false))),
            (Some(r#"{"body":"parsed","rawHeaders":true}"#), Ok(options(false, true))),
            (Some(r#"{"body":null,"rawHeaders":false}"#), Ok(options(false, false))),
            (Some(r#"{"key":"s2m_\u0030"}"#), Ok(key("s2m_0"))),
            (Some(r#"{"key":null}"#), Ok(options(false, false))),
            (Some(r#"{"key":7}"#), Err("auth.key must be a string".to_owned())),
            (Some(r#"{"body":"stream"}"#), Err("auth.body must be 'raw' or 'parsed'".to_owned())),
            (Some(r#"{"rawHeaders":"yes"}"#), Err("auth.rawHeaders must be true or false".to_owned())),
        ] {
            assert_eq!(EndAuth::from_auth(auth.map(ByteString::from).as_ref()), expected, "{auth:?}");
        }
    }

    #[test]
    fn reads_the_options_of_an_older_ends_query() {
        for (query, expected) in [
            ("", Some(options(false, false))),
            ("x=1&body=raw&EIO=3", Some(options(true, false))),
            ("rawHeaders=true&body=parsed", Some(options(false, true))),
            ("body=raw&body=parsed&rawHeaders=false", Some(options(false, false))),
            ("body=r%61w", Some(options(true, false))),
            ("EIO=3&key=s2m%5F0", Some(key("s2m_0"))),
            ("body=stream", None),
            ("body", None),
            ("rawHeaders=1", None),
        ] {
            assert_eq!(EndAuth::from_query(query).ok(), expected, "{query}");
        }
    }
}
