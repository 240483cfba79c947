//! The client's machines as an end of the server, over sockets.

use serde_json::Value;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::engine_io::{CloseReason, Revision};
use socket2me::proto::socket_io::connection::Answer as Ack;
use socket2me::proto::socket_io::connection::client::Credentials;
use socket2me::proto::socket_io::packet::Args;
use socket2me::proto::socket_io::{ClientEvent, Namespace};
use socket2me::proto::time::Instant;

use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{request, visit};
use crate::support::client::{Application, Link, Owner};
use crate::support::within;

/// Answers each request with its body.
#[derive(Default)]
struct Echo {
    has_joined: bool,
}

impl Application for Echo {
    type Waiter = ();

    fn event(&mut self, event: ClientEvent<()>, link: &mut Link<()>, now: Instant) {
        match event {
            ClientEvent::Joined => self.has_joined = true,
            ClientEvent::Received { args, attachments, id } => {
                let asked: Value = serde_json::from_str(args.get(1).unwrap()).unwrap();
                let json = format!("[200,{}]", asked["body"]);
                let answer = Ack { args: Args::parse(json.into()).unwrap(), attachments };
                link.act(now, |connection, lower| connection.ack(id.unwrap(), answer, lower));
            }
            ClientEvent::Left { .. } => self.has_joined = false,
            ClientEvent::Refused { .. } | ClientEvent::Acked { .. } => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_of_either_revision_is_an_end_over_every_transport() {
    let server = Server::start(patient()).await;
    for revision in Revision::ALL {
        for transports in [Transports::Polling, Transports::WebSocket, Transports::Upgrade] {
            let token = server.token().await;
            let joins = (Namespace::new(format!("/{token}").into()).unwrap(), Credentials::None);
            let mut owner = Owner::new(server.address, joins, revision, transports, Echo::default());
            while !owner.application.has_joined {
                owner.settle().await;
                if !owner.application.has_joined {
                    within("the server to let the client in", owner.step()).await;
                }
            }
            let (address, target) = (server.address, format!("/go/{token}/"));
            let visits = tokio::spawn(async move {
                for body in [vec![b'x'; 20], vec![0xff; 200 << 10], "é😀\"\\".into(), Vec::new()] {
                    for kind in ["application/octet-stream", "text/plain"] {
                        // Text is UTF-8.
                        if kind == "text/plain" && std::str::from_utf8(&body).is_err() {
                            continue;
                        }
                        let answer = visit(address, &request("POST", &target, &[("content-type", kind)], &body)).await;
                        let expected = if body.is_empty() { b"{}" } else { &body[..] };
                        assert_eq!((answer.status, &answer.body[..]), (200, expected), "{kind}");
                    }
                }
            });
            tokio::select! {
                visits = visits => visits.unwrap(),
                reason = owner.serve() => panic!("{revision:?} {transports:?}: {reason}"),
            }
            assert_eq!(owner.is_adopted, transports != Transports::Polling, "{revision:?}");
            let now = owner.now();
            owner.link.close(CloseReason::ForcedClose, now);
            assert_eq!(within("the session to end", owner.serve()).await, CloseReason::ForcedClose);
        }
    }
}
