//! What to skip: `skip=A,B;error=true;experimental=all`.

use super::Rule;

/// Settings of the lint, from `# check=` or a comment above an instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether findings are errors.
    pub error: bool,
    /// Whether every rule is skipped.
    pub skip_all: bool,
    /// The rules that are skipped.
    pub skip: Vec<String>,
    /// Whether every experimental rule runs.
    pub experimental_all: bool,
    /// The experimental rules that run.
    pub experimental: Vec<String>,
}

impl Config {
    /// Reads settings; what follows a blank is not part of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().split(' ').next().unwrap_or_default();
        let mut config = Self::default();
        if text.is_empty() {
            return Ok(config);
        }
        for option in text.splitn(3, ';') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(format!("`{option}` is no setting of the lint"));
            };
            let value = value.trim();
            let names = || {
                value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect()
            };
            match key.trim() {
                "skip" if value == "all" => config.skip_all = true,
                "skip" => config.skip = names(),
                "experimental" if value == "all" => config.experimental_all = true,
                "experimental" => config.experimental = names(),
                "error" => {
                    config.error = match value {
                        "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                        "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                        _ => return Err(format!("`{value}` is neither true nor false")),
                    }
                }
                key => return Err(format!("`{key}` is no setting of the lint")),
            }
        }
        Ok(config)
    }

    /// Adds the settings of another.
    pub fn merge(&mut self, other: Self) {
        self.error |= other.error;
        self.skip_all |= other.skip_all;
        self.skip.extend(other.skip);
        self.experimental_all |= other.experimental_all;
        self.experimental.extend(other.experimental);
    }

    /// Whether a rule runs under these settings.
    pub(super) fn runs(&self, rule: &Rule) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == rule.name);
        if rule.experimental {
            return self.experimental_all || named(&self.experimental);
        }
        !self.skip_all && !named(&self.skip)
    }

    /// The same, with experimental rules left to the settings of the file.
    pub(super) fn with_every_experiment(mut self) -> Self {
        self.experimental_all = true;
        self
    }

    /// Every rule that is named.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.skip
            .iter()
            .chain(&self.experimental)
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn settings_are_read() {
        let config = Config::parse("skip=A, ignored").expect("it is well formed");
        assert_eq!(config.skip, ["A"]);
        let config =
            Config::parse("skip=A,B;error=true;experimental=all").expect("it is well formed");
        assert_eq!(
            (config.skip.len(), config.error, config.experimental_all),
            (2, true, true)
        );
        assert!(
            Config::parse("skip=all")
                .expect("it is well formed")
                .skip_all
        );
        for bad in ["skip", "error=maybe", "what=ever"] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }
}
