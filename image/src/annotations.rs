//! Annotation keys that we read or write (image-spec, annotations.md).

/// The tag of a manifest in an OCI layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// When the image was made, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// The full name of an image in an archive (a containerd convention that `docker load` and `ctr` read).
pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
