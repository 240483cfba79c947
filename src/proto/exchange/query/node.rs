//! A parsed query as a value, and as JSON.

use crate::proto::json::write_string;

/// A parsed query, or a part of one: text at the leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A decoded value: `a=b`, and the empty text for `a` alone.
    Text(String),
    /// The JSON `true`: what qs makes of a plain value met by a map, with the value as its key. `a[b]=1&a=c` is
    /// `{"a":{"b":"1","c":true}}`.
    True,
    /// A list: `a=1&a=2`, `a[]=1` or `a[0]=1`. Its holes are gone.
    List(Vec<Self>),
    /// A map: `a[b]=1`. Its keys are distinct and stand in the order of JavaScript: those that are array indexes
    /// first, ascending, then the others as they came.
    Map(Vec<(String, Self)>),
}

impl Node {
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
