//! A parsed query as a value, and as JSON.

use crate::proto::json::write_string;

/// A parsed query, or a part of one. Its leaves are texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A decoded value, as of `a=b`; empty for `a` alone.
    Text(String),
    /// The JSON `true`. Where a plain value meets a map, qs makes the value a key of the map: `a[b]=1&a=c` is
    /// `{"a":{"b":"1","c":true}}`.
    True,
    /// A list, as of `a=1&a=2`, `a[]=1` or `a[0]=1`. It has no holes: the items behind a hole have moved up.
    List(Vec<Self>),
    /// A map, as of `a[b]=1`. Its keys are distinct and in the order of JavaScript: first the array indexes, ascending, then
    /// the others as they came.
    Map(Vec<(String, Self)>),
}

impl Node {
    /// Returns the node without the members of this key, at any depth.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(|item| item.without(key)).collect()),
            Self::Map(entries) => {
                let others = entries.into_iter().filter(|(name, _)| name != key);
                Self::Map(others.map(|(name, value)| (name, value.without(key))).collect())
            }
            leaf @ (Self::Text(_) | Self::True) => leaf,
        }
    }

    /// Appends the node as compact JSON, which is what `JSON.stringify` gives for the tree of qs.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_string(text, out),
            Self::True => out.push_str("true"),
            Self::List(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (position, (key, value)) in entries.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}
