//! Acks with ids of other exchanges: those of another token on the same session, and those of another session.

use socket2me::proto::engine_io::Revision;

use super::{ack, serves, visitor};
use crate::support::wire::{Peer, Server, Ws};

/// Acks these ids, each once with text and once with an attachment.
async fn lies(ws: &mut Ws, revision: Revision, token: &str, ids: &[String]) {
    let stolen: &[u8] = match revision {
        Revision::V3 => b"\x04stolen",
        Revision::V4 => b"stolen",
    };
    for id in ids {
        ack(ws, token, id, r#"["stolen"]"#).await;
        ws.text(&format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}}]"#)).await;
        ws.binary(stolen).await;
    }
}

/// Sends requests of several visitors; returns them with the ack ids of their requests.
async fn visitors(server: &Server, ws: &mut Ws, token: &str, count: usize) -> (Vec<Peer>, Vec<String>) {
    let mut waiting = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (visitor, id) = visitor(server, ws, token).await;
        waiting.0.push(visitor);
        waiting.1.push(id);
    }
    waiting
}

/// Acks each request, and each visitor gets the answer to its own.
async fn are_answered(ws: &mut Ws, token: &str, (peers, ids): (Vec<Peer>, Vec<String>)) {
    for (mut peer, id) in peers.into_iter().zip(ids).rev() {
        ack(ws, token, &id, &format!(r#"["{token} {id}"]"#)).await;
        peer.answer().await.is(200, &format!("{token} {id}"));
    }
}

/// The ids of both tokens start at the same number, so an end of one can guess those of the other.
#[tokio::test]
async fn two_tokens_of_one_session_do_not_answer_for_each_other() {
    let server = Server::start().await;
    for revision in [Revision::V4, Revision::V3] {
        let quiet = server.token().await;
        let (mut ws, busy) = match revision {
            Revision::V3 => {
                let (mut ws, busy) = server.joined_v3().await;
                ws.text(&format!("40/{quiet}")).await;
                ws.expect(&format!("40/{quiet},")).await;
                (ws, busy)
            }
            Revision::V4 => {
                let (mut ws, busy) = server.joined().await;
                ws.join(&quiet).await;
                (ws, busy)
            }
        };
        let of_busy = visitors(&server, &mut ws, &busy, 5).await;
        let of_quiet = visitors(&server, &mut ws, &quiet, 2).await;
        let foreign: Vec<String> = of_busy.1.iter().filter(|id| !of_quiet.1.contains(id)).cloned().collect();
        assert_eq!(foreign, ["2", "3", "4"]);
        lies(&mut ws, revision, &quiet, &foreign).await;
        are_answered(&mut ws, &quiet, of_quiet).await;
        // The quiet token's exchanges are answered by now, and the busy token's are not.
        lies(&mut ws, revision, &quiet, &of_busy.1).await;
        are_answered(&mut ws, &busy, of_busy).await;
        serves(&server, &mut ws, &quiet).await;
        serves(&server, &mut ws, &busy).await;
    }
}

#[tokio::test]
async fn the_ids_of_another_sessions_exchanges_answer_no_visitor() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let (mut stranger, own) = server.joined().await;
    let owed = visitors(&server, &mut ws, &token, 5).await;
    lies(&mut stranger, Revision::V4, &own, &owed.1).await;
    let of_stranger = visitors(&server, &mut stranger, &own, 2).await;
    lies(&mut stranger, Revision::V4, &own, &owed.1[2..]).await;
    are_answered(&mut stranger, &own, of_stranger).await;
    stranger.is_alive().await;
    // An ack in a namespace that the stranger has not joined ends the stranger's session, and no other.
    let mut waiting = visitors(&server, &mut stranger, &own, 1).await;
    stranger.text(&format!(r#"43/{token},{}["stolen"]"#, owed.1[0])).await;
    stranger.peer.until_end().await;
    assert_eq!(waiting.0[0].answer().await.header("x-socket2me-error"), Some("client-disconnected"));
    are_answered(&mut ws, &token, owed).await;
    serves(&server, &mut ws, &token).await;
}
