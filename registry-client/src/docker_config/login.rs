//! Trying a name and password before they are kept.

use crate::{Client, ClientError, Credential, Result};

/// Tries a name and password at a registry, and returns what is to be stored:
/// the same, or the identity token that the registry gave for them.
///
/// The client's own credentials are not used, and nothing is stored.
pub async fn verify_login(
    client: &Client,
    registry: &str,
    credential: Credential,
) -> Result<Credential> {
    match client.log_in(registry, credential).await {
        Err(ClientError::Unauthorized {
            registry, errors, ..
        }) => Err(ClientError::BadLogin { registry, errors }),
        outcome => outcome,
    }
}
