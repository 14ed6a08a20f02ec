//! From a path to what it asks for. Pure; a repository name may hold `/`, so the path is read from its end.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use rbuild_image::{Digest, RepositoryName, Tag};

use super::error::ApiError;
use crate::metadata::{ManifestName, UploadId};

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: is this a registry?
    Root,
    /// `/v2/_catalog`: which repositories are there?
    Catalog,
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest(RepositoryName, ManifestName),
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/healthz`: does the process answer?
    Health,
    /// `/readyz`: can it serve?
    Ready,
}

/// The kinds of endpoint, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v2/` and health.
    Root,
    /// Lists of repositories, tags, referrers.
    List,
    /// Blobs.
    Blob,
    /// Uploads.
    Upload,
    /// Manifests.
    Manifest,
    /// Paths that are none of ours.
    Other,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Root,
        Self::List,
        Self::Blob,
        Self::Upload,
        Self::Manifest,
        Self::Other,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::List => "list",
            Self::Blob => "blob",
            Self::Upload => "upload",
            Self::Manifest => "manifest",
            Self::Other => "other",
        }
    }
}

impl Endpoint {
    /// What kind of endpoint it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Root | Self::Health | Self::Ready => Kind::Root,
            Self::Catalog | Self::Tags(_) | Self::Referrers(..) => Kind::List,
            Self::Blob(..) => Kind::Blob,
            Self::Uploads(_) | Self::Upload(..) => Kind::Upload,
            Self::Manifest(..) => Kind::Manifest,
        }
    }

    /// Reads the path of a request, without its query.
    pub fn parse(path: &str) -> Result<Self, ApiError> {
        let rest = match path {
            "/healthz" => return Ok(Self::Health),
            "/readyz" => return Ok(Self::Ready),
            "/v2" => return Ok(Self::Root),
            _ => path
                .strip_prefix("/v2/")
                .ok_or_else(ApiError::no_such_path)?,
        };
        if rest.is_empty() {
            return Ok(Self::Root);
        }
        if rest.len() > 2048 {
            return Err(ApiError::name_invalid(
                "the path is too long; a repository name has at most 255 bytes",
            ));
        }
        let parts: Vec<Cow<'_, str>> = rest
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8())
            .collect::<Result<_, _>>()
            .map_err(|_| ApiError::name_invalid("the path is not UTF-8"))?;
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => {
                let id = id.parse().map_err(|_| ApiError::upload_unknown())?;
                Ok(Self::Upload(repository(name)?, id))
            }
            [name @ .., "blobs", digest] => {
                Ok(Self::Blob(repository(name)?, parse_digest(digest)?))
            }
            [name @ .., "manifests", reference] => {
                Ok(Self::Manifest(repository(name)?, manifest_name(reference)?))
            }
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers(repository(name)?, parse_digest(digest)?))
            }
            _ => Err(ApiError::no_such_path()),
        }
    }
}

fn repository(parts: &[&str]) -> Result<RepositoryName, ApiError> {
    // A decoded `%2F` would make two names out of one.
    if parts.iter().any(|part| part.contains('/')) {
        return Err(ApiError::name_invalid(
            "a `/` in a repository name is written as it is, not as `%2F`",
        ));
    }
    let name = parts.join("/");
    name.parse()
        .map_err(|error| ApiError::name_invalid(format!("{error}")))
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse()
        .map_err(|error| ApiError::digest_invalid(format!("{error}")))
}

fn manifest_name(text: &str) -> Result<ManifestName, ApiError> {
    if text.contains(':') {
        return parse_digest(text).map(ManifestName::Digest);
    }
    match text.parse::<Tag>() {
        Ok(tag) => Ok(ManifestName::Tag(tag)),
        Err(error) => Err(ApiError::tag_invalid(format!("{error}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("a name")
    }

    #[track_caller]
    fn check(path: &str, want: &Endpoint) {
        assert_eq!(Endpoint::parse(path).ok().as_ref(), Some(want), "{path}");
    }

    #[track_caller]
    fn check_error(path: &str, code: &str) {
        match Endpoint::parse(path) {
            Err(error) => assert_eq!(error.code(), code, "{path}"),
            Ok(endpoint) => panic!("{path} is {endpoint:?}"),
        }
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::sha256(b"x");
        let id = "0123456789abcdef0123456789abcdef";
        check("/v2/", &Endpoint::Root);
        check("/v2", &Endpoint::Root);
        check("/v2/_catalog", &Endpoint::Catalog);
        check("/v2/a/b/c/tags/list", &Endpoint::Tags(name("a/b/c")));
        check(
            "/v2/blobs/uploads/manifests/latest",
            &Endpoint::Manifest(
                name("blobs/uploads"),
                ManifestName::Tag("latest".parse().expect("a tag")),
            ),
        );
        check(
            &format!("/v2/tags/list/blobs/{digest}"),
            &Endpoint::Blob(name("tags/list"), digest),
        );
        check(
            &format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")),
            &Endpoint::Blob(name("a"), digest),
        );
        check("/v2/a/blobs/uploads", &Endpoint::Uploads(name("a")));
        check("/v2/a/blobs/uploads/", &Endpoint::Uploads(name("a")));
        check(
            &format!("/v2/a/blobs/uploads/{id}"),
            &Endpoint::Upload(name("a"), id.parse().expect("an id")),
        );
        check(
            &format!("/v2/a/referrers/{digest}"),
            &Endpoint::Referrers(name("a"), digest),
        );
    }

    #[test]
    fn every_malformed_path_has_its_own_code() {
        check_error("/", "UNSUPPORTED");
        check_error("/v1/", "UNSUPPORTED");
        check_error("/v2/a/nonsense/x", "UNSUPPORTED");
        check_error("/v2/manifests/latest", "NAME_INVALID");
        check_error("/v2/A/manifests/latest", "NAME_INVALID");
        check_error("/v2/../../etc/passwd/manifests/latest", "NAME_INVALID");
        check_error("/v2/a%2Fb/manifests/latest", "NAME_INVALID");
        check_error("/v2/%ff/manifests/latest", "NAME_INVALID");
        check_error(
            &format!("/v2/{}/tags/list", "a".repeat(256)),
            "NAME_INVALID",
        );
        check_error(&format!("/v2/{}", "a/".repeat(100_000)), "NAME_INVALID");
        check_error("/v2/a/manifests/.x", "MANIFEST_INVALID");
        check_error("/v2/a/manifests/sha256:00", "DIGEST_INVALID");
        check_error("/v2/a/blobs/latest", "DIGEST_INVALID");
        check_error("/v2/a/blobs/md5:00", "DIGEST_INVALID");
        check_error("/v2/a/blobs/uploads/..%2f..", "BLOB_UPLOAD_UNKNOWN");
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "(/v2/)?[ -~é/%]{0,80}") {
            let _ = Endpoint::parse(&path);
        }
    }
}
