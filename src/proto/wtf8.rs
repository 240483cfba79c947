//! UTF-8 in which half surrogate pairs may stand, each as the three bytes that it would have as a character (WTF-8).
//!
//! Strings of JavaScript can have half a pair. Engines before 2019 left it bare in JSON, and clients of that time sent
//! it so.

/// Decodes bytes as text. `write_half` appends what stands for half a pair. `None` when anything else is not UTF-8.
pub(super) fn decode(mut bytes: &[u8], write_half: impl Fn(u16, &mut String)) -> Option<String> {
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
        write_half(0xd000 | u16::from(middle & 0x3f) << 6 | u16::from(last & 0x3f), &mut text);
        bytes = rest;
    }
}
