//! What is built: made from a seed, the same on every machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::base::BUSYBOX;

const SEED: u64 = 0x5eed_0001;
/// Moves with the meaning of what is made.
const VERSION: &str = "1";
/// Files of the large context.
const FILES: u64 = 20_000;
/// Directories they are spread over.
const DIRECTORIES: u64 = 400;

/// Directories that are built.
pub(super) struct Inputs {
    /// Twelve instructions over a small context.
    pub(super) cached: PathBuf,
    /// One `COPY` of 20,000 files.
    pub(super) copy: PathBuf,
    /// Twenty `RUN true`.
    pub(super) run: PathBuf,
}

/// Makes the inputs, or finds those of an earlier run.
pub(super) fn make(directory: &Path) -> Result<Inputs> {
    let inputs = Inputs {
        cached: directory.join("cached"),
        copy: directory.join("copy"),
        run: directory.join("run"),
    };
    let stamp = directory.join("inputs-version");
    if fs::read_to_string(&stamp).is_ok_and(|version| version == VERSION) {
        return Ok(inputs);
    }
    println!("making inputs in {}", directory.display());
    for path in [&inputs.cached, &inputs.copy, &inputs.run] {
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir_all(path).with_context(|| format!("cannot create `{}`", path.display()))?;
    }
    cached(&inputs.cached)?;
    copy(&inputs.copy)?;
    run(&inputs.run)?;
    fs::write(stamp, VERSION)?;
    Ok(inputs)
}

/// Numbers from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A Dockerfile of the usual kind: twelve instructions after `FROM`.
fn cached(directory: &Path) -> Result<()> {
    let dockerfile = format!(
        "FROM {BUSYBOX}\nARG VERSION=1\nENV APP=/app VERSION=$VERSION\nLABEL version=$VERSION\nRUN mkdir -p /app/bin && echo 'service:x:900:900::/app:/bin/sh' >> /etc/passwd\n\
         WORKDIR /app\nCOPY requirements.txt .\nRUN cp requirements.txt installed.txt\nCOPY src src\nRUN find src | wc -l > count\n\
         USER service\nEXPOSE 8080\nCMD [\"cat\", \"/app/count\"]\n"
    );
    fs::write(directory.join("Dockerfile"), dockerfile)?;
    fs::write(directory.join("requirements.txt"), "one==1\ntwo==2\n")?;
    fs::create_dir_all(directory.join("src"))?;
    let mut numbers = Numbers(SEED);
    for number in 0..100 {
        fs::write(
            directory.join(format!("src/module{number}.py")),
            format!("VALUE = {}\n", numbers.next()),
        )?;
    }
    Ok(())
}

/// About 180 MB in small files, three quarters of them below 6 kB.
fn copy(directory: &Path) -> Result<()> {
    fs::write(
        directory.join("Dockerfile"),
        format!("FROM {BUSYBOX}\nCOPY data /data\n"),
    )?;
    let mut numbers = Numbers(SEED);
    let text = words(&mut numbers, 1 << 20);
    for number in 0..DIRECTORIES {
        fs::create_dir_all(directory.join(format!("data/d{number}")))?;
    }
    for number in 0..FILES {
        let size = if numbers.below(4) < 3 {
            200 + numbers.below(5_800)
        } else {
            6_000 + numbers.below(41_400)
        };
        let start = numbers.below(text.len() as u64 - size);
        let path = directory.join(format!(
            "data/d{}/f{number}.txt",
            numbers.below(DIRECTORIES)
        ));
        let slice = text
            .get(usize::try_from(start)?..usize::try_from(start + size)?)
            .context("a slice of ASCII text")?;
        fs::write(path, format!("{number}\n{slice}"))?;
    }
    Ok(())
}

/// Made-up words, which compress about as well as source code.
fn words(numbers: &mut Numbers, length: usize) -> String {
    const SYLLABLES: [&str; 16] = [
        "ka", "lo", "mi", "ren", "tu", "sha", "por", "de", "vi", "nal", "ox", "que", "bri", "zu",
        "fe", "gan",
    ];
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        for _ in 0..=numbers.below(4) {
            text.push_str(
                SYLLABLES
                    .get(usize::try_from(numbers.below(16)).unwrap_or(0))
                    .copied()
                    .unwrap_or("ka"),
            );
        }
        text.push(if numbers.below(10) == 0 { '\n' } else { ' ' });
    }
    text
}

/// Each command differs, so that none is answered from the cache by a builder that compares content.
fn run(directory: &Path) -> Result<()> {
    let mut dockerfile = format!("FROM {BUSYBOX}\n");
    for number in 1..=20 {
        writeln!(dockerfile, "RUN true {number}")?;
    }
    fs::write(directory.join("Dockerfile"), dockerfile)?;
    Ok(())
}
