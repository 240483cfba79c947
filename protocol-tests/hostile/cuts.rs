//! A connection that is cut after any byte of an upgrade, in order or not: the session goes on polling, or ends and says so,
//! and the next end finds everything as it should be.

use tokio::io::AsyncWriteExt as _;

use crate::advisories::upgrade;
use crate::figures::{Figures, watched};
use crate::wire::{Peer, Polling, Server, frame};
use crate::{go, id_of, serves};

#[derive(Debug, Clone, Copy)]
enum Cut {
    Fin,
    Reset,
}

impl Cut {
    async fn cut(self, mut peer: Peer) {
        match self {
            Self::Fin => {
                let _ = peer.stream.shutdown().await;
                peer.until_end().await;
            }
            Self::Reset => peer.stream.set_zero_linger().unwrap(),
        }
    }
}

/// An end that polls.
async fn polling_end<'s>(server: &'s Server, token: &str) -> Polling<'s> {
    let session = server.open().await;
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert!(session.poll().await.text().starts_with(&format!("40/{token},")));
    session
}

/// Another visitor is served by it.
async fn serves_by_polling(server: &Server, session: &Polling<'_>, token: &str, what: &str) {
    let mut visitor = server.send("GET", &go(token), &[], b"").await;
    let request = loop {
        // A probe that was answered releases polls, until its loss is known.
        let answer = session.poll().await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        if answer.text() != "6" {
            break answer.text();
        }
    };
    session.post(format!(r#"43/{token},{}["served"]"#, id_of(&request))).await.is(200, "ok");
    assert_eq!(visitor.answer().await.text(), "served", "{what}");
}

async fn nothing_is_left(figures: &Figures, sessions: u64, what: &str) {
    figures.until_used("connections", |used| used == 0, what).await;
    figures.until_used("sessions", |used| used == sessions, what).await;
}

#[tokio::test]
async fn an_upgrade_request_is_cut_anywhere() {
    let (server, figures) = watched(|_| ()).await;
    let token = server.token().await;
    let session = polling_end(&server, &token).await;
    let request = upgrade(&session.query("websocket"));
    for cut in [Cut::Fin, Cut::Reset] {
        for length in 0..=request.len() {
            let what = format!("{cut:?} after {length} bytes of the request");
            let mut peer = server.peer().await;
            peer.send(&request.as_bytes()[..length]).await;
            cut.cut(peer).await;
            serves_by_polling(&server, &session, &token, &what).await;
            if length + 3 >= request.len() {
                nothing_is_left(&figures, 1, &what).await;
            }
        }
    }
    nothing_is_left(&figures, 1, "cut requests").await;
}

#[tokio::test]
async fn the_frames_of_an_upgrade_are_cut_anywhere() {
    let (server, figures) = watched(|_| ()).await;
    let token = server.token().await;
    let frames = [frame(0x81, b"2probe"), frame(0x81, b"5")].concat();
    for cut in [Cut::Fin, Cut::Reset] {
        let session = polling_end(&server, &token).await;
        for length in 0..=frames.len() {
            let what = format!("{cut:?} after {length} bytes of the frames");
            let mut candidate = session.candidate().await;
            candidate.peer.send(&frames[..length]).await;
            if length >= frames.len() - 7 {
                candidate.expect("3probe").await;
            }
            cut.cut(candidate.peer).await;
            if length < frames.len() {
                // Before its loss is known, another candidate has no place.
                figures.until_used("connections", |used| used == 0, &what).await;
                serves_by_polling(&server, &session, &token, &what).await;
            }
        }
        // The last one was whole: the session was on that WebSocket, and is gone with it.
        nothing_is_left(&figures, 0, &format!("{cut:?}: an upgraded session that was cut")).await;
        let answer = server.ask("GET", &go(&token), &[], b"").await;
        assert_eq!(answer.header("x-socket2me-error"), Some("client-not-connected"));
    }
    let mut ws = server.open_ws().await;
    ws.join(&token).await;
    serves(&server, &mut ws, &token).await;
}
