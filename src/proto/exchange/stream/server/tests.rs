//! The rows of PROTOCOL.md, "The answer" and "Windows", one after the other.

use bytes::Bytes;
use bytestring::ByteString;

use super::super::{Asked, EVENT_COST, Malformed, Part, WebSocketAs};
use super::*;

const ID: ExchangeId = ExchangeId { process: 7, number: 1 };
const OTHER: ExchangeId = ExchangeId { process: 7, number: 2 };
const NOW: Instant = Instant::ORIGIN;

fn ack(number: u64) -> Option<AckId> {
    AckId::new(number)
}

fn streams(websocket: WebSocketAs) -> Streams {
    Streams::new(Terms::settle(Asked { websocket, ..Asked::default() }, 16 << 20))
}

/// An end with one exchange that has just begun.
fn begun(begin: Begin) -> Streams {
    let mut streams = streams(WebSocketAs::Messages);
    streams.begin(ID, begin);
    streams
}

const PLAIN: Begin = Begin { is_streamed: false, is_upgrade: false, window: 1 << 16 };
const UPLOAD: Begin = Begin { is_streamed: true, ..PLAIN };
const UPGRADE: Begin = Begin { is_upgrade: true, ..PLAIN };

impl Streams {
    fn says(&mut self, id: ExchangeId, event: Event) -> Effect {
        let wants_ack = matches!(event, Event::Data { .. } | Event::Message { .. });
        let received = Received { id: id.to_string().into(), event: Ok(event) };
        self.received(received, wants_ack.then_some(AckId::new(9).unwrap()), NOW)
    }
}

fn head(status: u16) -> Event {
    Event::Response { status, headers: "{}".into() }
}

fn data(bytes: &'static str, offset: u64) -> Event {
    Event::Data { bytes: Bytes::from_static(bytes.as_bytes()), offset }
}

fn end(total: u64) -> Event {
    Event::End { total, trailers: None }
}

fn text(part: &str, more: bool, number: u64) -> Event {
    Event::Message { part: Part::Text(part.into()), more, number }
}

fn close(parts: u64) -> Event {
    Event::Close { parts, code: 1000, reason: ByteString::new() }
}

fn code_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Breach { code, .. } => code.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_response_comes_as_its_head_its_bytes_and_its_end() {
    let mut streams = begun(PLAIN);
    assert!(matches!(streams.says(ID, head(200)), Effect::Head { id: ID, status: 200, .. }));
    let Effect::Data { owed, .. } = streams.says(ID, data("abc", 0)) else { panic!("no data") };
    assert_eq!(owed, Owed { ack: AckId::new(9).unwrap(), cost: 3 + EVENT_COST });
    assert!(matches!(streams.says(ID, end(3)), Effect::End { id: ID, trailers: None }));
    assert!(!streams.is_open(ID) && streams.is_idle());
    // What still comes is nobody's any more.
    assert_eq!(streams.says(ID, data("x", 3)), Effect::Ack(AckId::new(9).unwrap()));
    assert_eq!([streams.says(ID, end(3)), streams.says(ID, head(200))], [Effect::Nothing, Effect::Nothing]);
}

#[test]
fn what_a_state_does_not_allow_ends_the_exchange() {
    let all = [data("a", 0), end(0), text("a", false, 0), close(0)];
    for event in all.clone() {
        let mut streams = begun(PLAIN);
        assert_eq!(code_of(&streams.says(ID, event)), "protocol", "the head comes first");
        assert!(!streams.is_open(ID));
    }
    for (event, code) in [
        (head(200), "protocol"),
        (text("a", false, 0), "protocol"),
        (close(0), "protocol"),
        (data("a", 1), "out-of-order"),
        (end(1), "out-of-order"),
        (Event::Data { bytes: vec![0; (64 << 10) + 1].into(), offset: 0 }, "chunk-too-large"),
    ] {
        let mut streams = begun(PLAIN);
        streams.says(ID, head(200));
        assert_eq!(code_of(&streams.says(ID, event.clone())), code, "{event:?}");
    }
    for status in [0, 100, 101, 103, 199, 1000] {
        assert_eq!(code_of(&begun(PLAIN).says(ID, head(status))), "protocol", "{status}");
    }
    let mut streams = begun(PLAIN);
    streams.says(ID, head(200));
    let without_ack = Received { id: ID.to_string().into(), event: Ok(data("a", 0)) };
    assert_eq!(code_of(&streams.received(without_ack, None, NOW)), "protocol");
    let malformed = Received { id: ID.to_string().into(), event: Err(Malformed("x")) };
    assert_eq!(code_of(&begun(PLAIN).received(malformed, None, NOW)), "protocol");
}

#[test]
fn more_or_less_than_was_announced_is_refused() {
    for (bytes, total, ends) in [("abc", 3, true), ("ab", 2, false)] {
        let mut streams = begun(PLAIN);
        streams.says(ID, head(200));
        streams.expect(ID, 3);
        streams.says(ID, data(bytes, 0));
        assert_eq!(matches!(streams.says(ID, end(total)), Effect::End { .. }), ends, "{bytes}");
    }
    let mut streams = begun(PLAIN);
    streams.says(ID, head(200));
    streams.expect(ID, 3);
    assert_eq!(code_of(&streams.says(ID, data("abcd", 0))), "protocol");
}

#[test]
fn a_window_is_what_was_reserved_or_one_event() {
    let mut streams = begun(Begin { window: 1000, ..PLAIN });
    streams.says(ID, head(200));
    let whole = Event::Data { bytes: vec![0; 64 << 10].into(), offset: 0 };
    let Effect::Data { owed, .. } = streams.says(ID, whole) else { panic!("one event is always allowed") };
    assert_eq!(streams.handed_on(ID, owed.cost, false), None);
    assert!(matches!(streams.says(ID, data("ab", 64 << 10)), Effect::Data { .. }));
    let more = Event::Data { bytes: vec![0; 600].into(), offset: (64 << 10) + 2 };
    assert_eq!(code_of(&streams.says(ID, more)), "window-exceeded");
}

#[test]
fn an_upgrade_has_messages_and_is_over_when_both_sides_have_closed() {
    for visitor_first in [false, true] {
        let mut streams = begun(UPGRADE);
        assert!(matches!(streams.says(ID, head(101)), Effect::Head { .. }));
        assert!(matches!(streams.says(ID, text("a", true, 0)), Effect::Message { more: true, .. }));
        assert!(matches!(streams.says(ID, text("", false, 1)), Effect::Message { more: false, .. }));
        if visitor_first {
            assert_eq!(streams.finished(ID, NOW), (0, true));
            assert!(matches!(streams.says(ID, close(2)), Effect::Close { code: 1000, .. }));
        } else {
            assert!(matches!(streams.says(ID, close(2)), Effect::Close { code: 1000, .. }));
            assert!(streams.is_open(ID), "the visitor has not closed yet");
            assert_eq!(streams.finished(ID, NOW), (0, true));
        }
        assert!(!streams.is_open(ID));
    }
    for (events, code) in [
        (vec![data("a", 0)], "protocol"),
        (vec![end(0)], "protocol"),
        (vec![text("a", false, 1)], "out-of-order"),
        (
            vec![text("a", true, 0), Event::Message { part: Part::Binary(Bytes::new()), more: false, number: 1 }],
            "protocol",
        ),
        (vec![close(0), text("a", false, 0)], "protocol"),
    ] {
        let mut streams = begun(UPGRADE);
        streams.says(ID, head(101));
        let effects: Vec<_> = events.iter().map(|event| streams.says(ID, event.clone())).collect();
        assert_eq!(code_of(effects.last().unwrap()), code, "{events:?}");
    }
}

#[test]
fn a_raw_connection_has_bytes_and_two_half_closes() {
    let mut streams = streams(WebSocketAs::Raw);
    streams.begin(ID, UPGRADE);
    streams.says(ID, head(101));
    assert!(matches!(streams.says(ID, data("abc", 0)), Effect::Data { .. }));
    assert!(matches!(streams.says(ID, end(3)), Effect::End { .. }));
    assert_eq!(code_of(&begun(PLAIN).says(ID, head(101))), "protocol", "nobody has asked");
    assert!(streams.offer(ID));
    let turn = streams.next_turn(NOW).unwrap();
    assert_eq!(streams.sent(ID, turn.room, turn.room as u64, AckId::new(1).unwrap(), false), 0);
    assert_eq!(streams.finished(ID, NOW), (turn.room as u64, false));
    assert!(!streams.is_open(ID));
}

#[test]
fn a_body_waits_for_pull_if_the_end_asks_for_that() {
    let terms = Terms::settle(Asked { pull: true, ..Asked::default() }, 16 << 20);
    let mut streams = Streams::new(terms);
    streams.begin(ID, UPLOAD);
    assert!(streams.offer(ID) && streams.next_turn(NOW).is_none());
    assert_eq!(streams.says(ID, Event::Pull), Effect::Pull(ID));
    assert_eq!(streams.next_turn(NOW), Some(Turn { id: ID, room: 64 << 10 }));
    // A second one means nothing.
    assert_eq!(streams.says(ID, Event::Pull), Effect::Pull(ID));
}

/// Sends all that may be sent of an exchange, and returns how much that was, with the acks that are due.
fn fill(streams: &mut Streams, id: ExchangeId, next: &mut u64) -> Vec<AckId> {
    streams.offer(id);
    let mut sent = Vec::new();
    while let Some(turn) = streams.next_turn(NOW) {
        assert_eq!(turn.id, id);
        let ack = ack(*next).unwrap();
        *next += 1;
        streams.sent(id, turn.room, turn.room as u64, ack, true);
        sent.push(ack);
    }
    sent
}

#[test]
fn what_is_not_acknowledged_is_within_the_window_and_acks_let_more_through() {
    let mut streams = begun(UPLOAD);
    let mut next = 1;
    let sent = fill(&mut streams, ID, &mut next);
    let unacked = |streams: &Streams| streams.exchanges[&ID].exchange.sending.unacked();
    assert!((200 << 10..=256 << 10).contains(&unacked(&streams)), "{}", unacked(&streams));
    assert_eq!(streams.acked(sent[0], None), Some(Acked { id: ID, is_through: false }));
    assert_eq!(streams.next_turn(NOW).map(|turn| turn.id), Some(ID), "an ack lets it have its turn again");
    assert_eq!(streams.acked(sent[0], None), None, "each counts once");
    streams.finished(ID, NOW);
    let through: Vec<_> = sent[1..].iter().map(|&ack| streams.acked(ack, None).unwrap().is_through).collect();
    assert_eq!(through.iter().filter(|through| **through).count(), 1);
    assert_eq!(through.last(), Some(&true));
}

#[test]
fn what_stands_still_leaves_each_other_exchange_its_floor() {
    let asked = Asked { window: 4 << 20, ..Asked::default() };
    let mut streams = Streams::new(Terms::settle(asked, 16 << 20));
    let mut next = 1;
    // Enough exchanges with large windows to use up all that is shared.
    for number in 10..30 {
        let id = ExchangeId { process: 7, number };
        streams.begin(id, UPLOAD);
        for _ in 0..6 {
            let sent = fill(&mut streams, id, &mut next);
            for ack in sent {
                streams.acked(ack, Some(4 << 20));
            }
        }
        fill(&mut streams, id, &mut next);
        // It has turns left, and waits.
        while streams.next_turn(NOW).is_some() {}
    }
    assert!(streams.shared > 12 << 20 && streams.shared <= SHARED, "{}", streams.shared);
    streams.begin(OTHER, UPLOAD);
    let sent = fill(&mut streams, OTHER, &mut next);
    assert!(streams.exchanges[&OTHER].exchange.sending.unacked() >= 200 << 10, "{}", sent.len());
    let recount: usize =
        streams.exchanges.values().map(|one| one.exchange.sending.unacked().saturating_sub(streams.floor)).sum();
    assert_eq!(streams.shared, recount);
}

#[test]
fn what_is_unacknowledged_of_an_exchange_that_is_over_counts_for_a_minute() {
    let mut streams = begun(UPLOAD);
    let sent = fill(&mut streams, ID, &mut 1);
    assert!(streams.abort(ID, NOW) && !streams.abort(ID, NOW));
    assert!(!streams.is_open(ID) && streams.load().exchanges == 1);
    assert_eq!(streams.acked(sent[0], None), Some(Acked { id: ID, is_through: false }));
    streams.expire(NOW + Duration::from_secs(59));
    assert_eq!(streams.load().exchanges, 1);
    streams.expire(NOW + Duration::from_secs(60));
    let load = streams.load();
    assert_eq!((load.exchanges, load.events, load.shared), (0, 0, 0));
    assert_eq!(streams.acked(sent[1], None), None);
    // One whose events are all acknowledged is forgotten at once.
    streams.begin(OTHER, UPLOAD);
    let sent = fill(&mut streams, OTHER, &mut 100);
    streams.abort(OTHER, NOW);
    for ack in sent {
        streams.acked(ack, None);
    }
    assert_eq!(streams.load().exchanges, 0);
}
