//! Following a path through the links of a root file system, without leaving it.

use super::super::entry::{self, Kind};
use super::{ResolveError, Resolved, Rootfs};

/// Links that one path may lead through, as in `BuildKit`.
const MAX_LINKS: usize = 255;

pub(super) fn resolve(
    rootfs: &Rootfs,
    path: &[u8],
    follow_last: bool,
) -> Result<Resolved, ResolveError> {
    if path.contains(&0) {
        return Err(ResolveError::Path(lossy(path)));
    }
    let follow_last = follow_last || path.ends_with(b"/");
    let mut walk = Walk {
        rest: Vec::new(),
        current: Vec::new(),
        missing: Vec::new(),
    };
    walk.go(path);
    let mut links = 0;
    while let Some(name) = walk.rest.pop() {
        if name == b".." {
            walk.up();
            continue;
        }
        if !walk.missing.is_empty() {
            walk.missing.push(name);
            continue;
        }
        let next = entry::join(&walk.current, &name);
        let Some(node) = rootfs.lookup(&next) else {
            walk.missing.push(name);
            continue;
        };
        let is_last = walk.rest.is_empty();
        match node.entry.kind {
            Kind::Directory => walk.current = next,
            Kind::Symlink(target) if !is_last || follow_last => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(ResolveError::TooManyLinks(lossy(path)));
                }
                if target.starts_with(b"/") {
                    walk.current.clear();
                }
                walk.go(&target);
            }
            _ if is_last => walk.current = next,
            _ => return Err(ResolveError::NotDirectory(lossy(&next))),
        }
    }
    let exists = walk.missing.is_empty();
    let node = exists.then(|| rootfs.lookup(&walk.current)).flatten();
    let missing = walk.missing.iter();
    let path = missing.fold(walk.current, |path, name| entry::join(&path, name));
    Ok(Resolved {
        path,
        node,
        missing: walk.missing,
    })
}

struct Walk {
    /// The components still to go, last first.
    rest: Vec<Vec<u8>>,
    current: Vec<u8>,
    missing: Vec<Vec<u8>>,
}

impl Walk {
    fn go(&mut self, path: &[u8]) {
        let names = path.split(|byte| *byte == b'/').rev();
        let names = names.filter(|name| !matches!(*name, b"" | b"."));
        self.rest.extend(names.map(<[u8]>::to_vec));
    }

    fn up(&mut self) {
        if self.missing.pop().is_none() {
            let end = entry::parent(&self.current).map_or(0, <[u8]>::len);
            self.current.truncate(end);
        }
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
