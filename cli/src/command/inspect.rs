//! `inspect`: docker's JSON.

use std::collections::BTreeMap;
use std::io;

use rbuild_image::{ContainerConfig, Descriptor, DiffId, Digest, Healthcheck, Reference};
use rbuild_store::local::{ImageRecord, LocalStore};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::InspectArgs;
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::session::{Session, documents};
use crate::size::image_size;

pub(crate) fn run(args: &InspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let mut found = Vec::new();
    let mut outcome = Ok(Exit::Done);
    for text in &args.images {
        let image = Session::find(&store, text).and_then(|found| describe(&store, &found.image));
        match image {
            Ok(image) => found.push(image),
            Err(failure) => {
                session.printer.failure(&failure);
                outcome = Err(Failure::silent(failure.exit));
            }
        }
    }
    session.printer.line(&indented(&found)?)?;
    outcome
}

/// JSON with docker's indentation of four spaces.
fn indented(images: &[Described]) -> Outcome<String> {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, style);
    images
        .serialize(&mut serializer)
        .map_err(io::Error::from)
        .doing(|| "cannot write JSON")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An image as docker shows it, in docker's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    id: Digest,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: &'static str,
    comment: String,
    created: Option<String>,
    docker_version: &'static str,
    author: String,
    config: Container,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: String,
    size: u64,
    virtual_size: u64,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    descriptor: Descriptor,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    r#type: String,
    layers: Vec<DiffId>,
}

/// The fields that docker always shows; those that only some images have come last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "docker's fields")]
struct Container {
    hostname: &'static str,
    domainname: &'static str,
    user: String,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    open_stdin: bool,
    stdin_once: bool,
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    image: &'static str,
    volumes: Option<BTreeMap<String, Value>>,
    working_dir: String,
    entrypoint: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shell: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    args_escaped: bool,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl From<ContainerConfig> for Container {
    fn from(config: ContainerConfig) -> Self {
        let list = |values: Vec<String>| (!values.is_empty()).then_some(values);
        Self {
            hostname: "",
            domainname: "",
            user: config.user,
            attach_stdin: false,
            attach_stdout: false,
            attach_stderr: false,
            tty: false,
            open_stdin: false,
            stdin_once: false,
            env: list(config.env),
            cmd: list(config.cmd),
            image: "",
            volumes: (!config.volumes.is_empty()).then_some(config.volumes),
            working_dir: config.working_dir,
            entrypoint: list(config.entrypoint),
            on_build: list(config.on_build),
            labels: (!config.labels.is_empty()).then_some(config.labels),
            exposed_ports: config.exposed_ports,
            healthcheck: config.healthcheck,
            stop_signal: config.stop_signal,
            shell: config.shell,
            args_escaped: config.args_escaped,
            // Docker's old images repeat some of the fields above here.
            other: config
                .other
                .into_iter()
                .filter(|(name, _)| !ALWAYS_SHOWN.contains(&name.as_str()))
                .collect(),
        }
    }
}

const ALWAYS_SHOWN: [&str; 9] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
];

fn describe(store: &LocalStore, image: &ImageRecord) -> Outcome<Described> {
    let documents = documents(store, image)?;
    let config = documents.config.value().clone();
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for (reference, descriptor) in store.names().doing(|| "cannot read the local store")? {
        let other = store
            .image(&descriptor.digest)
            .doing(|| "cannot read the local store")?;
        if other.is_some_and(|other| other.image_id == image.image_id) {
            let list = match reference.digest {
                Some(_) => &mut digests,
                None => &mut tags,
            };
            list.push(Reference::familiar(&reference));
        }
    }
    let size = image_size(store, &documents)?;
    let last = config.history.last();
    Ok(Described {
        id: image.image_id,
        repo_tags: tags,
        repo_digests: digests,
        parent: "",
        comment: last
            .and_then(|last| last.comment.clone())
            .unwrap_or_default(),
        created: config.created,
        docker_version: "",
        author: config.author.unwrap_or_default(),
        config: config.config.into(),
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        size,
        virtual_size: size,
        root_fs: RootFs {
            r#type: config.rootfs.kind,
            layers: config.rootfs.diff_ids,
        },
        descriptor: image.descriptor.clone(),
    })
}
