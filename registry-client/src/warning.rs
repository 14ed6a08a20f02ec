//! What registries tell in `Warning` headers (distribution-spec, "Warnings"; RFC 7234, 5.5).

use std::fmt;

use http::HeaderMap;
use http::header::WARNING;

use crate::error::printable;

/// Warnings that are kept until somebody asks for them.
const KEPT: usize = 50;
/// The longest text, in characters.
const TEXT: usize = 500;

/// A warning of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryWarning {
    /// Host of the registry, with its port where one is written.
    pub host: String,
    /// Its words, without control characters.
    pub text: String,
}

impl fmt::Display for RegistryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry `{}`: {}", self.host, self.text)
    }
}

/// Keeps the warnings of an answer, those that are new.
pub(crate) fn note(kept: &mut Vec<RegistryWarning>, host: &str, headers: &HeaderMap) {
    for value in headers.get_all(WARNING) {
        let Some(text) = text(&String::from_utf8_lossy(value.as_bytes())) else {
            continue;
        };
        let warning = RegistryWarning {
            host: host.to_owned(),
            text: printable(&text, TEXT),
        };
        if kept.len() < KEPT && !kept.contains(&warning) {
            kept.push(warning);
        }
    }
}

/// The text of `299 - "text"`; other codes are about caches and not for people.
fn text(value: &str) -> Option<String> {
    let quoted = value.trim().strip_prefix("299 - \"")?;
    let mut text = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_for_people_are_kept_and_each_once() {
        let mut headers = HeaderMap::new();
        for value in [
            "299 - \"use app:2\"",
            "299 - \"use app:2\"",
            "299 - \"say \\\"no\\\" \\\\\" \"Sat, 25 Aug 2012 23:34:45 GMT\"",
            "110 - \"stale\"",
            "299 - \"never closed",
            "299 - \"\"",
            "rubbish",
        ] {
            headers.append(WARNING, value.parse().unwrap());
        }
        let mut kept = Vec::new();
        note(&mut kept, "r:1", &headers);
        note(&mut kept, "r:1", &headers);
        let texts: Vec<_> = kept.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["registry `r:1`: use app:2", "registry `r:1`: say \"no\" \\"]
        );
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut kept = Vec::new();
        for number in 0..1000 {
            let mut headers = HeaderMap::new();
            let value = format!("299 - \"{number} {}\"", "x".repeat(4000));
            headers.append(WARNING, value.parse().unwrap());
            note(&mut kept, "r", &headers);
        }
        assert_eq!(kept.len(), KEPT);
        assert!(
            kept.iter()
                .all(|warning| warning.text.chars().count() <= TEXT + 1)
        );
    }
}
