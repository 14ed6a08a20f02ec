//! From the last step of a stage to an image in the store.

use std::sync::Arc;

use rbuild_image::{Descriptor, Digest, History, ImageConfig, Manifest, MediaType, Raw, RootFs};
use rbuild_store::local::LocalStore;

use crate::base::BaseImage;
use crate::clock::rfc3339;
use crate::error::{BuildError, Doing};
use crate::graph::StagePlan;
use crate::request::BuildRequest;
use crate::solve::Solved;

/// An image that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Digest of the config: what docker calls the image id.
    pub image_id: Digest,
    /// Descriptor of the manifest.
    pub manifest: Descriptor,
}

/// Writes config and manifest, bytes before names, and names the image.
pub(crate) fn export(
    store: &LocalStore,
    plan: &StagePlan,
    results: &[Arc<Solved>],
    request: &BuildRequest,
) -> Result<Exported, BuildError> {
    let doing = || "cannot write the image into the store".to_owned();
    let tip = &results[plan.tip.0];
    let config = config(plan, results, request);
    let config = Raw::write(config)
        .map_err(std::io::Error::other)
        .doing(doing)?;
    let config_descriptor = store
        .put_document(MediaType::CONFIG, config.bytes())
        .doing(doing)?;
    let from_base = plan
        .base
        .as_ref()
        .map(|base| base.manifest.layers.as_slice())
        .unwrap_or_default();
    let mut layers: Vec<Descriptor> = from_base.iter().map(BaseImage::oci_layer).collect();
    for layer in &tip.state.layers[layers.len()..] {
        let blob = store.layer_blob(layer.diff_id).doing(doing)?;
        let missing =
            || std::io::Error::other(format!("layer {} is not in the store", layer.diff_id));
        layers.push(blob.ok_or_else(missing).doing(doing)?);
    }
    let manifest = Raw::write(Manifest::oci(config_descriptor.clone(), layers))
        .map_err(std::io::Error::other)
        .doing(doing)?;
    let descriptor = store
        .put_document(MediaType::MANIFEST, manifest.bytes())
        .doing(doing)?;
    store.record_image(&descriptor).doing(doing)?;
    for name in &request.names {
        store
            .tag(name, &descriptor)
            .doing(|| format!("cannot name the image `{}`", name.familiar()))?;
    }
    Ok(Exported {
        image_id: config_descriptor.digest,
        manifest: descriptor,
    })
}

/// The config: what the plan says, the layers, and a history with the times of the records. An unchanged build
/// therefore gives the same config, byte for byte.
fn config(plan: &StagePlan, results: &[Arc<Solved>], request: &BuildRequest) -> ImageConfig {
    let mut config = plan.config.clone();
    let diff_ids = results[plan.tip.0]
        .state
        .layers
        .iter()
        .map(|layer| layer.diff_id)
        .collect();
    config.rootfs = RootFs {
        diff_ids,
        ..RootFs::default()
    };
    let epoch = request
        .epoch
        .map(|seconds| rfc3339(u64::try_from(seconds).unwrap_or_default()));
    config.history = plan
        .base
        .as_ref()
        .map(|base| base.config.history.clone())
        .unwrap_or_default();
    let mut created = plan
        .base
        .as_ref()
        .and_then(|base| base.config.created.clone());
    for planned in &plan.history {
        let solved = planned
            .step
            .map(|step| &results[step.0])
            .filter(|solved| solved.layer.is_some());
        if let Some(solved) = solved {
            created = Some(rfc3339(solved.created));
        }
        config.history.push(History {
            created: epoch.clone().or_else(|| created.clone()),
            created_by: Some(planned.created_by.clone()),
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer: solved.is_none(),
            ..History::default()
        });
    }
    config.created = epoch.or(created);
    config
}
