//! Connections that are cut after any byte of a handshake or an upgrade, with FIN or with a reset. The session goes on
//! polling, or ends; the next end is served.

use tokio::io::AsyncWriteExt as _;

use super::advisories::upgrade;
use super::figures::{Figures, watched};
use super::{go, id_of, serves};
use crate::support::wire::{Peer, Polling, Server, counted, frame};

/// The query of each revision's requests.
const REVISIONS: [&str; 2] = ["EIO=4", "EIO=3"];

#[derive(Debug, Clone, Copy)]
enum Cut {
    Fin,
    Reset,
}

impl Cut {
    /// Cuts the connection. After a FIN, returns what the server still sent.
    async fn cut(self, mut peer: Peer) -> Option<Vec<u8>> {
        match self {
            Self::Fin => {
                let _ = peer.stream.shutdown().await;
                Some(peer.until_end().await)
            }
            Self::Reset => {
                peer.stream.set_zero_linger().unwrap();
                None
            }
        }
    }
}

/// A request is granted if it was whole, and only then.
fn is_granted(said: Option<&[u8]>, whole: bool, what: &str) {
    if let Some(said) = said {
        assert_eq!(said.starts_with(b"HTTP/1.1 101 "), whole, "{what}: {}", String::from_utf8_lossy(said));
    }
}

/// Encodes one packet as a polling body of the session's revision.
fn payload(session: &Polling<'_>, packet: &str) -> String {
    if session.words == "EIO=3" { counted(&[packet]) } else { packet.to_owned() }
}

/// Opens a polling session that joins this token.
async fn polling_end<'s>(server: &'s Server, words: &'static str, token: &str) -> Polling<'s> {
    let session = if words == "EIO=3" { server.open_v3(words).await } else { server.open().await };
    session.post(payload(&session, &format!("40/{token},"))).await.is(200, "ok");
    assert!(session.poll().await.text().contains(&format!("40/{token},")));
    session
}

/// The polling end serves another visitor.
async fn serves_by_polling(server: &Server, session: &Polling<'_>, token: &str, what: &str) {
    let mut visitor = server.send("GET", &go(token), &[], b"").await;
    let request = loop {
        // Until the server knows that the probed candidate is lost, polls are released with a noop.
        let answer = session.poll().await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        if answer.text() != payload(session, "6") {
            break answer.text();
        }
    };
    let served = format!(r#"43/{token},{}["served"]"#, id_of(&request));
    session.post(payload(session, &served)).await.is(200, "ok");
    assert_eq!(visitor.answer().await.text(), "served", "{what}");
}

/// Waits until only these connections and sessions are left.
async fn nothing_is_left(figures: &Figures, connections: u64, sessions: u64, what: &str) {
    figures.until_used("connections", |used| used == connections, what).await;
    figures.until_used("sessions", |used| used == sessions, what).await;
}

#[tokio::test]
async fn a_handshake_and_a_join_may_be_cut_after_any_byte() {
    let (server, figures) = watched(|_| ()).await;
    let (mut beside, token) = server.joined().await;
    let other = server.token().await;
    for words in REVISIONS {
        let request = upgrade(&format!("{words}&transport=websocket"));
        let bytes = [request.as_bytes(), &frame(0x81, format!("40/{other},").as_bytes())].concat();
        for cut in [Cut::Fin, Cut::Reset] {
            for length in 0..=bytes.len() {
                let what = format!("{words}, {cut:?} after {length} bytes of {}", request.len());
                let mut peer = server.peer().await;
                peer.send(&bytes[..length]).await;
                is_granted(cut.cut(peer).await.as_deref(), length >= request.len(), &what);
                serves(&server, &mut beside, &token).await;
                nothing_is_left(&figures, 1, 1, &what).await;
            }
        }
        let answer = server.ask("GET", &go(&other), &[], b"").await;
        assert_eq!(answer.header("x-socket2me-error"), Some("client-not-connected"));
    }
    let mut ws = server.open_ws().await;
    ws.join(&other).await;
    serves(&server, &mut ws, &other).await;
}

#[tokio::test]
async fn an_upgrade_request_may_be_cut_after_any_byte() {
    let (server, figures) = watched(|_| ()).await;
    let (mut beside, beside_token) = server.joined().await;
    for words in REVISIONS {
        let token = server.token().await;
        let session = polling_end(&server, words, &token).await;
        let request = upgrade(&session.query("websocket"));
        for cut in [Cut::Fin, Cut::Reset] {
            for length in 0..=request.len() {
                let what = format!("{words}, {cut:?} after {length} bytes of the request");
                let mut peer = server.peer().await;
                peer.send(&request.as_bytes()[..length]).await;
                is_granted(cut.cut(peer).await.as_deref(), length == request.len(), &what);
                serves_by_polling(&server, &session, &token, &what).await;
                serves(&server, &mut beside, &beside_token).await;
                if length + 3 >= request.len() {
                    nothing_is_left(&figures, 1, 2, &what).await;
                    // Another candidate may come.
                    drop(session.probed().await);
                    nothing_is_left(&figures, 1, 2, &what).await;
                }
            }
        }
        nothing_is_left(&figures, 1, 2, "cut requests").await;
        session.post(payload(&session, "1")).await.is(200, "ok");
        nothing_is_left(&figures, 1, 1, "a session that left").await;
    }
}

#[tokio::test]
async fn the_frames_of_an_upgrade_may_be_cut_after_any_byte() {
    let (server, figures) = watched(|_| ()).await;
    let (mut beside, beside_token) = server.joined().await;
    let frames = [frame(0x81, b"2probe"), frame(0x81, b"5")].concat();
    for (words, cut) in REVISIONS.into_iter().flat_map(|words| [(words, Cut::Fin), (words, Cut::Reset)]) {
        let token = server.token().await;
        let session = polling_end(&server, words, &token).await;
        for length in 0..=frames.len() {
            let what = format!("{words}, {cut:?} after {length} bytes of the frames");
            let mut candidate = session.candidate().await;
            candidate.peer.send(&frames[..length]).await;
            if length >= frames.len() - 7 {
                candidate.expect("3probe").await;
            }
            cut.cut(candidate.peer).await;
            serves(&server, &mut beside, &beside_token).await;
            if length < frames.len() {
                // Until the server knows that the candidate is lost, it refuses another.
                nothing_is_left(&figures, 1, 2, &what).await;
                serves_by_polling(&server, &session, &token, &what).await;
            }
        }
        // The last upgrade was complete: the session was on that WebSocket, and ended with it.
        nothing_is_left(&figures, 1, 1, &format!("{words}, {cut:?}: an upgraded session that was cut")).await;
        let answer = server.ask("GET", &go(&token), &[], b"").await;
        assert_eq!(answer.header("x-socket2me-error"), Some("client-not-connected"));
        let mut ws = server.open_ws().await;
        ws.join(&token).await;
        serves(&server, &mut ws, &token).await;
        drop(ws);
        nothing_is_left(&figures, 1, 1, "the next end").await;
    }
}
