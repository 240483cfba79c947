//! An Engine.IO session from the client's side, over any transport.

use std::io::Result;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::packet::{self, Packet, Revision};
use crate::wire::{self, Connection, Death, Fuse, Reader, Route, Writer, strange};

/// The transport of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Polling,
    WebSocket,
    /// Polling, then a WebSocket.
    Upgrade,
}

/// The revision, transport and route of a session.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub revision: Revision,
    pub way: Way,
    pub route: Route,
    pub fuse: Option<Fuse>,
}

pub struct Link {
    pub kind: Kind,
    out: Out,
    target: String,
    incoming: mpsc::Receiver<Packet>,
    /// The task that reads; it ends with the link.
    _reader: JoinSet<()>,
}

enum Out {
    WebSocket(Writer),
    Polling(Box<Connection>),
}

/// Packets that may wait between the reader and the end; an end that takes none soon reads none.
const READ_AHEAD: usize = 4;

impl Link {
    /// Opens a session. The packets `early` are posted over polling before an upgrade.
    pub async fn open(kind: Kind, early: &[Packet]) -> Result<Self> {
        match kind.way {
            Way::WebSocket => Self::over_websocket(kind).await,
            Way::Polling | Way::Upgrade => Self::over_polling(kind, early).await,
        }
    }

    async fn over_websocket(kind: Kind) -> Result<Self> {
        let mut connection = Connection::open(kind.route, kind.fuse).await?;
        let target = target(kind.revision, "websocket", None);
        switch(&mut connection, &target).await?;
        match wire::message(&mut connection.reader).await? {
            Some(Packet::Text(open)) if open.starts_with('0') => Ok(Self::on(kind, connection, target, Vec::new())),
            _ => Err(strange("no open packet")),
        }
    }

    async fn over_polling(kind: Kind, early: &[Packet]) -> Result<Self> {
        let mut polls = Connection::open(kind.route, None).await?;
        let open = polls.ask(&poll(&target(kind.revision, "polling", None))).await?;
        let text = open.text();
        let sid = text.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(sid, _)| sid);
        let sid = sid.ok_or_else(|| strange("no session"))?;
        let target = target(kind.revision, "polling", Some(sid));
        let mut posts = Connection::open(kind.route, kind.fuse).await?;
        if !early.is_empty() {
            post(&mut posts, &target, early, kind.revision).await?;
        }
        if kind.way == Way::Upgrade {
            return Self::upgraded(kind, polls, target).await;
        }
        let (sender, incoming) = mpsc::channel(READ_AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(read_polls(polls, target.clone(), kind.revision, sender));
        Ok(Self { kind, out: Out::Polling(Box::new(posts)), target, incoming, _reader: reader })
    }

    /// Upgrades while a poll waits; the poll's answer brings the last packets of polling.
    async fn upgraded(kind: Kind, mut polls: Connection, target: String) -> Result<Self> {
        polls.writer.write(&poll(&target)).await?;
        let mut candidate = Connection::open(kind.route, kind.fuse).await?;
        let target = target.replace("transport=polling", "transport=websocket");
        switch(&mut candidate, &target).await?;
        candidate.writer.write(&wire::frame(1, b"2probe")).await?;
        if wire::message(&mut candidate.reader).await? != Some(Packet::text("3probe")) {
            return Err(strange("no answer to the probe"));
        }
        let last = wire::answer(&mut polls.reader).await?;
        let first = packet::decode(&last.body, kind.revision).filter(|_| last.status == 200);
        let first = first.ok_or_else(|| strange("a poll that fails"))?;
        candidate.writer.write(&wire::frame(1, b"5")).await?;
        Ok(Self::on(kind, candidate, target, first))
    }

    fn on(kind: Kind, websocket: Connection, target: String, first: Vec<Packet>) -> Self {
        let (sender, incoming) = mpsc::channel(READ_AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(read_messages(websocket.reader, kind.revision, first, sender));
        Self { kind, out: Out::WebSocket(websocket.writer), target, incoming, _reader: reader }
    }

    pub async fn send(&mut self, packets: &[Packet]) -> Result<()> {
        match &mut self.out {
            Out::WebSocket(writer) => {
                for packet in packets {
                    writer.write(&packet.frame(self.kind.revision)).await?;
                }
                Ok(())
            }
            Out::Polling(posts) => post(posts, &self.target, packets, self.kind.revision).await,
        }
    }

    pub async fn say(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(&[Packet::text(text)]).await
    }

    /// Sends bytes unchanged: the start of a frame, or of a POST.
    pub async fn raw(&mut self, frame: &[u8], post: &[u8]) -> Result<()> {
        match &mut self.out {
            Out::WebSocket(writer) => writer.write(frame).await,
            Out::Polling(posts) => posts.writer.write(post).await,
        }
    }

    /// Waits for the next packet; `None` when the session has ended.
    pub async fn receive(&mut self) -> Option<Packet> {
        self.incoming.recv().await
    }

    /// The request target of this session.
    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn die(&self, death: Death) {
        match &self.out {
            Out::WebSocket(writer) => writer.die(death),
            Out::Polling(posts) => posts.die(death),
        }
    }
}

fn target(revision: Revision, transport: &str, sid: Option<&str>) -> String {
    let revision = match revision {
        Revision::V3 => 3,
        Revision::V4 => 4,
    };
    let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
    format!("/socket.io/?EIO={revision}&transport={transport}{sid}")
}

fn poll(target: &str) -> Vec<u8> {
    wire::request("GET", target, &[], None)
}

async fn post(posts: &mut Connection, target: &str, packets: &[Packet], revision: Revision) -> Result<()> {
    let body = packet::encode(packets, revision);
    let request = wire::request("POST", target, &["Content-Type: text/plain;charset=UTF-8"], Some(&body));
    match posts.ask(&request).await? {
        answer if answer.status == 200 && answer.body == b"ok" => Ok(()),
        _ => Err(strange("a POST that fails")),
    }
}

/// Asks for a WebSocket, and fails without a 101.
pub async fn switch(connection: &mut Connection, target: &str) -> Result<()> {
    match connection.ask(&wire::upgrade(target)).await?.status {
        101 => Ok(()),
        _ => Err(strange("no WebSocket")),
    }
}

async fn read_polls(mut polls: Connection, target: String, revision: Revision, sender: mpsc::Sender<Packet>) {
    while let Ok(answer) = polls.ask(&poll(&target)).await {
        let Some(packets) = packet::decode(&answer.body, revision).filter(|_| answer.status == 200) else { return };
        for packet in packets {
            if sender.send(packet).await.is_err() {
                return;
            }
        }
    }
}

async fn read_messages(mut reader: Reader, revision: Revision, first: Vec<Packet>, sender: mpsc::Sender<Packet>) {
    for packet in first {
        if sender.send(packet).await.is_err() {
            return;
        }
    }
    while let Ok(Some(message)) = wire::message(&mut reader).await {
        if sender.send(message.of_message(revision)).await.is_err() {
            return;
        }
    }
}
