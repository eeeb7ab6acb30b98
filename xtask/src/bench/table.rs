//! Prints results as Markdown tables and leaves the raw rows as JSON.

use std::fs;

use serde_json::{Value, json};

use crate::bench::machine::Machine;
use crate::bench::process::now;
use crate::run::{root, say};

/// Prints results, which are not progress: they go to standard output.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn print(text: &str) {
    println!("{text}");
}

/// A Markdown table that also reads well as text.
pub(super) fn markdown<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([head[column].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head.to_vec());
    text += &line(rule.iter().map(String::as_str).collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// Writes `target/bench/<part>.json`.
pub(super) fn keep(part: &str, machine: &Machine, rows: &[Value]) -> Result<(), String> {
    let all = json!({
        "part": part,
        "unix_secs": now().as_secs(),
        "machine": machine.json(),
        "rows": rows,
    });
    let file = root().join("target/bench").join(format!("{part}.json"));
    fs::write(&file, format!("{all:#}\n"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    say(&format!("raw rows: target/bench/{part}.json"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            ["weappd".to_owned(), "7".to_owned()],
            ["x".to_owned(), "310".to_owned()],
        ];
        assert_eq!(
            markdown(["server", "us"], &rows),
            "| server | us  |\n| ------ | --- |\n| weappd | 7   |\n| x      | 310 |\n"
        );
    }
}
