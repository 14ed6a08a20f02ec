//! The stream of an archive, and the paths in it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rbuild_image::layer::compress;

use crate::exit::{Doing, Failure, Outcome};

/// The tar inside a stream that may be compressed.
pub(super) fn unpack(input: impl Read + Send + 'static) -> Outcome<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(256 << 10, input);
    let head = input.fill_buf().doing(|| "cannot read the archive")?;
    for (magic, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (&b"BZh"[..], "bzip2")] {
        if head.starts_with(magic) {
            return Err(Failure::input(format!(
                "an archive compressed with {name} is not supported yet"
            ))
            .hint(format!(
                "decompress it first: `{name} -dc FILE | rbuild load`"
            )));
        }
    }
    let compression = compress::detect(head);
    Ok(compress::decompress(input, compression))
}

/// A path of an archive without `./`, doubled slashes and `..`.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a symbolic link at `path` leads to.
pub(super) fn beside(path: &str, target: &str) -> String {
    match Path::new(path).parent().and_then(Path::to_str) {
        Some(directory) if !target.starts_with('/') => normal(&format!("{directory}/{target}")),
        _ => normal(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_an_archive_stay_inside_it() {
        for (path, want) in [
            ("./a//b", "a/b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../b", "b"),
            ("/a", "a"),
        ] {
            assert_eq!(normal(path), want);
        }
        assert_eq!(beside("x/layer.tar", "../y/layer.tar"), "y/layer.tar");
        assert_eq!(beside("x/layer.tar", "../../../y"), "y");
    }
}
