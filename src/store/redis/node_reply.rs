//! What the scripts about nodes return.

use std::time::Duration;
use std::vec;

use super::reply::Reply;
use crate::proto::node::NodeId;
use crate::store::nodes::{Claimed, Located, Lost, Peer, Renewed, TableNews, Written};
use crate::store::settings::Ends;

/// What a script about nodes returns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeReply {
    /// A lease was renewed.
    Renewed(Renewed),
    /// A claim was made.
    Claimed(Claimed),
    /// A claim was given up.
    Left(Written),
    /// Where tunnels are.
    Located(Vec<Located>),
    /// A node, if it lives.
    Peer(Option<Peer>),
    /// A message was left.
    Posted,
    /// Nothing was done, for a reason that all scripts have.
    Other(Reply),
}

impl NodeReply {
    /// Reads what a script returned. `None` is what no script of ours returns.
    pub(super) fn parse(texts: Vec<String>) -> Option<Self> {
        if let Some(other) = Reply::parse(&texts) {
            return Some(Self::Other(other));
        }
        let mut texts = Texts(texts.into_iter());
        let reply = match texts.text()?.as_str() {
            "renewed" => Self::Renewed(texts.renewed()?),
            "claimed" => return texts.claimed().map(Self::Claimed),
            "left" => Self::Left(texts.written()?),
            "located" => Self::Located(texts.located()?),
            "peer" if texts.0.len() == 0 => Self::Peer(None),
            "peer" => Self::Peer(Some(texts.peer()?)),
            "posted" => Self::Posted,
            _ => return None,
        };
        (texts.0.len() == 0).then_some(reply)
    }
}

/// The texts that are left.
struct Texts(vec::IntoIter<String>);

impl Texts {
    fn text(&mut self) -> Option<String> {
        self.0.next()
    }

    fn number(&mut self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// Reads a number that is an empty text if there is none.
    fn optional(&mut self) -> Option<Option<u64>> {
        let text = self.text()?;
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    }

    fn flag(&mut self) -> Option<bool> {
        self.text().map(|text| text == "1")
    }

    /// Reads a number of items, and those.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            node: NodeId::parse(&self.text()?)?,
            advertise: self.text()?.into(),
            label: self.text()?.into(),
            version: self.text()?.into(),
            is_draining: self.flag()?,
            lease: Duration::from_millis(self.number()?),
        })
    }

    fn written(&mut self) -> Option<Written> {
        let (writes, after, found) = (self.number()?, self.optional()?, self.optional()?);
        let lost = after.zip(found).map(|(after, found)| Lost { after, found });
        Some(Written { writes, lost })
    }

    fn renewed(&mut self) -> Option<Renewed> {
        let (now, written, was_away) = (self.number()?, self.written()?, self.flag()?);
        let (version, table) = (self.number()?, self.table()?);
        let posted = self.number()?;
        let inbox = self.list(|texts| Some((texts.number()?, texts.text()?.into())))?;
        Some(Renewed { now, written, was_away, version, table, posted, inbox })
    }

    fn table(&mut self) -> Option<TableNews> {
        let which = self.text()?;
        if which == "same" {
            return Some(TableNews::Same);
        }
        let peers = self.list(Self::peer)?;
        let gone = self.list(|texts| NodeId::parse(&texts.text()?))?;
        match which.as_str() {
            "whole" => Some(TableNews::Whole(peers)),
            "changes" => Some(TableNews::Changes { peers, gone }),
            _ => None,
        }
    }

    fn claimed(mut self) -> Option<Claimed> {
        let (written, epoch, is_newest) = (self.written()?, self.number()?, self.flag()?);
        let others = self.list(Self::peer)?;
        match Reply::parse(self.0.as_slice())? {
            Reply::Found(found) => Some(Claimed { found, epoch, is_newest, others, written }),
            Reply::Absent(_) | Reply::Refused | Reply::Made | Reply::Same | Reply::Taken => None,
        }
    }

    fn located(&mut self) -> Option<Vec<Located>> {
        let peers = self.list(Self::peer)?;
        let peer = |node: &str| peers.iter().find(|peer| peer.node.as_str() == node).cloned();
        let mut located = Vec::with_capacity(self.0.len() / 4);
        while self.0.len() > 0 {
            let which = self.text()?;
            let which = Ends::ALL.into_iter().find(|ends| ends.as_str() == which)?;
            let epoch = self.number()?;
            let owner = peer(&self.text()?);
            let holders = self.text()?;
            let holder = |text: &str| {
                let (node, ends) = text.split_once(':')?;
                Some((peer(node)?, ends.parse().ok()?))
            };
            let holders = holders.split_ascii_whitespace().map(holder).collect::<Option<_>>()?;
            located.push(Located { which, epoch, owner, holders });
        }
        Some(located)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<NodeReply> {
        NodeReply::parse(text.split('|').map(str::to_owned).collect())
    }

    fn peer(node: &str) -> Peer {
        Peer {
            node: NodeId::parse(node).unwrap(),
            advertise: "http://a:1".into(),
            label: "".into(),
            version: "0.2.0".into(),
            is_draining: false,
            lease: Duration::from_secs(6),
        }
    }

    #[test]
    fn replies_are_read_to_their_end() {
        let lost = Some(Lost { after: 3, found: 8 });
        assert_eq!(parse("left|9|3|8"), Some(NodeReply::Left(Written { writes: 9, lost })));
        assert_eq!(parse("refused"), Some(NodeReply::Other(Reply::Refused)));
        let renewed = |table| Renewed {
            now: 1_700_000_000_000,
            written: Written { writes: 1, lost: None },
            was_away: true,
            version: 7,
            table,
            posted: 5,
            inbox: vec![(5, "evict x 3".into())],
        };
        let (peers, gone) = (vec![peer("aaaaaaaa")], vec![NodeId::parse("bbbbbbbb").unwrap()]);
        for (text, table) in [
            ("same", TableNews::Same),
            ("whole|1|aaaaaaaa|http://a:1||0.2.0|0|6000|0", TableNews::Whole(peers.clone())),
            ("changes|1|aaaaaaaa|http://a:1||0.2.0|0|6000|1|bbbbbbbb", TableNews::Changes { peers, gone }),
        ] {
            let text = format!("renewed|1700000000000|1|||1|7|{text}|5|1|5|evict x 3");
            assert_eq!(parse(&text), Some(NodeReply::Renewed(renewed(table))));
        }
        for wrong in ["left|9|3", "left|9|3|8|0", "peer|aaaaaaaa", "renewed|1", "located|1", "x", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tunnels_share_the_nodes_that_are_named_once() {
        let text = "located|1|bbbbbbbb|http://a:1||0.2.0|0|6000|newest|0|||spread|4|bbbbbbbb|bbbbbbbb:2";
        let bee = peer("bbbbbbbb");
        let spread = Located { which: Ends::Spread, epoch: 4, owner: Some(bee.clone()), holders: vec![(bee, 2)] };
        assert_eq!(parse(text), Some(NodeReply::Located(vec![Located::default(), spread])));
    }
}
