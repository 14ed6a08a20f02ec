//! The promises of [`CacheIndex`], as tests that every implementation runs.

use rbuild_image::{DiffId, Digest};

use crate::{CacheIndex, CacheKey, Ingredient, KeyBuilder, LayerRecord, Position, Record};

/// Runs every promise on a fresh index.
pub fn check(mut fresh: impl FnMut() -> Box<dyn CacheIndex>) {
    what_was_put_is_found(&*fresh());
    a_later_put_replaces(&*fresh());
    positions_remember_the_latest(&*fresh());
    deleting_is_idempotent(&*fresh());
    walk_visits_every_record(&*fresh());
}

/// A record that holds `mark`.
pub fn record(mark: &str) -> Record {
    let digest = Digest::sha256(mark);
    Record {
        layer: Some(LayerRecord {
            diff_id: DiffId(digest),
            content_id: digest,
            size: 7,
        }),
        created: 1,
        duration_ms: 2,
        ingredients: vec![Ingredient {
            label: "a".into(),
            value: digest,
            shown: Some(mark.into()),
        }],
    }
}

fn key(name: &str) -> CacheKey {
    KeyBuilder::new("test").text("name", name).finish().0
}

fn get(index: &dyn CacheIndex, key: &CacheKey) -> Option<Record> {
    index.get(key).expect("an index answers")
}

fn put(index: &dyn CacheIndex, name: &str, place: &Position, mark: &str) {
    index
        .put(&key(name), place, &record(mark))
        .expect("an index takes a record");
}

fn what_was_put_is_found(index: &dyn CacheIndex) {
    assert_eq!(get(index, &key("a")), None);
    put(index, "a", &Position::new("f", "s", 0), "1");
    assert_eq!(get(index, &key("a")), Some(record("1")));
    assert_eq!(get(index, &key("b")), None);
}

fn a_later_put_replaces(index: &dyn CacheIndex) {
    put(index, "a", &Position::new("f", "s", 0), "1");
    put(index, "a", &Position::new("f", "s", 0), "2");
    assert_eq!(get(index, &key("a")), Some(record("2")));
}

fn positions_remember_the_latest(index: &dyn CacheIndex) {
    let place = Position::new("f", "s", 0);
    let latest = || index.latest(&place).expect("an index answers");
    assert_eq!(latest(), None);
    put(index, "a", &place, "1");
    put(index, "b", &place, "2");
    assert_eq!(latest(), Some(record("2")));
    index
        .confirm(&key("a"), &place)
        .expect("an index takes a use");
    assert_eq!(latest(), Some(record("1")));
}

fn deleting_is_idempotent(index: &dyn CacheIndex) {
    put(index, "a", &Position::new("f", "s", 0), "1");
    for _ in 0..2 {
        index.delete(&key("a")).expect("an index forgets");
        assert_eq!(get(index, &key("a")), None);
    }
}

fn walk_visits_every_record(index: &dyn CacheIndex) {
    let mut seen = Vec::new();
    for name in ["a", "b", "c"] {
        put(index, name, &Position::new("f", name, 0), name);
    }
    index
        .walk(&mut |key, record| seen.push((*key, record)))
        .expect("an index can be walked");
    seen.sort_by_key(|(key, _)| *key);
    let mut want: Vec<_> = ["a", "b", "c"].map(|name| (key(name), record(name))).into();
    want.sort_by_key(|(key, _)| *key);
    assert_eq!(seen, want);
}
