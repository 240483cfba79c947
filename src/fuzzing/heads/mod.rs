//! The fuzz target of heads: what of a visitor's head reaches the end, whom the request is from, and which headers of an ack
//! reach the visitor. Each is compared with PROTOCOL.md's rules, written here a second time.

mod addresses;
mod answer;
mod event;
mod head;
mod work;

use self::head::Head;

/// A visitor's head becomes the event that PROTOCOL.md describes, an ack with the same headers the response, and the visitor's
/// address is one that a trusted proxy has named.
pub fn heads(data: &[u8]) {
    let Some(head) = Head::read(data) else { return };
    let arrival = addresses::check(&head);
    event::check(&head, &arrival, 1024 + 24 * data.len());
    answer::check(&head);
    work::check(&head);
}
