//! What an end asked for when it connected (PROTOCOL.md, "Connecting as an end").

use bytestring::ByteString;

use super::stream::{self, Asked};
use crate::proto::json;

/// The options of an end. The default is what the original does for every end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndOptions {
    /// `body: 'raw'`: the end gets every body as its exact bytes, which a webhook's signature is checked against.
    pub raw_body: bool,
    /// `rawHeaders: true`: the end gets a list of the request's header lines too.
    pub raw_headers: bool,
    /// `stream`: bodies of any size, event streams and WebSockets (PROTOCOL.md, "Streaming").
    pub stream: Option<Asked>,
    /// `notices: true`: the end gets the event `notice` when something goes wrong (PROTOCOL.md, "Notices").
    pub notices: bool,
}

/// The names of what an end may ask for or show when it connects.
pub const OPTION_NAMES: [&str; 5] = ["body", "rawHeaders", "stream", "notices", "key"];

/// The words of Engine.IO in the query of a session's first request, which the options share.
const OF_ENGINE_IO: [&str; 6] = ["EIO", "transport", "t", "sid", "b64", "j"];

/// The most unknown names that are kept, and the most characters of one. What is beyond was no mistake.
const MAX_UNKNOWN: usize = 8;
const MAX_NAME: usize = 40;

/// What an end brought when it connected: its options, the text of its key, which is not kept, and what means nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EndAuth {
    /// The options.
    pub options: EndOptions,
    /// `key`: the end shows that it may be the end of a keyed tunnel.
    pub key: Option<String>,
    /// Names that are no options, as for one that is misspelt: the first 8, cut to 40 characters.
    pub unknown: Vec<String>,
}

impl std::fmt::Debug for EndAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndAuth").field("options", &self.options).finish_non_exhaustive()
    }
}

impl EndAuth {
    /// Reads the JSON object `auth` of an end on Engine.IO 4. Unknown keys have no effect.
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
        let switch = |name| match json::member(auth, name).as_deref() {
            Some("true") => Ok(true),
            None | Some("false" | "null") => Ok(false),
            Some(_) => Err(format!("auth.{name} must be true or false")),
        };
        let (raw_headers, notices) = (switch("rawHeaders")?, switch("notices")?);
        let stream = json::member(auth, "stream").map(|stream| Asked::from_json(&stream)).transpose()?.flatten();
        let key = match json::member(auth, "key").as_deref() {
            None | Some("null") => None,
            Some(text) if text.starts_with('"') => Some(json::unquote(text).into_owned()),
            Some(_) => return Err("auth.key must be a string".to_owned()),
        };
        let mut unknown = Vec::new();
        // The packet was checked when it came: this is an object.
        let _ = json::for_each_member(auth, |member| {
            let name = json::unquote(&auth[member.key]);
            if !OPTION_NAMES.contains(&&*name) {
                note_unknown(&mut unknown, &name);
            }
        });
        let raw_body = raw_body || stream.is_some();
        Ok(Self { options: EndOptions { raw_body, raw_headers, stream, notices }, key, unknown })
    }

    /// Reads the query of an end on Engine.IO 3, which has no `auth`. Of a repeated option the last value counts. Unknown names
    /// have no effect.
    ///
    /// # Errors
    /// Fails with a message for the end's author if an option has a value that means nothing.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let options = &mut read.options;
        options.stream = Asked::from_query(query)?;
        let is_true = |name: &str, value: &str| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{name} must be true or false in the namespace's query")),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("body", "raw") => options.raw_body = true,
                ("body", "parsed") => options.raw_body = false,
                ("body", _) => return Err("body must be raw or parsed in the namespace's query".to_owned()),
                ("rawHeaders", value) => options.raw_headers = is_true("rawHeaders", value)?,
                ("notices", value) => options.notices = is_true("notices", value)?,
                ("key", value) => read.key = Some(value.to_owned()),
                (name, _) if OF_ENGINE_IO.contains(&name) || name == "stream" => (),
                (name, _) if options.stream.is_some() && stream::options::NAMES.contains(&name) => (),
                (name, _) => note_unknown(&mut read.unknown, name),
            }
        }
        options.raw_body |= options.stream.is_some();
        Ok(read)
    }
}

/// Keeps a name that is no option.
fn note_unknown(unknown: &mut Vec<String>, name: &str) {
    let name: String = name.chars().take(MAX_NAME).collect();
    if unknown.len() < MAX_UNKNOWN && !unknown.contains(&name) {
        unknown.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(raw_body: bool, raw_headers: bool) -> EndAuth {
        EndAuth { options: EndOptions { raw_body, raw_headers, ..EndOptions::default() }, ..EndAuth::default() }
    }

    fn notices(unknown: &[&str]) -> EndAuth {
        let options = EndOptions { notices: true, ..EndOptions::default() };
        EndAuth { options, key: None, unknown: unknown.iter().map(ToString::to_string).collect() }
    }

    fn streaming() -> EndAuth {
        let options = EndOptions { raw_body: true, stream: Some(Asked::default()), ..EndOptions::default() };
        EndAuth { options, ..EndAuth::default() }
    }

    fn key(key: &str) -> EndAuth {
        EndAuth { key: Some(key.to_owned()), ..EndAuth::default() }
    }

    #[test]
    fn reads_the_options_of_an_auth_object() {
        for (auth, expected) in [
            (None, Ok(options(false, false))),
            (Some("{}"), Ok(options(false, false))),
            (Some(r#"{"body":"raw"}"#), Ok(options(true, false))),
            (Some(r#"{"notices":true}"#), Ok(notices(&[]))),
            (Some(r#"{"notices":false,"rawHeaders":null}"#), Ok(options(false, false))),
            (Some(r#"{"notices":1}"#), Err("auth.notices must be true or false".to_owned())),
            (
                Some(r#"{"token":"x","rawheaders":true,"notices":true,"to\u006ben":1,"":2}"#),
                Ok(notices(&["token", "rawheaders", ""])),
            ),
            (Some(r#"{"body":"parsed","rawHeaders":true}"#), Ok(options(false, true))),
            (Some(r#"{"body":null,"rawHeaders":false}"#), Ok(options(false, false))),
            (Some(r#"{"key":"s2m_\u0030"}"#), Ok(key("s2m_0"))),
            (Some(r#"{"key":null}"#), Ok(options(false, false))),
            (Some(r#"{"key":7}"#), Err("auth.key must be a string".to_owned())),
            (Some(r#"{"stream":1,"body":"parsed"}"#), Ok(streaming())),
            (Some(r#"{"stream":"yes"}"#), Err("auth.stream must be 1 or an object".to_owned())),
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
            ("t=1&body=raw&EIO=3", Some(options(true, false))),
            ("rawHeaders=true&body=parsed", Some(options(false, true))),
            ("body=raw&body=parsed&rawHeaders=false", Some(options(false, false))),
            ("body=r%61w", Some(options(true, false))),
            ("EIO=3&key=s2m%5F0", Some(key("s2m_0"))),
            ("stream=1&EIO=3&ws=messages", Some(streaming())),
            ("stream=0&notices=true&ws=x", Some(notices(&["ws"]))),
            ("stream=maybe", None),
            ("body=stream", None),
            ("body", None),
            ("rawHeaders=1", None),
            ("EIO=3&transport=polling&t=x&sid=y&b64=1&j=0&notices=true", Some(notices(&[]))),
            ("notices=true&rawheaders=true&x=1&x=2", Some(notices(&["rawheaders", "x"]))),
            ("notices=1", None),
        ] {
            assert_eq!(EndAuth::from_query(query).ok(), expected, "{query}");
        }
    }

    #[test]
    fn few_unknown_names_are_kept_and_little_of_each() {
        let names = |count: usize| (0..count).map(|number| format!("{number}{}", "\u{e9}".repeat(99)));
        let auth: Vec<_> = names(99).map(|name| format!("\"{name}\":1")).collect();
        let auth = EndAuth::from_auth(Some(&format!("{{{}}}", auth.join(",")).into())).unwrap();
        let query = EndAuth::from_query(&names(99).collect::<Vec<_>>().join("&")).unwrap();
        let expected: Vec<_> = names(8).map(|name| name.chars().take(40).collect::<String>()).collect();
        assert_eq!((auth.unknown, query.unknown), (expected.clone(), expected));
    }
}
