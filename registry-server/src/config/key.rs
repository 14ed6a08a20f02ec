//! The list of all settings: name, meaning, how to read and to show it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Config, ConfigError, Tls};

/// What the name of every variable of ours begins with.
pub const PREFIX: &str = "RBUILD_REGISTRY_";
/// Variables with that beginning that are no settings: the file's path, the filter of the log, and the password for other registries.
pub const OTHER_VARIABLES: &[&str] = &["CONFIG", "LOG", "PASSWORD"];

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its dotted name in the file.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    read: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

macro_rules! keys {
    ($($name:literal, $help:literal, $kind:ident, $($field:ident).+;)*) => {
        /// Every setting, in the order in which it is shown.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            help: $help,
            read: |config, text| $kind::read(text).map(|value| config.$($field).+ = value),
            show: |config| $kind::show(&config.$($field).+),
        },)*
        Key {
            name: "tls.certificate",
            help: "file with the certificate chain in PEM; empty serves plain HTTP",
            read: |config, text| {
                tls(config).certificate = PathBuf::from(text);
                drop_empty_tls(config);
                Ok(())
            },
            show: |config| config.tls.as_ref().map_or(String::new(), |tls| tls.certificate.display().to_string()),
        },
        Key {
            name: "tls.key",
            help: "file with the certificate's private key in PEM",
            read: |config, text| {
                tls(config).key = PathBuf::from(text);
                drop_empty_tls(config);
                Ok(())
            },
            show: |config| config.tls.as_ref().map_or(String::new(), |tls| tls.key.display().to_string()),
        }];
    };
}

keys! {
    "listen", "address and port; port 0 takes a free one", text, listen;
    "data", "directory that everything is kept in", path, data;
    "sparse_indexes", "whether an index may name manifests that are not here", text, sparse_indexes;
    "sparse_images", "whether an image may name blobs that are not here", text, sparse_images;
    "names", "hosts (with ports) that names of images here begin with, separated by commas; needed where a proxy changes Host", hosts, names;
    "metrics", "address and port of the metrics; empty serves none", optional, metrics;
    "access_log", "whether each request is logged", text, access_log;
    "verify_bytes", "bytes per second that are read in the background to find damaged blobs; 0 reads none", size, verify_bytes;
    "limits.manifest_bytes", "longest manifest", size, limits.manifest_bytes;
    "limits.blob_bytes", "longest blob", size, limits.blob_bytes;
    "limits.head_bytes", "longest head of a request", size, limits.head_bytes;
    "limits.connections", "connections at a time", text, limits.connections;
    "limits.requests_per_second", "requests that one address may make per second in the long run, ten times as many at once; 0 sets no bound", text, limits.requests_per_second;
    "limits.empty_uploads", "uploads that are started and have received nothing", text, limits.empty_uploads;
    "limits.head_time", "how long a client may take to send a request's head", time, limits.head_time;
    "limits.idle_time", "how long a client may send or take nothing in the middle of a body", time, limits.idle_time;
    "limits.body_rate", "bytes per second that a client must send in the long run, but for pauses of limits.idle_time; 0 sets no bound", size, limits.body_rate;
    "limits.upload_time", "how long an upload is kept that nothing comes for", time, limits.upload_time;
    "limits.reserve_bytes", "disk space that pushes must leave free", size, limits.reserve_bytes;
    "limits.reserve_percent", "the most of the disk, in hundredths, that is held back for that", text, limits.reserve_percent;
    "limits.stop_time", "how long requests under way may take once a stop is asked for", time, limits.stop_time;
    "collect.enabled", "whether content that nothing refers to is removed", text, collect.enabled;
    "collect.untagged", "how long a manifest is kept that no tag, index or subject keeps", time, collect.untagged;
    "collect.unreferenced", "how long a blob is kept that no manifest refers to", time, collect.unreferenced;
    "collect.protect", "how long a blob is kept after a client was told that it is here", time, collect.protect;
    "collect.interval", "how often the collection looks at its queue", time, collect.interval;
    "collect.events", "how long it is kept what happened to manifests and tags", time, collect.events;
}

impl Key {
    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!(
            "{PREFIX}{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// Its value in a configuration, as it may be written.
    pub fn value(&self, config: &Config) -> String {
        (self.show)(config)
    }

    /// Sets it; `place` tells where the value comes from.
    pub fn set(
        &self,
        config: &mut Config,
        value: &str,
        place: impl FnOnce() -> String,
    ) -> Result<(), ConfigError> {
        (self.read)(config, value).map_err(|reason| ConfigError::Value {
            name: self.name,
            place: place(),
            value: value.to_owned(),
            reason,
        })
    }
}

/// The whole configuration as a TOML file, with what each key does.
pub fn render(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        let (own, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if own != section {
            section = own;
            let _ = writeln!(text, "\n[{section}]");
        }
        let value = key.value(config).replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "# {}\n{name} = \"{value}\"", key.help);
    }
    text
}

/// Reads a number of bytes as it may be written: `4194304`, `256MiB`. The error says what is wanted.
///
/// ```
/// assert_eq!(rbuild_registry_server::config::key::parse_size("2MiB"), Ok(2 << 20));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    size::read(text)
}

pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

pub(super) fn by_variable(rest: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.name.replace('.', "_").eq_ignore_ascii_case(rest))
}

/// The key whose name shares most letters with what was written.
pub(super) fn nearest(name: &str) -> &'static str {
    let common = |key: &str| {
        let mut left: Vec<char> = name.chars().collect();
        key.chars()
            .filter(|letter| {
                let found = left.iter().position(|own| own == letter);
                found.map(|at| left.swap_remove(at)).is_some()
            })
            .count()
            * 2
            * 1000
            / (key.chars().count() + name.chars().count()).max(1)
    };
    KEYS.iter()
        .max_by_key(|key| common(key.name))
        .map_or("listen", |key| key.name)
}

fn tls(config: &mut Config) -> &mut Tls {
    config.tls.get_or_insert_with(|| Tls {
        certificate: PathBuf::new(),
        key: PathBuf::new(),
    })
}

fn drop_empty_tls(config: &mut Config) {
    let empty =
        |tls: &Tls| tls.certificate.as_os_str().is_empty() && tls.key.as_os_str().is_empty();
    if config.tls.as_ref().is_some_and(empty) {
        config.tls = None;
    }
}

mod text {
    use std::fmt::Display;

    use super::FromStr;

    pub(super) fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
        text.trim()
            .parse()
            .map_err(|error: T::Err| error.to_string())
    }

    pub(super) fn show(value: &impl Display) -> String {
        value.to_string()
    }
}

mod hosts {
    use rbuild_image::Reference;

    pub(super) fn read(text: &str) -> Result<Vec<String>, String> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .map(|name| {
                let reference: Result<Reference, _> = format!("{name}/x").parse();
                let is_host = !name.contains('/')
                    && reference.is_ok_and(|reference| *reference.registry == *name);
                is_host.then(|| name.to_owned()).ok_or_else(|| {
                    format!("`{name}` is no host that names of images begin with, such as `registry.example` or `registry:5000`")
                })
            })
            .collect()
    }

    pub(super) fn show(value: &[String]) -> String {
        value.join(",")
    }
}

mod optional {
    use std::net::SocketAddr;

    pub(super) fn read(text: &str) -> Result<Option<SocketAddr>, String> {
        match text.trim() {
            "" => Ok(None),
            text => super::text::read(text).map(Some),
        }
    }

    #[expect(
        clippy::ref_option,
        reason = "called with a reference to the field, as for every kind of setting"
    )]
    pub(super) fn show(value: &Option<SocketAddr>) -> String {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

mod path {
    use std::path::{Path, PathBuf};

    pub(super) fn read(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("a path is wanted".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    pub(super) fn show(value: &Path) -> String {
        value.display().to_string()
    }
}

mod time {
    use super::Duration;

    pub(super) fn read(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim())
            .map_err(|_| "a time is wanted, such as `90s`, `10min` or `7days`".to_owned())
    }

    pub(super) fn show(value: &Duration) -> String {
        humantime::format_duration(*value).to_string()
    }
}

mod size {
    use std::fmt::Display;

    const UNITS: [(&str, u64); 4] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];

    pub(super) fn read<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
        let wrong =
            || "a number of bytes is wanted, such as `4194304`, `256MiB` or `1TiB`".to_owned();
        let text = text.trim();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number.trim(), *unit)))
            .unwrap_or((text, 1));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number
            .checked_mul(unit)
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(wrong)
    }

    pub(super) fn show(value: &(impl Display + Copy)) -> String {
        let text = value.to_string();
        let bytes: u64 = text.parse().unwrap_or(0);
        UNITS
            .iter()
            .rev()
            .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
            .map_or(text, |(name, unit)| format!("{}{name}", bytes / unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("registry.toml");
        std::fs::write(&path, toml).expect("write");
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), variables).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        let config = Config::new("/data");
        assert_eq!(load(&render(&config), &[]), Ok(config));
        let mut config = Config::new("/data");
        config.tls = Some(Tls {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
        });
        config.metrics = Some(([127, 0, 0, 1], 9).into());
        config.names = vec!["registry.example".to_owned(), "localhost:5000".to_owned()];
        assert_eq!(load(&render(&config), &[]), Ok(config));
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let config = load(
            "listen = \"0.0.0.0:80\"\n[limits]\nmanifest_bytes = 1000\n",
            &[
                ("RBUILD_REGISTRY_LIMITS_MANIFEST_BYTES", "2MiB"),
                ("RBUILD_REGISTRY_LOG", "debug"),
                ("HOME", "/root"),
            ],
        )
        .expect("loads");
        assert_eq!(config.limits.manifest_bytes, 2 << 20);
        assert_eq!(config.listen.port(), 80);
    }

    #[test]
    fn mistakes_are_named() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 9] = [
            ("lisen = \"x\"", &[], "nearest one is `listen`"),
            ("listen = \"x\"", &[], "`listen` in"),
            ("[limits]\nidle_time = \"soon\"", &[], "such as `90s`"),
            ("[limits]\nblob_bytes = \"-1\"", &[], "256MiB"),
            ("names = \"registry\"", &[], "`registry` is no host"),
            ("names = \"r.io/x,r.io\"", &[], "`r.io/x` is no host"),
            ("=", &[], "not valid TOML"),
            (
                "",
                &[("RBUILD_REGISTRY_DATTA", "x")],
                "nearest one is `data`",
            ),
            ("[tls]\nkey = \"k\"", &[], "together"),
        ];
        for (toml, variables, words) in cases {
            let error = load(toml, variables).expect_err(toml);
            assert!(error.contains(words), "{error}");
        }
    }
}
