//! Each call of the operator, from its request to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, BlockError, Blocks, Subject, now};
use super::listing;
use crate::cluster::Cluster;
use crate::net::reply::{self, Reply};
use crate::proto::token::Token;
use crate::relay::audit;
use crate::relay::rules::Rulebook;
use crate::relay::tokens::Tokens;
use crate::relay::tunnels::Tunnels;
use crate::store::{Life, StoreError};
use crate::tasks::complete;

/// Serves the operator.
pub(in crate::relay) struct Admin {
    pub(in crate::relay) tokens: Arc<Tokens>,
    pub(in crate::relay) tunnels: Arc<Tunnels>,
    pub(in crate::relay) rulebook: Arc<Rulebook>,
    pub(in crate::relay) blocks: Arc<Blocks>,
}

/// Why a call fails.
#[derive(Debug)]
pub(super) struct Failed(pub(super) StatusCode, pub(super) String);

/// `POST /blocks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocking {
    subject: String,
    /// In seconds from now; absent is for ever.
    #[serde(rename = "for")]
    time: Option<u64>,
    #[serde(default)]
    note: String,
}

impl Admin {
    /// Answers a call of `by`. What it changes is changed as a whole, and is told in the log, also if the operator hangs up meanwhile.
    pub(super) async fn call(self: &Arc<Self>, by: &str, method: &Method, path: &str, body: Bytes) -> Reply {
        let admin = Arc::clone(self);
        let (by, method, path) = (by.to_owned(), method.clone(), path.to_owned());
        complete(async move { admin.answer(&by, &method, &path, &body).await }).await
    }

    async fn answer(&self, by: &str, method: &Method, path: &str, body: &Bytes) -> Reply {
        let parts: Vec<_> = path.trim_matches('/').splitn(3, '/').collect();
        let called = match (method.as_str(), &parts[..]) {
            ("GET", ["tunnels"]) => Ok(json(&listing::all(&self.tunnels, self.cluster()).await)),
            ("GET", ["tunnels", token]) => self.show(token).await,
            ("POST", ["tunnels", token, "close"]) => self.close(by, token).await,
            ("GET", ["cluster"]) => self.status().await,
            ("GET", ["blocks"]) => Ok(json(&self.blocks.list())),
            ("POST", ["blocks"]) => self.block(by, body).await,
            ("DELETE", ["blocks", ..]) => self.unblock(by, &percent_decode_str(&parts[1..].join("/")).decode_utf8_lossy()).await,
            _ => Err(Failed(
                StatusCode::NOT_FOUND,
                "there are GET /tunnels, GET /tunnels/TOKEN, POST /tunnels/TOKEN/close, GET /cluster, GET and POST /blocks, and DELETE \
                 /blocks/SUBJECT"
                    .to_owned(),
            )),
        };
        called.unwrap_or_else(Failed::reply)
    }

    fn cluster(&self) -> Option<&Cluster> {
        self.tokens.cluster().map(Arc::as_ref)
    }

    async fn status(&self) -> Result<Reply, Failed> {
        let cluster = self.cluster().ok_or_else(|| {
            Failed(StatusCode::NOT_FOUND, "this server is alone: it runs without --cluster-listen".to_owned())
        })?;
        let nodes = cluster.status().await.into_iter().map(|(peer, standing)| {
            serde_json::json!({
                "node": peer.node.as_str(),
                "label": peer.label,
                "advertise": peer.advertise,
                "version": peer.version,
                "lease": u64::try_from(peer.lease.as_millis()).unwrap_or(u64::MAX),
                "standing": standing,
            })
        });
        Ok(json(&nodes.collect::<Vec<_>>()))
    }

    async fn show(&self, token: &str) -> Result<Reply, Failed> {
        let token = token_of(token)?;
        let found = self.tokens.found(&token).await?.ok_or_else(no_tunnel)?;
        let (figures, missing) = listing::sum(&self.tunnels, self.cluster(), &token).await;
        let (life, left) = match found.life {
            Life::Alive(left) => ("alive", left),
            Life::Claimed(left) => ("claimed", left),
        };
        let mut shown = serde_json::json!({
            "token": token.to_string(),
            "made_at": found.record.made_at,
            "made_by": found.record.made_by,
            "keyed": found.record.keyed.is_some(),
            "life": life,
            "left": left.as_secs(),
            "blocked": self.blocks.has_tunnel(&token),
            "figures": figures,
        });
        if !missing.is_empty() {
            shown["missing"] = serde_json::to_value(missing).unwrap_or_default();
        }
        if let Some(keyed) = found.record.keyed {
            let settings = keyed.settings;
            shown["ttl"] = settings.ttl.as_secs().into();
            shown["timeout"] = settings.timeout.as_secs().into();
            shown["hold"] = settings.hold.as_secs().into();
            shown["ends"] = settings.ends.as_str().into();
            shown["repeat"] = settings.repeat.as_str().into();
            if let Some(text) = &keyed.rules {
                shown["rules"] = match self.rulebook.read(&token, text) {
                    Ok(rules) => serde_json::to_value(rules.shown()).unwrap_or_default(),
                    Err(unreadable) => unreadable.to_string().into(),
                };
            }
        }
        Ok(json(&shown))
    }

    /// Disconnects the ends of a tunnel. They may come back.
    async fn close(&self, by: &str, token: &str) -> Result<Reply, Failed> {
        let token = token_of(token)?;
        let is_here = self.tunnels.find(&token).is_some();
        match (is_here, self.tokens.cluster()) {
            (false, None) => return Err(no_tunnel()),
            (false, Some(_)) => drop(self.tokens.found(&token).await?.ok_or_else(no_tunnel)?),
            (true, _) => (),
        }
        let (figures, missing) = listing::sum(&self.tunnels, self.cluster(), &token).await;
        let epoch = match self.tokens.cluster() {
            Some(cluster) => cluster.close(&token).await?,
            None => u64::MAX,
        };
        self.tunnels.close(&token, epoch);
        audit::line(by, "close", &token);
        let mut closed = serde_json::json!({ "ends": figures.ends });
        if !missing.is_empty() {
            closed["missing"] = serde_json::to_value(missing).unwrap_or_default();
        }
        Ok(json(&closed))
    }

    async fn block(&self, by: &str, body: &Bytes) -> Result<Reply, Failed> {
        let wrong = |error: String| Failed(StatusCode::BAD_REQUEST, error);
        let Blocking { subject, time, note } =
            serde_json::from_slice(body).map_err(|error| wrong(format!("the body is not as it must be: {error}")))?;
        let subject: Subject = subject.parse().map_err(wrong)?;
        let until = time.map(|time| now().saturating_add(time));
        told(by, "block", subject, self.blocks.block(subject, Block { until, note, ..Block::default() }).await)?;
        if let Subject::Tunnel(token) = subject {
            self.tunnels.close(&token, u64::MAX);
        }
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    async fn unblock(&self, by: &str, subject: &str) -> Result<Reply, Failed> {
        let subject: Subject = subject.parse().map_err(|error| Failed(StatusCode::BAD_REQUEST, error))?;
        told(by, "unblock", subject, self.blocks.unblock(subject).await)?;
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }
}

impl Failed {
    pub(super) fn reply(self) -> Reply {
        let Self(status, message) = self;
        let body = serde_json::json!({ "Error": message }).to_string();
        reply::text(status, "application/json; charset=utf-8", body)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, format!("the store cannot be used: {error}"))
    }
}

impl From<BlockError> for Failed {
    fn from(error: BlockError) -> Self {
        let status = match error {
            BlockError::TooMany => StatusCode::CONFLICT,
            BlockError::WrongNote => StatusCode::BAD_REQUEST,
            BlockError::Absent => StatusCode::NOT_FOUND,
            BlockError::Busy | BlockError::Unreadable(_) | BlockError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

/// Tells of a change of blocks in the log.
fn told(by: &str, action: &'static str, subject: Subject, changed: Result<(), BlockError>) -> Result<(), BlockError> {
    match (&changed, subject) {
        (Ok(()), Subject::Tunnel(token)) => audit::line(by, action, &token),
        (Ok(()), Subject::Network(_)) => audit::line_about(by, action, subject),
        (Err(BlockError::Store(_)), Subject::Tunnel(token)) => audit::unsure(by, action, &token),
        (Err(BlockError::Store(_)), Subject::Network(_)) => audit::unsure_about(by, action, subject),
        (Err(_), _) => (),
    }
    changed
}

fn token_of(text: &str) -> Result<Token, Failed> {
    Token::parse(text).ok_or_else(no_tunnel)
}

fn no_tunnel() -> Failed {
    Failed(StatusCode::NOT_FOUND, "there is no such tunnel here".to_owned())
}

fn json(body: &impl Serialize) -> Reply {
    let body = serde_json::to_string(body).expect("structs of texts and numbers are JSON");
    reply::text(StatusCode::OK, "application/json; charset=utf-8", body)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::config::ServeConfig;
    use crate::relay::budgets::Budgets;
    use crate::relay::settings::end_limits;
    use crate::store::{FileStore, Store};

    #[tokio::test]
    async fn a_block_is_set_as_a_whole_although_the_operator_hangs_up() {
        let file = std::env::temp_dir().join(format!("socket2me-operator-hangs-up-{}.redb", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let config = ServeConfig::defaults();
        let budgets = Budgets::new(&config);
        let per_address = Arc::clone(&budgets.tunnels_per_address);
        let store = FileStore::open(&file, 9, |address| per_address.hold_again(address)).await.unwrap();
        let store = Store::File(store);
        let blocks = Arc::new(Blocks::open(store.values()).await.unwrap());
        let tokens = Arc::new(Tokens::new(store, Arc::clone(&blocks), &budgets, config.token_ttl));
        let rulebook = Arc::<Rulebook>::default();
        let tunnels = Tunnels::new(Arc::clone(&tokens), Arc::clone(&rulebook), budgets, end_limits(&config));
        let admin = Arc::new(Admin { tokens, tunnels, rulebook, blocks });
        let body = Bytes::from_static(br#"{"subject":"mine"}"#);
        let called = admin.call("the test", &Method::POST, "/blocks", body).now_or_never();
        assert!(called.is_none(), "the caller hangs up before the answer");
        let blocked = async {
            while !admin.blocks.has_tunnel(&Token::parse("mine").unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), blocked).await.expect("the block holds");
        let _ = std::fs::remove_file(&file);
    }
}
