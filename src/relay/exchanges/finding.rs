//! Which tunnel a request is for, and which node has it. Decided before the body is read.

use std::sync::Arc;

use super::{Exchanges, Found};
use crate::cluster::{Cluster, Tried};
use crate::config::ErrorStatus;
use crate::proto::exchange::headers::Origin;
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::route::Target;
use crate::relay::tunnels::Tunnel;
use crate::store::{Ends, Peer};

/// Exchanges in flight at each end of a `spread` tunnel from which on ends at other nodes get their share.
const BUSY: usize = 4;

/// Which node has a tunnel.
enum Where {
    /// This one, or none. `lost` is the epoch of the newest claim, whose end may come back to any node; 0 if none is known.
    Here { lost: u64 },
    /// Another one, by a claim with this epoch.
    At(Peer, u64),
}

impl Exchanges {
    /// Finds the tunnel of a request. With `stays`, it is found at this node or nowhere: another one has passed it on.
    pub(super) async fn find(&self, target: &Target, stays: bool, tried: Tried) -> Found {
        // The original has no such hosts, so no client of it expects its status there.
        let is_own_host = target.origin == Origin::Own;
        let nobody = |failure| Found::Nobody(failure, self.statuses(is_own_host));
        let Some(token) = &target.token else { return nobody(Failure::TokenNotFound) };
        if let Err(blocked) = self.tokens.check(token) {
            return nobody(blocked);
        }
        let find = || self.relaying.tunnels.find(token);
        let mut here = find();
        let mut newest = 0;
        if let Some(cluster) = self.tokens.cluster() {
            if stays && here.is_none() {
                here = cluster.find_joining(token, find).await;
            }
            match self.find_in(cluster, token, here.as_ref(), (stays, tried)).await {
                Ok(Where::Here { lost }) => newest = lost,
                Ok(Where::At(peer, epoch)) => {
                    if let Some(tunnel) = &here {
                        tunnel.note_claim(epoch);
                    }
                    return Found::At(peer, epoch);
                }
                Err(failure) => return Found::Nobody(failure, self.statuses(target.is_surely_keyed())),
            }
        }
        let found = match here {
            Some(tunnel) => Found::Here(tunnel),
            None => self.find_in_store(target, token, newest > 0).await,
        };
        if let Found::Here(tunnel) = &found {
            tunnel.expect_back(newest);
        }
        found
    }

    /// Returns the statuses of failures of a tunnel that another node has.
    pub(super) async fn statuses_elsewhere(&self, target: &Target) -> ErrorStatus {
        let is_keyed = async || {
            let found = self.tokens.find(target.token.as_ref()?).await;
            Some(found.ok()?.0.keyed.is_some())
        };
        self.statuses(target.is_surely_keyed() || is_keyed().await.unwrap_or_default())
    }

    /// Finds a tunnel that has had no end here since the server has started.
    async fn find_in_store(&self, target: &Target, token: &Token, is_lost: bool) -> Found {
        match self.tokens.find(token).await {
            Ok((record, remaining)) => match self.relaying.tunnels.expect(token, &record, remaining, is_lost) {
                Some(tunnel) => Found::Here(tunnel),
                None => Found::Nobody(Failure::NotConnected, self.statuses(record.keyed.is_some())),
            },
            Err(failure) => Found::Nobody(failure, self.statuses(target.is_surely_keyed())),
        }
    }

    /// Looks which node has the end.
    async fn find_in(
        &self,
        cluster: &Arc<Cluster>,
        token: &Token,
        here: Option<&Arc<Tunnel>>,
        (stays, tried): (bool, Tried),
    ) -> Result<Where, Failure> {
        let here_alone = Where::Here { lost: 0 };
        if stays {
            return if here.is_none() {
                cluster.note_absent(token);
                Err(Failure::Elsewhere)
            } else if cluster.serves() {
                Ok(here_alone)
            } else {
                Err(Failure::Elsewhere)
            };
        }
        if let Some(tunnel) = here.filter(|_| cluster.serves())
            && let Some(in_flight) = tunnel.least_in_flight()
        {
            let is_spread = tunnel.settings().is_some_and(|settings| settings.ends == Ends::Spread);
            if !is_spread || in_flight < BUSY {
                return Ok(here_alone);
            }
        }
        let located = cluster.locate(token).await?;
        Ok(match cluster.choose(&located, here.is_some_and(|tunnel| tunnel.has_end()), tried) {
            Some(peer) => Where::At(peer, located.epoch),
            None => Where::Here { lost: located.epoch },
        })
    }
}
