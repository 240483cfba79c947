//! The event that an end gets of a visitor's request.

use std::borrow::Cow;

use bytes::Bytes;
use http::Version;
use http::header;
use http::request::Parts;

use super::exchange::Exchange;
use crate::net::arrival::Arrival;
use crate::net::body::{Kept, RequestBody};
use crate::net::buffers::Buffer;
use crate::proto::exchange::headers::Origin;
use crate::proto::exchange::{Body, Streamed, Visit};
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::packet::Encoded;
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::own_hosts::OwnHosts;
use crate::relay::public_url::PublicUrl;
use crate::relay::tunnels::Seat;

/// A visitor's request on its way to an end.
pub(super) struct EndRequest<'h> {
    pub(super) head: &'h Parts,
    /// The body, if it goes along with the event.
    pub(super) body: Bytes,
    /// The length of the body, in bytes, if the request says that it has one, even if that is empty.
    pub(super) body_length: Option<u64>,
    pub(super) arrival: &'h Arrival<'h>,
    pub(super) public_url: &'h PublicUrl,
    pub(super) hosts: &'h OwnHosts,
    pub(super) token: &'h Token,
    /// The tunnel's if the visitor asked for a host of its own.
    pub(super) origin: Origin,
    pub(super) path: &'h str,
    /// What was found of its signature; `None` if it was not looked at.
    pub(super) verified: Option<&'static str>,
    /// `Authorization` was for the relay, and goes no further.
    pub(super) hides_authorization: bool,
    pub(super) id: &'h str,
}

impl EndRequest<'_> {
    /// Puts the body back that was read, if the request fails because it is another node's, which is to have it. Returns the failure.
    pub(super) fn give_back(&mut self, failure: Failure, exchange: &mut Exchange, body: &mut RequestBody) -> Failure {
        if matches!(failure, Failure::Elsewhere) && self.body_length.take().is_some() {
            body.put_back(Kept { bytes: std::mem::take(&mut self.body), memory: exchange.give_body() });
        }
        failure
    }

    /// Tells whether the request has come through the server of this name.
    pub(super) fn names_in_via(&self, name: &str) -> bool {
        let lines = self.head.headers.get_all(header::VIA).iter();
        let mut hops = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        hops.any(|hop| hop.split(u8::is_ascii_whitespace).any(|word| word == name.as_bytes()))
    }

    /// Returns the host at which `--public-url` shows the tunnel to visitors.
    fn public_host(&self) -> Option<Cow<'_, str>> {
        match self.origin {
            Origin::Shared | Origin::SharedBesideHosts => self.public_url.host().map(Cow::Borrowed),
            Origin::Own => self.hosts.host(self.public_url.url()?, self.token).map(Cow::Owned),
        }
    }

    /// Makes the event that `end` gets.
    pub(super) fn event(
        &self,
        end: &Seat,
        ack_id: AckId,
        body: &Body,
        stream: Option<Streamed<'_>>,
    ) -> Result<Encoded, Failure> {
        let Self { head, arrival, public_url, .. } = self;
        let scheme = arrival.scheme(&head.headers);
        let host = self.public_host().or_else(|| arrival.host(&head.headers));
        let visit = Visit {
            method: head.method.as_str(),
            path: self.path,
            query: head.uri.query(),
            http_version: if head.version == Version::HTTP_10 { "1.0" } else { "1.1" },
            headers: &head.headers,
            remote_address: &arrival.client_text(),
            forwarded_before: &arrival.forwarded_for(&head.headers),
            peer: arrival.peer.text(),
            forwarded_proto: &scheme,
            forwarded_host: host.as_deref(),
            tunnels_at: (self.origin != Origin::Own).then(|| public_url.tunnels_at()),
            token: self.token.as_str(),
            has_trusted_request_id: arrival.is_proxied(),
            verified: self.verified,
            hides_authorization: self.hides_authorization,
            id: self.id,
            body,
            body_length: self.body_length,
            stream,
        };
        let namespace = end.socket().namespace();
        Buffer::with_text(|draft| visit.encode(namespace, ack_id, end.options(), draft))
            .map_err(Failure::MarkerInHeaders)
    }
}
