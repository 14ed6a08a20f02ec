//! Lists of tags: which ones, and in which order.

use rbuild_image::Tag;

use crate::clock::Moment;

/// A tag in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// The tag.
    pub tag: Tag,
    /// When it was last pushed.
    pub pushed_at: Moment,
}

/// Order of a list of tags, and where in it the list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagOrder {
    /// By bytes, behind this name, which need not exist.
    Name(Option<String>),
    /// Pushed last first, of one moment by bytes; behind this place, which need not exist any more.
    Newest(Option<(Moment, String)>),
}

/// Which tags of a repository are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// In which order, and from where.
    pub order: TagOrder,
    /// Only those that fit.
    pub filter: Option<TagFilter>,
    /// How many at most.
    pub limit: usize,
}

/// A pattern for tags: with `*` for any characters it is about the whole tag, without it about a part of it.
///
/// ```
/// use rbuild_registry_server::metadata::TagFilter;
///
/// assert!(TagFilter::new("rc").matches("v2-rc1"));
/// assert!(TagFilter::new("v2.*").matches("v2.1"));
/// assert!(!TagFilter::new("v2.*").matches("cv2.1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter(String);

impl TagFilter {
    /// A pattern; every text is one.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the tag fits. Case counts.
    pub fn matches(&self, tag: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return tag.contains(&self.0);
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(between) = tag
            .strip_prefix(first)
            .and_then(|tag| tag.strip_suffix(last))
        else {
            return false;
        };
        // Taking each part where it first occurs leaves most room for those behind it.
        middle
            .split('*')
            .try_fold(between, |left, part| {
                left.find(part).map(|at| &left[at + part.len()..])
            })
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::TagFilter;

    #[test]
    fn patterns() {
        let cases = [
            ("", "v1", true),
            ("*", "v1", true),
            ("v1", "v1", true),
            ("1", "v1.0", true),
            ("V1", "v1", false),
            ("v*", "v1", true),
            ("*v", "v1", false),
            ("v*0", "v1.0", true),
            ("v*0", "v1.1", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("*rc*", "v1-rc2", true),
            ("*rc*", "v1", false),
            ("v*-*-*", "v1-rc-2", true),
            ("v*-*-*", "v1-rc", false),
            ("a*b*b*c", "abc", false),
            ("a**c", "abc", true),
        ];
        for (pattern, tag, want) in cases {
            assert_eq!(
                TagFilter::new(pattern).matches(tag),
                want,
                "{pattern} {tag}"
            );
        }
    }
}
