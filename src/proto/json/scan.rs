//! The walk over a value and all that is in it: iterative, so that depth takes no stack.

use std::ops::Range;

use super::block::LARGE_BLOCK;
use super::container::skip_container;
use super::cursor::Cursor;
use super::event::{Event, Invalid, Kind};
use super::nesting::{Container, Nesting};

/// Bytes left in the text from which an object or array is stepped over by large blocks. With fewer, they gain nothing.
const BLOCKWISE_FROM: usize = 2 * LARGE_BLOCK;

/// Walks over a text that is one JSON value. `visit` gets each event with its depth: 0 for the value itself, 1 for what is
/// directly inside it.
///
/// # Errors
/// Fails if the text is not JSON. The events before that byte were visited.
pub fn scan(text: &str, visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    walk(&mut cursor, visit)?;
    cursor.expect_end()
}

/// Steps over a value without a report of what is in it. Returns its range.
pub(super) fn skip_value(cursor: &mut Cursor<'_>) -> Result<Range<usize>, Invalid> {
    let start = cursor.at;
    match cursor.peek() {
        Some(b'{' | b'[') => {
            let is_long = cursor.bytes.len() - start >= BLOCKWISE_FROM;
            match if is_long { skip_container(cursor.bytes, start) } else { None } {
                Some(end) => cursor.at = end,
                None => walk(cursor, |_, _| ())?,
            }
        }
        Some(_) | None => cursor.skip_scalar()?,
    }
    Ok(start..cursor.at)
}

/// Steps over a value, and reports each event with its depth.
fn walk(cursor: &mut Cursor<'_>, mut visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut open = Nesting::default();
    while begin_value(cursor, &mut open, &mut visit)? || end_value(cursor, &mut open, &mut visit)? {}
    Ok(())
}

/// Steps over a scalar or an empty container, or into a container. Returns whether it stands in front of another value.
#[inline(always)]
fn begin_value(
    cursor: &mut Cursor<'_>,
    open: &mut Nesting,
    visit: &mut impl FnMut(usize, Event),
) -> Result<bool, Invalid> {
    let start = cursor.at;
    let (container, kind, close) = match cursor.peek() {
        Some(b'{') => (Container::Object, Kind::Object, b'}'),
        Some(b'[') => (Container::Array, Kind::Array, b']'),
        Some(_) | None => {
            cursor.skip_scalar()?;
            visit(open.depth(), Event::Scalar(start..cursor.at));
            return Ok(false);
        }
    };
    visit(open.depth(), Event::Open(kind, start));
    cursor.at += 1;
    cursor.skip_whitespace();
    if cursor.peek() == Some(close) {
        cursor.at += 1;
        visit(open.depth(), Event::Close(cursor.at));
        return Ok(false);
    }
    open.push(container);
    begin_element(cursor, container, open.depth(), visit)?;
    Ok(true)
}

/// Steps out of the containers that end behind a value, or over the comma there. Returns whether it stands in front of another
/// value.
#[inline(always)]
fn end_value(
    cursor: &mut Cursor<'_>,
    open: &mut Nesting,
    visit: &mut impl FnMut(usize, Event),
) -> Result<bool, Invalid> {
    while let Some(container) = open.innermost() {
        cursor.skip_whitespace();
        match (cursor.peek(), container) {
            (Some(b','), _) => {
                cursor.at += 1;
                cursor.skip_whitespace();
                begin_element(cursor, container, open.depth(), visit)?;
                return Ok(true);
            }
            (Some(b'}'), Container::Object) | (Some(b']'), Container::Array) => {
                cursor.at += 1;
                open.pop();
                visit(open.depth(), Event::Close(cursor.at));
            }
            (Some(_) | None, _) => return Err(cursor.invalid()),
        }
    }
    Ok(false)
}

/// Steps over what stands in front of a value inside a container: the key of an object's member, nothing in an array.
#[inline(always)]
fn begin_element(
    cursor: &mut Cursor<'_>,
    container: Container,
    depth: usize,
    visit: &mut impl FnMut(usize, Event),
) -> Result<(), Invalid> {
    if container == Container::Object {
        let key = cursor.skip_key()?;
        visit(depth, Event::Key(key));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::levels::on_each_level;
    use super::*;

    /// Returns the end of the object or array at the start of the text, as the walk finds it.
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
            let whitespace = || prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r\n  ")];
            let element = (whitespace(), inner.clone(), whitespace())
                .prop_map(|(before, value, behind)| before.to_owned() + &value + behind);
            let member = (whitespace(), string(), whitespace(), whitespace(), inner, whitespace())
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

    /// Removes the character at `place`, or puts `byte` in its place or in front of it, as `how` says.
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

    /// Every sequence of five tokens behind each beginning, up to where the walk finds its end.
    #[test]
    fn large_blocks_know_which_token_may_follow() {
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
                assert_eq!(skip_container(text.as_bytes(), 0), walked, "{text}");
                right += usize::from(walked.is_some());
            }
        }
        assert!(right > 1_000, "{right} are JSON");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn large_blocks_agree_with_the_walk(
            values in prop::collection::vec(json(), 1..6),
            before in 0..70_usize,
            breaks in prop::collection::vec((any::<usize>(), r#"[{}\[\]:,"\\0-9a-z .\-\x00-\x1fé]"#, any::<u8>()), 0..3),
        ) {
            let mut text = format!("[\"{}\",{}]", "x".repeat(before), values.join(","));
            on_each_level(|| assert_eq!(skip_container(text.as_bytes(), 0), Some(text.len()), "{text}"));
            for (place, byte, how) in breaks {
                text = broken(&text, place, byte.chars().next().unwrap_or(' '), how);
                if !text.starts_with(['{', '[']) {
                    break;
                }
                // `None` is right also where only the rest of the last block is not JSON.
                on_each_level(|| match (skip_container(text.as_bytes(), 0), walked(&text)) {
                    (Some(ours), theirs) => assert_eq!(Some(ours), theirs, "{text}"),
                    (None, Some(theirs)) => assert!(theirs < text.len(), "{text}"),
                    (None, None) => (),
                });
            }
        }
    }
}
