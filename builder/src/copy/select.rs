//! Which files of a tree a source path means (builder-features rules 28, 30, 31, 32).

use std::io;

use rbuild_image::layer::{file_name, join};
use rbuild_parser::pattern;

use super::source::{Node, Tree};

/// A file that a source path means, and the name that it has when it goes into a directory.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) node: Node,
    /// Its path in the tree, as the pattern reached it.
    pub(crate) path: Vec<u8>,
}

impl Selected {
    pub(crate) fn name(&self) -> &[u8] {
        file_name(&self.path)
    }
}

/// Whether a source path is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// What a source path means; none when it names a file that is not there.
///
/// A pattern that matches nothing means nothing, which is no error.
pub(crate) fn select(tree: &dyn Tree, text: &str) -> io::Result<Option<Vec<Selected>>> {
    let components = components(text);
    if !is_pattern(text) {
        let path = components.join("/").into_bytes();
        return Ok(tree
            .lookup(&path)?
            .map(|node| vec![Selected { node, path }]));
    }
    let mut selected = Vec::new();
    for path in matching(tree, &components)? {
        if let Some(node) = tree.lookup(&path)? {
            selected.push(Selected { node, path });
        }
    }
    Ok(Some(selected))
}

/// The paths that a pattern matches, component by component, sorted.
pub(crate) fn matching(tree: &dyn Tree, components: &[&str]) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = vec![Vec::new()];
    for component in components {
        let mut next = Vec::new();
        for path in paths {
            if is_pattern(component) {
                for name in tree.names(&path)? {
                    if matches(component, &name)? {
                        next.push(join(&path, &name));
                    }
                }
            } else {
                next.push(join(&path, component.as_bytes()));
            }
        }
        paths = next;
    }
    Ok(paths)
}

fn matches(component: &str, name: &[u8]) -> io::Result<bool> {
    pattern::glob(component, &String::from_utf8_lossy(name))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}

/// The components of a source path: `..` and a leading `/` cannot leave the root.
fn components(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts
}
