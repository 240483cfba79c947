//! Upgrades over a simulated clock: which candidate is meant, and what a second one hears.

use std::sync::Arc;
use std::time::Duration;

use super::{Output, PollAnswer, Session, UpgradeError, UpgradeTicket};
use crate::proto::engine_io::close_reason::CloseReason;
use crate::proto::engine_io::frame::Frame;
use crate::proto::engine_io::revision::Revision;
use crate::proto::engine_io::settings::Settings;
use crate::proto::engine_io::sid::Sid;
use crate::proto::engine_io::transport::{BinaryAs, Transport};
use crate::proto::limit::Limit;
use crate::proto::time::Instant;

const V4: Option<Revision> = Some(Revision::V4);

fn session(transport: Transport) -> Session<u32> {
    let settings = Settings { upgrade_timeout: Duration::from_secs(10), ..Settings::default() };
    Session::open(Arc::new(settings), Sid::from_random([7; 15]), Revision::V4, transport, Instant::ORIGIN)
}

fn at(seconds: u64) -> Instant {
    Instant::after_origin(Duration::from_secs(seconds))
}

fn reserve(session: &mut Session<u32>, now: Instant) -> Result<UpgradeTicket, UpgradeError> {
    session.reserve_upgrade(V4, BinaryAs::Frames, now)
}

/// The candidate sends a frame; everything that the session does then.
fn say(session: &mut Session<u32>, ticket: UpgradeTicket, frame: &'static str, now: Instant) -> Vec<Output<u32>> {
    session.candidate_frame(ticket, Frame::Text(frame.into()), now);
    std::iter::from_fn(|| session.next_output()).collect()
}

fn pong(ticket: UpgradeTicket) -> Output<u32> {
    Output::Candidate { ticket, frame: Frame::Text("3probe".into()) }
}

#[test]
fn a_candidate_that_came_too_late_is_not_taken_for_the_next_one() {
    let mut session = session(Transport::Polling);
    let late = reserve(&mut session, at(0)).unwrap();
    session.handle_timeout(at(10));
    assert_eq!(session.next_output(), Some(Output::DropCandidate(late)));
    assert_eq!(session.next_output(), Some(Output::LimitHit(Limit::UpgradeTimeout)));
    let next = reserve(&mut session, at(11)).unwrap();
    assert!(!session.is_candidate(late) && session.is_candidate(next));
    assert_eq!(say(&mut session, late, "2probe", at(12)), []);
    assert_eq!(say(&mut session, late, "no frame of an upgrade", at(12)), []);
    assert_eq!(say(&mut session, next, "2probe", at(13)), [pong(next)]);
    assert_eq!(say(&mut session, late, "5", at(13)), [], "it does not finish the upgrade of another");
    assert_eq!(say(&mut session, next, "5", at(13)), [Output::AdoptCandidate(next)]);
}

#[test]
fn the_loss_of_a_candidate_that_was_given_up_leaves_the_next_one_alone() {
    let mut session = session(Transport::Polling);
    let first = reserve(&mut session, at(0)).unwrap();
    session.candidate_lost(first);
    assert_eq!(session.next_output(), None, "a candidate that says it is lost need not be told");
    let second = reserve(&mut session, at(1)).unwrap();
    session.candidate_lost(first);
    assert!(session.is_candidate(second));
    assert_eq!(say(&mut session, second, "2probe", at(1)), [pong(second)]);
}

#[test]
fn a_session_without_a_place_for_a_websocket_is_told_apart_from_none() {
    let mut on_websocket = session(Transport::WebSocket);
    assert_eq!(reserve(&mut on_websocket, at(0)), Err(UpgradeError::NoPlace));
    let mut polling = session(Transport::Polling);
    for revision in [None, Some(Revision::V3)] {
        assert_eq!(polling.reserve_upgrade(revision, BinaryAs::Frames, at(0)), Err(UpgradeError::OtherRevision));
    }
    let first = reserve(&mut polling, at(0)).unwrap();
    assert_eq!(reserve(&mut polling, at(1)), Err(UpgradeError::NoPlace));
    for unharmed in [&mut on_websocket, &mut polling] {
        assert_eq!((unharmed.close_reason(), unharmed.next_output()), (None, None));
    }
    assert_eq!(say(&mut polling, first, "2probe", at(1)), [pong(first)], "the first candidate neither");
    polling.close(CloseReason::ForcedServerClose, at(2));
    assert_eq!(reserve(&mut polling, at(2)), Err(UpgradeError::SessionUnknown));
}

#[test]
fn a_poll_that_waits_is_answered_by_a_noop_on_request_and_no_later_one_is() {
    let mut session = session(Transport::Polling);
    let answered = |session: &mut Session<u32>| match session.next_output() {
        Some(Output::Poll { to, answer: PollAnswer::Packets(batch) }) => Some((to, batch.frames)),
        _ => None,
    };
    session.poll(1, V4, at(0));
    let (_, opening) = answered(&mut session).unwrap();
    assert!(matches!(&opening[..], [Frame::Text(text)] if text.starts_with('0')), "{opening:?}");
    session.answer_poll();
    session.poll(2, V4, at(1));
    assert_eq!(session.next_output(), None, "it waits: none has waited before");
    session.answer_poll();
    assert_eq!(answered(&mut session), Some((2, vec![Frame::Text("6".into())])));
    assert_eq!(session.next_output(), None);
    let mut on_websocket = self::session(Transport::WebSocket);
    on_websocket.next_frame();
    on_websocket.answer_poll();
    assert_eq!((on_websocket.next_output(), on_websocket.next_frame()), (None, None));
}
