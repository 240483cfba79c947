//! What an end that streams hears of the server.

use serde_json::Value;

use crate::packet::{Event, Packet, of_base64};

/// An event or an ack of the server.
#[derive(Debug)]
pub enum Heard {
    Ready {
        window: usize,
        chunk: usize,
    },
    Request(Box<Request>),
    Data {
        id: String,
        bytes: Vec<u8>,
        offset: u64,
        ack: u64,
    },
    Message {
        id: String,
        part: Part,
        more: bool,
        number: u64,
        ack: u64,
    },
    End {
        id: String,
        total: u64,
    },
    Close {
        id: String,
        parts: u64,
        code: u64,
    },
    Abort {
        id: String,
        code: String,
    },
    /// An ack, with the window that it tells.
    Ack {
        ack: u64,
        window: Option<usize>,
    },
    /// Something that says nothing of an exchange.
    Nothing,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    pub event: Event,
    pub id: String,
    pub is_streamed: bool,
    pub is_upgrade: bool,
    /// The body is the pattern of its nonce.
    pub is_pattern: bool,
    /// What may be sent unacknowledged, in bytes.
    pub window: usize,
    /// The whole body, unless it is streamed.
    pub body: Vec<u8>,
}

/// A WebSocket message, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Binary(Vec<u8>),
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Writes the event that sends this.
    pub fn event(self, token: &str, ack: u64, id: &str, more: bool, number: u64) -> Vec<Packet> {
        match self {
            Self::Text(text) => {
                let text = Value::from(text);
                vec![Packet::Text(format!(r#"42/{token},{ack}["message","{id}",{text},{more},{number}]"#))]
            }
            Self::Binary(bytes) => {
                let place = r#"{"_placeholder":true,"num":0}"#;
                let event = format!(r#"451-/{token},{ack}["message","{id}",{place},{more},{number}]"#);
                vec![Packet::Text(event), Packet::Binary(bytes)]
            }
        }
    }
}

impl Heard {
    /// Reads a packet of the token's namespace and its attachment, if it announces one. `None` for what no server may send.
    pub fn read(token: &str, text: &str, attachment: Option<Vec<u8>>) -> Option<Self> {
        let (kind, rest) = text.split_once(&format!("/{token},"))?;
        let (ack, json) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        let ack = if ack.is_empty() { None } else { Some(ack.parse().ok()?) };
        let arguments: Vec<Value> = if json.is_empty() { Vec::new() } else { serde_json::from_str(json).ok()? };
        let string = |at: usize| arguments.get(at)?.as_str().map(str::to_owned);
        let number = |at: usize| arguments.get(at)?.as_u64();
        match kind {
            "43" if arguments.is_empty() => return Some(Self::Ack { ack: ack?, window: None }),
            "43" => return Some(Self::Ack { ack: ack?, window: Some(number(0)? as usize) }),
            "42" | "451-" => (),
            _ => return Some(Self::Nothing),
        }
        Some(match arguments.first()?.as_str()? {
            "ready" => {
                let size = |name: &str| arguments.get(1)?[name].as_u64().map(|size| size as usize);
                Self::Ready { window: size("window")?, chunk: size("chunk")? }
            }
            "request" => Self::Request(Box::new(Request::read(text, arguments.get(1)?, attachment)?)),
            "data" => {
                let bytes = attachment.or_else(|| of_base64(arguments.get(2)?.as_str()?))?;
                Self::Data { id: string(1)?, bytes, offset: number(3)?, ack: ack? }
            }
            "message" => {
                let part = attachment.map(Part::Binary).or_else(|| string(2).map(Part::Text))?;
                let more = arguments.get(3)?.as_bool()?;
                Self::Message { id: string(1)?, part, more, number: number(4)?, ack: ack? }
            }
            "end" if ack.is_none() => Self::End { id: string(1)?, total: number(2)? },
            "close" if ack.is_none() => Self::Close { id: string(1)?, parts: number(2)?, code: number(3)? },
            "abort" if ack.is_none() => Self::Abort { id: string(1)?, code: string(2)? },
            "closing" => Self::Nothing,
            _ => return None,
        })
    }
}

impl Request {
    fn read(text: &str, request: &Value, attachment: Option<Vec<u8>>) -> Option<Self> {
        let event = Event::parse(text)?;
        let is_streamed = request["streamed"].as_bool()?;
        // A body that is not there is empty; one of a request that is streamed is absent.
        if is_streamed == attachment.is_some() {
            return None;
        }
        Some(Self {
            event,
            id: request["id"].as_str()?.to_owned(),
            is_streamed,
            is_upgrade: request["upgrade"] == "websocket",
            is_pattern: request["headers"]["content-type"] == crate::question::PATTERN,
            window: request["window"].as_u64()? as usize,
            body: attachment.unwrap_or_default(),
        })
    }
}
