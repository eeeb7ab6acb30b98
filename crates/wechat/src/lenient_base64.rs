//! Bytes as base64 text, read as forgivingly as phones and proxies require.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as STRICT};
use percent_encoding::percent_decode_str;

/// `=` may be missing, and the bits left over in the last character may be set: an
/// `EncodingAESKey` is any 43 characters.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Bytes as standard base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STRICT.encode(bytes)
}

/// Reads base64. Line breaks and tabs are dropped; a space is a `+` that somebody
/// form-decoded on the way; `%2B`, `%2F` and `%3D` are what `encodeURIComponent` made of
/// `+`, `/` and `=`, once or twice.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    if text.contains('%') {
        let once = percent_decode_str(text).decode_utf8().ok()?;
        let twice = percent_decode_str(&once).decode_utf8().ok()?;
        return decode_plain(&twice);
    }
    decode_plain(text)
}

fn decode_plain(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return LENIENT.decode(text).ok();
    }
    let plain: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte == b' ' || !byte.is_ascii_whitespace())
        .map(|byte| if byte == b' ' { b'+' } else { byte })
        .collect();
    LENIENT.decode(plain).ok()
}

/// Reads base64 that must hold exactly `N` bytes.
pub(crate) fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_pluses_and_line_breaks_are_nothing() {
        assert_eq!(decode("+/+/").as_deref(), Some(&[251, 255, 191][..]));
        assert_eq!(decode(" /\r\n /\t"), decode("+/+/"));
    }

    #[test]
    fn padding_may_be_missing() {
        assert_eq!(decode("QQ"), decode("QQ=="));
        assert_eq!(decode_exactly::<1>("QR"), Some([b'A']));
        assert_eq!(decode_exactly::<2>("QQ=="), None);
    }

    #[test]
    fn what_was_percent_encoded_on_the_way_is_read() {
        let plain = decode("+/+/QQ==");
        for text in [
            "%2B%2F%2B%2FQQ%3D%3D",
            "%2b%2f%2b%2fQQ%3d%3d",
            "+/%2B/QQ%3D=",
            "%252B%252F%252B%252FQQ%253D%253D",
            "%20%2F+%2FQQ",
        ] {
            assert_eq!(decode(text), plain, "{text}");
        }
        for text in ["%", "QQ%3", "%ff%fe", "%25252BQQQ"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn other_letters_are_refused() {
        assert_eq!(decode("QQ-_"), None);
        assert_eq!(decode("微信"), None);
        assert_eq!(decode("Q"), None);
    }
}
