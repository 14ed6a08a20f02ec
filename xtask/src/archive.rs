//! Image archives: writing a docker archive of one layer, reading docker and OCI archives back.
//!
//! Deliberately apart from rbuild's own code: a bug in our reader or writer must not hide itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An image read back: its config and its layers from the lowest, uncompressed.
pub(crate) struct Image {
    /// The config blob.
    pub(crate) config: Value,
    /// One tar each.
    pub(crate) layers: Vec<Vec<u8>>,
}

/// `sha256` in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes `layer_tar` as a docker archive with the given `config` section, named `reference`.
pub(crate) fn write_docker_archive(
    layer_tar: &Path,
    config: &Value,
    reference: &str,
    archive: &Path,
) -> Result<()> {
    let mut hasher = Sha256::new();
    let size = io::copy(&mut File::open(layer_tar)?, &mut HashWriter(&mut hasher))?;
    let diff_id = hex(&hasher.finalize());
    // A fixed time: the same tree gives the same image on every machine.
    let image = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask" }],
    });
    let image = serde_json::to_vec(&image)?;
    let config_name = format!("{}.json", sha256(&image));
    let layer_name = format!("{diff_id}/layer.tar");
    let manifest = serde_json::to_vec(
        &json!([{ "Config": config_name, "RepoTags": [reference], "Layers": [layer_name] }]),
    )?;

    let file =
        File::create(archive).with_context(|| format!("cannot create `{}`", archive.display()))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    append(&mut tar, &config_name, image.len() as u64, image.as_slice())?;
    append(&mut tar, &layer_name, size, File::open(layer_tar)?)?;
    append(
        &mut tar,
        "manifest.json",
        manifest.len() as u64,
        manifest.as_slice(),
    )?;
    tar.into_inner()?.flush()?;
    Ok(())
}

/// The architecture in the words of image configs.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)?;
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the only image of a docker or OCI archive, checking every digest on the way.
pub(crate) fn read(archive: &Path) -> Result<Image> {
    let files = entries(archive).with_context(|| format!("cannot read `{}`", archive.display()))?;
    let image = match (
        files.contains_key("manifest.json"),
        files.contains_key("index.json"),
    ) {
        (true, false) => read_docker(&files),
        (false, true) => read_oci(&files),
        // An archive that speaks both languages must say the same in both.
        (true, true) => read_docker(&files).and_then(|image| {
            let other = read_oci(&files)?;
            if image.config != other.config || image.layers != other.layers {
                bail!("manifest.json and index.json name different images");
            }
            Ok(image)
        }),
        (false, false) => Err(anyhow::anyhow!("neither manifest.json nor index.json")),
    };
    image.with_context(|| {
        format!(
            "`{}` is no image archive that we understand",
            archive.display()
        )
    })
}

type Files = BTreeMap<String, Vec<u8>>;

fn entries(archive: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut links = Vec::new();
    for entry in tar::Archive::new(File::open(archive)?).entries()? {
        let mut entry = entry?;
        let name = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                files.insert(name, content);
            }
            // docker save names a repeated layer by a symbolic link, `../<id>/layer.tar`.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                if let Some(target) = entry.link_name()? {
                    links.push((
                        name,
                        target
                            .to_string_lossy()
                            .trim_start_matches("../")
                            .to_owned(),
                    ));
                }
            }
            _ => {}
        }
    }
    for (name, target) in links {
        let content = files
            .get(&target)
            .with_context(|| format!("link to `{target}`, which is not there"))?
            .clone();
        files.insert(name, content);
    }
    Ok(files)
}

fn read_docker(files: &Files) -> Result<Image> {
    let manifest: Value = serde_json::from_slice(file(files, "manifest.json")?)?;
    let Some([image]) = manifest.as_array().map(Vec::as_slice) else {
        bail!("want one image in manifest.json")
    };
    let config: Value = serde_json::from_slice(file(files, text(&image["Config"])?)?)?;
    let layers = list(&image["Layers"])
        .map(|name| inflate(file(files, text(name)?)?))
        .collect::<Result<Vec<_>>>()?;
    checked(config, layers)
}

fn read_oci(files: &Files) -> Result<Image> {
    let index: Value = serde_json::from_slice(file(files, "index.json")?)?;
    let mut manifest: Value = serde_json::from_slice(blob(files, &index["manifests"][0])?)?;
    if manifest.get("manifests").is_some() {
        manifest = serde_json::from_slice(blob(files, &manifest["manifests"][0])?)?;
    }
    let config: Value = serde_json::from_slice(blob(files, &manifest["config"])?)?;
    let layers = list(&manifest["layers"])
        .map(|layer| inflate(blob(files, layer)?))
        .collect::<Result<Vec<_>>>()?;
    checked(config, layers)
}

/// The image, if its layers are what the config promises.
fn checked(config: Value, layers: Vec<Vec<u8>>) -> Result<Image> {
    let promised: Vec<String> = list(&config["rootfs"]["diff_ids"])
        .map(|id| text(id).map(str::to_owned))
        .collect::<Result<_>>()?;
    let found: Vec<String> = layers
        .iter()
        .map(|layer| format!("sha256:{}", sha256(layer)))
        .collect();
    if promised != found {
        bail!("the config promises the layers {promised:?}, the archive holds {found:?}");
    }
    Ok(Image { config, layers })
}

/// The blob of a descriptor, with the digest and size it promises.
fn blob<'a>(files: &'a Files, descriptor: &Value) -> Result<&'a [u8]> {
    let digest = text(&descriptor["digest"])?;
    let hex = digest
        .strip_prefix("sha256:")
        .with_context(|| format!("digest `{digest}`"))?;
    let content = file(files, &format!("blobs/sha256/{hex}"))?;
    if sha256(content) != hex || descriptor["size"].as_u64() != Some(content.len() as u64) {
        bail!("blob `{digest}` is not what its descriptor says");
    }
    Ok(content)
}

fn file<'a>(files: &'a Files, name: &str) -> Result<&'a [u8]> {
    files
        .get(name)
        .map(Vec::as_slice)
        .with_context(|| format!("no file `{name}` in the archive"))
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("want a string, got `{value}`"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.to_vec());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}
