//! What the owner of a tunnel changes. Each change is made as a whole, and is told in the log, also if the owner hangs up meanwhile.

use std::sync::Arc;

use crate::proto::key::KeyHash;
use crate::proto::token::Token;
use crate::relay::audit;
use crate::relay::failure::Failure;
use crate::relay::streams::Closing;
use crate::relay::tokens::Tokens;
use crate::relay::tunnels::Tunnels;
use crate::store::{Change, Found, Patch};
use crate::tasks::complete;

/// Somebody who has shown a key for a tunnel.
pub(super) struct Owner {
    pub(super) tokens: Arc<Tokens>,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) token: Token,
    pub(super) key: KeyHash,
    /// The address, for the log.
    pub(super) by: String,
}

impl Owner {
    /// Returns the tunnel.
    pub(super) async fn find(&self) -> Result<Found, Failure> {
        self.tokens.find_of(&self.token, self.key).await
    }

    /// Sets what `patch` has.
    pub(super) async fn set(self, patch: Patch) -> Result<Found, Failure> {
        complete(async move { self.told("set", self.try_set(patch).await) }).await
    }

    async fn try_set(&self, patch: Patch) -> Result<Found, Failure> {
        let has_rules = patch.rules.is_some();
        let found = match self.tokens.change(&self.token, self.key, &Change::Set(patch)).await {
            // Somebody else who has the key has set rules since they were read.
            Err(Failure::NoSuchTunnel) if has_rules && self.find().await.is_ok() => return Err(Failure::RulesChanged),
            changed => changed?,
        };
        if let Some(keyed) = &found.record.keyed {
            self.tunnels.set(&self.token, keyed);
        }
        Ok(found)
    }

    /// Deletes the tunnel.
    pub(super) async fn delete(self) -> Result<(), Failure> {
        complete(async move { self.told("delete", self.try_delete().await) }).await
    }

    async fn try_delete(&self) -> Result<(), Failure> {
        self.find().await?;
        // The store may not know yet that an end has joined, for which the name is kept.
        if self.tunnels.find(&self.token).is_some() {
            self.tokens.renew(&self.token).await?;
        }
        self.tokens.change(&self.token, self.key, &Change::Delete).await?;
        self.tunnels.remove(&self.token, Closing::Deleted);
        Ok(())
    }

    /// Gives the tunnel the key that its owner made. A request that repeats one finds the new key in place, and succeeds although
    /// it shows the key before: its body proves that the sender knows the new key.
    pub(super) async fn rekey(self, new: KeyHash, disconnect: bool) -> Result<(), Failure> {
        complete(async move { self.told("rekey", self.try_rekey(new, disconnect).await) }).await
    }

    async fn try_rekey(&self, new: KeyHash, disconnect: bool) -> Result<(), Failure> {
        if !disconnect && self.find().await.is_ok() {
            self.tunnels.let_ends_stay(&self.token);
        }
        let found = match self.tokens.change(&self.token, self.key, &Change::Rekey(new)).await {
            Err(Failure::NoSuchTunnel) => self.tokens.find_of(&self.token, new).await?,
            found => found?,
        };
        if let Some(keyed) = &found.record.keyed {
            self.tunnels.rekeyed(&self.token, keyed, disconnect);
        }
        Ok(())
    }

    /// Tells of a change in the log. After one that has failed, the store is asked about the tunnel: it may hold all the same. Only for
    /// the key that the tunnel has here, as others could have the store asked without limit.
    fn told<T>(&self, action: &'static str, changed: Result<T, Failure>) -> Result<T, Failure> {
        match changed {
            Ok(_) => audit::line(&self.by, action, &self.token),
            Err(Failure::Store) => audit::unsure(&self.by, action, &self.token),
            Err(_) => (),
        }
        if changed.is_err() && self.tunnels.find(&self.token).is_some_and(|tunnel| tunnel.key() == Some(self.key)) {
            self.tunnels.recheck(&self.token);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::config::ServeConfig;
    use crate::relay::admin::Blocks;
    use crate::relay::budgets::Budgets;
    use crate::relay::rules::Rulebook;
    use crate::relay::settings::end_limits;
    use crate::relay::tokens::{Wanted, new_token};
    use crate::store::{FileStore, Settings, Store};

    /// A server that keeps its tunnels in a file, with one that visitors find.
    struct World {
        file: PathBuf,
        tokens: Arc<Tokens>,
        tunnels: Arc<Tunnels>,
        token: Token,
        key: KeyHash,
    }

    impl World {
        async fn new(name: &str) -> Self {
            let (config, hour) = (ServeConfig::defaults(), Duration::from_secs(3_600));
            let budgets = Budgets::new(&config);
            let file = std::env::temp_dir().join(format!("socket2me-{name}-{}.redb", std::process::id()));
            let _ = std::fs::remove_file(&file);
            let per_address = Arc::clone(&budgets.tunnels_per_address);
            let store = FileStore::open(&file, 9, |address| per_address.hold_again(address)).await.unwrap();
            let store = Store::File(store);
            let blocks = Arc::new(Blocks::new(store.values()));
            let tokens = Arc::new(Tokens::new(store, blocks, &budgets, hour));
            let tunnels = Tunnels::new(Arc::clone(&tokens), Arc::<Rulebook>::default(), budgets, end_limits(&config));
            tokio::spawn(Arc::clone(&tunnels).sweep());
            let wanted = Wanted { token: new_token(), settings: Settings::default(), rules: None };
            let made = tokens.make(IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
            let (record, left) = tokens.renew(&made.token).await.unwrap();
            tunnels.expect(&made.token, &record, left, true).unwrap();
            Self { file, tokens, tunnels, token: made.token, key: made.key.unwrap().hash() }
        }

        fn owner(&self) -> Owner {
            let (tokens, tunnels) = (Arc::clone(&self.tokens), Arc::clone(&self.tunnels));
            Owner { tokens, tunnels, token: self.token, key: self.key, by: "the test".to_owned() }
        }

        async fn until_gone(&self) {
            let gone = async {
                while self.tunnels.find(&self.token).is_some() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), gone).await.expect("visitors find it no longer");
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.file);
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_deleted_as_a_whole_although_its_owner_hangs_up() {
        let world = World::new("owner-hangs-up").await;
        assert!(world.owner().delete().now_or_never().is_none(), "the owner hangs up before the answer");
        world.until_gone().await;
    }

    #[tokio::test]
    async fn a_tunnel_serves_no_longer_when_its_delete_has_failed_and_holds() {
        let world = World::new("failed-delete").await;
        // All changes fail from now on, and happen in memory.
        world.tokens.close().await;
        let failed = world.owner().delete().await;
        assert!(matches!(failed, Err(Failure::Store)), "{failed:?}");
        world.until_gone().await;
    }

    #[tokio::test]
    async fn what_an_owner_sets_counts_when_the_call_has_failed_and_holds() {
        let world = World::new("failed-set").await;
        world.tokens.close().await;
        let timeout = Duration::from_secs(7);
        world.owner().set(Patch { timeout: Some(timeout), ..Patch::default() }).await.unwrap_err();
        let set = async {
            while world.tunnels.find(&world.token).unwrap().settings().unwrap().timeout != timeout {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), set).await.expect("it counts");
    }
}
