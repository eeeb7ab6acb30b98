//! Chinese full-width characters where TOML wants the plain ones, as an input method in
//! Chinese mode writes them.

use std::fmt::Write as _;
use std::ops::Range;

/// The plain character that a full-width one stands for.
pub(crate) fn plain(c: char) -> Option<char> {
    Some(match c {
        '“' | '”' | '„' | '‟' | '「' | '」' => '"',
        '‘' | '’' | '‚' | '‛' => '\'',
        '【' | '〔' | '〖' => '[',
        '】' | '〕' | '〗' => ']',
        '、' => ',',
        '。' => '.',
        '—' | '–' => '-',
        '\u{3000}' => ' ',
        // The full-width forms follow ASCII's order.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0)?,
        _ => return None,
    })
}

/// The line at `at`, if full-width characters stand in it outside of texts and comments:
/// where they are, and what to do.
pub(crate) fn in_line(text: &str, at: usize) -> Option<(Range<usize>, String, String)> {
    let head = text.get(..at)?;
    let start = head.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let found = outside(line);
    let first = found.first()?.0;
    let last = found.last().map_or(first, |(at, c)| at + c.len_utf8());
    let chars: Vec<char> = found.into_iter().map(|(_, c)| c).collect();
    Some((start + first..start + last, named(&chars), mend(&chars)))
}

/// What a value holds of them, as a hint.
pub(crate) fn in_value(value: &str) -> Option<String> {
    let found: Vec<char> = value.chars().filter(|c| plain(*c).is_some()).collect();
    let hint = || format!("{}: {}", named(&found), mend(&found));
    (!found.is_empty()).then(hint)
}

/// Those that stand neither in a closed text nor in a comment.
fn outside(line: &str) -> Vec<(usize, char)> {
    let mut found = Vec::new();
    // Since the quote that opened a text.
    let mut open: Option<(char, usize)> = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match open {
            Some((quote, before)) if c == quote && !escaped => {
                found.truncate(before);
                open = None;
            }
            None if c == '"' || c == '\'' => open = Some((c, found.len())),
            None if c == '#' => break,
            _ => found.extend(plain(c).map(|_| (at, c))),
        }
        escaped = c == '\\' && !escaped && matches!(open, Some(('"', _)));
    }
    found
}

fn each(chars: &[char]) -> Vec<char> {
    let mut each: Vec<char> = Vec::new();
    for c in chars {
        if !each.contains(c) {
            each.push(*c);
        }
    }
    each
}

fn shown(c: char) -> String {
    if c == '\u{3000}' {
        "a full-width blank".to_owned()
    } else {
        c.to_string()
    }
}

fn named(chars: &[char]) -> String {
    let each: Vec<String> = each(chars).into_iter().map(shown).collect();
    match each.as_slice() {
        [one] => format!("{one} is a Chinese full-width character"),
        _ => format!("{} are Chinese full-width characters", each.join(" ")),
    }
}

fn mend(chars: &[char]) -> String {
    let mut mend = "write ".to_owned();
    for (at, c) in each(chars).into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let plain = match plain(c) {
            // A colon means nothing in TOML; between a key and its value it is meant as =.
            Some(' ') => "a plain blank".to_owned(),
            Some(plain) => plain.to_string(),
            None => continue,
        };
        let _ = write!(mend, "{comma}{plain} for {}", shown(c));
    }
    mend
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<(&str, String, String)> {
        in_line(text, 0).map(|(span, what, mend)| (&text[span], what, mend))
    }

    #[test]
    fn each_is_named_with_its_replacement() {
        for (line, span, mend) in [
            ("a = “b”", "“b”", "write \" for “, \" for ”"),
            ("a = ‘b’", "‘b’", "write ' for ‘, ' for ’"),
            ("a ＝ 1", "＝", "write = for ＝"),
            ("【app】", "【app】", "write [ for 【, ] for 】"),
            ("a = [1，2]", "，", "write , for ，"),
            ("a：1", "：", "write : for ："),
            ("ａ = 1", "ａ", "write a for ａ"),
            (
                "a =\u{3000}1",
                "\u{3000}",
                "write a plain blank for a full-width blank",
            ),
            ("a = \"b”", "”", "write \" for ”"),
            ("a = \"名，\" ＃ x，", "＃ x，", "write # for ＃, , for ，"),
        ] {
            let (shown, _, how) = told(line).expect(line);
            assert_eq!((shown, how.as_str()), (span, mend), "{line}");
        }
        let (_, what, _) = told("a ＝ “b”").expect("told");
        assert_eq!(what, "＝ “ ” are Chinese full-width characters");
    }

    #[test]
    fn texts_and_comments_may_have_them() {
        for line in [
            "a = \"你好，世界\" # 注释：",
            "a = 'x：\"y，'",
            "a = \"\\\"，\"",
            "",
            "a = 1",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
        let text = "a = 1\nb ＝ 2\n";
        assert_eq!(in_line(text, 7).map(|(span, ..)| span), Some(8..11));
    }
}
