//! What a tunnel's rules let pass, before a visitor waits for an end and before that sees a byte.

use http::header;
use http::request::Parts;

use super::Incoming;
use super::relaying::Relaying;
use crate::net::arrival::Arrival;
use crate::net::body::{self, BodyLimits, Kept};
use crate::proto::exchange::headers::Origin;
use crate::relay::failure::Failure;
use crate::relay::route::Target;
use crate::relay::rules::{Delivery, Guard, Signed};
use crate::relay::tunnels::Tunnel;

/// What rules say of a request that they let pass.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// What was found of its signature, for the end; `None` if it was not looked at.
    pub(super) verified: Option<&'static str>,
    /// `Authorization` was for the rules. It stays in the head, since another node may have to check it.
    pub(super) hides_authorization: bool,
    /// What is to be told once the end has taken it.
    pub(super) delivery: Option<Delivery>,
}

impl Relaying {
    /// Checks a request by the rules of its tunnel, in the order in which PROTOCOL.md has them.
    ///
    /// # Errors
    /// With what the rules have against it, and when the body that was signed cannot be read.
    pub(super) async fn admit(
        &self,
        guard: &Guard,
        tunnel: &Tunnel,
        incoming: &mut Incoming<'_>,
    ) -> Result<Admitted, Failure> {
        let Incoming { head, body, arrival, target, .. } = incoming;
        guard.check_head(arrival.client, &head.method)?;
        if let Some(basic) = guard.basic() {
            let shown = head.headers.get(header::AUTHORIZATION);
            self.rulebook.passwords.check(basic, shown, arrival.client).await?;
        }
        let mut admitted = Admitted { hides_authorization: guard.basic().is_some(), ..Admitted::default() };
        if let Some(verify) = guard.verify() {
            let limits = BodyLimits {
                max_bytes: verify.max_bytes.min(self.config.max_body),
                stall_timeout: self.config.limits.stall_timeout,
                memory: tunnel.memory(),
            };
            let kept: Kept = body::read_admitted(body, limits, || self.upload_place(arrival.client)).await?;
            let url = self.signed_url(head, arrival, target);
            let signed = Signed { method: &head.method, url: &url, headers: &head.headers, body: &kept.bytes };
            let looked = guard.look(verify, &signed)?;
            body.put_back(kept);
            let verified = looked.verified.map_or("false", |preset| preset.as_str());
            admitted = Admitted { verified: Some(verified), delivery: looked.delivery, ..admitted };
        }
        guard.count(arrival.client)?;
        if guard.verify().is_some() {
            incoming.was_read();
        }
        Ok(admitted)
    }

    /// Returns the URL for which a sender has signed: the one at which the tunnel is shown to it.
    fn signed_url(&self, head: &Parts, arrival: &Arrival<'_>, target: &Target) -> String {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = arrival.scheme(&head.headers);
        let asked = || format!("{scheme}://{}", arrival.host(&head.headers).unwrap_or_default());
        let base = match target.origin {
            Origin::Shared | Origin::SharedBesideHosts => self.public_url.base(asked),
            Origin::Own => {
                let public = self.public_url.url().zip(target.token.as_ref());
                public.and_then(|(url, token)| self.hosts.url(url, token)).unwrap_or_else(asked)
            }
        };
        base + path
    }
}
