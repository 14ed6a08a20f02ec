//! Paths as a Dockerfile writes them.

/// `text` from the directory `base`, absolute, without `.`, `..` and double separators.
///
/// `..` above the root stays at the root. A trailing separator is lost; look at the text for that.
pub(crate) fn clean_path(base: &str, text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if text.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::clean_path;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (base, text, want) in [
            ("/", "a", "/a"),
            ("/a", "b/c/", "/a/b/c"),
            ("/a", "/b", "/b"),
            ("/a/b", "..", "/a"),
            ("/a", "../../..", "/"),
            ("/", ".", "/"),
            ("/a", "./b//c/./d/..", "/a/b/c"),
        ] {
            assert_eq!(clean_path(base, text), want, "{base} {text}");
        }
    }
}
