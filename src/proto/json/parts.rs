//! JSON checked and cut into its parts.

use std::ops::Range;

use bytestring::ByteString;

use super::cursor::Cursor;
use super::event::Invalid;
use super::scan::skip_value;
use super::unescape::unquote;

/// Checks that a text is one JSON value, with or without whitespace around it.
///
/// # Errors
/// Fails if the text is not JSON.
pub fn check(text: &str) -> Result<(), Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    skip_value(&mut cursor)?;
    cursor.expect_end()
}

/// Returns the ranges of an array's elements, in bytes of the text and without the whitespace around them.
///
/// # Errors
/// Fails if the text is not JSON, or is not an array: then `at` is where the `[` should stand.
pub fn elements(text: &str) -> Result<Vec<Range<usize>>, Invalid> {
    let mut elements = Vec::new();
    for_each_element(text, |element| elements.push(element))?;
    Ok(elements)
}

/// Visits the ranges that [`elements`] returns, without a vector of them.
///
/// # Errors
/// Fails where [`elements`] fails. The elements in front of that byte may have been visited.
pub fn for_each_element(text: &str, mut visit: impl FnMut(Range<usize>)) -> Result<(), Invalid> {
    walk_array(text, |cursor| skip_value(cursor).map(&mut visit))
}

/// Visits the ranges that [`elements`] returns, and with one of them its text without escapes.
///
/// That element is the first long string with escapes. A string is long if at least 256 bytes of `text` are left at its first
/// escape; with fewer, nothing is gained. To unescape a long string while it is checked is cheaper than to do one after the other.
///
/// # Errors
/// Fails where [`elements`] fails. The elements in front of that byte may have been visited.
pub fn for_each_element_unescaping(
    text: &str,
    mut visit: impl FnMut(Range<usize>, Option<Vec<u8>>),
) -> Result<(), Invalid> {
    let mut is_found = false;
    walk_array(text, |cursor| {
        if is_found || cursor.peek() != Some(b'"') {
            return skip_value(cursor).map(|element| visit(element, None));
        }
        let start = cursor.at;
        let unescaped = cursor.skip_string_unescaping()?;
        is_found = unescaped.is_some();
        visit(start..cursor.at, unescaped);
        Ok(())
    })
}

/// Walks over a text that is an array. `skip_element` is called in front of each element, and steps over it.
fn walk_array(text: &str, mut skip_element: impl FnMut(&mut Cursor<'_>) -> Result<(), Invalid>) -> Result<(), Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    cursor.expect(b'[')?;
    cursor.skip_whitespace();
    if !cursor.eat(b']') {
        loop {
            skip_element(&mut cursor)?;
            cursor.skip_whitespace();
            if !cursor.eat(b',') {
                break;
            }
        }
        cursor.expect(b']')?;
    }
    cursor.expect_end()
}

/// A member of an object, as ranges in bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The range of the key, with its quotes.
    pub key: Range<usize>,
    /// The range of the value, without the whitespace around it.
    pub value: Range<usize>,
}

/// Visits the members of an object in the order they are written, repeated keys included.
///
/// # Errors
/// Fails if the text is not JSON, or is not an object: then `at` is where the `{` should stand. The members in front of that
/// byte may have been visited.
pub fn for_each_member(text: &str, mut visit: impl FnMut(Member)) -> Result<(), Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    cursor.expect(b'{')?;
    cursor.skip_whitespace();
    if !cursor.eat(b'}') {
        loop {
            let key = cursor.skip_key()?;
            visit(Member { key, value: skip_value(&mut cursor)? });
            cursor.skip_whitespace();
            if !cursor.eat(b',') {
                break;
            }
        }
        cursor.expect(b'}')?;
    }
    cursor.expect_end()
}

/// Returns the value of the member with this key, given without quotes or escapes. Of a repeated key the last value counts, as
/// in JavaScript. Returns `None` also if the text is not an object.
#[must_use]
pub fn member(object: &ByteString, name: &str) -> Option<ByteString> {
    let [value] = members(object, [name])?;
    value
}

/// Returns the values of the members of these names, as [`member`] does, in one walk over the object.
#[must_use]
pub fn members<const N: usize>(object: &ByteString, names: [&str; N]) -> Option<[Option<ByteString>; N]> {
    let mut found = [const { None }; N];
    for_each_member(object, |Member { key, value }| {
        let key = unquote(&object[key]);
        if let Some(at) = names.iter().position(|name| *name == key) {
            found[at] = Some(value);
        }
    })
    .ok()?;
    Some(found.map(|value| Some(object.slice_ref(&object[value?]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_json_and_nothing_else() {
        for text in [
            "null",
            " true ",
            "-0",
            "1e400",
            "0.5E-7",
            "123456789012345678901234567890",
            r#""\ud800""#,
            "[]",
            "[ ]",
            "{}",
            r#"{"a":1,"a":[{}, [ ]]}"#,
            "\"\u{2028}é😀\"",
            r#""\u0000\/\b""#,
            "\t[1 ,\n2]\r",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, at) in [
            ("", 0),
            ("tru", 0),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            ("1e", 2),
            ("+1", 0),
            (".5", 0),
            ("[1,]", 3),
            ("[1", 2),
            ("[1}", 2),
            ("{\"a\"}", 4),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("\"a", 2),
            ("\"\n\"", 1),
            (r#""\x""#, 2),
            (r#""\u12g4""#, 2),
            ("{}x", 2),
            ("[]]", 2),
            ("'a'", 0),
            ("\u{feff}1", 0),
        ] {
            assert_eq!(check(text), Err(Invalid { at }), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 1_000_000;
        let text = "[".repeat(deep) + &"]".repeat(deep);
        assert_eq!(check(&text), Ok(()));
        assert_eq!(check(&text[1..]), Err(Invalid { at: text.len() - 2 }));
    }

    #[test]
    fn cuts_arrays_and_objects_into_their_parts() {
        let text = r#" [1, "a,]" , {"b":[2]},[] ,null] "#;
        let found: Vec<_> = elements(text).unwrap().into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["1", r#""a,]""#, r#"{"b":[2]}"#, "[]", "null"]);
        assert_eq!(elements("{}"), Err(Invalid { at: 0 }));
        let object = ByteString::from(r#"{"a":1,"b":{"a":2}, "a" : [3] }"#);
        assert_eq!(member(&object, "a").as_deref(), Some("[3]"));
        assert_eq!(member(&object, "b").as_deref(), Some(r#"{"a":2}"#));
        assert_eq!(member(&object, "c"), None);
        let values = members(&object, ["b", "c", "a"]).unwrap();
        assert_eq!(values.each_ref().map(|value| value.as_deref()), [Some(r#"{"a":2}"#), None, Some("[3]")]);
        assert_eq!(members(&r#"{"a":1"#.into(), ["a"]), None);
    }
}
