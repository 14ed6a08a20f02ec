//! Lists: tags, repositories, referrers.

use http::header::LINK;
use http::{HeaderMap, Method};
use rbuild_image::{Descriptor, Digest, Index, Reference, RepositoryName, Tag};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::auth::Scopes;
use crate::client::Endpoint;
use crate::transport::{Answer, shown};
use crate::{Client, ClientError, Result, Silent};

const MAX_PAGE_BYTES: u64 = 16 << 20;
const MAX_PAGES: usize = 10_000;

impl Client {
    /// The tags of the repository of `reference`, in the registry's order.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<Tag>> {
        #[derive(Deserialize)]
        struct Body {
            tags: Option<Vec<String>>,
        }
        let endpoint = Endpoint::upstream(reference);
        let scopes = endpoint.scopes("pull");
        let what = format!("the tag list of `{}`", reference.repository);
        let path = endpoint.path("tags/list?n=1000");
        let pages: Vec<Body> = self.pages(&endpoint, path, &scopes, &what).await?;
        let tags = pages.into_iter().filter_map(|page| page.tags).flatten();
        Ok(tags.filter_map(|tag| tag.parse().ok()).collect())
    }

    /// The repositories of a registry, in its order, as far as it shows them to us.
    pub async fn catalogue(&self, registry: &str) -> Result<Vec<RepositoryName>> {
        #[derive(Deserialize)]
        struct Body {
            repositories: Option<Vec<String>>,
        }
        let endpoint = Endpoint::of_registry(registry);
        let scopes = Scopes::from(["registry:catalog:*".to_owned()]);
        let what = format!("the list of repositories of `{registry}`");
        let path = "/v2/_catalog?n=1000".to_owned();
        let pages: Vec<Body> = self.pages(&endpoint, path, &scopes, &what).await?;
        let names = pages.into_iter().filter_map(|page| page.repositories);
        Ok(names
            .flatten()
            .filter_map(|name| name.parse().ok())
            .collect())
    }

    /// The manifests whose subject is `subject`, in the repository of `reference`; `None`: the registry keeps no such list.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: Digest,
    ) -> Result<Option<Vec<Descriptor>>> {
        let endpoint = Endpoint::upstream(reference);
        let scopes = endpoint.scopes("pull");
        let what = format!(
            "the referrers of `{}`",
            reference.with_digest(subject).familiar()
        );
        let path = endpoint.path(&format!("referrers/{subject}"));
        let pages: Result<Vec<Index>> = self.pages(&endpoint, path, &scopes, &what).await;
        match pages {
            Ok(pages) => {
                let entries = pages.into_iter().flat_map(|page| page.manifests);
                Ok(Some(entries.collect()))
            }
            Err(
                ClientError::NotFound { .. }
                | ClientError::Status {
                    status: 400 | 405 | 501,
                    ..
                },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every page of a list.
    async fn pages<T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        mut path: String,
        scopes: &Scopes,
        what: &str,
    ) -> Result<Vec<T>> {
        let mut pages = Vec::new();
        for _ in 0..MAX_PAGES {
            let ask = || async {
                let answer = self
                    .ask(
                        endpoint,
                        &Method::GET,
                        &path,
                        &HeaderMap::new(),
                        scopes,
                        what,
                    )
                    .await?;
                let url = shown(answer.url());
                let next = next_page(&answer);
                let bytes = answer.bytes(what, MAX_PAGE_BYTES).await?;
                let page =
                    serde_json::from_slice(&bytes).map_err(|error| ClientError::Rubbish {
                        url,
                        reason: format!("it is not {what} ({error})"),
                    })?;
                Ok((page, next))
            };
            let (page, next) = self.retrying(what, &Silent, ask).await?;
            pages.push(page);
            match next {
                Some(next) if next != path => path = next,
                _ => break,
            }
        }
        Ok(pages)
    }
}

/// The path of the next page from `Link: <…>; rel="next"`.
fn next_page(answer: &Answer) -> Option<String> {
    let link = answer.header(LINK)?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    let next = answer.url().join(target).ok()?;
    // A page of another host would get our token.
    (next.host_str() == answer.url().host_str()).then(|| {
        let query = next.query().map(|query| format!("?{query}"));
        format!("{}{}", next.path(), query.unwrap_or_default())
    })
}
