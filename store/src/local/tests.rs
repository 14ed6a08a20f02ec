use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_image::layer::{Entry, Kind, LayerSummary, LayerWriter};
use rbuild_image::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Reference, RootFs};

use super::*;
use crate::{BlobStore, Expected};

struct Fixture {
    store: LocalStore,
    directory: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("temporary directory");
    Fixture {
        store: LocalStore::open(directory.path()).expect("open"),
        directory,
    }
}

fn name(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn put(store: &LocalStore, media_type: MediaType, bytes: &[u8]) -> Descriptor {
    store.put_document(media_type, bytes).expect("put")
}

/// A layer with one directory, stored uncompressed.
fn layer(store: &LocalStore, directory: &str) -> LayerSummary {
    let mut writer = LayerWriter::single_threaded(Vec::new());
    writer
        .entry(&Entry::new(directory, Kind::Directory))
        .expect("entry");
    let (tar, summary) = writer.finish().expect("layer");
    assert_eq!(put(store, MediaType::LAYER, &tar).digest, summary.diff_id.0);
    summary
}

/// An image with one layer; `mark` makes it another image.
fn image(store: &LocalStore, mark: &str) -> Descriptor {
    let layer = layer(store, mark);
    let config = ImageConfig {
        author: Some(mark.to_owned()),
        rootfs: RootFs {
            diff_ids: vec![layer.diff_id],
            ..RootFs::default()
        },
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config).expect("config");
    let config = put(store, MediaType::CONFIG, &config);
    let blob = Descriptor::new(MediaType::LAYER, layer.diff_id.0, layer.size);
    let manifest = serde_json::to_vec(&Manifest::oci(config, vec![blob])).expect("manifest");
    put(store, MediaType::MANIFEST, &manifest)
}

fn image_id(store: &LocalStore, manifest: &Descriptor) -> Digest {
    store
        .image(&manifest.digest)
        .expect("read")
        .expect("recorded")
        .image_id
}

fn has(store: &LocalStore, digest: &Digest) -> bool {
    store.blobs().stat(digest).expect("stat").is_some()
}

#[test]
fn a_name_means_what_it_was_last_given() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let (one, two) = (image(&store, "one"), image(&store, "two"));
    let tag = name("app:1");
    assert_eq!(store.resolve(&tag).expect("resolve"), None);
    store.tag(&tag, &one).expect("tag");
    store.tag(&tag, &two).expect("tag");
    assert_eq!(store.resolve(&tag).expect("resolve"), Some(two.clone()));
    assert_eq!(store.names().expect("names"), [(tag.clone(), two)]);
    assert!(store.untag(&tag).expect("untag"));
    assert!(!store.untag(&tag).expect("untag"));
    assert_eq!(store.images().expect("images").len(), 2);
}

#[test]
fn a_digest_finds_an_image_under_any_name() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let one = image(&store, "one");
    store.tag(&name("app:1"), &one).expect("tag");
    let other = name(&format!("elsewhere.example/x@{}", one.digest));
    assert_eq!(store.resolve(&other).expect("resolve"), Some(one));
}

#[test]
fn a_digest_wins_over_a_tag() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let one = image(&store, "one");
    let pushed = Digest::sha256(b"compressed manifest");
    store
        .tag(&name(&format!("app@{pushed}")), &one)
        .expect("tag");
    let both = name(&format!("app:other@{pushed}"));
    assert_eq!(store.resolve(&both).expect("resolve"), Some(one));
}

#[test]
fn a_manifest_that_is_not_stored_cannot_be_named() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let absent = Descriptor::of(MediaType::MANIFEST, b"absent");
    let error = store.tag(&name("app"), &absent).expect_err("no bytes");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(store.resolve(&name("app")).expect("resolve"), None);
}

#[test]
fn images_are_found_by_name_and_by_the_beginning_of_their_id() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let one = image(&store, "one");
    store.tag(&name("app:1"), &one).expect("tag");
    let id = image_id(&store, &one);
    for text in [
        "app:1",
        "docker.io/library/app:1",
        &id.short(),
        &id.hex(),
        &id.to_string(),
        &one.digest.to_string(),
        &format!("sha256:{}", &id.hex()[..4]),
    ] {
        let Lookup::Found(found) = store.find(text).expect("find") else {
            panic!("{text} is not found");
        };
        assert_eq!(found.image.image_id, id, "{text}");
        assert_eq!(found.reference.is_some(), text.contains("app"), "{text}");
    }
    for text in ["app", "app:2", "ffffffffffffffff", "", "No Name", "sha256:"] {
        assert_eq!(store.find(text).expect("find"), Lookup::Missing, "{text}");
    }
}

#[test]
fn an_ambiguous_id_names_what_it_could_be() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let mut ids: Vec<Digest> = (0..17)
        .map(|number| {
            let image = image(&store, &number.to_string());
            store.record_image(&image).expect("record").image_id
        })
        .collect();
    ids.sort_unstable();
    // Of seventeen ids two begin with the same digit.
    let pair = ids
        .windows(2)
        .find(|pair| pair[0].hex()[..1] == pair[1].hex()[..1])
        .expect("a pair");
    let Lookup::Ambiguous(found) = store.find(&pair[0].hex()[..1]).expect("find") else {
        panic!("not ambiguous");
    };
    assert!(found.contains(&pair[0]) && found.contains(&pair[1]));
}

#[test]
fn a_layer_is_found_in_its_forms() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let summary = layer(&store, "directory");
    let layer_id = summary.diff_id;
    let plain = store.layer_blob(layer_id).expect("blob").expect("stored");
    assert_eq!((plain.digest, plain.size), (layer_id.0, summary.size));

    let mut bytes = Vec::new();
    let mut tar = store.open_layer(layer_id).expect("open").expect("stored");
    tar.read_to_end(&mut bytes).expect("read");
    let options = rbuild_image::layer::compress::Options {
        level: 6,
        threads: std::num::NonZeroUsize::MIN,
    };
    let packed = rbuild_image::layer::compress::gzip(&*bytes, Vec::new(), options).expect("gzip");
    let packed = put(&store, MediaType::LAYER_GZIP, &packed);
    store.note_compressed(layer_id, &packed).expect("note");
    assert_eq!(
        store.compressed(layer_id).expect("read"),
        Some(packed.clone())
    );
    assert_eq!(store.layer_blob(layer_id).expect("blob"), Some(plain));

    store.blobs().delete(&layer_id.0).expect("delete");
    assert_eq!(store.layer_blob(layer_id).expect("blob"), Some(packed));
    let mut again = Vec::new();
    let stream = store.open_layer_stream(layer_id).expect("open");
    stream
        .expect("stored")
        .read_to_end(&mut again)
        .expect("read");
    assert_eq!(again, bytes);
    assert!(!has(&store, &layer_id.0), "a stream leaves nothing behind");
    let file = store.open_layer(layer_id).expect("open");
    assert_eq!(
        file.expect("stored").metadata().expect("metadata").len(),
        summary.size
    );
    assert!(has(&store, &layer_id.0), "a file is kept");
}

#[test]
fn what_was_noted_of_a_layer_stays_in_order() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let layer_id = layer(&store, "x").diff_id;
    let forms: Vec<Descriptor> = (0..3_u8)
        .map(|number| Descriptor::of(MediaType::LAYER_GZIP, &[number]))
        .collect();
    for form in forms.iter().chain(&forms) {
        store.note_layer(layer_id, form).expect("note");
    }
    assert_eq!(store.packed(layer_id).expect("read"), forms);
    assert_eq!(
        store.compressed(layer_id).expect("read"),
        Some(forms[0].clone())
    );
}

#[test]
fn a_compressed_blob_that_is_not_the_layer_is_refused() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let options = rbuild_image::layer::compress::Options {
        level: 1,
        threads: std::num::NonZeroUsize::MIN,
    };
    let other = rbuild_image::layer::compress::gzip(&b"other"[..], Vec::new(), options);
    let other = put(&store, MediaType::LAYER_GZIP, &other.expect("gzip"));
    let wrong = rbuild_image::DiffId(Digest::sha256(b"layer"));
    store.note_layer(wrong, &other).expect("note");
    let error = store.open_layer(wrong).expect_err("another content");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn tables_of_contents_are_kept() {
    let Fixture { store, directory } = fixture();
    let summary = layer(&store, "d");
    assert!(store.toc(summary.diff_id).expect("read").is_none());
    store.put_summary(&summary).expect("put");
    let again = LocalStore::open(directory.path()).expect("open");
    for store in [&store, &again] {
        let toc = store.toc(summary.diff_id).expect("read").expect("kept");
        assert_eq!(*toc, summary.toc);
        let content_id = store.content_id(summary.diff_id).expect("read");
        assert_eq!(content_id, Some(summary.content_id));
        let size = store.layer_size(summary.diff_id).expect("read");
        assert_eq!(size, Some(summary.size));
    }
    let first = store.toc(summary.diff_id).expect("read").expect("kept");
    let second = store.toc(summary.diff_id).expect("read").expect("kept");
    assert!(
        Arc::ptr_eq(&first, &second),
        "one table for all who hold it"
    );
}

/// Cuts and changes a file in every place that matters; the store must answer as if it were not there.
#[track_caller]
fn check_torn(path: &Path, is_absent: impl Fn() -> bool) {
    let whole = fs::read(path).expect("read");
    assert!(!is_absent(), "it is there while it is whole");
    for length in 0..whole.len() {
        fs::write(path, &whole[..length]).expect("write");
        assert!(is_absent(), "{length} of {} bytes", whole.len());
    }
    fs::write(path, vec![0; whole.len()]).expect("write");
    assert!(is_absent(), "all zeros");
    fs::write(path, &whole).expect("write");
    assert!(!is_absent());
}

#[test]
fn torn_files_count_as_absent() {
    let Fixture { store, directory } = fixture();
    let one = image(&store, "one");
    let tag = name("app");
    store.tag(&tag, &one).expect("tag");
    let layer = layer(&store, "one");
    store.put_summary(&layer).expect("put");
    let packed = Descriptor::of(MediaType::LAYER_GZIP, b"packed");
    store.note_layer(layer.diff_id, &packed).expect("note");
    let fresh = || LocalStore::open(directory.path()).expect("open");

    check_torn(
        &store.path(&["names", &Digest::sha256(tag.to_string()).hex()]),
        || {
            fresh().resolve(&tag).expect("resolve").is_none()
                && fresh().names().expect("names").is_empty()
        },
    );
    check_torn(&store.path(&["images", &one.digest.hex()]), || {
        fresh().image(&one.digest).expect("image").is_none()
    });
    check_torn(&store.layer_path(layer.diff_id, "toc"), || {
        fresh().toc(layer.diff_id).expect("toc").is_none()
            && fresh()
                .content_id(layer.diff_id)
                .expect("content id")
                .is_none()
    });
    check_torn(&store.layer_path(layer.diff_id, "packed"), || {
        fresh().compressed(layer.diff_id).expect("packed").is_none()
    });
}

/// A tenant with fixed roots.
struct Fixed(Vec<Root>);

impl Tenant for Fixed {
    fn roots(&self, keep: &mut dyn FnMut(Root)) -> io::Result<()> {
        self.0.iter().for_each(|root| keep(*root));
        Ok(())
    }

    fn sweep(&self, live: &Live) -> io::Result<u64> {
        for root in &self.0 {
            match root {
                Root::Layer(layer) => assert!(live.layer(*layer)),
                Root::Blob(digest) | Root::Manifest(digest) => assert!(live.blob(digest)),
            }
        }
        Ok(7)
    }
}

#[test]
fn a_prune_keeps_what_is_named_or_rooted() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let (kept, dangling) = (image(&store, "kept"), image(&store, "dangling"));
    store.tag(&name("app"), &kept).expect("tag");
    store.record_image(&dangling).expect("record");
    let cached = layer(&store, "cached");
    store.put_summary(&cached).expect("put");
    let loose = put(&store, MediaType::CONFIG, b"loose");
    let dangling_id = image_id(&store, &dangling);
    let tenant = Fixed(vec![Root::Layer(cached.diff_id)]);

    let garbage = store.prune(PruneScope::Garbage, &[&tenant]).expect("prune");
    let garbage = garbage.expect("nobody works");
    assert_eq!((garbage.blobs, garbage.bytes), (1, loose.size + 7));
    assert!(store.is_complete(&dangling.digest).expect("complete"));

    let pruned = store
        .prune(PruneScope::Dangling, &[&tenant])
        .expect("prune");
    assert_eq!(pruned.expect("nobody works").images, [dangling_id]);
    assert!(store.is_complete(&kept.digest).expect("complete"));
    assert!(!has(&store, &dangling.digest));
    assert!(has(&store, &cached.diff_id.0));
    assert!(store.content_id(cached.diff_id).expect("read").is_some());

    store
        .prune(PruneScope::Dangling, &[])
        .expect("prune")
        .expect("nobody works");
    assert!(!has(&store, &cached.diff_id.0));
    assert!(store.content_id(cached.diff_id).expect("read").is_none());
    assert!(store.is_complete(&kept.digest).expect("complete"));
}

#[test]
fn nothing_is_pruned_while_somebody_works() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let working = store.session().expect("session");
    let second = store.session().expect("sessions share");
    let fresh = put(&store, MediaType::CONFIG, b"fresh");
    assert_eq!(
        store.prune(PruneScope::Everything, &[]).expect("prune"),
        None
    );
    drop(working);
    assert_eq!(
        store.prune(PruneScope::Everything, &[]).expect("prune"),
        None
    );
    assert!(has(&store, &fresh.digest));
    drop(second);
    let pruned = store.prune(PruneScope::Everything, &[]).expect("prune");
    assert_eq!(pruned.expect("nobody works").blobs, 1);
}

#[test]
fn leftovers_of_the_killed_are_swept_and_the_living_are_not() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let alive = store.scratch().expect("scratch");
    fs::write(alive.path().join("f"), "x").expect("write");
    let left = store.dir(Area::Tmp).join("0123");
    fs::create_dir_all(left.join("deep")).expect("mkdir");
    let pending = store.path(&["names", "abc.0123.pending"]);
    fs::write(&pending, "torn").expect("write");

    let pruned = store.prune(PruneScope::Garbage, &[]).expect("prune");
    assert_eq!(pruned.expect("nobody works").leftovers, 2);
    assert!(!left.exists() && !pending.exists());
    assert!(alive.path().join("f").exists());
    let path = alive.path().to_owned();
    drop(alive);
    assert!(!path.exists());
    let rest = fs::read_dir(store.dir(Area::Tmp)).expect("list").count();
    assert_eq!(rest, 0, "no lock stays");
}

#[test]
fn an_ingest_that_is_given_up_leaves_nothing() {
    let Fixture {
        store,
        directory: _directory,
    } = fixture();
    let left = || {
        fs::read_dir(store.blobs().root().join("ingest"))
            .expect("list")
            .count()
    };
    let mut given_up = store.ingest().expect("ingest");
    given_up.write_all(b"half").expect("write");
    assert_eq!((given_up.offset(), left()), (4, 1));
    drop(given_up);
    assert_eq!(left(), 0);
    let mut whole = store.ingest().expect("ingest");
    whole.write_all(b"whole").expect("write");
    let blob = whole.commit(Expected::Size(5)).expect("commit");
    assert!(has(&store, &blob.digest));
    assert_eq!(left(), 0);
}

#[test]
fn disk_usage_adds_up_to_the_disk() {
    let Fixture { store, directory } = fixture();
    store
        .tag(&name("app"), &image(&store, "image"))
        .expect("tag");
    let cached = layer(&store, "cached");
    put(&store, MediaType::CONFIG, b"unused");
    fs::write(store.dir(Area::Cache).join("record"), vec![1; 5000]).expect("write");
    fs::create_dir(store.dir(Area::Snapshots).join("a")).expect("mkdir");
    fs::write(store.dir(Area::Snapshots).join("a/f"), vec![1; 9000]).expect("write");
    fs::hard_link(
        store.dir(Area::Snapshots).join("a/f"),
        store.dir(Area::Snapshots).join("a/g"),
    )
    .expect("link");

    let tenant = Fixed(vec![Root::Layer(cached.diff_id)]);
    let usage = store.disk_usage(&[&tenant]).expect("measure");
    let du = Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(directory.path())
        .output()
        .expect("du");
    let text = String::from_utf8(du.stdout).expect("text");
    let total: u64 = text
        .split_whitespace()
        .next()
        .expect("number")
        .parse()
        .expect("number");
    assert_eq!(usage.total(), total, "{usage:?}");
    assert_eq!(
        (
            usage.images.count,
            usage.cache_blobs.count,
            usage.unused.count
        ),
        (3, 1, 1)
    );
    assert_eq!(usage.snapshots.count, 1, "two names are one file");
}

/// What a process of [`many_processes_share_one_store`] does, in a copy of this test program.
#[test]
fn child() {
    let (Ok(root), Ok(mark)) = (
        std::env::var("RBUILD_TEST_STORE"),
        std::env::var("RBUILD_TEST_MARK"),
    ) else {
        return;
    };
    let store = LocalStore::open(Path::new(&root)).expect("open");
    let shared = layer(&store, "shared").diff_id;
    for round in 0..20 {
        let _working = store.session().expect("session");
        let image = image(&store, &format!("{mark} {round}"));
        store
            .tag(&name(&format!("{mark}:{round}")), &image)
            .expect("tag");
        store.tag(&name("shared"), &image).expect("tag");
        let form = Descriptor::of(MediaType::LAYER_GZIP, mark.as_bytes());
        store.note_layer(shared, &form).expect("note");
    }
}

fn start(root: &Path, mark: &str) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "local::tests::child"])
        .env("RBUILD_TEST_STORE", root)
        .env("RBUILD_TEST_MARK", mark)
        .stdout(Stdio::null())
        .spawn()
        .expect("start")
}

#[test]
fn many_processes_share_one_store() {
    let Fixture { store, directory } = fixture();
    let mut children: Vec<_> = ["a", "b", "c", "d"]
        .map(|mark| start(directory.path(), mark))
        .into();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A prune at any moment takes nothing that is named.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.prune(PruneScope::Garbage, &[]).expect("prune");
            }
        });
        for child in &mut children {
            assert!(child.wait().expect("wait").success());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let names = store.names().expect("names");
    assert_eq!(names.len(), 4 * 20 + 1);
    for (reference, descriptor) in names {
        assert!(
            store.is_complete(&descriptor.digest).expect("complete"),
            "{reference}"
        );
    }
}

#[test]
fn no_note_of_a_layer_is_lost_between_processes() {
    let Fixture { store, directory } = fixture();
    let shared = layer(&store, "shared").diff_id;
    let marks = ["a", "b", "c", "d", "e", "f"];
    let mut children: Vec<_> = marks.map(|mark| start(directory.path(), mark)).into();
    for child in &mut children {
        assert!(child.wait().expect("wait").success());
    }
    let mut noted: Vec<Digest> = store
        .packed(shared)
        .expect("read")
        .iter()
        .map(|form| form.digest)
        .collect();
    let mut want: Vec<Digest> = marks.iter().map(Digest::sha256).collect();
    noted.sort_unstable();
    want.sort_unstable();
    assert_eq!(noted, want);
}

#[test]
fn a_killed_process_leaves_the_store_whole() {
    let Fixture { store, directory } = fixture();
    for round in 0..8 {
        let mut child = start(directory.path(), "victim");
        // Somewhere in its work: when it has named that many images.
        while store.names().expect("names").len() < round * 2 {
            if child.try_wait().expect("wait").is_some() {
                break;
            }
            std::thread::yield_now();
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        for (reference, descriptor) in store.names().expect("names") {
            assert!(
                store.is_complete(&descriptor.digest).expect("complete"),
                "{reference}"
            );
        }
        for (reference, _) in store.names().expect("names") {
            store.untag(&reference).expect("untag");
        }
    }
    store
        .prune(PruneScope::Dangling, &[])
        .expect("prune")
        .expect("its lock went with it");
    assert!(store.images().expect("images").is_empty());
    let mut ingest = store.blobs().ingest().expect("ingest");
    ingest.write_all(b"still works").expect("write");
    ingest.commit(Expected::Any).expect("commit");
}
