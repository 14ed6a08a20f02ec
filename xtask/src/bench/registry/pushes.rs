//! R3 and R4: large pushes beside the disk alone, and small images from many clients.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::content::{Content, random};
use super::meter::Cpu;
use super::server::{Kind, Server, Setup, manifest, push_blob, push_chunks, push_manifest};
use super::table::{Goal, Part, Row, Sample, Samples, Who, float, number};
use super::wire::Link;
use super::{Bench, settle};
use crate::process::Cmd;

const GB: f64 = 1e9;
const OURS: Who = Who::Server(Kind::Ours);
const PEER: Who = Who::Server(Kind::Distribution);
/// Bytes of a chunk.
const CHUNK: u64 = 8 << 20;

/// The ways of a large push.
#[derive(Clone, Copy)]
enum Way {
    AtOnce,
    Chunks,
    SideBySide,
}

const WAYS: [(Way, &str); 3] = [
    (Way::AtOnce, "R3 push of 1 GiB at once"),
    (Way::Chunks, "R3 push of 1 GiB in chunks of 8 MiB"),
    (Way::SideBySide, "R3 16 pushes of 64 MiB side by side"),
];

/// R3.
pub(super) fn large(bench: &Bench) -> Result<Vec<Row>> {
    let size = if bench.quick { 1 << 27 } else { 1 << 30 };
    let mut all = [Samples::default(), Samples::default(), Samples::default()];
    let mut hash = Samples::default();
    for round in 0..bench.rounds {
        hash.add(Who::Limit, hash_alone(size)?);
        let number = u64::from(round) * 100 + 1000;
        let huge = Content::new(number, size);
        let parts: Vec<Content> = (1..=16)
            .map(|part| Content::new(number + part, size / 16))
            .collect();
        for ((way, _), samples) in WAYS.iter().zip(&mut all) {
            settle()?;
            samples.add(Who::Limit, disk_alone(bench, size)?);
            for kind in [Kind::Ours, Kind::Distribution] {
                let data = bench.scratch.path().join(format!("push-{}", kind.name()));
                let setup = Setup::new(kind, &bench.registry, data)?;
                let server = setup.start()?;
                settle()?;
                let (wall, cpu, memory) = server.processes.during(|| {
                    let begin = Instant::now();
                    push(&server, *way, &huge, &parts)?;
                    Ok(begin.elapsed())
                })?;
                let sample = Sample {
                    units: float(size),
                    wall,
                    cpu,
                    memory,
                    ..Sample::default()
                };
                samples.add(Who::Server(kind), sample);
                drop(server);
                setup.remove();
            }
        }
    }
    let alone = hash.median(Who::Limit, Sample::cost).unwrap_or_default() * GB;
    let rows = WAYS.iter().zip(&all);
    Ok(rows
        .map(|((_, name), samples)| large_row(name, samples, alone))
        .collect())
}

fn large_row(name: &str, samples: &Samples, hash_alone: f64) -> Row {
    let parts: &[Part] = &[
        (
            |sample| sample.wall.as_secs_f64(),
            |wall| format!("{} s", number(wall, 2)),
        ),
        (Sample::cost, |cost| {
            format!("{} s CPU per GB", number(cost * GB, 2))
        }),
        (
            |sample| sample.cpu.user.as_secs_f64() / sample.units,
            |user| format!("of it user {}", number(user * GB, 2)),
        ),
        (
            |sample| float(sample.memory.own),
            |own| format!("{} MB own memory", number(own / 1e6, 0)),
        ),
    ];
    let disk: &[Part] = &parts[..2];
    let ratio = samples.ratio(Who::Limit, |sample| sample.wall.as_secs_f64());
    let cost = samples.median(OURS, |sample| sample.cost() * GB);
    Row {
        load: name.to_owned(),
        ours: samples.cell(OURS, parts),
        distribution: format!("{}, not synced", samples.cell(PEER, parts)),
        limit: format!(
            "`dd conv=fdatasync`: {}; SHA-256 alone: {} s per GB",
            samples.cell(Who::Limit, disk),
            number(hash_alone, 2)
        ),
        goals: vec![
            Goal::at_most(cost, 1.0, "s CPU per GB"),
            Goal::at_most(ratio, 1.15, "× dd's time"),
        ],
    }
}

fn push(server: &Server, way: Way, huge: &Content, parts: &[Content]) -> Result<()> {
    let link = || Link::new(&server.address);
    match way {
        Way::AtOnce => push_blob(&mut link()?, "bench/push", huge),
        Way::Chunks => push_chunks(&mut link()?, "bench/push", huge, CHUNK),
        Way::SideBySide => {
            let clients = parts.len();
            many(clients, |client| {
                let part = parts.get(client).context("one part each")?;
                push_blob(&mut link()?, "bench/push", part)
            })
            .map(drop)
        }
    }
}

/// The same bytes written by `dd`, which reads from `/dev/zero` and syncs at the end.
fn disk_alone(bench: &Bench, size: u64) -> Result<Sample> {
    let file = bench.scratch.path().join("dd");
    let script = format!(
        "dd if=/dev/zero of='{}' bs=1M count={} conv=fdatasync 2>/dev/null && times",
        file.display(),
        size >> 20
    );
    let begin = Instant::now();
    let text = Cmd::new("sh").args(["-c", &script]).text()?;
    let wall = begin.elapsed();
    std::fs::remove_file(file)?;
    // The second line is the time of the shell's children: `0m0.01s 0m0.52s`.
    let children = text.lines().nth(1).context("the shell tells no times")?;
    let mut times = children.split_whitespace().map(seconds);
    let cpu = Cpu {
        user: times.next().flatten().context("no user time")?,
        system: times.next().flatten().context("no system time")?,
    };
    Ok(Sample {
        units: float(size),
        wall,
        cpu,
        ..Sample::default()
    })
}

/// `1m2.5s` as a time.
fn seconds(text: &str) -> Option<Duration> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    let seconds: f64 = seconds.parse().ok()?;
    Some(Duration::from_mins(minutes.parse().ok()?) + Duration::from_secs_f64(seconds))
}

/// What hashing alone takes, with the library that the registry uses.
fn hash_alone(size: u64) -> Result<Sample> {
    let block = random(6, 256 << 10);
    let before = thread_time()?;
    let begin = Instant::now();
    let mut hash = Sha256::new();
    for _ in 0..size / block.len() as u64 {
        hash.update(&block);
    }
    std::hint::black_box(hash.finalize());
    let wall = begin.elapsed();
    Ok(Sample {
        units: float(size),
        wall,
        cpu: Cpu {
            user: thread_time()?.saturating_sub(before),
            system: Duration::ZERO,
        },
        ..Sample::default()
    })
}

/// Processor time of this thread.
fn thread_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().context("no time in schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// Runs the same work on so many threads, each of which gets its number.
pub(super) fn many<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let mut outcomes = Vec::new();
        for thread in started {
            match thread.join() {
                Ok(outcome) => outcomes.push(outcome?),
                Err(_) => bail!("a client panicked"),
            }
        }
        Ok(outcomes)
    })
}

/// A small image: a layer of 4 KB, a config of 2 KB, and a manifest with a tag.
pub(super) struct Image {
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: [Content; 2],
}

/// What clients that push together are told, and tell.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) stop: AtomicBool,
    /// Images that were acknowledged.
    pub(super) images: AtomicU64,
}

/// Pushes images of client `client` until it is told to stop or `most` are there; tells which were acknowledged.
pub(super) fn push_images(
    address: &str,
    client: usize,
    seed: u64,
    most: usize,
    progress: &Progress,
) -> Result<Vec<Image>> {
    let mut link = Link::new(address)?;
    let repository = format!("bench/small{client}");
    let mut images = Vec::new();
    while images.len() < most && !progress.stop.load(Ordering::Relaxed) {
        let number = seed << 40 | (client as u64) << 24 | (images.len() as u64) << 1;
        let blobs = [Content::new(number, 4000), Content::new(number | 1, 2000)];
        for blob in &blobs {
            push_blob(&mut link, &repository, blob)?;
        }
        let [layer, config] = &blobs;
        let manifest = manifest(config, layer);
        let tag = format!("t{number}");
        push_manifest(&mut link, &repository, &tag, &manifest)?;
        progress.images.fetch_add(1, Ordering::Relaxed);
        images.push(Image {
            repository: repository.clone(),
            tag,
            manifest,
            blobs,
        });
    }
    Ok(images)
}

/// R4.
pub(super) fn small(bench: &Bench) -> Result<Vec<Row>> {
    let time = Duration::from_millis(if bench.quick { 1000 } else { 3000 });
    let mut samples = Samples::default();
    for round in 0..bench.rounds {
        for kind in [Kind::Ours, Kind::Distribution] {
            let data = bench.scratch.path().join(format!("small-{}", kind.name()));
            let setup = Setup::new(kind, &bench.registry, data)?;
            let server = setup.start()?;
            settle()?;
            let progress = Progress::default();
            let ((images, wall), cpu, memory) = server.processes.during(|| {
                let begin = Instant::now();
                let pushed = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        std::thread::sleep(time);
                        progress.stop.store(true, Ordering::Relaxed);
                    });
                    many(32, |client| {
                        let seed = u64::from(round) + 1;
                        push_images(&server.address, client, seed, usize::MAX, &progress)
                    })
                })?;
                Ok((pushed.iter().map(Vec::len).sum::<usize>(), begin.elapsed()))
            })?;
            let sample = Sample {
                units: float(images as u64),
                wall,
                cpu,
                memory,
                ..Sample::default()
            };
            samples.add(Who::Server(kind), sample);
            drop(server);
            setup.remove();
        }
        samples.add(Who::Limit, syncs(bench)?);
    }
    let parts: &[Part] = &[
        (Sample::rate, |rate| format!("{} per s", number(rate, 0))),
        (Sample::cost, |cost| {
            format!("{} µs CPU each", number(cost * 1e6, 0))
        }),
    ];
    let limit: &[Part] = &[(Sample::rate, |rate| {
        format!("small syncs one after another: {} per s", number(rate, 0))
    })];
    let rate = samples.median(OURS, Sample::rate);
    Ok(vec![Row {
        load: "R4 small images pushed by 32 clients, on disk".to_owned(),
        ours: samples.cell(OURS, parts),
        distribution: format!("{}, not synced", samples.cell(PEER, parts)),
        limit: samples.cell(Who::Limit, limit),
        goals: vec![Goal::at_least(rate, 600.0, "per s")],
    }])
}

/// How many small writes the disk takes one after another.
fn syncs(bench: &Bench) -> Result<Sample> {
    let path = bench.scratch.path().join("syncs");
    let mut file = File::create(&path)?;
    let begin = Instant::now();
    let mut count = 0.0;
    while begin.elapsed() < Duration::from_millis(700) {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1.0;
    }
    let wall = begin.elapsed();
    std::fs::remove_file(path)?;
    Ok(Sample {
        units: count,
        wall,
        ..Sample::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::seconds;

    #[test]
    fn the_times_of_a_shell_are_read() {
        assert_eq!(seconds("0m0.520s"), Some(Duration::from_millis(520)));
        assert_eq!(seconds("2m1.000000s"), Some(Duration::from_secs(121)));
        assert_eq!(seconds("1.0"), None);
    }
}
