//! What happened to manifests and tags, in the order in which it was committed.

use rbuild_image::{Digest, RepositoryName, Tag};

use crate::clock::Moment;

/// One thing that happened. It is recorded in the transaction that made it happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place: later events have greater numbers, and no number is given twice.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// Where.
    pub repository: RepositoryName,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A manifest was pushed, for the first time or again.
    Pushed {
        /// The manifest.
        digest: Digest,
    },
    /// A tag was set or moved.
    Tagged {
        /// The tag.
        tag: Tag,
        /// Where it is now.
        digest: Digest,
        /// Where it was.
        previous: Option<Digest>,
    },
    /// A tag was removed, by itself or with its manifest.
    Untagged {
        /// The tag.
        tag: Tag,
        /// Where it was.
        digest: Digest,
    },
    /// A manifest was deleted by a client.
    Deleted {
        /// The manifest.
        digest: Digest,
    },
    /// A manifest was collected, as nothing kept it.
    Collected {
        /// The manifest.
        digest: Digest,
    },
}

impl Change {
    /// Its name: `push`, `tag`, `untag`, `delete`, `collect`.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Pushed { .. } => "push",
            Self::Tagged { .. } => "tag",
            Self::Untagged { .. } => "untag",
            Self::Deleted { .. } => "delete",
            Self::Collected { .. } => "collect",
        }
    }

    /// The manifest that it is about.
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Pushed { digest }
            | Self::Tagged { digest, .. }
            | Self::Untagged { digest, .. }
            | Self::Deleted { digest }
            | Self::Collected { digest } => digest,
        }
    }

    /// The tag that it is about.
    pub const fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tagged { tag, .. } | Self::Untagged { tag, .. } => Some(tag),
            Self::Pushed { .. } | Self::Deleted { .. } | Self::Collected { .. } => None,
        }
    }

    /// Where the tag was before.
    pub const fn previous(&self) -> Option<&Digest> {
        match self {
            Self::Tagged { previous, .. } => previous.as_ref(),
            _ => None,
        }
    }
}
