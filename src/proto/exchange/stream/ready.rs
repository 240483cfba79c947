//! What the server tells an end that streams: `ready` when it has joined, and `closing` before its session is left.

use std::time::Duration;

use bytestring::ByteString;

use super::event::Malformed;
use super::options::{BytesAs, Terms, VERSION, WebSocketAs};
use super::{MAX_CHUNK, MAX_WINDOW};
use crate::proto::engine_io::Space;
use crate::proto::json::{self, Kind};
use crate::proto::socket_io::Namespace;
use crate::proto::socket_io::packet::{Args, Encoded};

/// The usual size of the text of `ready`, in bytes.
const USUAL: usize = 512;

/// The event `ready`: the first that an end gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What holds between the server and the end.
    pub terms: Terms,
    /// The most bytes of a message or a POST that the server takes.
    pub max_payload: usize,
    /// How long an exchange may go on without progress, in milliseconds on the wire.
    pub idle: Duration,
    /// The tunnel's public URL.
    pub url: ByteString,
    /// The tunnel's URL by its path. It differs from `url` where tunnels have hosts of their own.
    pub path_url: ByteString,
    /// The token.
    pub token: ByteString,
    /// When the tunnel expires, in milliseconds since 1970; `None` is never.
    pub expires: Option<u64>,
}

impl Ready {
    /// Writes the event.
    #[must_use]
    pub fn encode(&self, namespace: &Namespace) -> Encoded {
        let Self { terms, max_payload, idle, url, path_url, token, expires } = self;
        let mut event = Encoded::begin(namespace, None, Vec::new(), Space::New(USUAL));
        let out = event.json();
        out.push_str(&format!(
            "[\"ready\",{{\"stream\":{VERSION},\"chunk\":{},\"window\":{},\"ws\":\"{}\",\"pull\":{},\"serial\":{}",
            terms.chunk,
            terms.window,
            terms.websocket.as_str(),
            terms.pull,
            terms.serial,
        ));
        if terms.bytes != BytesAs::default() {
            out.extend([",\"bytes\":\"", terms.bytes.as_str(), "\""]);
        }
        out.push_str(&format!(",\"maxPayload\":{max_payload},\"idle\":{}", idle.as_millis()));
        for (name, value) in [(",\"url\":", url), (",\"path_url\":", path_url), (",\"token\":", token)] {
            out.push_str(name);
            json::write_string(value, out);
        }
        match expires {
            Some(at) => out.push_str(&format!(",\"expires\":{at}}}]")),
            None => out.push_str(",\"expires\":null}]"),
        }
        event.finish()
    }

    /// Reads the event. Returns `None` for other events.
    ///
    /// # Errors
    /// When a member is missing or of a wrong type, or a chunk or window is larger than any may be.
    #[must_use]
    pub fn decode(args: &Args) -> Option<Result<Self, Malformed>> {
        (args.get(0)? == "\"ready\"")
            .then(|| Self::read(args).ok_or(Malformed("ready has one object that says what holds")))
    }

    fn read(args: &Args) -> Option<Self> {
        let object = args.json().slice_ref(args.get(1)?);
        let member = |name| json::member(&object, name);
        let number = |name| member(name)?.parse::<u64>().ok();
        let size = |name, range: std::ops::RangeInclusive<usize>| {
            usize::try_from(number(name)?).ok().filter(|size| range.contains(size))
        };
        let switch = |name| member(name)?.parse::<bool>().ok();
        let text = |name| {
            let text = member(name)?;
            (Kind::of(&text) == Kind::String).then(|| ByteString::from(&*json::unquote(&text)))
        };
        let bytes = match member("bytes") {
            None => BytesAs::default(),
            Some(_) => BytesAs::parse(&text("bytes")?)?,
        };
        number("stream").filter(|version| *version == VERSION)?;
        let terms = Terms {
            window: size("window", 0..=MAX_WINDOW)?,
            chunk: size("chunk", 1..=MAX_CHUNK)?,
            websocket: WebSocketAs::parse(&text("ws")?)?,
            pull: switch("pull")?,
            serial: switch("serial")?,
            bytes,
        };
        Some(Self {
            terms,
            max_payload: size("maxPayload", 0..=usize::MAX)?,
            idle: Duration::from_millis(number("idle")?),
            url: text("url")?,
            path_url: text("path_url")?,
            token: text("token")?,
            expires: match member("expires").as_deref() {
                None | Some("null") => None,
                Some(at) => Some(at.parse().ok()?),
            },
        })
    }
}

/// Why a session is about to be left: the code of `closing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closing {
    /// Another end has taken the place of this one.
    TakenOver,
    /// The tunnel has expired.
    Expired,
    /// The tunnel was deleted.
    Deleted,
    /// The server stops.
    Stopping,
    /// The tunnel moves to another server.
    Moving,
}

impl Closing {
    /// All codes.
    pub const ALL: [Self; 5] = [Self::TakenOver, Self::Expired, Self::Deleted, Self::Stopping, Self::Moving];

    /// Returns the code as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TakenOver => "taken-over",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Stopping => "stopping",
            Self::Moving => "moving",
        }
    }

    /// Writes the event.
    #[must_use]
    pub fn encode(self, namespace: &Namespace) -> Encoded {
        let mut event = Encoded::begin(namespace, None, Vec::new(), Space::New(USUAL / 8));
        event.json().extend(["[\"closing\",{\"code\":\"", self.as_str(), "\"}]"]);
        event.finish()
    }

    /// Reads the event. Returns `None` for other events. An unknown code counts as [`Self::Stopping`].
    ///
    /// # Errors
    /// When there is no code.
    #[must_use]
    pub fn decode(args: &Args) -> Option<Result<Self, Malformed>> {
        const SHAPE: Malformed = Malformed("closing has an object with a code, such as { code: 'stopping' }");
        if args.get(0)? != "\"closing\"" {
            return None;
        }
        let code = args.get(1).and_then(|object| json::member(&args.json().slice_ref(object), "code"));
        let Some(code) = code.filter(|code| Kind::of(code) == Kind::String) else { return Some(Err(SHAPE)) };
        let code = json::unquote(&code);
        Some(Ok(Self::ALL.into_iter().find(|known| known.as_str() == code).unwrap_or(Self::Stopping)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::engine_io::Message;
    use crate::proto::exchange::stream::Asked;

    fn text(encoded: &Encoded) -> ByteString {
        let Message::Text(text) = encoded.text.message() else { panic!("an event is text") };
        text
    }

    fn args(encoded: &Encoded) -> Args {
        let text = text(encoded);
        Args::parse(text.slice_ref(&text[text.find('[').unwrap()..])).unwrap()
    }

    fn ready(asked: Asked) -> Ready {
        Ready {
            terms: Terms::settle(asked, 16 << 20),
            max_payload: 16 << 20,
            idle: Duration::from_secs(60),
            url: "https://t.example/".into(),
            path_url: "https://relay.example/go/T0KEN".into(),
            token: "T0KEN".into(),
            expires: None,
        }
    }

    #[test]
    fn ready_is_the_documented_text() {
        let asked = Asked { websocket: WebSocketAs::Raw, pull: true, ..Asked::default() };
        let expected = concat!(
            r#"2/t,["ready",{"stream":1,"chunk":65536,"window":262144,"ws":"raw","pull":true,"serial":false,"#,
            r#""maxPayload":16777216,"idle":60000,"url":"https://t.example/","#,
            r#""path_url":"https://relay.example/go/T0KEN","token":"T0KEN","expires":null}]"#,
        );
        let namespace = Namespace::new("/t".into()).unwrap();
        assert_eq!(text(&ready(asked).encode(&namespace)), expected);
        let base64 = Asked { bytes: BytesAs::Base64, ..Asked::default() };
        let base64 = text(&Ready { expires: Some(7), ..ready(base64) }.encode(&namespace));
        assert!(base64.contains(r#""serial":false,"bytes":"base64","maxPayload""#), "{base64}");
        assert!(base64.ends_with(r#","expires":7}]"#), "{base64}");
    }

    #[test]
    fn ready_is_read_as_it_was_written() {
        for number in 0..32_u64 {
            let is = |bit: u64| number & bit != 0;
            let asked = Asked {
                window: number << 17,
                chunk: number << 11,
                websocket: if is(1) { WebSocketAs::Raw } else { WebSocketAs::Messages },
                pull: is(2),
                serial: is(4),
                bytes: if is(8) { BytesAs::Base64 } else { BytesAs::Attachment },
            };
            let ready = Ready { expires: is(16).then_some(number), url: "\"é😀".into(), ..ready(asked) };
            let again = Ready::decode(&args(&ready.encode(&Namespace::root())));
            assert_eq!(again, Some(Ok(ready)));
        }
    }

    #[test]
    fn a_ready_that_is_none_is_malformed() {
        let whole = text(&ready(Asked::default()).encode(&Namespace::root()));
        let whole = &whole[1..];
        let decode = |json: &str| Ready::decode(&Args::parse(json.into()).unwrap());
        assert!(decode(whole).unwrap().is_ok());
        for (from, to) in [
            ("\"stream\":1", "\"stream\":2"),
            ("\"chunk\":65536", "\"chunk\":65537"),
            ("\"chunk\":65536", "\"chunk\":0"),
            ("\"window\":262144", "\"window\":5000000"),
            ("\"window\"", "\"Window\""),
            ("\"messages\"", "\"both\""),
            ("\"pull\":false", "\"pull\":0"),
            ("\"idle\":60000", "\"idle\":\"60000\""),
            ("\"token\":\"T0KEN\"", "\"token\":7"),
            ("\"expires\":null", "\"expires\":\"never\""),
            ("\"expires\":null", "\"bytes\":\"hex\""),
        ] {
            assert!(whole.contains(from), "{from}");
            let changed = whole.replacen(from, to, 1);
            assert!(decode(&changed).unwrap().is_err(), "{to}");
        }
        assert!(decode("[\"ready\"]").unwrap().is_err());
        assert!(decode("[\"Ready\",{}]").is_none() && decode("[]").is_none());
    }

    #[test]
    fn closing_is_read_as_it_was_written() {
        for code in Closing::ALL {
            assert_eq!(Closing::decode(&args(&code.encode(&Namespace::root()))), Some(Ok(code)));
        }
        let decode = |json: &str| Closing::decode(&Args::parse(json.into()).unwrap());
        assert_eq!(decode(r#"["closing",{"code":"later","x":1}]"#), Some(Ok(Closing::Stopping)));
        for json in [r#"["closing"]"#, r#"["closing",{}]"#, r#"["closing",{"code":7}]"#, r#"["closing","stopping"]"#] {
            assert!(decode(json).unwrap().is_err(), "{json}");
        }
        assert_eq!(decode(r#"["close",{"code":"stopping"}]"#), None);
    }
}
