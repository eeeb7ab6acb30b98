//! What can be asked of the benchmark, within bounds.

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Check,
    Start,
    Memory,
}

const PARTS: [(&str, Part); 3] = [
    ("check", Part::Check),
    ("start", Part::Start),
    ("memory", Part::Memory),
];

/// The profiles a weappd can be built with; only the first is what users get.
const PROFILES: [&str; 3] = ["dist", "release", "dev"];

/// The command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// What to measure, in order.
    pub(super) parts: Vec<Part>,
    /// How often every server has its turn.
    pub(super) rounds: u32,
    /// How long a turn is.
    pub(super) seconds: u32,
    /// The cargo profile.
    pub(super) profile: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parts: PARTS.iter().map(|(_, part)| *part).collect(),
            rounds: 5,
            seconds: 3,
            profile: PROFILES[0].to_owned(),
        }
    }
}

impl Options {
    /// Reads `--flag value` pairs.
    pub(super) fn read(args: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(format!("{flag} needs a value"))?;
            match *flag {
                "--only" => options.parts = parts(value)?,
                "--rounds" => options.rounds = within(flag, value, 50)?,
                "--seconds" => options.seconds = within(flag, value, 60)?,
                "--profile" if PROFILES.contains(value) => {
                    (*value).clone_into(&mut options.profile);
                }
                "--profile" => return Err(format!("--profile is one of {}", PROFILES.join(", "))),
                _ => return Err(format!("unknown flag {flag}: `cargo xtask` tells all")),
            }
        }
        Ok(options)
    }
}

fn parts(list: &str) -> Result<Vec<Part>, String> {
    list.split(',')
        .map(|name| {
            let known = PARTS.iter().find(|(word, _)| *word == name);
            known
                .map(|(_, part)| *part)
                .ok_or_else(|| format!("--only knows check, start and memory, not `{name}`"))
        })
        .collect()
}

fn within(flag: &str, value: &str, most: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{flag} is a number from 1 to {most}, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_measures_everything() {
        assert_eq!(Options::read(&[]), Ok(Options::default()));
    }

    #[test]
    fn flags_are_read() {
        let read = Options::read(&["--rounds", "2", "--only", "memory,check"]);
        let expected = Options {
            parts: vec![Part::Memory, Part::Check],
            rounds: 2,
            ..Options::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn flags_are_bounded() {
        for wrong in [
            ["--rounds", "0"],
            ["--rounds", "51"],
            ["--rounds", "x"],
            ["--seconds", "61"],
            ["--only", "chekc"],
            ["--only", ""],
            ["--profile", "fast"],
            ["--round", "1"],
        ] {
            assert!(Options::read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Options::read(&["--rounds"]).is_err());
    }
}
