//! Binary packets as text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use bytes::Bytes;

use super::frame::DecodeError;

/// Base64 as lenient as the reference about its end, where clients differ: padding may be absent, and the bits after
/// the last byte are not looked at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Returns how many characters these many bytes become.
pub(in crate::proto) fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends bytes as base64.
pub(in crate::proto) fn write(data: &[u8], out: &mut String) {
    STANDARD.encode_string(data, out);
}

/// Decodes a text.
pub(in crate::proto) fn decode(text: &[u8]) -> Result<Bytes, DecodeError> {
    // A single last character makes no byte; the reference drops it.
    let text = if text.len() % 4 == 1 { &text[..text.len() - 1] } else { text };
    LENIENT.decode(text).map(Bytes::from).map_err(|_| DecodeError::InvalidBase64)
}
