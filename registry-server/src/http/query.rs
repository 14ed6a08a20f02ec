//! The query of a request. Names that are not known are left alone, as the specification wants.

use percent_encoding::percent_decode_str;
use rbuild_image::{Algorithm, Digest, RepositoryName, Tag};

use super::error::ApiError;
use super::headers::number;
use super::route::parse_digest;

/// Entries of a list that are sent at once, and when the client does not say how many.
const PAGE: usize = 10_000;
/// Tags that one manifest push may set.
const TAGS: usize = 100;

/// The parts of a query that mean something to us.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| ApiError::query_invalid("the query is not UTF-8"))
        };
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, ApiError>>()?;
        Ok(Self { pairs })
    }

    /// The first value of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// A digest; `%2B` and a plain `+` are both possible in algorithm names, neither in ours.
    pub(crate) fn digest(&self, name: &str) -> Result<Option<Digest>, ApiError> {
        self.get(name).map(parse_digest).transpose()
    }

    pub(crate) fn algorithm(&self) -> Result<Algorithm, ApiError> {
        match self.get("digest-algorithm") {
            None => Ok(Algorithm::Sha256),
            Some(text) => text
                .parse()
                .map_err(|error| ApiError::digest_invalid(format!("{error}"))),
        }
    }

    pub(crate) fn repository(&self, name: &str) -> Option<RepositoryName> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    pub(crate) fn tags(&self) -> Result<Vec<Tag>, ApiError> {
        let mut tags: Vec<Tag> = Vec::new();
        for (_, text) in self.pairs.iter().filter(|(own, _)| own == "tag") {
            let tag = text
                .parse()
                .map_err(|error| ApiError::tag_invalid(format!("{error}")))?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > TAGS {
                return Err(ApiError::too_many_tags(TAGS));
            }
        }
        Ok(tags)
    }

    /// How many entries of a list the client wants at most.
    pub(crate) fn page(&self) -> Result<usize, ApiError> {
        match self.get("n") {
            None => Ok(PAGE),
            Some(text) => number(text)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX).min(PAGE))
                .ok_or_else(|| {
                    ApiError::query_invalid("`n` must be a number of entries, 0 or more")
                }),
        }
    }
}
