//! Our documents and names, read by the crate `oci-spec`: what we write is what others understand.

use std::collections::BTreeMap;

use oci_spec::distribution::Reference as SpecReference;
use oci_spec::image as spec;
use rbuild_image::{
    ContainerConfig, Descriptor, DiffId, Digest, History, ImageConfig, Index, Manifest, MediaType,
    Platform, Raw, Reference, RootFs,
};
use serde_json::json;

fn config() -> ImageConfig {
    ImageConfig {
        created: Some("2026-03-02T01:02:03Z".into()),
        author: Some("me".into()),
        architecture: "amd64".into(),
        os: "linux".into(),
        config: ContainerConfig {
            user: "5:6".into(),
            exposed_ports: BTreeMap::from([("80/tcp".into(), json!({}))]),
            env: vec!["PATH=/bin".into()],
            entrypoint: vec!["/entry".into()],
            cmd: vec!["a".into(), "b".into()],
            volumes: BTreeMap::from([("/data".into(), json!({}))]),
            working_dir: "/w".into(),
            labels: BTreeMap::from([("k".into(), "v".into())]),
            stop_signal: "SIGINT".into(),
            ..ContainerConfig::default()
        },
        rootfs: RootFs {
            diff_ids: vec![DiffId(Digest::sha256(b"layer"))],
            ..RootFs::default()
        },
        history: vec![
            History {
                created_by: Some("COPY a /a".into()),
                ..History::default()
            },
            History {
                created_by: Some("ENV A=1".into()),
                empty_layer: true,
                ..History::default()
            },
        ],
        ..ImageConfig::default()
    }
}

#[test]
fn a_config_is_read_as_it_was_meant() {
    let written = Raw::write(config()).unwrap();
    let read = spec::ImageConfiguration::from_reader(written.bytes()).unwrap();
    assert_eq!(read.created().as_deref(), Some("2026-03-02T01:02:03Z"));
    assert_eq!(
        (read.architecture(), read.os()),
        (&spec::Arch::Amd64, &spec::Os::Linux)
    );
    assert_eq!(
        read.rootfs().diff_ids(),
        &[Digest::sha256(b"layer").to_string()]
    );
    let container = read.config().as_ref().unwrap();
    assert_eq!(container.user().as_deref(), Some("5:6"));
    assert_eq!(
        container.exposed_ports().as_deref(),
        Some(&["80/tcp".to_owned()][..])
    );
    assert_eq!(
        container.env().as_deref(),
        Some(&["PATH=/bin".to_owned()][..])
    );
    assert_eq!(
        container.entrypoint().as_deref(),
        Some(&["/entry".to_owned()][..])
    );
    assert_eq!(
        container.cmd().as_deref(),
        Some(&["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!(
        container.volumes().as_deref(),
        Some(&["/data".to_owned()][..])
    );
    assert_eq!(container.working_dir().as_deref(), Some("/w"));
    assert_eq!(container.stop_signal().as_deref(), Some("SIGINT"));
    assert_eq!(container.labels().as_ref().unwrap()["k"], "v");
    let history = read.history().as_ref().unwrap();
    assert_eq!(history[0].created_by().as_deref(), Some("COPY a /a"));
    assert_eq!(history[1].empty_layer(), Some(true));
}

#[test]
fn a_manifest_and_an_index_are_read_as_they_were_meant() {
    let config = Descriptor::of(MediaType::CONFIG, b"config");
    let layer = Descriptor::of(MediaType::LAYER_GZIP, b"layer");
    let manifest = Raw::write(Manifest::oci(config, vec![layer])).unwrap();
    let read = spec::ImageManifest::from_reader(manifest.bytes()).unwrap();
    assert_eq!(read.schema_version(), 2);
    assert_eq!(read.media_type(), &Some(spec::MediaType::ImageManifest));
    assert_eq!(read.config().media_type(), &spec::MediaType::ImageConfig);
    assert_eq!(
        read.layers()[0].media_type(),
        &spec::MediaType::ImageLayerGzip
    );
    assert_eq!(
        read.layers()[0].digest().to_string(),
        Digest::sha256(b"layer").to_string()
    );
    assert_eq!(read.layers()[0].size(), 5);

    let mut child = manifest.descriptor(MediaType::MANIFEST);
    child.platform = Some(Platform::new("linux", "arm", Some("v7")));
    let index = Raw::write(Index::oci(vec![child])).unwrap();
    let read = spec::ImageIndex::from_reader(index.bytes()).unwrap();
    let platform = read.manifests()[0].platform().as_ref().unwrap();
    assert_eq!(
        (platform.os(), platform.architecture()),
        (&spec::Os::Linux, &spec::Arch::ARM)
    );
    assert_eq!(platform.variant().as_deref(), Some("v7"));
}

#[test]
fn names_are_understood_alike() {
    let digest = Digest::sha256(b"x");
    for text in [
        "busybox".to_owned(),
        "busybox:1.36".to_owned(),
        "team/app".to_owned(),
        "localhost/app:x".to_owned(),
        "localhost:5000/a/b/c:V1".to_owned(),
        "registry.example/team/app".to_owned(),
        format!("registry.example/team/app@{digest}"),
    ] {
        let ours: Reference = text.parse().unwrap();
        let theirs: SpecReference = text.parse().unwrap();
        assert_eq!(&*ours.registry, theirs.registry(), "{text}");
        assert_eq!(ours.repository.as_str(), theirs.repository(), "{text}");
        assert_eq!(
            ours.tag.as_ref().map(rbuild_image::Tag::as_str),
            theirs.tag(),
            "{text}"
        );
        assert_eq!(
            ours.digest.map(|digest| digest.to_string()).as_deref(),
            theirs.digest(),
            "{text}"
        );
    }
}
