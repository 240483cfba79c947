//! An end that streams, whose every event is written by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::Value;

use crate::support::end::{End, Heard};
use crate::support::pattern;

/// An end in one namespace.
pub(super) struct RawEnd {
    end: End,
    token: String,
    /// What the server has said holds.
    pub(super) ready: Value,
    next_ack: u64,
    /// Events that came while something else was waited for.
    events: VecDeque<Event>,
    /// Acks that nobody has asked for yet, with the window that each tells.
    acks: Vec<(u64, Option<u64>)>,
}

/// An event of the server.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    /// Without the name.
    pub(super) args: Vec<Value>,
    /// The id under which the event is to be acknowledged.
    pub(super) ack: Option<u64>,
    pub(super) attachment: Option<Bytes>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) ack: u64,
    pub(super) object: Value,
    pub(super) attachment: Option<Bytes>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.object["headers"][name].as_str()
    }

    /// What the end may send unacknowledged.
    pub(super) fn window(&self) -> usize {
        usize::try_from(self.object["window"].as_u64().unwrap()).unwrap()
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.object["streamed"].as_bool().unwrap()
    }
}

/// Data of a visitor.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) ack: u64,
    pub(super) bytes: Bytes,
    pub(super) offset: u64,
}

/// A part of a visitor's message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) ack: u64,
    /// A string, or the placeholder of the attachment.
    pub(super) text: Option<String>,
    pub(super) bytes: Option<Bytes>,
    pub(super) more: bool,
    pub(super) number: u64,
}

impl RawEnd {
    /// Joins a token's namespace, and asks for streaming with this JSON.
    pub(super) async fn connect(address: SocketAddr, token: &str, asked: &str) -> Self {
        Self::join(address, token, &format!(r#"{{"stream":{asked}}}"#)).await
    }

    /// Joins with this `auth`, which asks for streaming.
    pub(super) async fn join(address: SocketAddr, token: &str, auth: &str) -> Self {
        let mut end = End::open(address).await;
        end.join(token, auth).await.unwrap();
        let (events, acks) = (VecDeque::new(), Vec::new());
        let mut end = Self { end, token: token.to_owned(), ready: Value::Null, next_ack: 0, events, acks };
        end.ready = end.event("ready").await.args.swap_remove(0);
        end
    }

    /// Takes one packet. Returns what it was, unless it was an ack or an event, which are kept.
    async fn take(&mut self) -> Option<Heard> {
        let text = match self.end.hear().await {
            Heard::Text(text) => text,
            other => return Some(other),
        };
        let (kind, rest) = text.split_once(&format!("/{},", self.token)).unwrap_or_else(|| panic!("{text:.300}"));
        let at = rest.find('[').unwrap_or(rest.len());
        let id = rest[..at].parse().ok();
        let mut args: Vec<Value> = serde_json::from_str(&rest[at..]).unwrap_or_default();
        match kind {
            "43" => self.acks.push((id.unwrap(), args.first().map(|window| window.as_u64().unwrap()))),
            "42" | "451-" => {
                let attachment = match kind {
                    "42" => None,
                    _ => match self.end.hear().await {
                        Heard::Binary(data) => Some(data),
                        other => panic!("no attachment: {other:?}"),
                    },
                };
                let name = args.remove(0).as_str().unwrap().to_owned();
                self.events.push_back(Event { name, args, ack: id, attachment });
            }
            _ => return Some(Heard::Text(text)),
        }
        None
    }

    /// Waits for the next event, which must have this name. Acks are kept.
    pub(super) async fn event(&mut self, name: &str) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                assert_eq!(event.name, name, "{event:.300?}");
                return event;
            }
            if let Some(other) = self.take().await {
                panic!("{other:?} and no {name}");
            }
        }
    }

    /// Waits for the next event, which stays. Returns whether it has this name.
    pub(super) async fn next_is(&mut self, name: &str) -> bool {
        while self.events.is_empty() {
            assert_eq!(self.take().await, None);
        }
        self.events[0].name == name
    }

    /// Waits for the next request.
    pub(super) async fn request(&mut self) -> Request {
        let Event { mut args, ack, attachment, .. } = self.event("request").await;
        let object = args.swap_remove(0);
        Request { id: object["id"].as_str().unwrap().to_owned(), ack: ack.unwrap(), object, attachment }
    }

    /// Waits for the next data of an exchange. They are not acknowledged.
    pub(super) async fn data(&mut self, asked: &Request) -> Data {
        let Event { args, ack, attachment, .. } = self.event("data").await;
        assert_eq!(args[0], *asked.id);
        let bytes = attachment.expect("data have bytes");
        Data { ack: ack.expect("data ask for an ack"), bytes, offset: args[2].as_u64().unwrap() }
    }

    /// Takes data of an exchange until they have this many bytes, and acknowledges them.
    pub(super) async fn all_data(&mut self, asked: &Request, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            let data = self.data(asked).await;
            assert_eq!(data.offset, all.len() as u64);
            all.extend(data.bytes);
            self.ack(data.ack, "[]").await;
        }
        all
    }

    /// Waits for the next part of a visitor's message. It is not acknowledged.
    pub(super) async fn message(&mut self, asked: &Request) -> Message {
        let Event { args, ack, attachment, .. } = self.event("message").await;
        assert_eq!(args[0], *asked.id);
        Message {
            ack: ack.expect("a message asks for an ack"),
            text: args[1].as_str().map(str::to_owned),
            bytes: attachment,
            more: args[2].as_bool().unwrap(),
            number: args[3].as_u64().unwrap(),
        }
    }

    /// Waits for the next event, which must end the direction of an exchange. Returns the total, and the trailers.
    pub(super) async fn ended(&mut self, asked: &Request) -> (u64, Option<Value>) {
        let Event { mut args, ack, .. } = self.event("end").await;
        assert_eq!((&args[0], ack), (&Value::from(&*asked.id), None));
        let trailers = (args.len() > 2).then(|| args.swap_remove(2));
        (args[1].as_u64().unwrap(), trailers)
    }

    /// Waits for the next event, which must be the visitor's goodbye. Returns the number of parts, the code and the reason.
    pub(super) async fn closed(&mut self, asked: &Request) -> (u64, u64, String) {
        let Event { args, .. } = self.event("close").await;
        assert_eq!(args[0], *asked.id);
        (args[1].as_u64().unwrap(), args[2].as_u64().unwrap(), args[3].as_str().unwrap().to_owned())
    }

    /// Waits for the next event, which must break an exchange off. Returns the message.
    pub(super) async fn aborted(&mut self, asked: &Request, code: &str) -> Option<String> {
        let Event { args, ack, .. } = self.event("abort").await;
        assert_eq!((&args[0], &args[1], ack), (&Value::from(&*asked.id), &Value::from(code), None), "{args:?}");
        args.get(2).map(|message| message.as_str().unwrap().to_owned())
    }

    /// Waits until the server's session has handled all that was sent before. Returns whether an event has come that nobody has
    /// waited for.
    pub(super) async fn has_heard_an_event(&mut self) -> bool {
        self.settle().await;
        !self.events.is_empty()
    }

    /// Sends data of the pattern as the first window allows, to a visitor that takes nothing, until as much waits for it. Returns
    /// the ids of their acks.
    pub(super) async fn until_stalled(&mut self, asked: &Request) -> Vec<u64> {
        let (mut acks, mut sent) = (Vec::new(), 0);
        // What the connection takes is acknowledged soon: a thousand questions later the rest is not.
        let mut waited = 0;
        while waited < 1000 {
            waited += 1;
            if self.all_unacked(&acks).await < 4 {
                acks.push(self.send_data(&asked.id, &pattern::bytes(sent, 65_000), sent).await);
                sent += 65_000;
                waited = 0;
            }
            assert!(sent < 64 << 20, "the visitor takes all of it");
        }
        acks
    }

    /// Waits until the server's session has handled all that was sent before. Returns how many of these acks have not come.
    async fn all_unacked(&mut self, ids: &[u64]) -> usize {
        self.settle().await;
        ids.iter().filter(|id| self.acks.iter().all(|(acked, _)| acked != *id)).count()
    }

    /// Drops what still comes of a request, until its exchange is broken off with this code.
    pub(super) async fn drops(&mut self, asked: &Request, code: &str) {
        loop {
            match self.events.front().map(|event| event.name.as_str()) {
                Some("data") => drop(self.data(asked).await),
                Some("end") => drop(self.ended(asked).await),
                Some(_) => return drop(self.aborted(asked, code).await),
                None => assert_eq!(self.take().await, None),
            }
        }
    }

    /// Forgets the data of an exchange that came before it was over, and the acks of its events.
    pub(super) async fn forget(&mut self, asked: &Request) {
        self.settle().await;
        while self.events.front().is_some_and(|event| matches!(&*event.name, "data" | "end")) {
            let event = self.events.pop_front().unwrap();
            assert_eq!(event.args[0], *asked.id);
        }
        self.acks.clear();
    }

    /// Waits for the ack of an event. Returns the window that it tells.
    pub(super) async fn acked(&mut self, id: u64) -> Option<u64> {
        loop {
            if let Some(at) = self.acks.iter().position(|(acked, _)| *acked == id) {
                return self.acks.remove(at).1;
            }
            if let Some(other) = self.take().await {
                panic!("{other:?} and no ack of {id}");
            }
        }
    }

    /// Waits until the server has handled all that was sent before. Then nothing was heard that nobody has waited for.
    pub(super) async fn hears_nothing(&mut self) {
        self.settle().await;
        assert!(self.events.is_empty() && self.acks.is_empty(), "{:.500?} {:?}", self.events, self.acks);
    }

    /// Waits until the server's session has handled all that was sent before.
    pub(super) async fn settle(&mut self) {
        let id = self.send_data("0-0", b"", 0).await;
        assert_eq!(self.acked(id).await, None);
    }

    /// Waits until the end is told to leave the namespace.
    pub(super) async fn leaves(&mut self) {
        loop {
            match self.take().await {
                Some(Heard::Text(text)) if text == format!("41/{},", self.token) => return,
                Some(other) => panic!("{other:?}"),
                None => (),
            }
        }
    }

    /// Waits until the session has ended.
    pub(super) async fn is_closed(&mut self) {
        while !matches!(self.take().await, Some(Heard::Closed(_) | Heard::Lost)) {}
    }

    /// Sends an event that asks for no ack. `event` is a JSON array.
    pub(super) async fn say(&mut self, event: &str) {
        self.end.send(&format!("42/{},{event}", self.token)).await;
    }

    /// Sends an event that asks for an ack, and returns the ack's id.
    pub(super) async fn ask(&mut self, event: &str) -> u64 {
        let ack = self.number();
        self.end.send(&format!("42/{},{ack}{event}", self.token)).await;
        ack
    }

    /// Sends an event with one attachment that asks for an ack, and returns the ack's id.
    pub(super) async fn attach(&mut self, event: &str, bytes: &[u8]) -> u64 {
        let ack = self.number();
        self.end.send(&format!("451-/{},{ack}{event}", self.token)).await;
        self.end.attach(bytes).await;
        ack
    }

    fn number(&mut self) -> u64 {
        self.next_ack += 1;
        self.next_ack
    }

    /// Acknowledges an event of the server. `args` is a JSON array.
    pub(super) async fn ack(&mut self, id: u64, args: &str) {
        self.end.send(&format!("43/{},{id}{args}", self.token)).await;
    }

    /// Sends the head of a response, with its headers as JSON.
    pub(super) async fn respond(&mut self, asked: &Request, status: u16, headers: &str) {
        self.say(&format!(r#"["response","{}",{status},{headers}]"#, asked.id)).await;
    }

    /// Sends data, and returns their ack's id.
    pub(super) async fn send_data(&mut self, id: &str, bytes: &[u8], offset: u64) -> u64 {
        self.attach(&format!(r#"["data","{id}",{{"_placeholder":true,"num":0}},{offset}]"#), bytes).await
    }

    /// Sends a part of a text message, and returns its ack's id.
    pub(super) async fn send_text(&mut self, asked: &Request, text: &str, more: bool, number: u64) -> u64 {
        let text = serde_json::to_string(text).unwrap();
        self.ask(&format!(r#"["message","{}",{text},{more},{number}]"#, asked.id)).await
    }

    /// Sends a part of a binary message, and returns its ack's id.
    pub(super) async fn send_binary(&mut self, asked: &Request, bytes: &[u8], more: bool, number: u64) -> u64 {
        let event = format!(r#"["message","{}",{{"_placeholder":true,"num":0}},{more},{number}]"#, asked.id);
        self.attach(&event, bytes).await
    }

    /// Ends the response, which had this many bytes.
    pub(super) async fn finish(&mut self, asked: &Request, total: u64) {
        self.say(&format!(r#"["end","{}",{total}]"#, asked.id)).await;
    }

    pub(super) async fn abort(&mut self, asked: &Request, code: &str) {
        self.say(&format!(r#"["abort","{}","{code}"]"#, asked.id)).await;
    }

    /// Leaves the namespace; the session stays.
    pub(super) async fn leave_namespace(&mut self) {
        self.end.send(&format!("41/{},", self.token)).await;
    }

    /// Closes the WebSocket.
    pub(super) async fn close(&mut self) {
        self.end.close().await;
    }
}
