//! JSONP: long-polling for browsers that have no other way across origins (PROTOCOL.md, "JSONP").
//!
//! A poll is answered by a script that calls a function with the payload. A POST is a form whose field `d` is the
//! payload.

use bytestring::ByteString;

use crate::proto::json;

/// The number that `j=` says: which of the page's functions takes the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jsonp(u32);

impl Jsonp {
    /// Reads the number. Only its digits are looked at, as in the reference, since it becomes part of a script.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.parse().ok().map(Self)
    }

    /// Returns the script that hands a payload to the page.
    #[must_use]
    pub fn script(self, payload: &str) -> String {
        let mut script = format!("___eio[{}](", self.0);
        let start = script.len();
        json::write_string(payload, &mut script);
        script.push_str(");");
        // Old engines take these two characters for line ends. In JSON only strings can have them.
        if script[start..].contains(['\u{2028}', '\u{2029}']) {
            return script.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        }
        script
    }
}

/// Returns the payload in a form. Browsers change line ends in forms, so the client writes each as `\n`, and its own
/// `\n` as `\\n`.
#[must_use]
pub fn payload_of_form(form: &[u8]) -> Option<ByteString> {
    let (_, payload) = form_urlencoded::parse(form).find(|(name, _)| name == "d")?;
    let mut text = String::with_capacity(payload.len());
    let mut rest = &*payload;
    while let Some(at) = rest.find("\\n") {
        match rest[..at].strip_suffix('\\') {
            Some(before) => text.extend([before, "\\n"]),
            None => text.extend([&rest[..at], "\n"]),
        }
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_number_alone() {
        for (text, expected) in
            [("0", Some(0)), ("12", Some(12)), ("007", Some(7)), ("1);alert(2", Some(12)), ("", None), ("x", None)]
        {
            assert_eq!(Jsonp::parse(text), expected.map(Jsonp), "{text}");
        }
        assert_eq!(Jsonp::parse("99999999999"), None, "no page has that many functions");
    }

    #[test]
    fn writes_a_script() {
        let script = Jsonp(3).script("4:4\"\\\u{2028}€");
        assert_eq!(script, "___eio[3](\"4:4\\\"\\\\\\u2028€\");");
    }

    /// The forms are what the client's own escaping makes of the payloads beside them.
    #[test]
    fn reads_a_form() {
        for (form, expected) in [
            ("d=6%3A4hello", Some("6:4hello")),
            ("x=1&d=a+b%2B", Some("a b+")),
            (r"d=a%5Cnb", Some("a\nb")),
            (r"d=a%5C%5Cnb", Some(r"a\nb")),
            (r"d=%5C%5C%5Cn", Some(r"\\n")),
            (r"d=%5Cn%5Cn%5C%5Cn", Some("\n\n\\n")),
            ("d=%E2%82%AC", Some("€")),
            ("d=", Some("")),
            ("e=1", None),
            ("", None),
        ] {
            assert_eq!(payload_of_form(form.as_bytes()).as_deref(), expected, "{form}");
        }
    }
}
