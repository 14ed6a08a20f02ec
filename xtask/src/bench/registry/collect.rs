//! R7: a collection of 5,000 blobs while clients push.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::content::{Content, digest};
use super::pushes::{Image, Progress, many, push_images};
use super::server::{Kind, MANIFEST, Server, Setup, push_blob};
use super::table::{Goal, Row, float, median, number};
use super::wire::Link;
use super::{Bench, settle};

/// Clients that push.
const CLIENTS: usize = 32;
/// Bytes of a blob that is to go: one that is a file.
const BLOB: u64 = 70_000;

/// What one collection did.
struct Outcome {
    /// From its beginning to the removal of the last blob.
    took: Duration,
    /// Images per second without it, and meanwhile.
    without: f64,
    meanwhile: f64,
    /// Images that were acknowledged, and those of them that are not whole.
    images: usize,
    broken: usize,
}

/// R7.
pub(super) fn collect(bench: &Bench) -> Result<Vec<Row>> {
    let garbage = if bench.quick { 500 } else { 5000 };
    let mut outcomes = Vec::new();
    for round in 0..bench.rounds {
        outcomes.push(ours(bench, garbage, u64::from(round) * 10)?);
    }
    let peer = distribution(bench, garbage)?;
    let middle = |of: fn(&Outcome) -> f64| median(outcomes.iter().map(of)).unwrap_or_default();
    let slower = |outcome: &Outcome| 100.0 * (1.0 - outcome.meanwhile / outcome.without);
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    let broken = sum(|outcome| outcome.broken);
    let show = |took: f64, without: f64, meanwhile: f64, broken: usize, images: usize| {
        format!(
            "{} s; {} images per s without, {} meanwhile; {broken} of {} broken",
            number(took, 1),
            number(without, 0),
            number(meanwhile, 0),
            number(float(images as u64), 0)
        )
    };
    Ok(vec![Row {
        load: format!(
            "R7 collection of {} blobs while {CLIENTS} clients push",
            number(float(garbage as u64), 0)
        ),
        ours: show(
            middle(|outcome| outcome.took.as_secs_f64()),
            middle(|outcome| outcome.without),
            middle(|outcome| outcome.meanwhile),
            broken,
            sum(|outcome| outcome.images),
        ),
        distribution: show(
            peer.took.as_secs_f64(),
            peer.without,
            peer.meanwhile,
            peer.broken,
            peer.images,
        ),
        limit: String::new(),
        goals: vec![
            Goal::at_most(Some(float(broken as u64)), 0.0, "broken"),
            Goal::at_most(median(outcomes.iter().map(slower)), 20.0, "% slower pushes"),
        ],
    }])
}

/// Our collection needs no command: the server that finds reviews due does them.
fn ours(bench: &Bench, garbage: usize, seed: u64) -> Result<Outcome> {
    let data = bench.scratch.path().join("collect-rbuild-registry");
    let setup = Setup::new(Kind::Ours, &bench.registry, data)?
        .with("COLLECT_UNTAGGED", "0s")
        .with("COLLECT_UNREFERENCED", "0s")
        .with("COLLECT_INTERVAL", "20ms");
    // Nothing protects these, so they are due at once, and nobody looks yet.
    let filling = setup
        .clone()
        .with("COLLECT_ENABLED", "false")
        .with("COLLECT_PROTECT", "0s");
    let server = filling.start()?;
    fill(&server, garbage)?;
    settle()?;
    drop(server);
    // What clients push now is protected for a while, as it is by default.
    let server = setup.with("COLLECT_PROTECT", "10min").start()?;
    let blobs = server.setup.data.join("blobs");
    let (images, rates) = push_beside(bench, &server, seed + 2, || {
        let begin = Instant::now();
        while files(&blobs)? > 0 {
            if begin.elapsed() > Duration::from_mins(2) {
                bail!("the collection does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    finish(server, &images, &rates)
}

/// distribution has a command that looks at its files while the server goes on.
fn distribution(bench: &Bench, garbage: usize) -> Result<Outcome> {
    let data = bench.scratch.path().join("collect-docker-registry");
    let setup = Setup::new(Kind::Distribution, &bench.registry, data)?;
    let server = setup.start()?;
    fill(&server, garbage)?;
    settle()?;
    let (images, rates) = push_beside(bench, &server, 2, || {
        // Its exit status does not matter: it stumbles over pushes that come while it looks.
        setup.distribution_collect().output().map(drop)
    })?;
    finish(server, &images, &rates)
}

/// Pushes what nothing refers to.
fn fill(server: &Server, garbage: usize) -> Result<()> {
    many(CLIENTS, |client| {
        let mut link = Link::new(&server.address)?;
        for number in (client..garbage).step_by(CLIENTS) {
            let blob = Content::new(1 << 50 | number as u64, BLOB);
            push_blob(&mut link, "bench/garbage", &blob)?;
        }
        Ok(())
    })
    .map(drop)
}

/// How fast clients pushed.
struct Rates {
    /// How long the collection took.
    took: Duration,
    meanwhile: f64,
    /// After it, on the same server, which has grown: before it there were fewer records, and pushes were faster.
    after: f64,
}

/// Lets all clients push while `collection` goes on and for some time after it; tells what was acknowledged, and how fast.
fn push_beside(
    bench: &Bench,
    server: &Server,
    seed: u64,
    collection: impl FnOnce() -> Result<()>,
) -> Result<(Vec<Image>, Rates)> {
    let progress = Progress::default();
    let images = || float(progress.images.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            many(CLIENTS, |client| {
                push_images(&server.address, client, seed, usize::MAX, &progress)
            })
        });
        let begin = Instant::now();
        let collected = collection();
        let (took, during) = (begin.elapsed(), images());
        let least = Duration::from_millis(if bench.quick { 500 } else { 2000 });
        let begin = Instant::now();
        std::thread::sleep(took.clamp(least, least * 4));
        let after = (images() - during) / begin.elapsed().as_secs_f64();
        progress.stop.store(true, Ordering::Relaxed);
        let pushed = clients
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        collected?;
        let rates = Rates {
            took,
            meanwhile: during / took.as_secs_f64(),
            after,
        };
        Ok((pushed.into_iter().flatten().collect(), rates))
    })
}

/// Reads everything back that was acknowledged, and ends the server.
fn finish(server: Server, images: &[Image], rates: &Rates) -> Result<Outcome> {
    let broken = many(4, |reader| {
        let mut link = Link::new(&server.address)?;
        let mut broken = 0;
        for image in images.iter().skip(reader).step_by(4) {
            if !is_whole(&mut link, image).unwrap_or(false) {
                broken += 1;
                // A server may break the connection off instead of sending what is damaged.
                link = Link::new(&server.address)?;
            }
        }
        Ok(broken)
    })?;
    let setup = server.setup.clone();
    drop(server);
    setup.remove();
    Ok(Outcome {
        took: rates.took,
        without: rates.after,
        meanwhile: rates.meanwhile,
        images: images.len(),
        broken: broken.into_iter().sum(),
    })
}

fn is_whole(link: &mut Link, image: &Image) -> Result<bool> {
    let name = &image.repository;
    let accept = format!("Accept: {MANIFEST}\r\n");
    let path = format!("/v2/{name}/manifests/{}", image.tag);
    let got = link.request("GET", &path, &accept, b"")?;
    if got.status() != 200 || got.body != image.manifest {
        return Ok(false);
    }
    for blob in &image.blobs {
        let path = format!("/v2/{name}/blobs/{}", blob.digest());
        let got = link.request("GET", &path, "", b"")?;
        if got.status() != 200 || digest(&got.body) != blob.digest() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many blobs are files.
fn files(directory: &Path) -> Result<usize> {
    let mut count = 0;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(0);
    };
    for entry in entries {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}
