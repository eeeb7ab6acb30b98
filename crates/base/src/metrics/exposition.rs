//! What must hold for a text of metrics, for the tests of rooms and of the binary.

use std::collections::BTreeSet;

/// What is wrong with a text of [`MetricRegistry::text`](super::MetricRegistry::text): a family
/// declared twice or without help, a name with another grammar, a series twice, no end.
pub fn problem(text: &str) -> Option<String> {
    let Some(body) = text.strip_suffix("# EOF\n") else {
        return Some("it does not end in `# EOF`".to_owned());
    };
    let (mut families, mut helped, mut series) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut family = "";
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.extend(rest.split_once(' ').map(|(name, _)| name));
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap_or_default();
            if !families.insert(family) {
                return Some(format!("{family} is declared twice"));
            }
            if !helped.contains(family) {
                return Some(format!("{family} has no help"));
            }
            if !is_name(family) {
                return Some(format!("{family} is no name"));
            }
            continue;
        }
        if line.starts_with("# UNIT ") {
            continue;
        }
        let Some((name, value)) = line.rsplit_once(' ') else {
            return Some(format!("`{line}` has no value"));
        };
        if value.parse::<f64>().is_err() {
            return Some(format!("`{line}` has no number"));
        }
        if !name.starts_with(family) || family.is_empty() {
            return Some(format!("`{line}` stands outside of its family"));
        }
        if !series.insert(name) {
            return Some(format!("{name} stands there twice"));
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_fault_is_told() {
        let good = "# HELP a A.\n# TYPE a gauge\na 1\na{b=\"c d\"} 2\n";
        assert_eq!(problem(&format!("{good}# EOF\n")), None);
        assert!(problem(good).is_some_and(|why| why.contains("EOF")));
        for (more, word) in [
            ("# HELP a A.\n# TYPE a gauge\n", "declared twice"),
            ("# TYPE b gauge\n", "no help"),
            ("# HELP B b.\n# TYPE B gauge\n", "no name"),
            ("a x\n", "no number"),
            ("a 2\n", "twice"),
            ("b 2\n", "outside"),
        ] {
            let why = problem(&format!("{good}{more}# EOF\n")).expect(word);
            assert!(why.contains(word), "{why}");
        }
    }
}
