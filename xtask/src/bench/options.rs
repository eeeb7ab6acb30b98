//! What can be asked of the benchmark, within bounds.

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Check,
    Cold,
    Login,
    Decrypt,
    Front,
    Proxy,
    Start,
    Memory,
}

const PARTS: [(&str, Part); 8] = [
    ("check", Part::Check),
    ("cold", Part::Cold),
    ("login", Part::Login),
    ("decrypt", Part::Decrypt),
    ("front", Part::Front),
    ("proxy", Part::Proxy),
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
    /// Another build of weappd, measured in the same rounds.
    pub(super) beside: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parts: PARTS.iter().map(|(_, part)| *part).collect(),
            rounds: 5,
            seconds: 3,
            profile: PROFILES[0].to_owned(),
            beside: None,
        }
    }
}

impl Options {
    /// Reads names of parts, and `--flag value` pairs.
    pub(super) fn read(args: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let is_name = |arg: &&&str| !arg.starts_with('-');
        let names: Vec<&str> = args.iter().take_while(is_name).copied().collect();
        let mut args = args.iter().skip(names.len());
        if !names.is_empty() {
            options.parts = parts(&names.join(","))?;
        }
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(format!("{flag} needs a value"))?;
            match *flag {
                "--only" => options.parts = parts(value)?,
                "--rounds" => options.rounds = within(flag, value, 50)?,
                "--seconds" => options.seconds = within(flag, value, 60)?,
                "--beside" => options.beside = Some((*value).to_owned()),
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
            known.map(|(_, part)| *part).ok_or_else(|| {
                let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
                format!("what can be measured is {}, not `{name}`", names.join(", "))
            })
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
    fn a_part_may_stand_alone() {
        let read = Options::read(&["login", "proxy", "--rounds", "2"]);
        let expected = Options {
            parts: vec![Part::Login, Part::Proxy],
            rounds: 2,
            ..Options::default()
        };
        assert_eq!(read, Ok(expected));
        assert!(Options::read(&["logon"]).is_err());
    }

    #[test]
    fn another_build_is_named() {
        let read = Options::read(&["check", "--beside", "old/weappd"]).map(|read| read.beside);
        assert_eq!(read, Ok(Some("old/weappd".to_owned())));
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
