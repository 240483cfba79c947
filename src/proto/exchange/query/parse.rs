//! From a query's text to its tree.

use std::borrow::Cow;

use super::draft::{Branch, Draft, Key, PROTOTYPE};
use super::node::Node;
use crate::proto::json::{escaped_len, write_string};

/// The bracketed segments of a name that become levels. The rest of a name with more is one last key. 5 is the default of qs.
///
/// The limit also bounds the recursion of everything that walks a tree.
const MAX_DEPTH: usize = 5;

/// The memory, in bytes, that a parameter or a level of its name takes beside its text, while the tree is made.
const PER_BRANCH: usize = 220;

/// Returns about how much memory [`parse`] and the JSON of its tree take, in bytes.
#[must_use]
pub fn memory(query: &[u8]) -> usize {
    let brackets = memchr::memchr_iter(b'[', query).count() + memchr::memmem::find_iter(query, b"%5").count();
    let parameters = 1 + memchr::memchr_iter(b'&', query).count();
    PER_BRANCH * (parameters + brackets) + query.len() + escaped_len(query)
}

/// Parses a query, given without its leading `?`, or a form body, as the npm package qs 6.13 does for express 4.
///
/// Returns a [`Node::Map`] for any input. A name or value whose percent escapes cannot be decoded stays as it was written,
/// except that `+` is always a space.
#[must_use]
pub fn parse(query: &[u8]) -> Node {
    let text = String::from_utf8_lossy(query);
    let text = with_plain_brackets(&text);
    let parameters = read_parameters(&text);
    // Without a bracket every name is a key of the top map, and the parameters already are the tree.
    if !text.contains('[') {
        return parameters.into_node();
    }
    let mut root = Branch::map();
    for (key, leaf) in parameters.into_ordered() {
        let name = key.into_text();
        let (parent, segments) = split_name(&name);
        let value = segments.iter().rev().fold(leaf, |inner, segment| inner.nested_in(segment));
        if !parent.is_empty() {
            if parent != PROTOTYPE {
                root.merge_at(Key::new(parent.to_owned()), value);
            }
        } else if let Draft::Branch(source) = value {
            root.absorb(*source);
        }
    }
    root.into_node()
}

/// Appends the JSON of the tree that [`parse`] returns. A plain query is written without a tree.
pub fn write_json(query: &[u8], out: &mut String) {
    let start = out.len();
    if !write_plain(query, out) {
        out.truncate(start);
        parse(query).write_json(out);
    }
}

/// Appends the JSON of a plain query: at most 16 parameters with different names, without brackets or escapes. Returns `false`
/// for any other query, and may then have appended the beginning of it.
fn write_plain(query: &[u8], out: &mut String) -> bool {
    /// The parameters of a plain query at most: each name is compared with those before it.
    const MAX_PLAIN: usize = 16;
    if query.iter().any(|byte| matches!(byte, b'%' | b'+' | b'[' | b']')) {
        return false;
    }
    let mut names = [&[][..]; MAX_PLAIN];
    out.push('{');
    for (index, part) in query.split(|&byte| byte == b'&').enumerate() {
        let equals = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        let (name, value) = (&part[..equals], part.get(equals + 1..).unwrap_or_default());
        // Names that could be array indexes come first in the tree, wherever they stand.
        let is_plain = !name.first().is_some_and(u8::is_ascii_digit) && name != PROTOTYPE.as_bytes();
        if !is_plain || index == MAX_PLAIN || (!name.is_empty() && names[..index].contains(&name)) {
            return false;
        }
        let (Ok(name_text), Ok(value_text)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return false;
        };
        if name.is_empty() {
            continue;
        }
        names[index] = name;
        write_string(name_text, out);
        out.push(':');
        write_string(value_text, out);
        out.push(',');
    }
    if out.ends_with(',') {
        out.pop();
    }
    out.push('}');
    true
}

/// Decodes the escapes of brackets everywhere, values included, as qs does before it looks for any other structure.
fn with_plain_brackets(text: &str) -> Cow<'_, str> {
    if !text.contains("%5") {
        return Cow::Borrowed(text);
    }
    let opened = text.replace("%5B", "[").replace("%5b", "[");
    Cow::Owned(opened.replace("%5D", "]").replace("%5d", "]"))
}

/// Reads `name=value` pairs into a map from whole names, brackets included, to a text or the list of the texts of that name.
fn read_parameters(text: &str) -> Branch {
    let mut parameters = Branch::map();
    for part in text.split('&') {
        let (name, value) = split_part(part);
        let name = decode(name);
        // Neither name sets anything: qs skips an empty name, and makes of `__proto__` only an empty map.
        if !name.is_empty() && name != PROTOTYPE {
            parameters.combine_at(Key::new(name), Draft::Text(decode(value)));
        }
    }
    parameters
}

/// Splits at the first `]=`, so that a segment may hold `=`, or else at the first `=`.
fn split_part(part: &str) -> (&str, &str) {
    let equals = part.find("]=").map(|bracket| bracket + 1).or_else(|| part.find('='));
    match equals {
        Some(position) => (&part[..position], &part[position + 1..]),
        None => (part, ""),
    }
}

/// Decodes a name or a value as `decodeURIComponent` does once `+` has become a space. Text that it refuses stays as it is.
fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    if !spaced.contains('%') {
        return spaced;
    }
    unescape(&spaced).unwrap_or(spaced)
}

/// Decodes percent escapes. Returns `None` if one is malformed, or if their bytes are not UTF-8.
///
/// One check of the whole text is enough: the text around an escape is whole characters, which can neither complete a broken
/// sequence nor be completed by one.
fn unescape(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, after @ ..] => {
                decoded.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                after
            }
            [b'%', ..] => return None,
            [byte, after @ ..] => {
                decoded.push(*byte);
                after
            }
        };
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Splits `a[b][c]` into `a` and its segments `b` and `c`.
///
/// A segment holds no bracket. Text between two segments or behind the last is dropped. Behind [`MAX_DEPTH`] segments,
/// everything from the next one on is one segment, brackets included.
fn split_name(name: &str) -> (&str, Vec<&str>) {
    let mut parent = name;
    let mut segments = Vec::new();
    let mut opened = None;
    for (position, byte) in name.bytes().enumerate() {
        match (byte, opened) {
            (b'[', _) => opened = Some(position),
            (b']', Some(start)) => {
                opened = None;
                if segments.is_empty() {
                    parent = &name[..start];
                }
                if segments.len() == MAX_DEPTH {
                    segments.push(&name[start..]);
                    break;
                }
                segments.push(&name[start + 1..position]);
            }
            _ => {}
        }
    }
    (parent, segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    #[track_caller]
    fn check(input: impl AsRef<[u8]>, expected: &str) {
        let input = input.as_ref();
        let (mut json, mut slow) = (String::new(), String::new());
        write_json(input, &mut json);
        parse(input).write_json(&mut slow);
        assert_eq!((&*json, &*slow), (expected, expected), "for {:?}", String::from_utf8_lossy(input));
    }

    fn entries(input: &str) -> Vec<(String, Node)> {
        match parse(input.as_bytes()) {
            Node::Map(entries) => entries,
            other => panic!("not a map at the top: {other:?}"),
        }
    }

    /// The expected texts are what qs 6.13.0 itself gave for the inputs.
    #[test]
    fn gives_the_tree_of_qs() {
        let groups: BTreeMap<String, Vec<(String, Box<RawValue>)>> =
            serde_json::from_str(include_str!("cases.json")).unwrap();
        let rows = groups.values().flatten().inspect(|(input, expected)| check(input, expected.get()));
        assert!(rows.count() > 250);
    }

    #[test]
    fn replaces_bytes_that_are_not_utf8() {
        check(b"\xff", "{\"\u{fffd}\":\"\"}");
        check(b"a=\xff%A", "{\"a\":\"\u{fffd}%A\"}");
        check(b"a=\xc3%A9", "{\"a\":\"\u{fffd}%A9\"}");
        check(b"a=\xe2\x82&b=\x82", "{\"a\":\"\u{fffd}\",\"b\":\"\u{fffd}\"}");
        check(b"a\xff[b\xc3]=1", "{\"a\u{fffd}\":{\"b\u{fffd}\":\"1\"}}");
    }

    #[test]
    fn reads_every_parameter() {
        const MANY: usize = 100_000;
        check("&".repeat(MANY) + "a=1", r#"{"a":"1"}"#);
        let names: Vec<String> = (0..MANY).map(|number| format!("k{number}")).collect();
        assert_eq!(entries(&names.join("&")).len(), MANY);
        for name in ["a=1&", "a[]=1&", "a%5B%5d=1&"] {
            let top = entries(&name.repeat(MANY));
            assert_eq!(top, [("a".to_owned(), Node::List(vec![Node::Text("1".to_owned()); MANY]))]);
        }
    }

    proptest! {
        #[test]
        fn a_query_written_without_a_tree_is_the_same(query in r#"([a-c_1]{0,2}|__proto__)(=[a-c="\\é]{0,3})?(&([a-c_1é]{0,2}=?[a-c]{0,2})){0,20}"#) {
            let (mut json, mut slow) = (String::new(), String::new());
            write_json(query.as_bytes(), &mut json);
            parse(query.as_bytes()).write_json(&mut slow);
            prop_assert_eq!(json, slow, "{}", query);
        }
    }

    /// If a step were quadratic in the length of the query, one of these would seem to hang.
    #[test]
    fn takes_long_hostile_queries() {
        const LENGTH: usize = 2_000_000;
        for unit in ["[", "]", "[]", "[a", "]=", "=", "%", "%5B", "%C3", "+", "[0]", "&[", "a[20]"] {
            assert!(entries(&unit.repeat(LENGTH / unit.len())).len() <= 1, "{unit}");
        }
    }

    #[test]
    fn keeps_the_order_of_many_keys() {
        const MANY: usize = 100_000;
        let descending: Vec<String> = (0..MANY).rev().map(|number| format!("a[{number}]=")).collect();
        let top = entries(&descending.join("&"));
        let [(_, Node::Map(inner))] = top.as_slice() else { panic!("not one map: {top:?}") };
        let ascending = (0..MANY).map(|number| number.to_string());
        assert!(inner.iter().map(|(key, _)| key.clone()).eq(ascending));
    }
}
