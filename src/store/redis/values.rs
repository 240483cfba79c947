//! Values and leases in Redis: the text `s2m:v:NAME`, and the text `s2m:l:NAME`, which is its holder and expires.

use std::sync::Arc;
use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::link::Link;
use crate::store::error::StoreError;

/// The values of a Redis.
#[derive(Debug, Clone)]
pub(in crate::store) struct RedisValues {
    link: Arc<Link>,
    script: Arc<Script>,
}

impl RedisValues {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self { link: Arc::clone(link), script: Arc::new(Script::new(include_str!("value.lua"))) }
    }

    pub(in crate::store) async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut texts = self.call("get", format!("s2m:v:{name}"), |_| ()).await?;
        Ok(if texts.len() == 2 { texts.pop() } else { None })
    }

    pub(in crate::store) async fn put(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.call("put", format!("s2m:v:{name}"), |script| _ = script.arg(text)).await.map(drop)
    }

    pub(in crate::store) async fn put_if(&self, name: &str, was: Option<&str>, text: &str) -> Result<bool, StoreError> {
        let add = |script: &mut ScriptInvocation<'_>| {
            script.arg(text);
            if let Some(was) = was {
                script.arg(was);
            }
        };
        self.call("put if", format!("s2m:v:{name}"), add).await.map(|texts| is_done(&texts))
    }

    pub(in crate::store) async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let lease = format!("s2m:l:{name}");
        let texts = self.call("lease", lease, |script| _ = script.arg(holder).arg(milliseconds)).await?;
        Ok(is_done(&texts))
    }

    async fn call(
        &self,
        what: &str,
        key: String,
        add: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Vec<String>, StoreError> {
        let mut script = self.script.key(key);
        script.arg(self.link.deadline()).arg(what);
        add(&mut script);
        self.link.texts(&script).await
    }
}

/// Tells whether a script says that it did what it was told.
fn is_done(texts: &[String]) -> bool {
    matches!(texts, [word] if word == "done")
}
