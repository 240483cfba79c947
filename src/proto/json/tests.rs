//! Strings are held against plain code that goes byte by byte, and everything against serde_json.

use std::ops::Range;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::block::levels::on_each_level;
use super::*;

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

/// Returns what [`scan`] should find in a text that is a string, byte by byte.
fn plain_scan(text: &str) -> Result<Range<usize>, Invalid> {
    let bytes = text.as_bytes();
    let require = |is_right: bool, at| if is_right { Ok(()) } else { Err(Invalid { at }) };
    let whitespace = |at: usize| at + text[at..].bytes().take_while(|byte| b" \t\n\r".contains(byte)).count();
    let start = whitespace(0);
    require(bytes.get(start) == Some(&b'"'), start)?;
    let mut at = start + 1;
    while bytes.get(at) != Some(&b'"') {
        require(bytes.get(at).is_some_and(|byte| *byte >= b' '), at)?;
        if bytes[at] == b'\\' {
            at += 1;
            require(bytes.get(at).is_some_and(|byte| b"\"\\/bfnrtu".contains(byte)), at)?;
            if bytes[at] == b'u' {
                let digits = bytes.get(at + 1..at + 5);
                require(digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)), at)?;
                at += 4;
            }
        }
        at += 1;
    }
    let end = whitespace(at + 1);
    require(end == bytes.len(), end)?;
    Ok(start..at + 1)
}

/// Returns what [`unquote`] should return for what stands between the quotes, unit by unit.
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
    on_each_level(|| agrees_with_plain_code_here(text));
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

/// Checks the text as an element of an array, last or with another element behind it.
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
fn escapes_are_read_across_the_borders_of_blocks() {
    for before in 0..200 {
        for (first, second) in
            [("\\n", "\\\""), ("\\\\", "\\\\\\"), ("\\ud83d", "\\ude00"), ("\\n\"", ""), ("\\\u{1}", ""), ("\\é", "")]
        {
            for between in ["", "x", "é", &"x".repeat(130)] {
                let body = format!("{}{first}{between}{second}{}", "x".repeat(before), "y".repeat(before % 7 * 30));
                agrees_with_plain_code(&format!("\"{body}\""));
                // Enough escapes in front of it for large blocks, in which it comes to stand at every place.
                let escapes = "\\n".repeat(40);
                agrees_with_plain_code(&format!("\"{escapes}{body}\" "));
                agrees_with_plain_code(&format!("\"{escapes}{body}"));
            }
        }
    }
}

#[test]
fn escapes_are_read_where_a_stage_is_flushed() {
    for escape in ["\\ud83d\\ude00", "\\ud800", "\\u0041", "\\\\", "\\n"] {
        for before in 1_900..2_200 {
            let (before, behind) = ("x".repeat(before), "y".repeat(200));
            agrees_with_plain_code(&format!("\"\\n{before}{escape}{behind}\""));
        }
    }
}

/// Pieces of a string: mostly what may stand there, sometimes what may not.
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
    fn strings_with_many_escapes_agree_with_plain_code(body in string_pieces(), end in "[\" ]{0,2}") {
        agrees_with_plain_code(&format!("\"{body}{end}"));
        agrees_with_plain_code(&format!("\"{body}\""));
    }

    #[test]
    fn strings_of_what_needs_escapes_agree_with_plain_code(body in r#"[a-z"\\\x00-\x1f0-9u]{0,300}"#) {
        agrees_with_plain_code(&format!("\"{body}\""));
    }

    #[test]
    fn takes_for_json_what_serde_json_does(text in r#"[\[\]{}",:\\u0-2eE.truefalsn+\- \x00-\x1fé]{0,24}"#) {
        let theirs = serde_json::from_str::<&RawValue>(&text).is_ok();
        on_each_level(|| assert_eq!(check(&text).is_ok(), theirs, "{text}"));
    }

    #[test]
    fn a_written_string_is_read_back(text in any::<String>()) {
        let mut quoted = String::new();
        write_string(&text, &mut quoted);
        prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
        prop_assert_eq!(unquote(&quoted), text);
    }
}

proptest! {
    #[test]
    fn a_string_takes_no_more_than_was_counted_before(text in "[\0-\u{1f}\"\\\\a-cé😀]{0,600}", line_ends in "[\n\r\ta-z]{0,300}") {
        let mut out = String::new();
        write_string(&text.replace(['\n', '\r', '\t'], ""), &mut out);
        prop_assert_eq!(out.len(), 2 + escaped_len(text.replace(['\n', '\r', '\t'], "").as_bytes()));
        let mut out = String::new();
        write_string(&line_ends, &mut out);
        prop_assert!(out.len() <= 2 + escaped_len(line_ends.as_bytes()));
    }
}
