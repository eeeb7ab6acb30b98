//! Chinese full-width characters where TOML wants the plain ones, as an input method in
//! Chinese mode writes them.

use std::ops::Range;
use weappd_base::language::pick;
use weappd_base::words;

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

/// A full-width character, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WideMark {
    c: char,
    deed: MarkFix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkFix {
    /// Write this one for it.
    Write(char),
    /// It ends a sentence where a value has ended: nothing stands there in TOML.
    Remove,
}

/// The line at `at`, if full-width characters stand in it outside of texts and comments:
/// where they are, and what to do.
pub(crate) fn in_line(text: &str, at: usize) -> Option<(Range<usize>, String, String)> {
    let head = text.get(..at)?;
    let start = head.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let found = outside(line);
    let first = found.marks.first()?.0;
    let (last, mark) = found.marks.last()?;
    let span = start + first..start + last + mark.c.len_utf8();
    let bare = found.value.is_some_and(|at| is_bare(&line[at..]));
    let marks: Vec<WideMark> = found.marks.into_iter().map(|(_, mark)| mark).collect();
    Some((span, named(&marks), mend(&marks, bare)))
}

/// What a value holds of them, as a hint.
pub(crate) fn in_value(value: &str) -> Option<String> {
    let write = |c| {
        plain(c).map(|plain| WideMark {
            c,
            deed: MarkFix::Write(plain),
        })
    };
    let marks: Vec<WideMark> = value.chars().filter_map(write).collect();
    let hint = || format!("{}: {}", named(&marks), mend(&marks, false));
    (!marks.is_empty()).then(hint)
}

/// What [`outside`] finds.
#[derive(Default)]
struct FoundMark {
    marks: Vec<(usize, WideMark)>,
    /// Behind the sign between a key and its value.
    value: Option<usize>,
}

/// Those that stand neither in a closed text nor in a comment.
fn outside(line: &str) -> FoundMark {
    let mut found = FoundMark::default();
    // Since the quote that opened a text.
    let mut open: Option<(char, usize)> = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    // Before the character, blanks and marks left out.
    let mut before = None;
    for (at, c) in line.char_indices() {
        let rest = &line[at + c.len_utf8()..];
        match open {
            Some((quote, marks)) if c == quote && !escaped => {
                found.marks.truncate(marks);
                open = None;
            }
            None if c == '"' || c == '\'' => open = Some((c, found.marks.len())),
            None if c == '#' => break,
            _ => {
                let meant = plain(c);
                let mut deed = meant.map(MarkFix::Write);
                if open.is_none() && depth == 0 && found.value.is_none() {
                    if c == '：' {
                        deed = Some(MarkFix::Write('='));
                    }
                    if matches!(c, '=' | '＝' | '：') {
                        found.value = Some(at + c.len_utf8());
                    }
                } else if depth == 0 && ends(c) && is_end(rest) {
                    let closed = before.is_some_and(|c| "\"'”’」]}】".contains(c));
                    if closed || open.is_none() {
                        deed = Some(MarkFix::Remove);
                    }
                }
                // A section's name has no value.
                if depth == 0 && before == Some(']') && ends(c) && c != '，' && c != '、' {
                    deed = Some(MarkFix::Remove);
                }
                found
                    .marks
                    .extend(deed.map(|deed| (at, WideMark { c, deed })));
                match meant.unwrap_or(c) {
                    '[' | '{' if open.is_none() => depth += 1,
                    ']' | '}' if open.is_none() => depth = depth.saturating_sub(1),
                    // What follows is a comment.
                    '#' if open.is_none() => break,
                    _ => {}
                }
            }
        }
        if !c.is_whitespace() && !ends(c) {
            before = Some(plain(c).filter(|c| *c == ']').unwrap_or(c));
        }
        escaped = c == '\\' && !escaped && matches!(open, Some(('"', _)));
    }
    found
}

/// Whether it ends a sentence or a part of one.
fn ends(c: char) -> bool {
    matches!(c, '。' | '，' | '、' | '；' | '：' | '！' | '？' | '．')
}

/// Whether nothing follows on the line.
fn is_end(rest: &str) -> bool {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || ends(c));
    rest.is_empty() || rest.starts_with(['#', '＃'])
}

/// Whether a value is a text that lacks its quotes.
fn is_bare(value: &str) -> bool {
    let value = value.trim_start();
    let word = value.split(|c: char| !c.is_alphanumeric()).next();
    let is_known = matches!(word, Some("true" | "false" | "inf" | "nan"));
    value.starts_with(|c: char| c.is_alphabetic() || "./$~<".contains(c)) && !is_known
}

fn each(marks: &[WideMark]) -> Vec<WideMark> {
    let mut each: Vec<WideMark> = Vec::new();
    for mark in marks {
        if !each.contains(mark) {
            each.push(*mark);
        }
    }
    each
}

fn shown(c: char) -> String {
    if c == '\u{3000}' {
        pick("a full-width blank", "全角空格").to_owned()
    } else {
        c.to_string()
    }
}

fn named(marks: &[WideMark]) -> String {
    let mut each: Vec<String> = each(marks).iter().map(|mark| shown(mark.c)).collect();
    each.dedup();
    match each.as_slice() {
        [one] => words!(
            "{one} is a Chinese full-width character",
            "{one} 是中文全角字符"
        ),
        _ => words!(
            "{} are Chinese full-width characters",
            "{} 是中文全角字符",
            each.join(" ")
        ),
    }
}

fn mend(marks: &[WideMark], bare: bool) -> String {
    let marks = each(marks);
    let write = |mark: &WideMark| match mark.deed {
        MarkFix::Write(' ') => Some(words!(
            "a plain blank for {}",
            "把{}改成半角空格",
            shown(mark.c)
        )),
        MarkFix::Write(plain) => Some(words!(
            "{plain} for {}",
            "把 {} 改成 {plain}",
            shown(mark.c)
        )),
        MarkFix::Remove => None,
    };
    let written: Vec<String> = marks.iter().filter_map(write).collect();
    let removed = marks.iter().filter(|mark| mark.deed == MarkFix::Remove);
    let removed: Vec<String> = removed.map(|mark| shown(mark.c)).collect();
    let mut mends = Vec::new();
    if !written.is_empty() {
        mends.push(words!("write {}", "{}", written.join(", ")));
    }
    if written.is_empty() && removed.len() == 1 {
        mends.push(pick("remove it", "删掉它").to_owned());
    } else if !removed.is_empty() {
        mends.push(words!("remove {}", "删掉 {}", removed.join(" ")));
    }
    if bare {
        mends.push(pick("quote the value", "给值加上引号").to_owned());
    }
    mends.join(" and ")
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
            ("a：1", "：", "write = for ："),
            ("a：\"b\"", "：", "write = for ："),
            ("a：b.js", "：", "write = for ： and quote the value"),
            ("a ＝ ./b", "＝", "write = for ＝ and quote the value"),
            ("\"a：b\"：true", "：", "write = for ："),
            ("a = [b：1]", "：", "write : for ："),
            ("a = \"b\"。", "。", "remove it"),
            ("a = 1937； # c", "；", "remove it"),
            ("a = [1]，", "，", "remove it"),
            ("[a]。", "。", "remove it"),
            (
                "【a】：",
                "【a】：",
                "write [ for 【, ] for 】 and remove ：",
            ),
            (
                "a = “b”。",
                "“b”。",
                "write \" for “, \" for ” and remove 。",
            ),
            ("a = \"b”！", "”！", "write \" for ” and remove ！"),
            ("a = b。", "。", "remove it and quote the value"),
            (
                "a：b，",
                "：b，",
                "write = for ： and remove ， and quote the value",
            ),
            ("  \"b\"，", "，", "write , for ，"),
            ("  { a = 1 }，", "，", "write , for ，"),
            ("a = 1。5", "。", "write . for 。"),
            ("ａ = 1", "ａ", "write a for ａ"),
            (
                "a =\u{3000}1",
                "\u{3000}",
                "write a plain blank for a full-width blank",
            ),
            ("a = \"b”", "”", "write \" for ”"),
            ("a = \"名，\" ＃ x，", "＃", "write # for ＃"),
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
