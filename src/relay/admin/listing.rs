//! The tunnels that have ends, at this server and at the other nodes of its cluster.

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::proto::token::Token;
use crate::relay::tunnels::{Tunnel, TunnelFigures, Tunnels};
use crate::store::Peer;

/// An open tunnel in the list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    token: String,
    keyed: bool,
    #[serde(flatten)]
    figures: TunnelFigures,
    /// The node of which these are the figures. `None` for a server alone.
    #[serde(flatten)]
    node: Option<Node>,
}

/// A node of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    node: String,
    /// What its operator calls it, if it has a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
}

impl From<&Peer> for Node {
    fn from(peer: &Peer) -> Self {
        Self { node: peer.node.to_string(), label: peer.label.to_string() }
    }
}

/// A node whose tunnels are not known.
#[derive(Serialize)]
pub(super) struct Missing {
    #[serde(flatten)]
    node: Node,
    error: String,
}

impl Node {
    fn own(cluster: Option<&Cluster>) -> Option<Self> {
        cluster.map(|cluster| Self::from(&cluster.as_peer()))
    }
}

/// A line of the list.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Line {
    Listed(Listed),
    Missing(Missing),
}

/// Returns the tunnels of this server, or one of them, as another node gets them: JSON.
pub(in crate::relay) fn told(tunnels: &Tunnels, cluster: Option<&Cluster>, token: Option<&str>) -> String {
    let one = |token| Some(Listed::of(&token, &*tunnels.find(&token)?, Node::own(cluster).as_ref()));
    let listed = match token {
        None => here(tunnels, cluster),
        Some(token) => Token::parse(token).and_then(one).into_iter().collect(),
    };
    serde_json::to_string(&listed).unwrap_or_default()
}

/// Returns the tunnels of all nodes, and the nodes whose tunnels are not known.
pub(super) async fn all(tunnels: &Tunnels, cluster: Option<&Cluster>) -> Vec<Line> {
    let mut lines: Vec<_> = here(tunnels, cluster).into_iter().map(Line::Listed).collect();
    for (node, text) in elsewhere(cluster, None).await {
        match text.and_then(|text| read(&text)) {
            Ok(listed) => lines.extend(listed.into_iter().map(Line::Listed)),
            Err(error) => lines.push(Line::Missing(Missing { node, error })),
        }
    }
    lines
}

/// Returns what a tunnel has at all nodes in sum, and the nodes whose part is not known.
pub(super) async fn sum(tunnels: &Tunnels, cluster: Option<&Cluster>, token: &Token) -> (TunnelFigures, Vec<Missing>) {
    let mut sum = tunnels.find(token).map(|tunnel| tunnel.figures()).unwrap_or_default();
    let mut missing = Vec::new();
    for (node, text) in elsewhere(cluster, Some(token)).await {
        match text.and_then(|text| read(&text)) {
            Ok(listed) => sum = listed.into_iter().fold(sum, |sum, listed| sum + listed.figures),
            Err(error) => missing.push(Missing { node, error }),
        }
    }
    (sum, missing)
}

async fn elsewhere(cluster: Option<&Cluster>, token: Option<&Token>) -> Vec<(Node, Result<String, String>)> {
    match cluster {
        Some(cluster) => {
            let told = cluster.tunnels_elsewhere(token).await;
            told.into_iter().map(|(peer, text)| (Node::from(&peer), text)).collect()
        }
        None => Vec::new(),
    }
}

fn read(text: &str) -> Result<Vec<Listed>, String> {
    serde_json::from_str(text).map_err(|error| format!("its answer is not understood: {error}"))
}

fn here(tunnels: &Tunnels, cluster: Option<&Cluster>) -> Vec<Listed> {
    let (mut listed, node) = (Vec::new(), Node::own(cluster));
    tunnels.each(|token, tunnel| listed.push(Listed::of(&token, tunnel, node.as_ref())));
    listed
}

impl Listed {
    fn of(token: &Token, tunnel: &Tunnel, node: Option<&Node>) -> Self {
        Self { token: token.to_string(), keyed: tunnel.is_keyed(), figures: tunnel.figures(), node: node.cloned() }
    }
}
