//! Random lives: whatever is done to both stores, they answer the same.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Blob(u8, u8),
    Mount(u8, Option<u8>, u8),
    Protect(u8, u8),
    ProtectManifest(u8, u8),
    Unlink(u8, u8),
    Manifest {
        repository: u8,
        number: u8,
        edges: BTreeSet<u8>,
        children: BTreeSet<u8>,
        subject: Option<u8>,
        tags: BTreeSet<u8>,
    },
    DeleteTag(u8, u8),
    DeleteManifest(u8, u8),
    Review,
    Forget(u8),
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let repository = || 0..3_u8;
    let number = || 0..5_u8;
    let some = || prop::collection::btree_set(0..5_u8, 0..3);
    prop_oneof![
        4 => (repository(), number()).prop_map(|(r, n)| Step::Blob(r, n)),
        1 => (repository(), prop::option::of(repository()), number()).prop_map(|(r, f, n)| Step::Mount(r, f, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::Protect(r, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::ProtectManifest(r, n)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::Unlink(r, n)),
        6 => (repository(), number(), some(), some(), prop::option::of(number()), some()).prop_map(
            |(repository, number, edges, children, subject, tags)| Step::Manifest {
                repository, number, edges, children, subject, tags,
            }
        ),
        1 => (repository(), number()).prop_map(|(r, t)| Step::DeleteTag(r, t)),
        1 => (repository(), number()).prop_map(|(r, n)| Step::DeleteManifest(r, n)),
        2 => Just(Step::Review),
        1 => number().prop_map(Step::Forget),
        3 => (1..60_u8).prop_map(Step::Pass),
    ]
}

/// Does one step, and tells everything that came of it.
fn act(store: &dyn MetadataStore, step: &Step, known: &[NewManifest], now: i64) -> String {
    let repository = |r: &u8| name(&format!("r{r}"));
    let digest = |n: &u8| blob(*n).0.digest;
    let at = Moment(now);
    let until = Moment(now + 10);
    match step {
        Step::Blob(r, n) => {
            let (info, content) = blob(*n);
            let content = n.is_multiple_of(2).then_some(&content[..]);
            format!(
                "{:?}",
                store.put_blob(&repository(r), info, content, None, at, until)
            )
        }
        Step::Mount(r, from, n) => {
            let from = from.as_ref().map(repository);
            format!(
                "{:?}",
                store.mount_blob(&repository(r), from.as_ref(), &digest(n), at, until)
            )
        }
        Step::Protect(r, n) => format!(
            "{:?}",
            store.protect_blob(&repository(r), &digest(n), until)
        ),
        Step::ProtectManifest(r, n) => {
            let Some(target) = known.get(usize::from(*n)) else {
                return String::new();
            };
            let soon = Moment(now + 5);
            let target = &target.record.digest;
            format!(
                "{:?}",
                store.protect_manifest(&repository(r), target, soon, until)
            )
        }
        Step::Unlink(r, n) => match store.unlink_blob(&repository(r), &digest(n), at, DELAYS) {
            // Which of several users is named is left open.
            Ok(Removal::InUse(_)) => "in use".to_owned(),
            other => format!("{other:?}"),
        },
        Step::Manifest { repository: r, .. } => {
            let new = known.last().expect("made for this step");
            format!("{:?}", store.put_manifest(&repository(r), new, DELAYS))
        }
        Step::DeleteTag(r, t) => {
            format!(
                "{:?}",
                store.delete_tag(&repository(r), &tag(&format!("t{t}")), at, DELAYS)
            )
        }
        Step::DeleteManifest(r, n) => {
            let Some(target) = known.get(usize::from(*n)) else {
                return String::new();
            };
            match store.delete_manifest(&repository(r), &target.record.digest, at, DELAYS) {
                Ok(Removal::InUse(_)) => "in use".to_owned(),
                other => format!("{other:?}"),
            }
        }
        // All that is due: which of equally late ones come first is left open.
        Step::Review => {
            let mut reviewed = store.review(at, DELAYS, usize::MAX >> 1).expect("reviewed");
            reviewed.orphans.sort();
            format!("{reviewed:?}")
        }
        Step::Forget(n) => format!("{:?}", store.forget_blob(&digest(n))),
        Step::Pass(_) => String::new(),
    }
}

/// Everything that can be asked.
fn portrait(store: &dyn MetadataStore, known: &[NewManifest], now: i64) -> Vec<String> {
    let mut lines = vec![
        format!("{:?} {:?}", store.totals(), store.next_review()),
        format!("{:?}", store.repositories(None, 2)),
        format!("{:?}", store.stored_blobs(None, 100)),
        format!("{:?}", store.contents(None, 100)),
    ];
    // Reviews that are due together come in any order.
    let mut events: Vec<String> = store
        .events(0, usize::MAX >> 1)
        .expect("events")
        .iter()
        .map(|event| format!("{:?} {} {:?}", event.at, event.repository, event.change))
        .collect();
    events.sort();
    lines.extend(events);
    for r in 0..3 {
        let repository = name(&format!("r{r}"));
        for order in [TagOrder::Name(None), TagOrder::Newest(None)] {
            let list = TagList {
                order,
                filter: None,
                limit: 2,
            };
            lines.push(format!("{:?}", store.tags(&repository, &list)));
        }
        for n in 0..5 {
            let by_tag = ManifestName::Tag(tag(&format!("t{n}")));
            lines.push(format!("{:?}", store.manifest(&repository, &by_tag)));
            for new in known {
                let moved =
                    store.moved_tag(&repository, &tag(&format!("t{n}")), &new.record.digest);
                lines.push(format!("{moved:?}"));
            }
            let blob = store.blob(&repository, &blob(n).0.digest, true);
            lines.push(format!("{blob:?}"));
        }
        for new in known {
            for artifact_type in [None, Some("application/x-even")] {
                let subject = &new.record.digest;
                let found = store.referrers(&repository, subject, artifact_type, None, 3);
                lines.push(format!("{found:?}"));
            }
        }
    }
    for n in 0..5 {
        let holders = store.holders(&blob(n).0.digest, Moment(now));
        lines.push(format!("{holders:?}"));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_stores_live_the_same_life(steps in prop::collection::vec(step(), 1..50)) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let stores: [Box<dyn MetadataStore>; 2] = [Box::new(MemoryMetadata::new()), Box::new(sqlite(&directory))];
        let mut known: Vec<NewManifest> = Vec::new();
        let mut now = 1000;
        for step in steps {
            if let Step::Pass(time) = step {
                now += i64::from(time);
            }
            if let Step::Manifest { number, edges, children, subject, tags, .. } = &step {
                let blobs = edges.iter().map(|n| edge(blob(*n).0.digest, EdgeKind::Blob, blob(*n).0.size));
                let children = children.iter().filter_map(|n| known.get(usize::from(*n))).map(|child| {
                    edge(child.record.digest, EdgeKind::Either, child.record.content.len() as u64)
                });
                let edges = blobs.chain(children).collect();
                let subject = subject.and_then(|n| known.get(usize::from(n))).map(|new| new.record.digest);
                let tags: Vec<String> = tags.iter().map(|t| format!("t{t}")).collect();
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                known.push(manifest(*number, edges, subject, &tags, now));
            }
            let [memory, sqlite] = &stores;
            prop_assert_eq!(act(&**memory, &step, &known, now), act(&**sqlite, &step, &known, now), "{:?}", step);
            prop_assert_eq!(portrait(&**memory, &known, now), portrait(&**sqlite, &known, now), "after {:?}", step);
        }
    }
}
