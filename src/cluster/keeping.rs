//! The tasks of a node: it makes the calls that its directory asks for, and looks for tunnels whose visitors wait here.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{sleep, sleep_until};

use super::directory::Standing;
use super::waiting::EVERY;
use super::{Cluster, Message};

impl Cluster {
    /// Keeps the node's lease, and hands what others tell it to `told`. Never completes.
    pub(crate) async fn keep(self: Arc<Self>, told: impl Fn(Message) + Send + Sync + 'static) -> Infallible {
        // There is one task of these.
        let _ = self.told.set(Box::new(told));
        tokio::select! {
            never = self.keep_directory() => never,
            never = self.look_for_claims() => never,
        }
    }

    /// Makes the calls that are due. Each runs in a task of its own, since the directory bounds how many there are: one renewal, a
    /// batch of claims, a ping for each suspect.
    async fn keep_directory(self: &Arc<Self>) -> Infallible {
        let mut was_awake = true;
        let mut standing = Standing::Alone;
        loop {
            let woken = self.wake.notified();
            let now = self.clock.now();
            let is_awake = self.directory().is_awake(now);
            if was_awake && !is_awake {
                tracing::warn!("this node has stood still: it serves others again once the store answers");
            }
            was_awake = is_awake;
            self.say(&mut standing);
            self.call_store();
            let pings = self.directory().pings(now);
            for asked in pings {
                let node = Arc::clone(self);
                drop(tokio::spawn(async move { node.ask_listed(asked).await }));
            }
            let next = self.directory().next();
            match next {
                None => woken.await,
                Some(next) => tokio::select! {
                    () = woken => (),
                    () = sleep_until(self.clock.at(next)) => (),
                },
            }
        }
    }

    /// Logs what has changed for this node.
    fn say(&self, before: &mut Standing) {
        let standing = self.directory().standing(self.clock.now());
        if standing == *before || !self.has_joined.load(Ordering::Relaxed) {
            return;
        }
        *before = standing;
        match standing {
            Standing::Member => tracing::info!("the lease of this node lasts"),
            Standing::Alone => tracing::error!(
                "the store is away for this node, and no other is known to have it: it goes on with its own tunnels, and does not \
                 hear of ends that join elsewhere"
            ),
            Standing::Out => {
                tracing::error!("another node has the store and this one has not: it serves no visitors");
                self.out.notify_one();
            }
        }
    }

    fn call_store(self: &Arc<Self>) {
        let now = self.clock.now();
        let until = self.nodes.until();
        let mut directory = self.directory();
        let renewal = directory.is_renewal_due(now).then(|| directory.renewal(now));
        let (claims, leaves, seen) = (directory.announce(now, until), directory.leaves(now), directory.seen());
        drop(directory);
        if let Some(renewal) = renewal {
            let node = Arc::clone(self);
            drop(tokio::spawn(async move {
                let renewed = node.nodes.renew(&renewal).await;
                let answered = node.clock.now();
                match renewed {
                    Ok(renewed) => {
                        node.has_joined.store(true, Ordering::Relaxed);
                        drop(node.directory().renewed(answered, &renewed, now));
                        // The directory has taken up what is its own of them; a message that came before is harmless.
                        renewed
                            .inbox
                            .iter()
                            .filter_map(|(_, text)| Message::parse(text))
                            .for_each(|message| node.take_up(message));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the lease of this node is not renewed");
                        node.directory().failed(answered);
                    }
                }
                node.wake.notify_one();
            }));
        }
        for (token, claim) in claims {
            let node = Arc::clone(self);
            drop(tokio::spawn(async move { drop(node.make(token, &claim).await) }));
        }
        for (token, epoch) in leaves {
            let node = Arc::clone(self);
            drop(tokio::spawn(async move {
                let written = node.nodes.leave(&token, node.me, epoch, seen).await.ok();
                node.directory().left(node.clock.now(), token, epoch, written);
                node.wake.notify_one();
            }));
        }
    }

    /// Gives the lease back: others hear at once that this node is gone.
    pub(crate) async fn say_farewell(&self) {
        let renewal = self.directory().farewell(self.clock.now());
        if let Err(error) = self.nodes.renew(&renewal).await {
            tracing::debug!(%error, "the lease of this node is not given back");
        }
    }

    /// Wakes visitors that wait here for tunnels that another node has claimed.
    async fn look_for_claims(&self) -> Infallible {
        let mut last = None;
        loop {
            let tokens = self.waiting.some(last).await;
            last = tokens.last().copied();
            let asked = self.clock.now();
            if let Ok(located) = self.nodes.locate(&tokens).await {
                for (token, located) in tokens.iter().zip(located) {
                    self.waiting.tell(token, &located);
                    self.directory().located(*token, located, asked);
                }
            }
            sleep(EVERY).await;
        }
    }
}
