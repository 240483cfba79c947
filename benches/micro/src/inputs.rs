//! Inputs of the steps.

use http::header::{HeaderMap, HeaderName, HeaderValue};

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;

/// Text that needs no escapes in JSON.
pub const PLAIN: &str = "the quick brown fox jumps over the lazy dog, ";

/// Text with one escape in every 15 bytes.
pub const LINES: &str = "a list's items\n";

/// Text with characters of one, two, three and four bytes.
pub const NON_ASCII: &str = "größer – 漢字 😀, ";

/// Returns `size` bytes of text: the pattern repeated, and spaces where its next character does not fit.
pub fn text(pattern: &str, size: usize) -> String {
    let mut text = pattern.repeat(size / pattern.len() + 1);
    let end = text.floor_char_boundary(size);
    text.truncate(end);
    text + &" ".repeat(size - end)
}

/// Returns a JSON document of `size` bytes, with objects, strings with escapes, and numbers.
pub fn document(size: usize) -> String {
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

/// Returns the text as a JSON string, with its quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    socket2me::proto::json::write_string(text, &mut out);
    out
}

/// Returns a text frame as a client sends it: masked.
pub fn client_frame(text: &str) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Returns the headers of a webhook.
pub fn headers() -> HeaderMap {
    [
        ("host", "relay.example"),
        ("user-agent", "bench-hook/1.0 (+http://bench.example)"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("x-request-id", "7f1a52c4-0d0b-4c1e-9a38-2d3fd9a5e001"),
        ("x-event", "push"),
        ("x-signature", "sha256=6dcd4ce23d88e2ee9568ba546c007c63d9131c1bd3a1c0f7bd58f2c38a1b2b11"),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .collect()
}
