//! JSON as text: checked, cut into its parts and spliced, but never made into a tree.
//!
//! What is only passed on keeps its numbers, key order, duplicate keys and odd strings to the byte. serde_json's `Value`
//! refuses lone surrogates and `1e400`, rounds large numbers and recurses; none of that may cost anybody a message.
//! The scanner is iterative: depth costs a bit, not a stack frame.

mod block;
mod nested;
mod scan;
mod string;
mod unescape;

use std::fmt;
use std::ops::Range;

use bytestring::ByteString;

use self::scan::Scanner;
pub use self::scan::scan;
pub use self::string::{
    to_ascii, unescape, unquote, without_quotes, write_continuation, write_string, write_unicode_escape,
};

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The byte at which it does.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}", self.at)
    }
}

impl std::error::Error for Invalid {}

/// The kind of a value, known from its first byte once the text was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The kind of a checked value without blanks around it.
    #[must_use]
    pub fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            Some(_) | None => Self::Number,
        }
    }
}

/// One step through a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `{` or `[` at this byte.
    Open(Kind, usize),
    /// The end of an object or array, after its last byte.
    Close(usize),
    /// The key of a member, with its quotes.
    Key(Range<usize>),
    /// A string, number, bool or null.
    Scalar(Range<usize>),
}

/// Checks that a text is one JSON value, with blanks around it or not.
///
/// # Errors
/// With the place of the first byte that cannot be.
pub fn check(text: &str) -> Result<(), Invalid> {
    let mut scanner = Scanner::new(text);
    scanner.blanks();
    scanner.value()?;
    scanner.end()
}

/// The elements of an array, as they are written.
///
/// # Errors
/// When the text is not JSON, or not an array (then `at` is where the array should start).
pub fn elements(text: &str) -> Result<Vec<Range<usize>>, Invalid> {
    let mut elements = Vec::new();
    for_each_element(text, |element| elements.push(element))?;
    Ok(elements)
}

/// Visits what [`elements`] gives, one after the other. In a text that turns out not to be JSON, some may have been visited.
///
/// # Errors
/// As [`elements`].
pub fn for_each_element(text: &str, mut visit: impl FnMut(Range<usize>)) -> Result<(), Invalid> {
    for_each_due(text, |scanner| scanner.value().map(&mut visit))
}

/// The same, with the text of the first long string that has escapes: it is cheapest to unescape while it is checked.
///
/// # Errors
/// As [`elements`].
pub fn for_each_element_unescaping(
    text: &str,
    mut visit: impl FnMut(Range<usize>, Option<Vec<u8>>),
) -> Result<(), Invalid> {
    let mut is_found = false;
    for_each_due(text, |scanner| {
        if is_found || scanner.peek() != Some(b'"') {
            return scanner.value().map(|element| visit(element, None));
        }
        let start = scanner.at;
        let unescaped = scanner.string_unescaped()?;
        is_found = unescaped.is_some();
        visit(start..scanner.at, unescaped);
        Ok(())
    })
}

/// Calls `take` where an element of an array is due, which it passes.
fn for_each_due(text: &str, mut take: impl FnMut(&mut Scanner<'_>) -> Result<(), Invalid>) -> Result<(), Invalid> {
    let mut scanner = Scanner::new(text);
    scanner.blanks();
    scanner.expect(b'[')?;
    scanner.blanks();
    if !scanner.passes(b']') {
        loop {
            take(&mut scanner)?;
            scanner.blanks();
            if !scanner.passes(b',') {
                break;
            }
        }
        scanner.expect(b']')?;
    }
    scanner.end()
}

/// Where a member of an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its key, with the quotes.
    pub key: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

/// The members of an object, as they are written.
///
/// # Errors
/// As [`elements`].
pub fn members(text: &str) -> Result<Vec<Member>, Invalid> {
    let mut members = Vec::new();
    let mut scanner = Scanner::new(text);
    scanner.blanks();
    scanner.expect(b'{')?;
    scanner.blanks();
    if !scanner.passes(b'}') {
        loop {
            let key = scanner.key()?;
            members.push(Member { key, value: scanner.value()? });
            scanner.blanks();
            if !scanner.passes(b',') {
                break;
            }
        }
        scanner.expect(b'}')?;
    }
    scanner.end()?;
    Ok(members)
}

/// The value of a member by its plain name, without blanks around it; the last one counts, as in JavaScript.
#[must_use]
pub fn member(object: &ByteString, name: &str) -> Option<ByteString> {
    let members = members(object).ok()?;
    let member = members.into_iter().rev().find(|member| unquote(&object[member.key.clone()]) == name)?;
    Some(object.slice_ref(&object[member.value]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::block::levels::on_each;
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
    fn cuts_arrays_and_objects() {
        let text = r#" [1, "a,]" , {"b":[2]},[] ,null] "#;
        let found: Vec<_> = elements(text).unwrap().into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["1", r#""a,]""#, r#"{"b":[2]}"#, "[]", "null"]);
        assert_eq!(elements("{}"), Err(Invalid { at: 0 }));
        let object = ByteString::from(r#"{"a":1,"b":{"a":2}, "a" : [3] }"#);
        assert_eq!(member(&object, "a").as_deref(), Some("[3]"));
        assert_eq!(member(&object, "b").as_deref(), Some(r#"{"a":2}"#));
        assert_eq!(member(&object, "c"), None);
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for (quoted, text) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
            (r#""a\n\"\\\/\b\f\t\r""#, "a\n\"\\/\u{8}\u{c}\t\r"),
        ] {
            assert_eq!(unquote(quoted), text, "{quoted}");
        }
    }

    /// What [`scan`] should find in a text that is a string, byte by byte.
    fn plain_scan(text: &str) -> Result<Range<usize>, Invalid> {
        let bytes = text.as_bytes();
        let at_least = |found: bool, at| if found { Ok(()) } else { Err(Invalid { at }) };
        let blanks = |at: usize| at + text[at..].bytes().take_while(|byte| b" \t\n\r".contains(byte)).count();
        let start = blanks(0);
        at_least(bytes.get(start) == Some(&b'"'), start)?;
        let mut at = start + 1;
        while bytes.get(at) != Some(&b'"') {
            at_least(bytes.get(at).is_some_and(|byte| *byte >= b' '), at)?;
            if bytes[at] == b'\\' {
                at += 1;
                at_least(bytes.get(at).is_some_and(|byte| b"\"\\/bfnrtu".contains(byte)), at)?;
                if bytes[at] == b'u' {
                    let digits = bytes.get(at + 1..at + 5);
                    at_least(digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)), at)?;
                    at += 4;
                }
            }
            at += 1;
        }
        let end = blanks(at + 1);
        at_least(end == bytes.len(), end)?;
        Ok(start..at + 1)
    }

    /// What [`unescape`] should give, unit by unit.
    fn plain_unescape(text: &str) -> String {
        let mut units = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let character = match character {
                '\\' => match characters.next().unwrap() {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        units.push(u16::from_str_radix(&characters.as_str()[..4], 16).unwrap());
                        characters.nth(3);
                        continue;
                    }
                    other => other,
                },
                other => other,
            };
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
        String::from_utf16_lossy(&units)
    }

    fn plain_write(text: &str) -> String {
        let mut out = String::from("\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
                other => out.push(other),
            }
        }
        out + "\""
    }

    fn agrees_with_plain_code(text: &str) {
        on_each(|| agrees_with_plain_code_here(text));
    }

    fn agrees_with_plain_code_here(text: &str) {
        let mut events = Vec::new();
        let scanned = scan(text, |depth, event| events.push((depth, event)));
        let expected = plain_scan(text);
        assert_eq!(scanned, expected.clone().map(|_| ()), "{text}");
        if let Ok(range) = expected {
            assert_eq!(events, [(0, Event::Scalar(range.clone()))], "{text}");
            let unescaped = plain_unescape(without_quotes(&text[range.clone()]));
            assert_eq!(unquote(&text[range]), unescaped, "{text}");
            if let Ok(theirs) = serde_json::from_str::<String>(text) {
                assert_eq!(unescaped, theirs, "{text}");
            }
        }
        let mut written = String::new();
        write_string(text, &mut written);
        assert_eq!(written, plain_write(text));
        unescapes_while_it_checks(text);
    }

    /// The text as an element, followed by another one or by nothing.
    fn unescapes_while_it_checks(text: &str) {
        for behind in ["", ",\"\\n\"", &format!(",\"{}\"", "\\n".repeat(200))] {
            let array = format!("[{text}{behind}]");
            let mut unescaped = Vec::new();
            let found = for_each_element_unescaping(&array, |element, text| unescaped.push((element, text)));
            let ranges = unescaped.iter().map(|(element, _)| element.clone()).collect();
            assert_eq!(found.map(|()| ranges), elements(&array), "{array}");
            for (element, text) in unescaped.into_iter().filter(|_| found.is_ok()) {
                let quoted = &array[element];
                if let Some(text) = text {
                    assert_eq!(String::from_utf8(text).unwrap(), plain_unescape(without_quotes(quoted)), "{array}");
                }
            }
        }
    }

    #[test]
    fn escapes_at_the_borders_of_blocks() {
        for before in 0..200 {
            for (first, second) in [
                ("\\n", "\\\""),
                ("\\\\", "\\\\\\"),
                ("\\ud83d", "\\ude00"),
                ("\\n\"", ""),
                ("\\\u{1}", ""),
                ("\\é", ""),
            ] {
                for between in ["", "x", "é", &"x".repeat(130)] {
                    let body = format!("{}{first}{between}{second}{}", "x".repeat(before), "y".repeat(before % 7 * 30));
                    agrees_with_plain_code(&format!("\"{body}\""));
                    // Enough escapes before it for the large blocks, where it stands at any place.
                    let escapes = "\\n".repeat(40);
                    agrees_with_plain_code(&format!("\"{escapes}{body}\" "));
                    agrees_with_plain_code(&format!("\"{escapes}{body}"));
                }
            }
        }
    }

    #[test]
    fn escapes_where_a_stage_ends() {
        for escape in ["\\ud83d\\ude00", "\\ud800", "\\u0041", "\\\\", "\\n"] {
            for before in 1_900..2_200 {
                let (before, behind) = ("x".repeat(before), "y".repeat(200));
                agrees_with_plain_code(&format!("\"\\n{before}{escape}{behind}\""));
            }
        }
    }

    /// Mostly what may stand in a string, with now and then something that may not.
    fn string_pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            24 => r"[a-z ]{1,20}",
            24 => r#"(\\["\/bfnrt]){1,6}"#,
            12 => r"(\\u[0-9a-fA-F]{4}){1,3}",
            6 => r"(\\ud8[0-9a-f]{2}\\udc[0-9a-f]{2}){1,3}",
            6 => r"[é€😀]{1,3}",
            1 => r#"["\\\x00-\x1fuxé]"#,
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn dense_escapes(body in string_pieces(), end in "[\" ]{0,2}") {
            agrees_with_plain_code(&format!("\"{body}{end}"));
            agrees_with_plain_code(&format!("\"{body}\""));
        }

        #[test]
        fn dense_in_what_needs_escapes(body in r#"[a-z"\\\x00-\x1f0-9u]{0,300}"#) {
            agrees_with_plain_code(&format!("\"{body}\""));
        }

        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}",:\\u0-2eE.truefalsn+\- \x00-\x1fé]{0,24}"#) {
            let theirs = serde_json::from_str::<&RawValue>(&text).is_ok();
            on_each(|| assert_eq!(check(&text).is_ok(), theirs, "{text}"));
        }

        #[test]
        fn strings_round_trip(text in any::<String>()) {
            let mut quoted = String::new();
            write_string(&text, &mut quoted);
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert_eq!(unquote(&quoted), text);
        }
    }
}
