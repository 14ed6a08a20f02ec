//! How to speak to each registry: plain HTTP, certificates, mirrors (`registries.toml`).
//!
//! ```
//! use rbuild_registry_client::hosts::HostRules;
//!
//! let rules = HostRules::parse(r#"
//!     [registry."build.lan:5000"]
//!     ca = ["/etc/ssl/lan.pem"]
//!
//!     [registry."docker.io"]
//!     mirrors = ["build.lan:5000/hub"]
//! "#)?;
//! assert_eq!(rules.rule("docker.io").mirrors, ["build.lan:5000/hub"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The rule for one registry, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostRule {
    /// Its certificate is not checked, and plain HTTP is tried when TLS fails.
    #[serde(default)]
    pub insecure: bool,
    /// It speaks plain HTTP, and nothing else is tried.
    #[serde(default)]
    pub plain_http: bool,
    /// Files of PEM certificates that are trusted for it, besides the system's.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// Where to pull its images from first, in this order: `host[:port][/repository-prefix]`.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// The rules for all registries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostRules {
    /// The rules, by host and port as in image names.
    #[serde(default, rename = "registry")]
    registries: BTreeMap<String, HostRule>,
    /// Every registry is insecure, except where a rule says plain HTTP.
    #[serde(skip)]
    insecure_everywhere: bool,
}

/// Why the file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostRulesError {
    /// It cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is no TOML, or has a key that we do not know.
    #[error("cannot understand `{}`: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A mirror is not written as one.
    #[error(
        "`{mirror}` is no mirror for `{registry}` (it has the form `host[:port][/repository-prefix]`)"
    )]
    Mirror {
        /// The registry.
        registry: String,
        /// What stands there.
        mirror: String,
    },
}

/// Where the user's file of rules is: `$XDG_CONFIG_HOME/rbuild/registries.toml`, or under `~/.config`.
/// `var` looks a variable up.
///
/// ```
/// use rbuild_registry_client::hosts::default_path;
/// let path = default_path(|name| (name == "XDG_CONFIG_HOME").then(|| "/c".into()));
/// assert_eq!(path.to_str(), Some("/c/rbuild/registries.toml"));
/// ```
pub fn default_path(var: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let path = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || path("HOME").or_else(std::env::home_dir).unwrap_or_default();
    path("XDG_CONFIG_HOME")
        .unwrap_or_else(|| home().join(".config"))
        .join("rbuild/registries.toml")
}

/// What is tried, in this order, to reach a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemes {
    Https,
    Http,
    HttpsThenHttp,
    HttpThenHttps,
}

impl HostRules {
    /// Reads rules from TOML text.
    pub fn parse(text: &str) -> Result<Self, HostRulesError> {
        Self::parse_as(text, Path::new("registries.toml"))
    }

    /// Reads the file of rules; a file that is not there has no rules.
    pub fn load(path: &Path) -> Result<Self, HostRulesError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse_as(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(HostRulesError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse_as(text: &str, path: &Path) -> Result<Self, HostRulesError> {
        let rules: Self = toml::from_str(text).map_err(|error| HostRulesError::Parse {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        for (registry, rule) in &rules.registries {
            if let Some(mirror) = rule
                .mirrors
                .iter()
                .find(|text| Mirror::parse(text).is_none())
            {
                return Err(HostRulesError::Mirror {
                    registry: registry.clone(),
                    mirror: mirror.clone(),
                });
            }
        }
        Ok(rules)
    }

    /// The rules with one more, or another one, for `registry`.
    #[must_use]
    pub fn with(mut self, registry: impl Into<String>, rule: HostRule) -> Self {
        self.registries.insert(registry.into(), rule);
        self
    }

    /// The rules of `--tls-verify=false`: no certificate is checked, and plain HTTP is tried when TLS fails.
    #[must_use]
    pub fn insecure_everywhere(mut self) -> Self {
        self.insecure_everywhere = true;
        self
    }

    /// The rule for a registry; the empty one where the file has none.
    pub fn rule(&self, registry: &str) -> HostRule {
        let mut rule = self.written(registry).cloned().unwrap_or_default();
        rule.insecure |= self.insecure_everywhere;
        rule
    }

    /// The rule that stands in the file; letter case and the port of HTTPS make no difference.
    fn written(&self, registry: &str) -> Option<&HostRule> {
        let plain = |name: &str| {
            name.strip_suffix(":443")
                .unwrap_or(name)
                .to_ascii_lowercase()
        };
        self.registries.get(registry).or_else(|| {
            let wanted = plain(registry);
            let mut rules = self.registries.iter();
            rules.find_map(|(name, rule)| (plain(name) == wanted).then_some(rule))
        })
    }

    /// What to try for a host. A registry on this machine is spoken to in plain HTTP first.
    pub(crate) fn schemes(&self, host: &str) -> Schemes {
        let written = self.written(host);
        let rule = self.rule(host);
        if rule.plain_http {
            Schemes::Http
        } else if is_loopback(host) && written.is_none_or(|rule| rule.ca.is_empty()) {
            Schemes::HttpThenHttps
        } else if rule.insecure {
            Schemes::HttpsThenHttp
        } else {
            Schemes::Https
        }
    }

    /// Whether the certificate of a host is checked.
    pub(crate) fn verifies(&self, host: &str) -> bool {
        let rule = self.rule(host);
        !rule.insecure && (!is_loopback(host) || !rule.ca.is_empty())
    }
}

/// Whether a host (with or without port) is this machine: `localhost`, `127.0.0.0/8`, `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A place to pull from instead of the registry itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) host: String,
    pub(crate) prefix: Option<String>,
}

impl Mirror {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The grammar of image names is the grammar of mirrors, with a last part that we add.
        let reference = format!("{text}/x")
            .parse::<rbuild_image::Reference>()
            .ok()?;
        let repository = reference.repository.as_str();
        let prefix = repository.strip_suffix("x")?.trim_end_matches('/');
        let host = text.split('/').next()?;
        (*host == *reference.registry).then(|| Self {
            host: host.to_owned(),
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_follow_the_rules() {
        let rules = HostRules::parse(
            r#"
            [registry."plain.lan"]
            plain-http = true
            [registry."bad.lan:5000"]
            insecure = true
            [registry."localhost:6000"]
            ca = ["x.pem"]
            "#,
        )
        .unwrap();
        for (host, want, verifies) in [
            ("docker.io", Schemes::Https, true),
            ("plain.lan", Schemes::Http, true),
            ("bad.lan:5000", Schemes::HttpsThenHttp, false),
            ("BAD.lan:5000", Schemes::HttpsThenHttp, false),
            ("plain.lan:443", Schemes::Http, true),
            ("bad.lan", Schemes::Https, true),
            ("localhost", Schemes::HttpThenHttps, false),
            ("localhost:6000", Schemes::Https, true),
            ("127.1.2.3:5000", Schemes::HttpThenHttps, false),
            ("[::1]:5000", Schemes::HttpThenHttps, false),
            ("localhost.evil.example", Schemes::Https, true),
            ("128.0.0.1:5000", Schemes::Https, true),
        ] {
            assert_eq!(rules.schemes(host), want, "{host}");
            assert_eq!(rules.verifies(host), verifies, "{host}");
        }
        let lax = rules.insecure_everywhere();
        assert_eq!(lax.schemes("docker.io"), Schemes::HttpsThenHttp);
        assert!(!lax.verifies("docker.io"));
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let error = HostRules::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check_refused("registry = 1", "registries.toml");
        check_refused("[registry.\"a.b\"]\ninsecur = true", "insecur");
        check_refused("[mirrors]\n", "mirrors");
        check_refused(
            "[registry.\"a.b\"]\nmirrors = [\"https://x.y\"]",
            "`https://x.y` is no mirror",
        );
        check_refused(
            "[registry.\"a.b\"]\nmirrors = [\"UPPER CASE\"]",
            "no mirror",
        );
    }

    #[test]
    fn mirrors_have_a_host_and_maybe_a_prefix() {
        for (text, host, prefix) in [
            ("m.lan", "m.lan", None),
            ("m.lan:5000", "m.lan:5000", None),
            ("m.lan/hub", "m.lan", Some("hub")),
            ("localhost:1/a/b", "localhost:1", Some("a/b")),
        ] {
            assert_eq!(
                Mirror::parse(text),
                Some(Mirror {
                    host: host.to_owned(),
                    prefix: prefix.map(str::to_owned)
                }),
                "{text}"
            );
        }
        assert_eq!(Mirror::parse("nodots"), None);
    }

    #[test]
    fn a_missing_file_has_no_rules() {
        let rules = HostRules::load(Path::new("/nonexistent/registries.toml")).unwrap();
        assert_eq!(rules, HostRules::default());
    }
}
