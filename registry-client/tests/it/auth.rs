//! Being let in, in all the ways that registries know.

use std::sync::Arc;

use rbuild_image::Platform;
use rbuild_registry_client::docker_config::verify_login;
use rbuild_registry_client::{
    Client, ClientError, Credential, HostRules, Result, Secret, Silent, StaticCredentials,
};

use crate::fake::{Access, Fake, Tokens};
use crate::support::{Image, client, client_with, noise, store};

fn knowing(fake: &Fake, credential: Option<Credential>) -> Client {
    let known = credential.map(|credential| (fake.address.to_string(), credential));
    let credentials = StaticCredentials(known.into_iter().collect());
    client_with(Arc::new(credentials), HostRules::default())
}

fn me() -> Credential {
    Credential::basic("me", "pass:word")
}

fn identity() -> Credential {
    Credential::IdentityToken(Secret::new("refresh-1"))
}

const ACCOUNT: Tokens = Tokens {
    account: Some("me:pass:word"),
    identity: None,
    uses: None,
    only_post: false,
};

async fn pull(access: Access, credential: Option<Credential>) -> (Fake, Result<()>) {
    let fake = Fake::with_access(access).await;
    let image = Image::new(vec![
        noise(1, 100),
        noise(2, 100),
        noise(3, 100),
        noise(4, 100),
    ]);
    fake.put_image("team/app", "1", &image);
    let client = knowing(&fake, credential);
    let name = fake.reference("team/app:1");
    let pulled = client
        .pull_image(&name, &Platform::host(), &store(), &Silent)
        .await;
    (fake, pulled.map(drop))
}

#[tokio::test]
async fn every_way_in_is_found() {
    let anonymous = Tokens::default();
    let with_identity = Tokens {
        identity: Some("refresh-1"),
        ..ACCOUNT
    };
    let only_post = Tokens {
        only_post: true,
        ..ACCOUNT
    };
    for (access, credential, token_requests) in [
        (Access::Everybody, None, 0),
        (Access::Basic("me:pass:word"), Some(me()), 0),
        (Access::Bearer(anonymous), None, 1),
        (Access::Bearer(ACCOUNT), Some(me()), 1),
        (Access::Bearer(with_identity), Some(identity()), 1),
        (Access::Bearer(only_post), Some(me()), 2),
    ] {
        let case = format!("{access:?}");
        let (fake, pulled) = pull(access, credential).await;
        pulled.unwrap_or_else(|error| panic!("{case}: {error}"));
        // One token serves a whole image, and is asked for once though many want it.
        assert_eq!(fake.state().token_requests.len(), token_requests, "{case}");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_as_the_specification_says() {
    let (fake, _) = pull(Access::Bearer(ACCOUNT), Some(me())).await;
    assert_eq!(
        fake.state().token_requests,
        ["GET service=fake&scope=repository%3Ateam%2Fapp%3Apull&account=me&client_id=rbuild"]
    );
    let tokens = Tokens {
        identity: Some("refresh-1"),
        ..ACCOUNT
    };
    let (fake, _) = pull(Access::Bearer(tokens), Some(identity())).await;
    assert_eq!(
        fake.state().token_requests,
        [
            "POST grant_type=refresh_token&refresh_token=refresh-1&service=fake&client_id=rbuild&scope=repository%3Ateam%2Fapp%3Apull"
        ]
    );
}

#[tokio::test]
async fn refused_credentials_end_in_one_clear_error() {
    let wrong = || Some(Credential::basic("me", "hunter2"));
    for (access, credential, shown) in [
        (Access::Basic("me:pass:word"), None, false),
        (Access::Basic("me:pass:word"), wrong(), true),
        (Access::Bearer(ACCOUNT), wrong(), true),
        (Access::Bearer(ACCOUNT), Some(identity()), true),
        // The registry does not take the tokens of its own server.
        (
            Access::Bearer(Tokens {
                uses: Some(0),
                ..ACCOUNT
            }),
            Some(me()),
            true,
        ),
    ] {
        let case = format!("{access:?} {credential:?}");
        let (fake, pulled) = pull(access, credential).await;
        let error = pulled.unwrap_err();
        let ClientError::Unauthorized {
            with_credentials, ..
        } = &error
        else {
            panic!("{case}: {error:?}");
        };
        assert_eq!(*with_credentials, shown, "{case}");
        let text = format!("{error} {error:?} {:?}", error.hint());
        for secret in ["hunter2", "pass:word", "refresh-1", "secret-token"] {
            assert!(!text.contains(secret), "{case}: {text}");
        }
        assert!(fake.state().seen.len() < 10, "{case}: it gives up soon");
    }
}

#[tokio::test]
async fn a_used_up_token_is_replaced() {
    let tokens = Tokens {
        uses: Some(2),
        ..ACCOUNT
    };
    let (fake, pulled) = pull(Access::Bearer(tokens), Some(me())).await;
    pulled.unwrap();
    assert!(fake.state().token_requests.len() >= 3);
}

#[tokio::test]
async fn logins_are_tried_before_they_are_kept() {
    let with_identity = Tokens {
        identity: Some("refresh-1"),
        ..ACCOUNT
    };
    for (access, typed, kept) in [
        (Access::Everybody, me(), Some(me())),
        (Access::Basic("me:pass:word"), me(), Some(me())),
        (
            Access::Basic("me:pass:word"),
            Credential::basic("me", "x"),
            None,
        ),
        (Access::Bearer(ACCOUNT), me(), Some(me())),
        (Access::Bearer(ACCOUNT), Credential::basic("me", "x"), None),
        (Access::Bearer(with_identity), me(), Some(identity())),
    ] {
        let case = format!("{access:?}");
        let fake = Fake::with_access(access).await;
        let address = fake.address.to_string();
        match (verify_login(&client(), &address, typed).await, kept) {
            (Ok(got), Some(want)) => assert_eq!(got, want, "{case}"),
            (Err(ClientError::BadLogin { registry, .. }), None) => assert_eq!(registry, address),
            (outcome, _) => panic!("{case}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn pushing_asks_for_the_right_to_push_and_to_mount() {
    let fake = Fake::with_access(Access::Bearer(ACCOUNT)).await;
    let client = knowing(&fake, Some(me()));
    let image = Image::new(vec![noise(1, 10)]);
    let sources = image.sources().into_iter();
    let sources = sources.map(|source| source.mount_from(vec!["base".parse().unwrap()]));
    client
        .push_blobs(&fake.reference("team/app:1"), sources.collect(), &Silent)
        .await
        .unwrap();
    let mut asked = fake.state().token_requests.clone();
    asked.sort();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0]
            .contains("scope=repository%3Abase%3Apull&scope=repository%3Ateam%2Fapp%3Apull%2Cpush")
    );
    assert!(asked[1].contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush&account"));
}

/// The futures can be spawned: nothing in them is bound to a thread.
#[tokio::test]
async fn transfers_can_be_spawned() {
    let fake = Fake::start().await;
    let image = Image::new(vec![noise(1, 10)]);
    fake.put_image("a", "1", &image);
    let (client, name, store) = (client(), fake.reference("a:1"), store());
    let task = tokio::spawn(async move {
        let platform = Platform::host();
        let pulled = client.pull_image(&name, &platform, &store, &Silent).await?;
        let manifest = pulled.manifest.bytes();
        let media_type = &pulled.manifest_descriptor.media_type;
        client
            .push_image(&name, manifest, media_type, image.sources(), &Silent)
            .await?;
        client
            .tags(&name)
            .await
            .map(drop)
            .or(Ok::<_, ClientError>(()))
    });
    task.await.unwrap().unwrap();
}
