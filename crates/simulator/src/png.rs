//! Pictures of codes: a small black-and-white PNG, made without a library.

use sha1::{Digest, Sha1};

/// Dots along each side of the pattern, without the white border.
const DOTS: usize = 25;

/// A picture of `width` pixels whose dots tell one `text` from another. It looks like a
/// code and cannot be scanned.
pub(crate) fn draw(text: &str, width: u32) -> Vec<u8> {
    let side = usize::try_from(width).unwrap_or(280);
    let dots = pattern(text);
    let mut rows = Vec::with_capacity(side * (side / 8 + 2));
    for y in 0..side {
        rows.push(0); // The row is not filtered.
        for x8 in 0..side.div_ceil(8) {
            let byte = (0..8).fold(0u8, |byte, bit| {
                let x = x8 * 8 + bit;
                let white = x >= side || !is_dark(&dots, x, y, side);
                byte << 1 | u8::from(white)
            });
            rows.push(byte);
        }
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&[1, 0, 0, 0, 0]); // One bit a pixel, grey.
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"IDAT", &stored(&rows));
    chunk(&mut png, *b"IEND", &[]);
    png
}

fn is_dark(dots: &[bool], x: usize, y: usize, side: usize) -> bool {
    // Two dots of white around.
    let at = |pixel: usize| (pixel * (DOTS + 4) / side).checked_sub(2);
    match (at(x), at(y)) {
        (Some(x), Some(y)) if x < DOTS && y < DOTS => dots[y * DOTS + x],
        _ => false,
    }
}

fn pattern(text: &str) -> Vec<bool> {
    let mut bits = Vec::with_capacity(DOTS * DOTS + 160);
    let mut round = 0u8;
    while bits.len() < DOTS * DOTS {
        let mut sha = Sha1::new();
        sha.update([round]);
        sha.update(text.as_bytes());
        for byte in sha.finalize() {
            bits.extend((0..8).map(|bit| byte >> bit & 1 == 1));
        }
        round = round.wrapping_add(1);
    }
    bits.truncate(DOTS * DOTS);
    for (left, top) in [(0, 0), (DOTS - 7, 0), (0, DOTS - 7)] {
        corner(&mut bits, left, top);
    }
    bits
}

/// The square in a square of three corners, with its white rim.
fn corner(bits: &mut [bool], left: usize, top: usize) {
    for y in top.saturating_sub(1)..(top + 8).min(DOTS) {
        for x in left.saturating_sub(1)..(left + 8).min(DOTS) {
            let inside = (left..left + 7).contains(&x) && (top..top + 7).contains(&y);
            let ring = x.abs_diff(left + 3).max(y.abs_diff(top + 3));
            bits[y * DOTS + x] = inside && ring != 2;
        }
    }
}

/// The data as zlib holds it uncompressed.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = png.len();
    png.extend_from_slice(&kind);
    png.extend_from_slice(data);
    let crc = crc32(&png[start..]);
    png.extend_from_slice(&crc.to_be_bytes());
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(stored(b"Wikipedia")[16..], 0x11e6_0398_u32.to_be_bytes());
    }

    #[test]
    fn a_picture_is_as_wide_as_asked_and_its_texts_own() {
        for width in [280, 430, 1280] {
            let png = draw("a=1", width);
            assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
            assert_eq!(png[16..20], width.to_be_bytes());
            assert!(png.ends_with(b"IEND\xae\x42\x60\x82"));
        }
        assert_eq!(draw("a", 280), draw("a", 280));
        assert_ne!(draw("a", 280), draw("b", 280));
    }
}
