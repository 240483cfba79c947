//! The rules as JSON: as owners give them, as they see them, and as a store keeps them.

use http::Method;
use ipnet::IpNet;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::basic::{Basic, BasicWish};
use super::rate::Rate;
use super::signature::Verify;
use crate::config::network;

/// The most networks of a list. The largest lists of vendors have some tens.
const MAX_NETWORKS: usize = 256;

/// The most methods of a list, and the most bytes of one.
const MAX_METHODS: usize = 16;
const MAX_METHOD: usize = 32;

/// What the owner of a keyed tunnel demands of visitors' requests. It is read from what a store keeps by `Deserialize`, and
/// written by [`Self::shown`] and [`Self::kept`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::relay) struct Rules {
    /// Networks whose visitors alone may come; all may if there are none.
    #[serde(deserialize_with = "networks")]
    pub(super) allow: Vec<IpNet>,
    /// Networks whose visitors may not come, even if they are allowed.
    #[serde(deserialize_with = "networks")]
    pub(super) deny: Vec<IpNet>,
    /// The methods that requests may have; any if there are none.
    #[serde(deserialize_with = "methods")]
    pub(super) methods: Vec<Method>,
    /// Names and passwords of visitors.
    pub(super) basic: Option<Basic>,
    /// The signature that requests must have.
    pub(super) verify: Option<Verify>,
    /// How many requests may come in a time.
    pub(super) rate: Option<Rate>,
}

/// A change of rules: a member that is given is set, and `null` removes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::relay) struct RulesPatch {
    #[serde(deserialize_with = "given_networks")]
    allow: Option<Vec<IpNet>>,
    #[serde(deserialize_with = "given_networks")]
    deny: Option<Vec<IpNet>>,
    #[serde(deserialize_with = "given_methods")]
    methods: Option<Vec<Method>>,
    #[serde(deserialize_with = "given")]
    pub(super) basic: Option<Option<BasicWish>>,
    #[serde(deserialize_with = "given")]
    verify: Option<Option<Verify>>,
    #[serde(deserialize_with = "given")]
    rate: Option<Option<Rate>>,
}

/// The members as they are written.
#[derive(Serialize)]
struct Written<'r, B, V> {
    #[serde(skip_serializing_if = "<[IpNet]>::is_empty", serialize_with = "as_texts")]
    allow: &'r [IpNet],
    #[serde(skip_serializing_if = "<[IpNet]>::is_empty", serialize_with = "as_texts")]
    deny: &'r [IpNet],
    #[serde(skip_serializing_if = "<[Method]>::is_empty", serialize_with = "as_texts")]
    methods: &'r [Method],
    #[serde(skip_serializing_if = "Option::is_none")]
    basic: Option<B>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<&'r Rate>,
}

impl Rules {
    /// Returns whether there are none.
    pub(in crate::relay) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the rules for their owner to see: in place of each secret they say that it is set.
    pub(in crate::relay) fn shown(&self) -> impl Serialize + '_ {
        self.written(self.basic.as_ref().map(Basic::shown), self.verify.as_ref().map(Verify::shown))
    }

    /// Returns the rules for the store, with their secrets: reading them gives equal rules.
    pub(super) fn kept(&self) -> impl Serialize + '_ {
        self.written(self.basic.as_ref().map(Basic::kept), self.verify.as_ref().map(Verify::kept))
    }

    fn written<B, V>(&self, basic: Option<B>, verify: Option<V>) -> Written<'_, B, V> {
        let Self { allow, deny, methods, rate, .. } = self;
        Written { allow, deny, methods, basic, verify, rate: rate.as_ref() }
    }

    /// Sets what a change gives, but for `basic`, whose passwords are not hashed yet.
    pub(super) fn set(&mut self, patch: RulesPatch) {
        let RulesPatch { allow, deny, methods, basic: _, verify, rate } = patch;
        self.allow = allow.unwrap_or_else(|| std::mem::take(&mut self.allow));
        self.deny = deny.unwrap_or_else(|| std::mem::take(&mut self.deny));
        self.methods = methods.unwrap_or_else(|| std::mem::take(&mut self.methods));
        self.verify = verify.unwrap_or_else(|| self.verify.take());
        self.rate = rate.unwrap_or_else(|| self.rate.take());
    }
}

/// Reads a member that may be `null`, which is not the same as its absence.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `null` is an empty list.
fn given_networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    networks(deserializer).map(Some)
}

fn given_methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Method>>, D::Error> {
    methods(deserializer).map(Some)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, MAX_NETWORKS, "networks", network)
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    list(deserializer, MAX_METHODS, "methods", |text| {
        let wrong = || format!("`{text}` is no method: write one in capital letters, as in \"POST\"");
        if text.len() > MAX_METHOD || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(wrong());
        }
        Method::from_bytes(text.as_bytes()).map_err(|_| wrong())
    })
}

fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    most: usize,
    what: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    if texts.len() > most {
        return Err(D::Error::custom(format!("there are {} {what} in a list: give {most} at most", texts.len())));
    }
    texts.iter().map(|text| read(text).map_err(D::Error::custom)).collect()
}

fn as_texts<S: Serializer, T: ToString>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(T::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<RulesPatch, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn patched(rules: &mut Rules, json: &str) -> String {
        rules.set(patch(json).unwrap());
        serde_json::to_string(&rules.shown()).unwrap()
    }

    #[test]
    fn a_member_that_is_given_is_replaced_and_null_removes_it() {
        let mut rules = Rules::default();
        assert!(rules.is_empty());
        let shown = patched(
            &mut rules,
            r#"{"allow":["192.0.2.1","2001:db8::/32"],"methods":["POST"],"verify":{"preset":"github","secrets":["hush"]}}"#,
        );
        assert_eq!(
            shown,
            r#"{"allow":["192.0.2.1/32","2001:db8::/32"],"methods":["POST"],"verify":{"preset":"github","secrets":{"set":true},"replay":false,"mode":"enforce","max":1048576}}"#
        );
        let kept = serde_json::to_string(&rules.kept()).unwrap();
        assert!(kept.contains("hush"), "{kept}");
        assert_eq!(serde_json::from_str::<Rules>(&kept).unwrap(), rules);
        let shown = patched(
            &mut rules,
            r#"{"allow":null,"deny":["::ffff:10.0.0.0/104"],"verify":null,"rate":{"requests":5,"per":10}}"#,
        );
        assert_eq!(shown, r#"{"deny":["10.0.0.0/8"],"methods":["POST"],"rate":{"requests":5,"per":10,"by":"tunnel"}}"#);
        assert_eq!(patched(&mut rules, r#"{"deny":[],"methods":null,"rate":null}"#), "{}");
        assert!(rules.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = |text: &str, count| vec![format!("{text:?}"); count].join(",");
        for (json, said) in [
            (r#"{"alow":[]}"#.to_owned(), "unknown field `alow`"),
            (r#"{"allow":["all"]}"#.to_owned(), "`all`"),
            (r#"{"deny":["10.0.0.0/33"]}"#.to_owned(), "`10.0.0.0/33`"),
            (r#"{"methods":["post"]}"#.to_owned(), "capital letters"),
            (r#"{"methods":["A B"]}"#.to_owned(), "no method"),
            (format!(r#"{{"methods":[{}]}}"#, many("A", 17)), "give 16 at most"),
            (format!(r#"{{"allow":[{}]}}"#, many("::1", 257)), "give 256 at most"),
            (r#"{"rate":{"requests":0,"per":1}}"#.to_owned(), "rate.requests"),
            (r#"{"rate":{"requests":1,"per":0}}"#.to_owned(), "rate.per"),
        ] {
            let error = patch(&json).unwrap_err();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
