//! The bodies that visitors send and ends answer with.

use clap::ValueEnum;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Text,
    Json,
    Binary,
}

impl Kind {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Binary => "application/octet-stream",
        }
    }

    /// Makes a body of `size` bytes. JSON has a minimum, see [`json`].
    pub fn body(self, size: usize) -> Vec<u8> {
        match self {
            Self::Text => page(size).into_bytes(),
            Self::Json => json(size).into_bytes(),
            // Every byte value, beginning with 255, which is not UTF-8.
            Self::Binary => (0..=255).rev().cycle().take(size).collect(),
        }
    }
}

/// Makes text like that of a page, with lines and quotes, which JSON has to escape.
fn page(size: usize) -> String {
    const LINE: &str = "<li class=\"row\"><a href=\"/item/42\">An item of the list</a> costs 17.50</li>\n";
    match "hello, world!".get(..size) {
        Some(greeting) => greeting.into(),
        None => LINE.chars().cycle().take(size).collect(),
    }
}

/// Makes compact JSON of `size` bytes: items, and a padding that fills the rest. A `size` too small for an empty list and an
/// empty padding, 21 bytes, gives those.
fn json(size: usize) -> String {
    const TAIL: &str = "],\"pad\":\"\"}";
    let mut text = String::from("{\"items\":[");
    for number in 0.. {
        let comma = if number == 0 { "" } else { "," };
        let item = format!(
            "{comma}{{\"id\":{},\"name\":\"item number {number}\",\"note\":\"a \\\"quoted\\\" word\",\
             \"price\":17.25,\"tags\":[\"a\",\"b\"]}}",
            1000 + number
        );
        if text.len() + item.len() + TAIL.len() > size {
            break;
        }
        text += &item;
    }
    let padding = "p".repeat(size.saturating_sub(text.len() + TAIL.len()));
    text + "],\"pad\":\"" + &padding + "\"}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for size in [0, 1, 13, 14, 1024, 10_240] {
            assert_eq!(Kind::Text.body(size).len(), size);
            assert_eq!(Kind::Binary.body(size).len(), size);
        }
        for size in [21, 1024, 10_240] {
            let body = Kind::Json.body(size);
            assert_eq!(body.len(), size);
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
        }
    }
}
