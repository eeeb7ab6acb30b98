//! A problem of weappd.toml: what is wrong, where, and what to do.

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};

use weappd_base::language::pick;

use crate::config::{full_width, mask};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemSeverity {
    /// weappd does not start.
    Error,
    /// weappd starts, but something will likely not work.
    Warning,
    /// Nothing is wrong; good to know.
    Note,
}

impl ProblemSeverity {
    /// `error`, `warning` or `note`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One problem. Neither its words nor its rendering show a secret.
#[derive(Clone, Debug)]
pub(crate) struct ConfigProblem {
    /// How bad it is.
    pub(crate) severity: ProblemSeverity,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The file it stands in.
    pub(crate) file: PathBuf,
    /// Where in the file, if it is about a place.
    pub(crate) place: Option<ProblemPlace>,
}

/// Where in the file a problem stands.
#[derive(Clone, Debug)]
pub(crate) struct ProblemPlace {
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    source: Arc<SourceText>,
}

/// The text of the file with its secrets hidden, shown line by line.
#[derive(Debug)]
struct SourceText(NamedSource<String>);

impl SourceCode for SourceText {
    /// Gives whole lines when context is asked for: miette's own choice is between no
    /// context at all and the lines around, which may be many and help little.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        if before == 0 && after == 0 {
            return self.0.read_span(span, 0, 0);
        }
        let text = self.0.inner();
        let start = boundary(text, span.offset());
        let end = boundary(text, span.offset() + span.len()).max(start);
        let (head, tail) = (text.get(..start), text.get(end..));
        let line_start = head
            .and_then(|head| head.rfind('\n'))
            .map_or(0, |at| at + 1);
        let line_end = end + tail.map_or(0, |tail| tail.find('\n').unwrap_or(tail.len()));
        // Of a long line, what stands around the place.
        let start = boundary(text, start.saturating_sub(SHOWN_AROUND)).max(line_start);
        let end = boundary(text, end + SHOWN_AROUND).min(line_end);
        self.0.read_span(&(start..end).into(), 0, 0)
    }
}

/// How many bytes of a line are shown on each side of a place, and of the place itself.
const SHOWN_AROUND: usize = 200;
/// The longest message and hint: each quotes what it is about, which may be anything.
const MOST_WORDS: usize = 1000;

/// Collects the problems of one file.
#[derive(Debug)]
pub(crate) struct ProblemList {
    file: PathBuf,
    text: String,
    source: Arc<SourceText>,
    found: RefCell<Vec<ConfigProblem>>,
    seen: RefCell<HashSet<(Option<Range<usize>>, String)>>,
}

impl ProblemList {
    /// No problem yet with `file`, which holds `text`.
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        let name = file.display().to_string();
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            source: Arc::new(SourceText(NamedSource::new(name, mask::secrets(text)))),
            found: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    /// Adds an error.
    pub(crate) fn error(
        &self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(ProblemSeverity::Error, span, &message.into(), hint.into());
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(ProblemSeverity::Warning, span, &message.into(), hint.into());
    }

    /// Adds a note.
    pub(crate) fn note(&self, span: Option<Range<usize>>, message: impl Into<String>) {
        self.add(ProblemSeverity::Note, span, &message.into(), String::new());
    }

    fn add(
        &self,
        severity: ProblemSeverity,
        span: Option<Range<usize>>,
        message: &str,
        hint: String,
    ) {
        // A message quotes the value it is about.
        let message = shortened(mask::logins(message));
        if !self
            .seen
            .borrow_mut()
            .insert((span.clone(), message.clone()))
        {
            return;
        }
        let mut hint = hint;
        let value = span.clone().and_then(|span| self.text.get(span));
        if severity == ProblemSeverity::Error
            && !message.contains("full-width")
            && !message.contains("全角")
            && let Some(also) = value.and_then(full_width::in_value)
        {
            let comma = if hint.is_empty() { "" } else { "; " };
            hint = format!("{also}{comma}{hint}");
        }
        self.found.borrow_mut().push(ConfigProblem {
            severity,
            message,
            hint: (!hint.is_empty()).then_some(shortened(hint)),
            file: self.file.clone(),
            place: span.map(|span| self.place(span)),
        });
    }

    fn place(&self, span: Range<usize>) -> ProblemPlace {
        let start = boundary(&self.text, span.start);
        let end = boundary(&self.text, span.end).max(start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ProblemPlace {
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            source: Arc::clone(&self.source),
        }
    }

    /// All problems, in the file's order; those about no place come last.
    pub(crate) fn into_sorted(self) -> Vec<ConfigProblem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| {
            let start = problem.place.as_ref().map(|place| place.span.start);
            (start.is_none(), start, problem.severity)
        });
        found
    }
}

fn shortened(mut words: String) -> String {
    if words.len() > MOST_WORDS {
        words.truncate(boundary(&words, MOST_WORDS));
        words.push('…');
    }
    words
}

/// The nearest place at or before `at` that does not cut a character in two.
fn boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

/// How many columns a drawing takes.
const WIDTH: usize = 100;

/// Draws problems for people: message, place with caret, hint.
pub(crate) fn render(problems: &[ConfigProblem], color: bool) -> String {
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .with_links(false)
        .with_wrap_lines(false)
        .with_context_lines(1);
    let mut out = String::new();
    for problem in problems {
        let mut drawn = String::new();
        if handler.render_report(&mut drawn, problem).is_err() {
            // Better plain than nothing.
            drawn = problem.to_string();
        }
        out.push_str(&drawn_here(drawn, problem));
        out.push('\n');
    }
    out
}

/// The renderer's one word, in the language that is spoken here: as wide as its own.
fn drawn_here(mut drawn: String, problem: &ConfigProblem) -> String {
    const HELP: &str = "help: ";
    let is_said = (problem.hint.as_ref()).is_some_and(|hint| !hint.contains(HELP));
    if let (true, Some(at)) = (is_said, drawn.rfind(HELP)) {
        drawn.replace_range(at..at + HELP.len(), pick(HELP, "改法："));
    }
    drawn
}

/// A problem as one JSON value, for programs.
pub(crate) fn to_json(problem: &ConfigProblem) -> serde_json::Value {
    serde_json::json!({
        "severity": problem.severity.name(),
        "message": problem.message,
        "hint": problem.hint,
        "file": problem.file.display().to_string(),
        "line": problem.place.as_ref().map(|place| place.line),
        "column": problem.place.as_ref().map(|place| place.column),
    })
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wrapped(&self.message))
    }
}

/// Breaks lines at spaces and between Chinese characters; the renderer itself would also cut
/// paths at their slashes.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut room = WIDTH - 10;
    let mut pieces = pieces(text).peekable();
    while let Some((spaced, piece)) = pieces.next() {
        // No line begins with what ends a part of a sentence.
        let clings = (pieces.peek()).is_some_and(|(spaced, next)| !spaced && ends_part(next));
        let length: usize = piece.chars().map(width).sum::<usize>() + usize::from(clings) * 2;
        if !out.is_empty() && (spaced || !ends_part(piece)) {
            let fits = length + usize::from(spaced) <= room;
            if !fits {
                out.push('\n');
                room = WIDTH - 10;
            } else if spaced {
                out.push(' ');
                room -= 1;
            }
        }
        out.push_str(piece);
        room = room.saturating_sub(piece.chars().map(width).sum());
    }
    out
}

/// Words and single Chinese characters, and whether a space stood before.
fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split(' ').enumerate().flat_map(|(at, word)| {
        let mut rest = Some(word);
        let mut spaced = at > 0;
        std::iter::from_fn(move || {
            let word = rest.take()?;
            let first = word.chars().next().unwrap_or(' ');
            let end = if width(first) == 2 {
                first.len_utf8()
            } else {
                word.find(|c| width(c) == 2).unwrap_or(word.len())
            };
            let (piece, after) = word.split_at(end.min(word.len()));
            rest = Some(after).filter(|after| !after.is_empty());
            Some((std::mem::take(&mut spaced), piece))
        })
    })
}

fn ends_part(piece: &str) -> bool {
    piece.starts_with(|c| "，。；：、！？”）".contains(c))
}

/// How many columns a character takes.
fn width(c: char) -> usize {
    if c >= '\u{2E80}' || "“”‘’…—".contains(c) {
        2
    } else {
        1
    }
}

impl std::error::Error for ConfigProblem {}

impl Diagnostic for ConfigProblem {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            ProblemSeverity::Error => miette::Severity::Error,
            ProblemSeverity::Warning => miette::Severity::Warning,
            ProblemSeverity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.hint.as_ref()?;
        Some(Box::new(wrapped(hint)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let place = self.place.as_ref()?;
        Some(place.source.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let Range { start, end } = place.span;
        let end = boundary(place.source.0.inner(), end.min(start + SHOWN_AROUND));
        let span = LabeledSpan::new_with_span(None, start..end);
        Some(Box::new(std::iter::once(span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters() {
        let problems = ProblemList::new(Path::new("weappd.toml"), "a = 1\n名 = \"x\" # y\n");
        problems.error(Some(12..15), "second", "");
        problems.error(Some(0..1), "first", "");
        problems.error(Some(0..1), "first", "told twice");
        problems.error(None, "nowhere", "");
        let found = problems.into_sorted();
        let words: Vec<_> = found.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(words, ["first", "second", "nowhere"]);
        let place = found[1].place.as_ref().expect("a place");
        assert_eq!((place.line, place.column), (2, 5));
    }

    #[test]
    fn a_sentence_keeps_its_blanks_and_breaks_before_no_stop() {
        let named = "把 “ 改成 \", 把 ” 改成 \"";
        assert_eq!(wrapped(named), named);
        let long = "信，".repeat(60);
        let told = wrapped(&long);
        assert_eq!(told.replace('\n', ""), long);
        for line in told.lines() {
            assert!(!line.starts_with('，'), "{told}");
            assert!(
                line.chars().map(width).sum::<usize>() <= WIDTH - 10,
                "{told}"
            );
        }
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let long = "信".repeat(40_000);
        for text in [
            format!("key = \"{long}\" wrong = 1\n"),
            format!("{long} wrong = 1 {long}\nb = 2"),
        ] {
            let at = text.find("wrong").expect("there");
            for span in [at..at + 5, 0..text.len()] {
                let problems = ProblemList::new(Path::new("weappd.toml"), &text);
                problems.error(Some(span.clone()), format!("found {text}"), &text);
                let found = problems.into_sorted();
                let drawn = render(&found, false);
                assert!(drawn.len() < 8000, "{}", drawn.len());
                assert!(span.start == 0 || drawn.contains("wrong = 1"), "{drawn}");
                assert!(to_json(&found[0]).to_string().len() < 3000);
            }
        }
    }

    #[test]
    fn a_place_never_leaves_the_text() {
        let problems = ProblemList::new(Path::new("weappd.toml"), "名");
        problems.error(Some(1..99), "cut", "");
        let found = problems.into_sorted();
        assert_eq!(found[0].place.as_ref().expect("a place").span, 0..3);
        assert!(render(&found, false).contains("cut"));
    }
}
