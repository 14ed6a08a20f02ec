//! A random life of a registry beside a simple model of it: pushes, mounts, tags, deletions, collections, restarts and crashes.
//!
//! The model knows what clients were told. What is promised must be readable, byte for byte; what was never pushed or is deleted
//! must not be; what nothing keeps must be gone when its time is over. Between promise and delay both are right.
//!
//! `RBUILD_MODEL_ROUNDS` is how many lives there are, `RBUILD_MODEL_SEED` where their choices begin; both are printed.
#![expect(
    clippy::print_stderr,
    clippy::panic,
    reason = "a failing life is told step by step, and fails by panicking wherever it is"
)]

mod model_support;

use std::sync::atomic::{AtomicBool, Ordering};

use model_support::world::{HOUR, World, content, digest, name, tag};
use model_support::{life::Life, random::Random};
use rbuild_registry_server::service::Error;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn a_registry_is_what_its_model_says() {
    let rounds = setting("RBUILD_MODEL_ROUNDS", 6);
    let seed = setting("RBUILD_MODEL_SEED", 1);
    for round in seed..seed + rounds {
        eprintln!("RBUILD_MODEL_SEED={round} RBUILD_MODEL_ROUNDS=1");
        let mut life = Life::new(Random::new(round));
        for _ in 0..80 {
            life.step();
            life.check();
        }
        life.end();
    }
}

/// What was acknowledged with a tag is whole at every moment, while a collector runs and hours pass.
#[test]
fn nothing_that_is_tagged_goes_while_many_push_and_one_collects() {
    let rounds = setting("RBUILD_MODEL_ROUNDS", 6);
    let world = World::new();
    let registry = world.registry().clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..4_u8)
            .map(|client| {
                let registry = registry.clone();
                scope.spawn(move || {
                    let mut random = Random::new(u64::from(client) + 1);
                    // Two to a repository, and blobs that all share.
                    let repository = name(&format!("r{}", client / 2));
                    for _ in 0..rounds * 4 {
                        let layers: Vec<u8> = (0..2).map(|_| random.below(6)).collect();
                        let manifest = World::image(&layers, None);
                        let tag = tag(&format!("c{client}"));
                        // Told that a blob is missing (an hour has passed), a client pushes it again.
                        loop {
                            for number in layers.iter().chain([&0]) {
                                if registry.stat_blob(&repository, &digest(*number)).is_err() {
                                    World::push_blob(&registry, &repository, *number);
                                }
                            }
                            match World::push_manifest(&registry, &repository, &manifest, &[&tag]) {
                                Ok(_) => break,
                                Err(Error::ReferencesUnknown(_)) => {}
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                        assert_eq!(
                            World::read_tag(&registry, &repository, &tag),
                            Some(manifest)
                        );
                        for number in layers.iter().chain([&0]) {
                            let found = World::read_blob(&registry, &repository, &digest(*number));
                            assert!(found == Some(content(*number)), "blob {number} is lost");
                        }
                    }
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                world.advance(HOUR / 4);
                registry.collect().expect("collect");
            }
        });
        let outcomes: Vec<_> = pushers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        collector.join().expect("collector");
        for outcome in outcomes {
            outcome.expect("pusher");
        }
    });
}
