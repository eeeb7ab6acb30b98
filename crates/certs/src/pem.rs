//! The blocks of a PEM text. Every BEGIN line becomes a block, or a fault that says why not:
//! a certificate that is passed over in silence is one that phones miss.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weappd_base::language::pick;
use weappd_base::words;

/// What stands between a BEGIN and its END.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemBlock {
    /// `CERTIFICATE`, `RSA PRIVATE KEY` ...
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
    /// The line of its BEGIN, from 1.
    pub(crate) line: usize,
    /// Whether its head says that it is encrypted, as old private keys have it.
    pub(crate) is_encrypted: bool,
}

/// Why a BEGIN became no block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemFault {
    pub(crate) line: usize,
    pub(crate) what: String,
}

const DASHES: &[u8] = b"-----";
const BEGIN: &[u8] = b"BEGIN ";
/// No label is longer.
const MAX_LABEL: usize = 64;
/// Padding is sometimes lost when text is copied.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// All blocks of a text, in its order; where there is a fault, all faults.
pub(crate) fn blocks(text: &[u8]) -> Result<Vec<PemBlock>, Vec<PemFault>> {
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(found) = find(text, at, BEGIN) {
        let (next, read) = block(text, found);
        match read {
            Some(Ok(block)) => blocks.push(block),
            Some(Err(what)) => faults.push(PemFault {
                line: line_of(text, found),
                what,
            }),
            None => {}
        }
        at = next.max(found + BEGIN.len());
    }
    if faults.is_empty() {
        Ok(blocks)
    } else {
        Err(faults)
    }
}

/// The block whose `BEGIN ` stands at `at`, and where what follows begins; nothing if it is
/// only a word of a text.
fn block(text: &[u8], at: usize) -> (usize, Option<Result<PemBlock, String>>) {
    let label_at = at + BEGIN.len();
    let rest = text.get(label_at..).unwrap_or_default();
    let line_end = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
    let line = rest
        .get(..line_end.unwrap_or(rest.len()))
        .unwrap_or_default();
    let letters = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b' ';
    let label_len = line
        .iter()
        .take_while(|b| letters(b) || **b == b'#')
        .count();
    let label = String::from_utf8_lossy(line.get(..label_len).unwrap_or_default());
    let label = label.trim().to_owned();
    let opened = text
        .get(..at)
        .is_some_and(|before| before.ends_with(DASHES));
    let closed = line
        .get(label_len..)
        .is_some_and(|rest| rest.starts_with(DASHES));
    if !opened || !closed || label.is_empty() || label_len > MAX_LABEL {
        let meant = ["CERTIFICATE", "KEY", "PKCS7"]
            .iter()
            .any(|word| label.contains(word));
        let what = pick(
            "its BEGIN line is not written with five hyphens (-----) on each side",
            "BEGIN 这一行两边不是五个连字符（-----）",
        );
        return (label_at, meant.then(|| Err(what.to_owned())));
    }
    let body_at = label_at + label_len + DASHES.len();
    let end = find(text, body_at, b"-----END ");
    let other = find(text, body_at, b"-----BEGIN ");
    let Some(end) = end.filter(|end| other.is_none_or(|other| *end < other)) else {
        let what = words!(
            "the {label} has no END line: the file is cut off, or a line is lost",
            "{label} 没有 END 行：文件不完整，或缺了一行"
        );
        return (other.unwrap_or(text.len()), Some(Err(what)));
    };
    let after = end + b"-----END ".len();
    let ends_alike = text
        .get(after..)
        .is_some_and(|rest| rest.trim_ascii_start().starts_with(label.as_bytes()));
    if !ends_alike {
        let what = words!(
            "the {label} ends as something else: lines are mixed up",
            "{label} 的 END 行与 BEGIN 行不一致：行的顺序乱了"
        );
        return (after, Some(Err(what)));
    }
    let body = text.get(body_at..end).unwrap_or_default();
    let (head, code) = split_head(body);
    let block = decode(code, line_of(text, body_at + head.len())).map(|der| PemBlock {
        is_encrypted: memchr::memmem::find(head, b"ENCRYPTED").is_some(),
        line: line_of(text, at),
        der,
        label,
    });
    (after, Some(block))
}

/// The lines with a colon, as old private keys have them, and what follows.
fn split_head(body: &[u8]) -> (&[u8], &[u8]) {
    let Some(last) = memchr::memrchr(b':', body) else {
        return body.split_at(0);
    };
    let rest = body.get(last..).unwrap_or_default();
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    body.split_at(last + end)
}

fn decode(code: &[u8], first_line: usize) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(code);
    let mut clean = String::with_capacity(text.len());
    let mut line = first_line;
    for c in text.chars() {
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}' => {}
            c if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') => clean.push(c),
            c => {
                return Err(words!(
                    "`{}` in line {line} is no base64",
                    "第 {line} 行的 `{}` 不是 base64",
                    c.escape_debug()
                ));
            }
        }
    }
    ENGINE.decode(clean.trim_end_matches('=')).map_err(|_| {
        pick(
            "its base64 is damaged: characters are lost",
            "base64 已损坏：缺了字符",
        )
        .to_owned()
    })
}

fn find(text: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text.get(from..)?, what).map(|at| from + at)
}

fn line_of(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    memchr::memchr_iter(b'\n', before).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "abc" and "defg".
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n\
                       -----BEGIN CERTIFICATE-----\nZGVmZw==\n-----END CERTIFICATE-----\n";

    fn ders(text: &str) -> Vec<String> {
        let blocks = blocks(text.as_bytes()).expect("no fault");
        blocks
            .into_iter()
            .map(|block| String::from_utf8(block.der).expect("text"))
            .collect()
    }

    #[test]
    fn every_begin_is_read_however_the_file_was_made() {
        for text in [
            TWO.to_owned(),
            TWO.replace('\n', "\r\n"),
            TWO.replace('\n', "\n\n"),
            TWO.replace("-----\n-----BEGIN", "----------BEGIN"),
            TWO.replace("YWJj", "  YW\n \tJj  "),
            TWO.replace("==", ""),
            format!("\u{feff}{TWO}"),
            format!("Bag Attributes\n    friendlyName: x\nsubject=CN = x\n{TWO}the end"),
            TWO.trim_end().to_owned(),
            TWO.replace("ZGVm", "ZGVm\u{feff}"),
        ] {
            assert_eq!(ders(&text), ["abc", "defg"], "{text}");
        }
        assert_eq!(ders("BEGIN with a word"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_block_says_why() {
        for (text, line, what) in [
            (
                TWO.replacen("-----END CERTIFICATE-----\n", "", 1),
                1,
                "no END line",
            ),
            (
                TWO.replacen("ZGVmZw==\n-----END CERTIFICATE-----", "ZGVm", 1),
                4,
                "no END line",
            ),
            (TWO.replacen("YWJj", "YW*j", 1), 1, "`*` in line 2"),
            (TWO.replacen("YWJj", "YWJja", 1), 1, "damaged"),
            (
                TWO.replacen("-----BEGIN", "----BEGIN", 1),
                1,
                "five hyphens",
            ),
            (TWO.replacen("-----BEGIN", "—–BEGIN", 1), 1, "five hyphens"),
            (
                TWO.replacen("CERTIFICATE-----\nYW", "CERTIFICATE----\nYW", 1),
                1,
                "five hyphens",
            ),
            (
                TWO.replacen("END CERTIFICATE", "END PRIVATE KEY", 1),
                1,
                "something else",
            ),
        ] {
            let faults = blocks(text.as_bytes()).expect_err(&text);
            let told = faults
                .iter()
                .any(|f| f.line == line && f.what.contains(what));
            assert!(told, "{text}: {faults:?}");
        }
    }

    #[test]
    fn old_keys_say_that_they_are_encrypted() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\nYWJj\n-----END RSA PRIVATE KEY-----\n";
        let blocks = blocks(text.as_bytes()).expect("a block");
        assert!(blocks[0].is_encrypted && blocks[0].der == b"abc");
    }
}
