//! In which language weappd speaks to the person who started it.

/// A language that weappd speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English
    #[default]
    #[value(name = "en")]
    English,
    /// 中文
    #[value(name = "zh")]
    Chinese,
}

impl Language {
    /// Both.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// What the environment asks for: the first of these variables that is set counts (POSIX,
    /// 8.2), and English where none asks for Chinese.
    pub(crate) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variables = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let said = variables
            .iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()));
        match said {
            Some(locale) if locale.to_ascii_lowercase().starts_with("zh") => Self::Chinese,
            _ => Self::English,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        for (set, wanted) in [
            (&[][..], Language::English),
            (&[("LANG", "zh_CN.UTF-8")], Language::Chinese),
            (&[("LANG", "zh")], Language::Chinese),
            (&[("LANG", "zh_TW.UTF-8")], Language::Chinese),
            (&[("LANG", "en_US.UTF-8")], Language::English),
            (&[("LANG", "ja_JP.UTF-8")], Language::English),
            (
                &[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")],
                Language::English,
            ),
            (
                &[("LC_ALL", ""), ("LANG", "zh_CN.UTF-8")],
                Language::Chinese,
            ),
            (
                &[("LC_MESSAGES", "zh_CN"), ("LANG", "en_US.UTF-8")],
                Language::Chinese,
            ),
        ] {
            let value = |name: &str| {
                let mut set = set.iter();
                set.find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Language::of_environment(value), wanted, "{set:?}");
        }
    }
}
