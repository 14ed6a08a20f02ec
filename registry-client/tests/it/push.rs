//! Pushing to registries that misbehave.

use std::io;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rbuild_image::{Descriptor, Digest, MediaType, RepositoryName};
use rbuild_registry_client::{BlobSource, ClientError, Result, Silent};

use crate::cut::{Limit, Wire};
use crate::fake::{Access, Fake, Seen, Tokens, error};
use crate::support::{Image, Notes, client, noise, reference};

fn layer(bytes: &[u8]) -> BlobSource {
    BlobSource::from_bytes(Descriptor::of(MediaType::LAYER, bytes), bytes)
}

/// Pushes one blob and checks that it has arrived if the client says so.
async fn push_blob(fake: &Fake, address: impl ToString, bytes: &[u8]) -> Result<Notes> {
    let notes = Notes::default();
    let name = reference(address.to_string(), "team/app:1");
    client()
        .push_blobs(&name, vec![layer(bytes)], &notes)
        .await?;
    let key = ("team/app".to_owned(), Digest::sha256(bytes).to_string());
    assert!(
        fake.state().blobs[&key] == bytes,
        "other bytes have arrived"
    );
    Ok(notes)
}

#[tokio::test]
async fn the_manifest_comes_last() {
    let fake = Fake::start().await;
    let image = Image::new(vec![noise(1, 1 << 20), noise(2, 100), noise(3, 0)]);
    let name = fake.reference("team/app:1");
    let bytes = image.manifest.bytes();
    let pushed = client()
        .push_image(&name, bytes, &MediaType::MANIFEST, image.sources(), &Silent)
        .await
        .unwrap();
    assert_eq!(
        pushed.descriptor,
        image.manifest.descriptor(MediaType::MANIFEST)
    );
    let state = fake.state();
    let last = state.seen.last().unwrap();
    assert!(last.is("PUT", "/v2/team/app/manifests/1"), "{last:?}");
    assert_eq!(
        last.header("content-type"),
        Some(MediaType::MANIFEST.as_str())
    );
    assert_eq!(state.blobs.len(), 4);
    let key = ("team/app".to_owned(), "1".to_owned());
    assert_eq!(state.manifests[&key].1, bytes);
}

#[tokio::test]
async fn blobs_that_are_there_do_not_travel() {
    let fake = Fake::start().await;
    let bytes = noise(1, 1000);
    fake.put_blob("team/app", &bytes);
    let notes = push_blob(&fake, fake.address, &bytes).await.unwrap();
    assert_eq!((notes.count("exists"), fake.count("POST", "")), (1, 0));
}

#[tokio::test]
async fn the_query_of_a_location_is_kept() {
    for size in [10, 1 << 20] {
        let fake = Fake::start().await;
        push_blob(&fake, fake.address, &noise(1, size))
            .await
            .unwrap();
        let put = &fake.all("PUT", "/uploads/")[0];
        let digest = Digest::sha256(noise(1, size))
            .to_string()
            .replace(':', "%3A");
        assert_eq!(put.query, format!("state=a%2Fb&digest={digest}"));
        assert_eq!(fake.count("PATCH", ""), usize::from(size > 10));
    }
}

#[tokio::test]
async fn an_absolute_location_is_followed_without_our_token_elsewhere() {
    let storage = Fake::start().await;
    let fake = Fake::with_access(Access::Bearer(Tokens::default())).await;
    let bytes = noise(1, 1000);
    storage.state().uploads.insert("x".to_owned(), Vec::new());
    let location = format!(
        "http://{}/v2/team/app/blobs/uploads/x?sig=1",
        storage.address
    );
    fake.fault(move |seen| {
        let is_ours = seen.method == "POST" && seen.header("authorization").is_some();
        let headers = [(header::LOCATION, location.clone())];
        is_ours.then(|| (StatusCode::ACCEPTED, headers).into_response())
    });
    push_blob(&storage, fake.address, &bytes).await.unwrap();
    let put = &storage.all("PUT", "/uploads/x")[0];
    assert!(put.query.starts_with("sig=1&digest="), "{put:?}");
    assert_eq!(put.header("authorization"), None);
}

#[tokio::test]
async fn mounts_are_used_where_the_registry_has_the_blob() {
    let fake = Fake::start().await;
    let bytes = noise(1, 1000);
    fake.put_blob("other/base", &bytes);
    let from = |names: &[&str]| -> Vec<RepositoryName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    let name = fake.reference("team/app:1");
    let notes = Notes::default();
    let source = layer(&bytes).mount_from(from(&["no/such", "other/base", "team/app"]));
    client()
        .push_blobs(&name, vec![source], &notes)
        .await
        .unwrap();
    assert_eq!((notes.count("mounted"), notes.count("started")), (1, 0));
    assert_eq!(fake.count("PATCH", "") + fake.count("PUT", ""), 0);

    // Refused everywhere: the upload that the registry opened instead is used, the other one is cancelled.
    let bytes = noise(2, 1000);
    let source = layer(&bytes).mount_from(from(&["no/such", "nor/this"]));
    client()
        .push_blobs(&name, vec![source], &notes)
        .await
        .unwrap();
    assert_eq!(fake.count("DELETE", "/uploads/"), 1);
    let key = ("team/app".to_owned(), Digest::sha256(&bytes).to_string());
    assert!(fake.state().blobs.contains_key(&key));

    // A mount that fails in any way is no reason to fail.
    let bytes = noise(3, 1000);
    fake.fault(|seen| {
        seen.query
            .contains("mount=")
            .then(|| error(403, "DENIED", "no"))
    });
    let source = layer(&bytes).mount_from(from(&["no/such"]));
    client()
        .push_blobs(&name, vec![source], &notes)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_was() {
    let fake = Fake::start().await;
    let bytes = noise(5, 12 << 20);
    let cuts = [Limit::up(5 << 20), Limit::up(4 << 20)];
    let wire = Wire::to(fake.address, &cuts).await;
    let notes = push_blob(&fake, wire.address, &bytes).await.unwrap();
    assert_eq!(notes.count("retrying"), 2);
    assert_eq!(fake.count("POST", "/uploads/"), 1, "one session for all");
    assert_eq!(
        fake.count("GET", "/uploads/"),
        2,
        "asked twice how much is there"
    );
    let patches = fake.all("PATCH", "");
    assert_eq!(patches[0].header("content-range"), None);
    let range = patches.last().unwrap().header("content-range").unwrap();
    let start: usize = range.split('-').next().unwrap().parse().unwrap();
    assert!(
        start > 4 << 20 && range.ends_with(&format!("-{}", bytes.len() - 1)),
        "{range}"
    );
}

#[tokio::test]
async fn a_forgotten_upload_begins_again() {
    let fake = Fake::start().await;
    let bytes = noise(5, 4 << 20);
    let wire = Wire::to(fake.address, &[Limit::up(2 << 20)]).await;
    fake.fault(|seen| {
        seen.is("GET", "/uploads/")
            .then(|| error(404, "BLOB_UPLOAD_UNKNOWN", "restarted"))
    });
    push_blob(&fake, wire.address, &bytes).await.unwrap();
    assert_eq!(fake.count("POST", "/uploads/"), 2);
}

#[tokio::test]
async fn large_bodies_are_cut_where_a_proxy_refuses_them() {
    let fake = Fake::start().await;
    fake.fault(|seen| {
        let length = seen
            .header("content-length")
            .and_then(|text| text.parse::<u64>().ok());
        let is_large = length.is_some_and(|length| length > 1 << 20);
        is_large.then(|| (StatusCode::PAYLOAD_TOO_LARGE, "<html>nginx</html>").into_response())
    });
    push_blob(&fake, fake.address, &noise(6, 3 << 20))
        .await
        .unwrap();
    let taken = fake.all("PATCH", "").into_iter();
    let taken = taken
        .filter(|seen| seen.header("content-range").is_some())
        .count();
    assert!(taken >= 3, "{taken}");

    // Where nothing is small enough, the answer says so.
    fake.fault(|seen| {
        (seen.method == "PATCH").then(|| StatusCode::PAYLOAD_TOO_LARGE.into_response())
    });
    let error = push_blob(&fake, fake.address, &noise(7, 3 << 20))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, ClientError::Status { status: 413, .. }),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("proxy"));
}

#[tokio::test]
async fn a_token_that_runs_out_in_the_middle_is_renewed() {
    // HEAD and POST use a token up, or that and PATCH, so that what follows is refused once.
    for uses in [2, 3] {
        let tokens = Tokens {
            uses: Some(uses),
            ..Tokens::default()
        };
        let fake = Fake::with_access(Access::Bearer(tokens)).await;
        push_blob(&fake, fake.address, &noise(8, 2 << 20))
            .await
            .unwrap();
        assert!(fake.state().token_requests.len() > 1);
    }
}

/// Answers the closing PUT a few times.
fn at_the_end(times: usize, answer: fn() -> Response) -> impl Fn(&Seen) -> Option<Response> {
    let left = std::sync::Mutex::new(times);
    move |seen| {
        let mut left = left.lock().unwrap();
        let hit = seen.is("PUT", "/uploads/") && *left > 0;
        *left -= usize::from(hit);
        hit.then(answer)
    }
}

#[tokio::test]
async fn trouble_at_the_end_is_waited_out() {
    let fake = Fake::start().await;
    fake.fault(at_the_end(2, || error(503, "UNAVAILABLE", "later")));
    push_blob(&fake, fake.address, &noise(9, 1 << 20))
        .await
        .unwrap();
    assert_eq!(fake.count("PATCH", ""), 1, "the bytes were there already");
}

#[tokio::test]
async fn refusals_are_final() {
    let fake = Fake::start().await;
    fake.fault(at_the_end(100, || {
        error(400, "DIGEST_INVALID", "other bytes")
    }));
    let error = push_blob(&fake, fake.address, &noise(9, 1 << 20))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("DIGEST_INVALID: other bytes"),
        "{error}"
    );
    assert_eq!(fake.count("PUT", "/uploads/"), 1);

    fake.fault(|seen| (seen.method == "POST").then(error_denied));
    let error = push_blob(&fake, fake.address, &noise(1, 10))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ClientError::Denied { .. }), "{error}");

    fake.fault(|seen| (seen.method == "POST").then(|| StatusCode::ACCEPTED.into_response()));
    let error = push_blob(&fake, fake.address, &noise(1, 10))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("no Location"), "{error}");
}

fn error_denied() -> Response {
    error(403, "DENIED", "read only")
}

#[tokio::test]
async fn content_that_cannot_be_read_is_our_own_fault() {
    let fake = Fake::start().await;
    let descriptor = Descriptor::of(MediaType::LAYER, &noise(1, 1 << 20));
    let name = fake.reference("a:1");
    let absent = BlobSource::new(descriptor.clone(), || {
        Err(io::ErrorKind::PermissionDenied.into())
    });
    let short = BlobSource::new(descriptor, || Ok(Box::new(io::Cursor::new(vec![1; 1000]))));
    for source in [absent, short] {
        let outcome = client().push_blobs(&name, vec![source], &Silent).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, ClientError::Local { action: "read", .. }),
            "{error}"
        );
    }
    assert!(fake.state().blobs.is_empty());
}

#[tokio::test]
async fn manifests_are_checked_in_both_directions() {
    let fake = Fake::start().await;
    let name = fake.reference("a:1");
    let push = |bytes: Vec<u8>, name: rbuild_image::Reference| async move {
        let client = client();
        client
            .push_manifest(&name, &bytes, &MediaType::MANIFEST)
            .await
    };
    let other = name.with_digest(Digest::sha256("another"));
    let error = push(b"{}".to_vec(), other).await.unwrap_err();
    assert!(matches!(error, ClientError::Digest { .. }), "{error}");
    let error = push(vec![b' '; 5 << 20], name.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    assert_eq!(fake.count("PUT", ""), 0);
    push(b"{}".to_vec(), name.with_digest(Digest::sha256("{}")))
        .await
        .unwrap();

    fake.fault(|seen| {
        let headers = [(
            "docker-content-digest",
            Digest::sha256("another").to_string(),
        )];
        (seen.method == "PUT").then(|| (StatusCode::CREATED, headers).into_response())
    });
    let error = push(b"{}".to_vec(), name.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::Digest { .. }), "{error}");
    fake.fault(|seen| {
        (seen.method == "PUT").then(|| crate::fake::error(400, "MANIFEST_BLOB_UNKNOWN", "no layer"))
    });
    let error = push(b"{}".to_vec(), name).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("MANIFEST_BLOB_UNKNOWN: no layer"),
        "{error}"
    );
}
