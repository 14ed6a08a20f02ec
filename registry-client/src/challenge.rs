//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, 11.6.1; the distribution project's token specification).

use reqwest::Url;

/// A way in that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from the server at `realm`.
    Bearer {
        realm: Url,
        service: Option<String>,
        scopes: Vec<String>,
    },
}

/// The challenges in the headers of one answer, in order. What we do not understand is left out.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        let mut rest = header;
        let mut current: Option<(String, Vec<(String, String)>)> = None;
        while let Some((item, after)) = next_item(rest) {
            rest = after;
            match item {
                Item::Scheme(scheme) => {
                    found.extend(current.take().and_then(known));
                    current = Some((scheme.to_ascii_lowercase(), Vec::new()));
                }
                Item::Parameter(name, value) => {
                    if let Some((_, parameters)) = &mut current {
                        parameters.push((name.to_ascii_lowercase(), value));
                    }
                }
            }
        }
        found.extend(current.and_then(known));
    }
    found
}

enum Item<'a> {
    Scheme(&'a str),
    Parameter(&'a str, String),
}

/// One scheme or one parameter, and what follows it.
fn next_item(text: &str) -> Option<(Item<'_>, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',', '=', '"']);
    let end = text.find([' ', '\t', ',', '=', '"']).unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let (word, rest) = text.split_at(end);
    let Some(value) = rest.trim_start_matches([' ', '\t']).strip_prefix('=') else {
        return Some((Item::Scheme(word), rest));
    };
    let value = value.trim_start_matches([' ', '\t']);
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, rest) = unquote(quoted);
        return Some((Item::Parameter(word, value), rest));
    }
    let end = value.find([' ', '\t', ',']).unwrap_or(value.len());
    let (value, rest) = value.split_at(end);
    Some((Item::Parameter(word, value.to_owned()), rest))
}

/// The text up to the closing quote, which may be missing, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn known((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let value = |name: &str| {
        parameters
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: Url::parse(&value("realm")?)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?,
            service: value("service").filter(|service| !service.is_empty()),
            scopes: value("scope")
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        }
    }

    #[test]
    fn challenges_are_understood() {
        let cases: &[(&str, Vec<Challenge>)] = &[
            (r#"Basic realm="a registry""#, vec![Challenge::Basic]),
            ("BASIC", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    &["repository:library/busybox:pull"],
                )],
            ),
            (
                r#"bearer Realm = "https://a.b/t?x=1" , scope="repository:a:pull,push repository:b:pull", error="invalid_token""#,
                vec![bearer(
                    "https://a.b/t?x=1",
                    None,
                    &["repository:a:pull,push", "repository:b:pull"],
                )],
            ),
            (
                "Bearer realm=https://a.b/t,service=\"\"",
                vec![bearer("https://a.b/t", None, &[])],
            ),
            (
                r#"Negotiate, Basic realm="x", Bearer realm="https://a.b/t""#,
                vec![Challenge::Basic, bearer("https://a.b/t", None, &[])],
            ),
            (
                r#"Bearer realm="https://a.b/t",service="say \"hi\"""#,
                vec![bearer("https://a.b/t", Some("say \"hi\""), &[])],
            ),
            (
                r#"Bearer realm="https://a.b/t",scope="#,
                vec![bearer("https://a.b/t", None, &[])],
            ),
            (
                r#"Bearer realm="https://a.b/t"#,
                vec![bearer("https://a.b/t", None, &[])],
            ),
            // Without a usable realm there is nowhere to go.
            ("Bearer", vec![]),
            (r#"Bearer realm="/token""#, vec![]),
            (r#"Bearer realm="file:///etc/passwd""#, vec![]),
            (r#"Digest nonce="x""#, vec![]),
            ("", vec![]),
            (",,=\"", vec![]),
        ];
        for (header, want) in cases {
            assert_eq!(&parse([*header]), want, "{header}");
        }
    }

    #[test]
    fn several_headers_are_read_in_order() {
        let found = parse([r#"Basic realm="x""#, r#"Bearer realm="https://a.b/t""#]);
        assert_eq!(
            found,
            [Challenge::Basic, bearer("https://a.b/t", None, &[])]
        );
    }
}
