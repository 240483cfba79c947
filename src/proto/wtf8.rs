//! WTF-8: UTF-8 in which lone surrogates may stand, each as the three bytes that it would have as a character.
//!
//! A string of JavaScript can hold half a surrogate pair. Engines before 2019 wrote it into JSON without an escape, and clients
//! of that time sent it as WTF-8.

/// Returns the text of these bytes. `write_surrogate` appends the text that stands for a lone surrogate. Returns `None` if
/// anything else in the bytes is not UTF-8.
pub(super) fn decode(mut bytes: &[u8], write_surrogate: impl Fn(u16, &mut String)) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    loop {
        let fault = match str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                return Some(text);
            }
            Err(error) => error.valid_up_to(),
        };
        text.push_str(str::from_utf8(&bytes[..fault]).ok()?);
        let &[0xed, middle @ 0xa0..=0xbf, last @ 0x80..=0xbf, ref rest @ ..] = &bytes[fault..] else { return None };
        write_surrogate(0xd000 | u16::from(middle & 0x3f) << 6 | u16::from(last & 0x3f), &mut text);
        bytes = rest;
    }
}
