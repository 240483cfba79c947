//! The keys of JSON objects, as serde_json finds them and as clients of Socket.IO look for them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::proto::json;

/// Returns how many keys of a JSON text look like the mark of an attachment's place.
pub(super) fn markers(text: &str) -> usize {
    let mut markers = 0;
    let walked = json::scan(text, |_, event| {
        if let json::Event::Key(key) = event {
            markers += usize::from(json::unquote(&text[key]) == "_placeholder");
        }
    });
    assert_eq!(walked, Ok(()), "{text}");
    markers
}

/// The members of an object as serde_json finds them: the text of each key and value.
pub(super) struct RawMembers<'t>(pub(super) Vec<(&'t str, &'t str)>);

impl<'t> Deserialize<'t> for RawMembers<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawVisitor).map(Self)
    }
}

struct RawVisitor;

impl<'t> Visitor<'t> for RawVisitor {
    type Value = Vec<(&'t str, &'t str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push((key.get(), value.get()));
        }
        Ok(members)
    }
}
