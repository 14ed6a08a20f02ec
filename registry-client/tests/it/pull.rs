//! Pulling from registries that misbehave.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rbuild_image::{Descriptor, Digest, MediaType, Platform};
use rbuild_registry_client::{
    Anonymous, Client, ClientConfig, ClientError, Credential, HostRule, HostRules,
    MAX_MANIFEST_BYTES, Result, RetryPolicy, Silent, StaticCredentials, TlsProblem, TransferEvent,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cut::{Limit, Wire};
use crate::fake::{Access, Fake, Seen, Tokens, error};
use crate::support::{Image, Notes, client, client_with, noise, reference, store};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn image() -> Image {
    Image::new(vec![noise(1, 300_000), noise(2, 20)])
}

/// Pulls `team/app:1`, with one fault before the registry.
async fn pull_with(
    fault: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
) -> (Fake, Result<()>, Notes) {
    let fake = Fake::start().await;
    let image = image();
    fake.put_image("team/app", "1", &image);
    fake.fault(fault);
    let store = store();
    let notes = Notes::default();
    let name = fake.reference("team/app:1");
    let pulled = client()
        .pull_image(&name, &Platform::host(), &store, &notes)
        .await;
    if pulled.is_ok() {
        image.check_is_in(&store);
    }
    (fake, pulled.map(drop), notes)
}

fn first_layer() -> String {
    Digest::sha256(noise(1, 300_000)).to_string()
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    for status in [500, 502, 503, 504, 429] {
        let (fake, pulled, notes) = pull_with(move |seen| {
            (seen.number <= 2).then(|| error(status, "UNAVAILABLE", "later"))
        })
        .await;
        pulled.unwrap();
        // HEAD, manifest, config and two layers fail twice each; a failed HEAD is followed by a GET.
        assert!(notes.count("retrying") >= 6, "{status}");
        assert_eq!(fake.count("GET", &first_layer()), 3);
    }
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    for no_ranges in [false, true] {
        let fake = Fake::start().await;
        let image = Image::new(vec![noise(7, 8 << 20)]);
        fake.put_image("a", "1", &image);
        fake.state().no_ranges = no_ranges;
        let cuts = [
            Limit::down(3 << 20),
            Limit::down(2 << 20),
            Limit::down(6 << 20),
        ];
        let wire = Wire::to(fake.address, &cuts).await;
        let (store, notes) = (store(), Notes::default());
        let name = reference(wire.address, "a:1");
        client()
            .pull_image(&name, &Platform::host(), &store, &notes)
            .await
            .unwrap();
        image.check_is_in(&store);
        assert!(notes.count("retrying") >= 2);
        let digest = Digest::sha256(&image.layers[0]).to_string();
        let gets = fake.all("GET", &digest);
        assert!(gets[0].header("range").is_none());
        let range = gets.last().unwrap().header("range").unwrap();
        let start: u64 = range["bytes=".len()..range.len() - 1].parse().unwrap();
        assert!(start > 2 << 20, "{range}");
    }
}

#[tokio::test]
async fn a_registry_that_is_restarted_meanwhile_is_waited_for() {
    let fake = Fake::start().await;
    let bytes = noise(7, 4 << 20);
    fake.put_blob("a", &bytes);
    let wire = Wire::to(fake.address, &[Limit::down(2 << 20)]).await;
    let (address, target) = (wire.address, fake.address);
    let wire = std::sync::Mutex::new(Some(wire));
    let stops = std::sync::atomic::AtomicBool::new(true);
    // The first trouble closes the port, the next ones open it again.
    let observer = |event: &TransferEvent<'_>| {
        if !matches!(event, TransferEvent::Retrying { .. }) {
            return;
        }
        let mut wire = wire.lock().unwrap();
        if stops.swap(false, std::sync::atomic::Ordering::Relaxed) {
            *wire = None;
        } else if wire.is_none()
            && let Ok(listener) = std::net::TcpListener::bind(address)
        {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            *wire = Some(Wire::with(listener, target, &[]));
        }
    };
    let store = store();
    client()
        .pull_blob(
            &reference(address, "a:1"),
            &Descriptor::of(MediaType::LAYER, &bytes),
            &store,
            &observer,
        )
        .await
        .unwrap();
    assert!(store.stat(&Digest::sha256(&bytes)).unwrap().is_some());
}

/// The error of a pull in words, with its causes.
async fn failure(fault: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static) -> ClientError {
    let (_, pulled, _) = pull_with(fault).await;
    pulled.unwrap_err()
}

#[tokio::test]
async fn wrong_bytes_are_refused() {
    let wrong = |bytes: Vec<u8>| {
        move |seen: &Seen| {
            let hit = seen.is("GET", &first_layer());
            hit.then(|| bytes.clone().into_response())
        }
    };
    let error = failure(wrong(noise(9, 300_000))).await;
    assert!(matches!(error, ClientError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(&first_layer()), "{error}");
    for size in [299_999, 300_001] {
        let error = failure(wrong(noise(1, size))).await;
        assert!(
            matches!(
                error,
                ClientError::Size {
                    expected: 300_000,
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// A body without a length, so that only its end tells how long it is.
fn unmeasured(bytes: &[u8]) -> Response {
    let pieces = bytes
        .chunks(1000)
        .map(Bytes::copy_from_slice)
        .map(Ok::<_, std::io::Error>);
    let pieces: Vec<_> = pieces.collect();
    Body::from_stream(futures_util::stream::iter(pieces)).into_response()
}

#[tokio::test]
async fn a_body_that_ends_early_or_never_is_noticed() {
    let error = failure(|seen| {
        seen.is("GET", &first_layer())
            .then(|| unmeasured(&noise(1, 100_000)))
    })
    .await;
    // The 100,000 bytes count as progress once; the answers to the ranges that follow are nonsense.
    assert!(
        matches!(
            error,
            ClientError::Rubbish { .. } | ClientError::Interrupted { .. }
        ),
        "{error}"
    );
    let error = failure(|seen| {
        seen.is("GET", &first_layer())
            .then(|| unmeasured(&noise(1, 400_000)))
    })
    .await;
    assert!(matches!(error, ClientError::Size { .. }), "{error}");
}

#[tokio::test]
async fn silence_ends_in_an_error() {
    let fake = Fake::start().await;
    fake.put_image("a", "1", &image());
    fake.fault(|seen| {
        let endless = futures_util::stream::pending::<std::io::Result<Bytes>>();
        seen.is("GET", &first_layer())
            .then(|| Body::from_stream(endless).into_response())
    });
    let client = Client::new(ClientConfig {
        stall_timeout: Duration::from_millis(100),
        retry: RetryPolicy {
            attempts: 1,
            ..RetryPolicy::STANDARD
        },
        ..ClientConfig::new(Arc::new(Anonymous))
    });
    let error = client
        .pull_image(&fake.reference("a:1"), &Platform::host(), &store(), &Silent)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn rate_limits_are_kept_or_reported() {
    let limited = |seconds: &'static str| {
        move |seen: &Seen| {
            let answer = (
                [(header::RETRY_AFTER, seconds)],
                StatusCode::TOO_MANY_REQUESTS,
            );
            let answer = (answer.1, answer.0).into_response();
            (seen.number == 1 && seen.is("GET", &first_layer())).then_some(answer)
        }
    };
    let start = std::time::Instant::now();
    let (_, pulled, _) = pull_with(limited("1")).await;
    pulled.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let error = failure(limited("3600")).await;
    assert!(matches!(error, ClientError::RateLimited { .. }), "{error}");
    assert!(error.to_string().contains("3600 s"), "{error}");
}

#[tokio::test]
async fn each_failure_has_its_own_words() {
    let html = || ([(header::CONTENT_TYPE, "text/html")], "<html>hello</html>").into_response();
    let manifest = |answer: fn() -> Response| {
        move |seen: &Seen| seen.path.contains("/manifests/").then(answer)
    };
    let cases: [(ClientError, &str); 5] = [
        (
            failure(manifest(|| error(403, "DENIED", "not yours"))).await,
            "DENIED: not yours",
        ),
        (
            failure(manifest(|| error(404, "NAME_UNKNOWN", "no repo"))).await,
            "was not found",
        ),
        (
            failure(manifest(|| error(418, "TEAPOT", "short"))).await,
            "registry answered 418 to GET",
        ),
        (
            failure(manifest(|| "not json".into_response())).await,
            "it is no manifest",
        ),
        (
            failure(move |seen| seen.path.contains("/manifests/").then(html)).await,
            "a web page",
        ),
    ];
    for (error, want) in cases {
        let text = error.to_string();
        assert!(text.contains(want), "{want}: {text}");
    }
}

#[tokio::test]
async fn large_manifests_are_not_read() {
    let limit = usize::try_from(MAX_MANIFEST_BYTES).unwrap();
    for has_length in [true, false] {
        let error = failure(move |seen| {
            let body = vec![b' '; limit + 1];
            let answer = if has_length {
                body.into_response()
            } else {
                unmeasured(&body)
            };
            seen.path.contains("/manifests/").then_some(answer)
        })
        .await;
        assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    }
}

#[tokio::test]
async fn redirects_lead_to_other_hosts_without_our_token() {
    let content = Fake::start().await;
    let image = image();
    content.put_image("team/app", "1", &image);
    let fake = Fake::with_access(Access::Bearer(Tokens::default())).await;
    fake.put_image("team/app", "1", &image);
    let target = content.address;
    fake.fault(move |seen| {
        let is_blob = seen.is("GET", "/blobs/") && seen.header("authorization").is_some();
        let location = format!("http://{target}{}?signature=s3cret", seen.path);
        is_blob.then(|| {
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, location)],
            )
                .into_response()
        })
    });
    let store = store();
    client()
        .pull_image(
            &fake.reference("team/app:1"),
            &Platform::host(),
            &store,
            &Silent,
        )
        .await
        .unwrap();
    image.check_is_in(&store);
    let seen = content.all("GET", "/blobs/");
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    // And what the other host says is told without the signature.
    content.fault(|_| Some(error(400, "", "")));
    let digest = image.manifest.value().layers[0].clone();
    let error = client()
        .pull_blob(
            &fake.reference("team/app:1"),
            &digest,
            &crate::support::store(),
            &Silent,
        )
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&content.address.to_string()),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn redirects_end() {
    let (fake, pulled, _) = pull_with(|seen| {
        let location = [(header::LOCATION, seen.path.clone())];
        Some((StatusCode::FOUND, location).into_response())
    })
    .await;
    let text = pulled.unwrap_err().to_string();
    assert!(text.contains("redirects more than"), "{text}");
    assert!(fake.count("HEAD", "") < 20);
}

/// An index of one image per platform; the manifests are not there.
fn index(platforms: &[&str]) -> Vec<u8> {
    let entries = platforms.iter().map(|text| {
        let parts: Vec<&str> = text.split('/').collect();
        let digest = Digest::sha256(text);
        format!(
            r#"{{"mediaType":"{OCI}","digest":"{digest}","size":2,"platform":{{"os":"{}","architecture":"{}"}}}}"#,
            parts[0], parts[1]
        )
    });
    let entries: Vec<_> = entries.collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        entries.join(",")
    )
    .into()
}

#[tokio::test]
async fn the_platform_is_chosen_or_the_choice_shown() {
    let fake = Fake::start().await;
    let image = image();
    fake.put_image("a", "amd", &image);
    let entry = image.manifest.descriptor(MediaType::MANIFEST);
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI}","digest":"{}","size":{},"platform":{{"os":"plan9","architecture":"mips"}}}}]}}"#,
        entry.digest, entry.size
    );
    fake.put_manifest("a", "list", INDEX, text.as_bytes());
    let store = store();
    let platform: Platform = "plan9/mips".parse().unwrap();
    let name = fake.reference("a:list");
    let pulled = client()
        .pull_image(&name, &platform, &store, &Silent)
        .await
        .unwrap();
    assert_eq!(pulled.top.bytes, text.as_bytes());
    assert_eq!(pulled.manifest_descriptor.digest, image.manifest.digest());
    image.check_is_in(&store);
    assert!(store.stat(&Digest::sha256(&text)).unwrap().is_some());

    let others = index(&["linux/s390x", "unknown/unknown", "windows/amd64"]);
    fake.put_manifest("a", "others", INDEX, &others);
    let name = fake.reference("a:others");
    let wanted: Platform = "linux/amd64".parse().unwrap();
    let error = client()
        .pull_image(&name, &wanted, &store, &Silent)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("for platform `linux/amd64`; there is linux/s390x, windows/amd64"),
        "{error}"
    );
}

/// An index with one entry, for no platform.
fn index_of(media_type: &str, digest: Digest, size: usize) -> Vec<u8> {
    let entry = format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#);
    format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into()
}

#[tokio::test]
async fn indexes_in_indexes_are_followed_to_a_depth() {
    let fake = Fake::start().await;
    let image = image();
    fake.put_image("a", "0", &image);
    let mut inner = index_of(OCI, image.manifest.digest(), image.manifest.bytes().len());
    for depth in 1..=5 {
        fake.put_manifest("a", &depth.to_string(), INDEX, &inner);
        let name = fake.reference(&format!("a:{depth}"));
        let pulled = client()
            .pull_image(&name, &Platform::host(), &store(), &Silent)
            .await;
        match pulled {
            Ok(pulled) => assert!(depth < 5 && pulled.top.bytes == inner),
            Err(error) => assert!(
                depth == 5 && error.to_string().contains("nested"),
                "{error}"
            ),
        }
        inner = index_of(INDEX, Digest::sha256(&inner), inner.len());
    }
}

#[tokio::test]
async fn lengths_in_an_index_are_checked() {
    let fake = Fake::start().await;
    let image = image();
    fake.put_image("a", "1", &image);
    let list = index_of(OCI, image.manifest.digest(), 7);
    fake.put_manifest("a", "list", INDEX, &list);
    let name = fake.reference("a:list");
    let pulled = client()
        .pull_image(&name, &Platform::host(), &store(), &Silent)
        .await;
    let error = pulled.unwrap_err();
    assert!(
        matches!(error, ClientError::Size { expected: 7, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let fake = Fake::start().await;
    let config = Digest::sha256("x");
    let manifest = |config_type: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config_type}","digest":"{config}","size":1}},"layers":[]}}"#
        )
    };
    for (tag, body, want) in [
        (
            "schema1",
            r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
            "schema 1",
        ),
        (
            "chart",
            manifest("application/vnd.cncf.helm.config.v1+json"),
            "no container image",
        ),
        (
            "both",
            r#"{"config":{},"manifests":[]}"#.to_owned(),
            "two ways",
        ),
        (
            "empty",
            r#"{"config":{}}"#.to_owned(),
            "manifest cannot be read",
        ),
    ] {
        fake.put_manifest("a", tag, OCI, body.as_bytes());
        let name = fake.reference(&format!("a:{tag}"));
        let error = client()
            .pull_image(&name, &Platform::host(), &store(), &Silent)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert!(error.to_string().contains(tag), "{error}");
    }
    // A config of another image: its diff_ids do not fit the layers.
    let image = image();
    let mut odd = image.manifest.value().clone();
    odd.layers.pop();
    let odd = serde_json::to_vec(&odd).unwrap();
    fake.put_image("a", "1", &image);
    fake.put_manifest("a", "odd", OCI, &odd);
    let name = fake.reference("a:odd");
    let error = client()
        .pull_image(&name, &Platform::host(), &store(), &Silent)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("1 layers and its config has 2 diff_ids"),
        "{error}"
    );
}

#[tokio::test]
async fn claimed_digests_are_not_believed() {
    let fake = Fake::start().await;
    fake.put_image("a", "1", &image());
    // The registry serves other bytes under a digest.
    let digest = Digest::sha256("wanted");
    fake.state().manifests.insert(
        ("a".to_owned(), digest.to_string()),
        (OCI.to_owned(), br#"{"config":{}}"#.to_vec()),
    );
    let name = fake.reference("a:1").with_digest(digest);
    let error = client().manifest(&name).await.unwrap_err();
    assert!(matches!(error, ClientError::Digest { .. }), "{error}");
    // And says another digest than that of the bytes.
    let lie = digest.to_string();
    fake.fault(move |seen| {
        let headers = [
            ("content-type", OCI),
            ("docker-content-digest", lie.as_str()),
        ];
        seen.is("GET", "/manifests/1")
            .then(|| (headers, r#"{"config":{}}"#).into_response())
    });
    let error = client().manifest(&fake.reference("a:1")).await.unwrap_err();
    assert!(matches!(error, ClientError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn what_the_store_has_is_not_fetched_again() {
    let fake = Fake::start().await;
    let image = image();
    fake.put_image("a", "1", &image);
    let store = store();
    let client = client();
    let (name, platform) = (fake.reference("a:1"), Platform::host());
    let pull = || client.pull_image(&name, &platform, &store, &Silent);
    pull().await.unwrap();
    let before = fake.count("GET", "");
    pull().await.unwrap();
    assert_eq!(fake.count("GET", ""), before);
    assert_eq!(fake.count("HEAD", "/manifests/1"), 2);
}

#[tokio::test]
async fn mirrors_are_tried_first_and_told_whom_they_stand_for() {
    let (upstream, mirror, prefixed) = (
        Fake::start().await,
        Fake::start().await,
        Fake::start().await,
    );
    let image = image();
    upstream.put_image("team/app", "1", &image);
    prefixed.put_image("cache/team/app", "1", &image);
    let gone = "127.0.0.1:1".to_owned();
    let rule = |mirrors: Vec<String>| {
        let rule = HostRule {
            mirrors,
            ..HostRule::default()
        };
        HostRules::default().with(upstream.address.to_string(), rule)
    };
    let name = upstream.reference("team/app:1");

    // The one has nothing, the other is not there: the registry itself serves.
    let hosts = rule(vec![mirror.address.to_string(), gone.clone()]);
    let client = client_with(Arc::new(Anonymous), hosts);
    let first = store();
    client
        .pull_image(&name, &Platform::host(), &first, &Silent)
        .await
        .unwrap();
    image.check_is_in(&first);
    let asked = mirror.all("HEAD", "/v2/team/app/manifests/1");
    assert_eq!(asked[0].query, format!("ns={}", upstream.address));

    // A mirror that has everything: the registry is not asked at all.
    let before = upstream.count("", "") + upstream.count("GET", "");
    let hosts = rule(vec![format!("{}/cache", prefixed.address)]);
    let client = client_with(Arc::new(Anonymous), hosts);
    let second = store();
    client
        .pull_image(&name, &Platform::host(), &second, &Silent)
        .await
        .unwrap();
    image.check_is_in(&second);
    assert_eq!(upstream.count("GET", ""), before);
}

#[tokio::test]
async fn unreachable_registries_are_told_apart() {
    let client = client();
    let error = client.ping("127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let error = client.ping("registry.invalid").await.unwrap_err();
    assert!(matches!(error, ClientError::NoSuchHost { .. }), "{error:?}");
    // The fake speaks no TLS, and a rule with certificates forbids plain HTTP.
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("empty.pem");
    std::fs::write(&ca, "nothing").unwrap();
    let rule = HostRule {
        ca: vec![ca],
        ..HostRule::default()
    };
    let hosts = HostRules::default().with(fake.address.to_string(), rule);
    let error = client_with(Arc::new(Anonymous), hosts)
        .ping(&fake.address.to_string())
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Certificates { .. }), "{error}");
    // A web page at /v2/.
    fake.fault(|_| Some(([(header::CONTENT_TYPE, "text/html")], "<html>").into_response()));
    let error = client.ping(&fake.address.to_string()).await.unwrap_err();
    assert!(matches!(error, ClientError::Rubbish { .. }), "{error}");
}

/// Runs one test of this program again in a process with another environment; true in that process.
fn is_in_process_of_its_own(test: &str, environment: &[(&str, String)]) -> bool {
    const MARK: &str = "RBUILD_TEST_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(MARK, "1")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    false
}

#[test]
fn a_proxy_is_used_but_not_on_the_way_to_ourselves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let proxy = runtime.block_on(Fake::start());
    let environment = [
        ("http_proxy", format!("http://{}", proxy.address)),
        ("NO_PROXY", String::new()),
    ];
    let test = "pull::a_proxy_is_used_but_not_on_the_way_to_ourselves";
    if !is_in_process_of_its_own(test, &environment) {
        let seen = proxy.all("GET", "/v2/");
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].header("host"), Some("registry.invalid"));
        return;
    }
    let rule = HostRule {
        plain_http: true,
        ..HostRule::default()
    };
    let hosts = HostRules::default().with("registry.invalid", rule);
    let client = client_with(Arc::new(Anonymous), hosts);
    runtime.block_on(async {
        client.ping("registry.invalid").await.unwrap();
        client.ping(&proxy.address.to_string()).await.unwrap();
    });
}

#[tokio::test]
async fn without_authorities_plain_http_works_and_tls_says_why_not() {
    let nowhere = |name| (name, "/nonexistent".to_owned());
    let environment = [nowhere("SSL_CERT_FILE"), nowhere("SSL_CERT_DIR")];
    let test = "pull::without_authorities_plain_http_works_and_tls_says_why_not";
    if !is_in_process_of_its_own(test, &environment) {
        return;
    }
    let fake = Fake::start().await;
    client().ping(&fake.address.to_string()).await.unwrap();
    let error = client().ping("registry.invalid").await.unwrap_err();
    let ClientError::Tls { problem, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*problem, TlsProblem::NoAuthorities);
    assert!(error.hint().unwrap().contains("ca-certificates"));
}

#[tokio::test]
async fn a_host_that_we_are_sent_to_cannot_ask_for_our_password() {
    let thief = Fake::with_access(Access::Bearer(Tokens::default())).await;
    let fake = Fake::with_access(Access::Basic("me:hunter2")).await;
    let target = thief.address;
    fake.fault(move |seen| {
        let location = [(header::LOCATION, format!("http://{target}{}", seen.path))];
        let has_password = seen.header("authorization").is_some();
        has_password.then(|| (StatusCode::FOUND, location).into_response())
    });
    let known = [(fake.address.to_string(), Credential::basic("me", "hunter2"))];
    let credentials = Arc::new(StaticCredentials(known.into()));
    let client = client_with(credentials, HostRules::default());
    let outcome = client.manifest(&fake.reference("a:1")).await;
    assert!(matches!(outcome, Err(ClientError::Unauthorized { .. })));
    assert!(thief.count("GET", "/v2/") > 0, "it was asked");
    assert_eq!(thief.state().token_requests.len(), 0);
    assert!(
        thief
            .all("GET", "")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_registry_that_was_there_is_waited_for_and_others_are_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let name = format!("{address}/a:1").parse().unwrap();
    // It answers once and is gone.
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
    });
    let known = client();
    known.ping(&address.to_string()).await.unwrap();
    serving.await.unwrap();
    let waited = known.manifest(&name).await;
    let Err(ClientError::Interrupted { what, .. }) = &waited else {
        panic!("{waited:?}");
    };
    assert!(what.contains("no new connection"), "{what}");
    let unknown = client().manifest(&name).await;
    assert!(
        matches!(unknown, Err(ClientError::Connect { .. })),
        "{unknown:?}"
    );
}
