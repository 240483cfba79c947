//! The walk through a text: iterative, each byte looked at once.

use std::ops::Range;

use super::block::LARGE_BLOCK;
use super::container;
use super::cursor::Cursor;
use super::event::{Event, Invalid, Kind};
use super::nesting::Nesting;

/// From how many bytes on an object or array is worth large blocks.
const BLOCKWISE_FROM: usize = 2 * LARGE_BLOCK;

/// Walks through a text. `visit` gets each event with the depth it stands at: 0 for the value itself.
///
/// # Errors
/// With the place of the first byte that cannot be; events before it were visited.
pub fn scan(text: &str, visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    walk(&mut cursor, visit)?;
    cursor.expect_end()
}

/// A value without blanks around it, whose inside nobody wants to see.
pub(super) fn skip_value(cursor: &mut Cursor<'_>) -> Result<Range<usize>, Invalid> {
    let start = cursor.at;
    match cursor.peek() {
        Some(b'{' | b'[') => {
            let long = cursor.bytes.len() - start >= BLOCKWISE_FROM;
            match if long { container::skip_container(cursor.bytes, start) } else { None } {
                Some(end) => cursor.at = end,
                None => walk(cursor, |_, _| ())?,
            }
        }
        Some(_) | None => cursor.skip_scalar()?,
    }
    Ok(start..cursor.at)
}

/// A value without blanks around it, and all that is in it.
fn walk(cursor: &mut Cursor<'_>, mut visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut open = Nesting::default();
    loop {
        // A value is due.
        let start = cursor.at;
        match cursor.peek() {
            Some(b'{') => {
                visit(open.depth(), Event::Open(Kind::Object, start));
                cursor.at += 1;
                cursor.skip_whitespace();
                if cursor.peek() == Some(b'}') {
                    cursor.at += 1;
                    visit(open.depth(), Event::Close(cursor.at));
                } else {
                    open.push(true);
                    let key = cursor.skip_key()?;
                    visit(open.depth(), Event::Key(key));
                    continue;
                }
            }
            Some(b'[') => {
                visit(open.depth(), Event::Open(Kind::Array, start));
                cursor.at += 1;
                cursor.skip_whitespace();
                if cursor.peek() == Some(b']') {
                    cursor.at += 1;
                    visit(open.depth(), Event::Close(cursor.at));
                } else {
                    open.push(false);
                    continue;
                }
            }
            Some(_) | None => {
                cursor.skip_scalar()?;
                visit(open.depth(), Event::Scalar(start..cursor.at));
            }
        }
        // A value is behind us: a comma brings the next one, a bracket ends what holds it.
        loop {
            let Some(in_object) = open.innermost() else { return Ok(()) };
            cursor.skip_whitespace();
            match (cursor.peek(), in_object) {
                (Some(b','), true) => {
                    cursor.at += 1;
                    cursor.skip_whitespace();
                    let key = cursor.skip_key()?;
                    visit(open.depth(), Event::Key(key));
                    break;
                }
                (Some(b','), false) => {
                    cursor.at += 1;
                    cursor.skip_whitespace();
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    cursor.at += 1;
                    open.pop();
                    visit(open.depth(), Event::Close(cursor.at));
                }
                (Some(_) | None, _) => return Err(cursor.invalid()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::levels::on_each_level;
    use super::*;

    /// What the walk says of the object or array at the start.
    fn walked(text: &str) -> Option<usize> {
        let mut cursor = Cursor::new(text);
        walk(&mut cursor, |_, _| ()).ok().map(|()| cursor.at)
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            string(),
        ];
        leaf.prop_recursive(6, 200, 12, |inner| {
            let blanks = || prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r\n  ")];
            let element = (blanks(), inner.clone(), blanks())
                .prop_map(|(before, value, behind)| before.to_owned() + &value + behind);
            let member = (blanks(), string(), blanks(), blanks(), inner, blanks())
                .prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
            prop_oneof![
                prop::collection::vec(element, 0..12).prop_map(|elements| format!("[{}]", elements.join(","))),
                prop::collection::vec(member, 0..12).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
    }

    fn string() -> impl Strategy<Value = String> {
        r#""([a-z {}\[\]:,é😀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\\\){0,30}""#
    }

    /// One byte is taken away, or another one put in its place or before it.
    fn broken(text: &str, place: usize, byte: char, how: u8) -> String {
        let place = (0..=place % text.len()).rev().find(|&place| text.is_char_boundary(place)).unwrap_or_default();
        let (before, behind) = text.split_at(place);
        let mut rest = behind.chars();
        match how % 3 {
            0 => format!("{before}{byte}{behind}"),
            1 => rest.next().map_or_else(String::new, |_| before.to_owned() + rest.as_str()),
            _ => rest.next().map_or_else(String::new, |_| format!("{before}{byte}{}", rest.as_str())),
        }
    }

    /// Every sequence of so many tokens, and what stands behind its end or not.
    #[test]
    fn knows_which_token_may_follow() {
        const TOKENS: [&str; 8] = ["\"a\"", ":", ",", "1", "{", "[", "}", "]"];
        const LENGTH: u32 = 5;
        let mut right = 0;
        for first in ["{", "[", "{\"b\":[", "[{"] {
            for mut number in 0..8_usize.pow(LENGTH) {
                let mut text = first.to_owned();
                for _ in 0..LENGTH {
                    text += TOKENS[number % 8];
                    number /= 8;
                }
                let walked = walked(&text);
                text.truncate(walked.unwrap_or(text.len()));
                assert_eq!(container::skip_container(text.as_bytes(), 0), walked, "{text}");
                right += usize::from(walked.is_some());
            }
        }
        assert!(right > 1_000, "{right} are JSON");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_walk(
            values in prop::collection::vec(json(), 1..6),
            before in 0..70_usize,
            breaks in prop::collection::vec((any::<usize>(), r#"[{}\[\]:,"\\0-9a-z .\-\x00-\x1fé]"#, any::<u8>()), 0..3),
        ) {
            let mut text = format!("[\"{}\",{}]", "x".repeat(before), values.join(","));
            on_each_level(|| assert_eq!(container::skip_container(text.as_bytes(), 0), Some(text.len()), "{text}"));
            for (place, byte, how) in breaks {
                text = broken(&text, place, byte.chars().next().unwrap_or(' '), how);
                if !text.starts_with(['{', '[']) {
                    break;
                }
                // Behind the end of it the rest of its block must be JSON too: then the walk has to say it.
                on_each_level(|| match (container::skip_container(text.as_bytes(), 0), walked(&text)) {
                    (Some(ours), theirs) => assert_eq!(Some(ours), theirs, "{text}"),
                    (None, Some(theirs)) => assert!(theirs < text.len(), "{text}"),
                    (None, None) => (),
                });
            }
        }
    }
}
