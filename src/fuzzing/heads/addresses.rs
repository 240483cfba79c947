//! Whom a request is from.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};

use super::head::{Head, latin1};
use crate::net::arrival::Arrival;
use crate::net::budget::{Client, Exempt};

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// The address that a proxy names in the checks below. No proxy that [`Head`] trusts has it.
const VISITOR: &str = "203.0.113.9";

/// The visitor is the peer, or behind a trusted proxy whom its headers name. Where they name nobody, no limit exempts the
/// address that stands for the visitor.
pub(super) fn check(head: &Head) -> Arrival<'_> {
    let arrival = Arrival::new(&head.headers, &head.peer, &head.trusted);
    assert_eq!(arrival.is_proxied(), head.is_proxied());
    assert_eq!(arrival.client_text(), arrival.client.address.to_string());
    if let Some(expected) = walk(head) {
        assert_eq!(arrival.client, expected, "{:?} from {:?}", head.headers, head.peer);
    }
    if arrival.client.address.is_loopback() && is_exempt(head, arrival.client) {
        let of_loopback = head.peer.address.ip().is_loopback() || is_trusted(head, arrival.client.address);
        assert!(of_loopback, "another machine's loopback: {:?}", head.headers);
    }
    if head.is_proxied() {
        check_named(head);
    }
    arrival
}

/// No bytes of a visitor change what the proxy behind them says, on a line of its own or at the end of the visitor's. Where it
/// passes the other header on as the visitor sent it, the visitor is the one that it names, or nobody is exempt.
fn check_named(head: &Head) {
    let client = |headers: &HeaderMap| Arrival::new(headers, &head.peer, &head.trusted).client;
    for (name, other, entry) in
        [(FORWARDED_FOR, FORWARDED, VISITOR.to_owned()), (FORWARDED, FORWARDED_FOR, format!("for={VISITOR}"))]
    {
        let (mut separate, mut behind) = (head.headers.clone(), head.headers.clone());
        separate.append(name, HeaderValue::try_from(&entry).expect("ASCII"));
        let said: Vec<_> =
            head.headers.get_all(name).iter().map(HeaderValue::as_bytes).chain([entry.as_bytes()]).collect();
        behind.insert(name, HeaderValue::from_bytes(&said.join(&b", "[..])).expect("values"));
        for mut headers in [separate, behind] {
            let found = client(&headers);
            assert!(found.address.to_string() == VISITOR || !is_exempt(head, found), "{found:?}: {headers:?}");
            headers.remove(other);
            assert_eq!(client(&headers).address.to_string(), VISITOR, "{headers:?}");
        }
    }
}

fn is_trusted(head: &Head, address: IpAddr) -> bool {
    head.trusted.iter().any(|network| network.contains(&address))
}

fn is_exempt(head: &Head, client: Client) -> bool {
    Exempt { this_machine: true, proxies: head.trusted.clone() }.contains(client)
}

/// Returns whom the headers name, or `None` where an entry on the way is written in a form that this does not read.
fn walk(head: &Head) -> Option<Client> {
    let mut client = Client { address: head.peer.address.ip(), can_be_exempt: true };
    if !head.is_proxied() {
        return Some(client);
    }
    let [listed, standard] = [FORWARDED_FOR, FORWARDED].map(|name| entries(&head.headers, name));
    let count = listed.as_ref().map_or(0, Vec::len).max(standard.as_ref().map_or(0, Vec::len));
    for number in 0..count {
        let [listed, standard] =
            [&listed, &standard].map(|entries| Some(entries.as_ref()?.get(number).copied().unwrap_or(Entry::Nobody)));
        let entry = match (listed, standard) {
            (Some(Entry::Unread), _) | (_, Some(Entry::Unread)) => return None,
            (Some(entry), None) | (None, Some(entry)) => entry,
            (Some(listed), Some(standard)) if listed == standard => listed,
            (Some(_), Some(_)) | (None, None) => Entry::Nobody,
        };
        let Entry::Address(address) = entry else {
            return Some(Client { can_be_exempt: false, ..client });
        };
        let can_be_exempt = is_trusted(head, address) || head.peer.address.ip().is_loopback();
        client = Client { address, can_be_exempt };
        if !is_trusted(head, address) {
            break;
        }
    }
    Some(client)
}

/// What an entry of a proxy's says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// An address as it is usually written.
    Address(IpAddr),
    /// No address in any form.
    Nobody,
    /// An address in another form, perhaps.
    Unread,
}

/// The entries of a header, the nearest first. `None` without the header.
fn entries(headers: &HeaderMap, name: &str) -> Option<Vec<Entry>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(latin1).collect();
    let is_plain = name == FORWARDED_FOR || !lines.iter().any(|line| line.contains(['"', '\\', ';']));
    let read = |entry: &str| {
        let text = entry.trim_matches([' ', '\t']);
        let address = match text.get(..4) {
            _ if name == FORWARDED_FOR => text.parse::<IpAddr>().ok(),
            Some(label) if label.eq_ignore_ascii_case("for=") => text[4..].parse().ok(),
            Some(_) | None => None,
        };
        match address {
            _ if !is_plain => Entry::Unread,
            Some(address) => Entry::Address(address.to_canonical()),
            None if text.contains(['.', ':']) => Entry::Unread,
            None => Entry::Nobody,
        }
    };
    let read: Vec<_> = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(read).collect();
    Some(read).filter(|_| !lines.is_empty())
}
