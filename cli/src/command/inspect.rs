//! `inspect`: docker's JSON.

use rbuild_image::{ContainerConfig, Reference};
use rbuild_store::local::{ImageRecord, LocalStore};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::InspectArgs;
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::session::{Session, documents};
use crate::size::image_size;

pub(crate) fn run(args: &InspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let mut found = Vec::new();
    let mut outcome = Ok(Exit::Done);
    for text in &args.images {
        let image = session
            .find(&store, text)
            .and_then(|found| describe(&store, &found.image));
        match image {
            Ok(image) => found.push(image),
            Err(failure) => {
                session.printer.failure(&failure);
                outcome = Err(Failure::silent(failure.exit));
            }
        }
    }
    session.printer.line(&indented(&Value::Array(found)))?;
    outcome
}

/// JSON with docker's indentation of four spaces.
fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, style);
    // Writing a value into memory cannot fail; an empty text would show that it did.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

fn describe(store: &LocalStore, image: &ImageRecord) -> Outcome<Value> {
    let documents = documents(store, image)?;
    let config = documents.config.value();
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
    let mut described = json!({
        "Id": image.image_id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": config.history.last().and_then(|last| last.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": container(&config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "VirtualSize": size,
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Descriptor": image.descriptor,
    });
    if let (Some(variant), Some(map)) = (&config.variant, described.as_object_mut()) {
        map.insert("Variant".to_owned(), json!(variant));
    }
    Ok(described)
}

/// The fields that docker always shows, and those that the image sets.
fn container(config: &ContainerConfig) -> Value {
    let list = |values: &[String]| match values {
        [] => Value::Null,
        values => json!(values),
    };
    let mut shown = json!({
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": false,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": list(&config.env),
        "Cmd": list(&config.cmd),
        "Image": "",
        "Volumes": null,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(&config.entrypoint),
        "OnBuild": list(&config.on_build),
        "Labels": null,
    });
    let set = serde_json::to_value(config).unwrap_or_default();
    if let (Some(shown), Value::Object(set)) = (shown.as_object_mut(), set) {
        let set: Map<String, Value> = set;
        shown.extend(set);
    }
    shown
}
