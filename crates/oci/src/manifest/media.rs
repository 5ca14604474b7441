//! Hides the media types of images: what the OCI and Docker call their documents and layers.

/// An OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An OCI layer as it is.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer in gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer in zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// An OCI layer as it is, that is in no registry.
pub const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer as it is.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer in gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's layer as it is, that is in no registry.
pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker's layer in gzip, that is in no registry.
pub const DOCKER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// How a layer of this type is compressed, also one that need be in no registry; none if it is no layer that we can
    /// unpack, such as an encrypted one.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        let media_type = essence(media_type);
        let (rest, compression) =
            [("+gzip", Self::Gzip), (".gzip", Self::Gzip), ("+zstd", Self::Zstd), (".zstd", Self::Zstd)]
                .into_iter()
                .find_map(|(suffix, compression)| Some((media_type.strip_suffix(suffix)?, compression)))
                .unwrap_or((&media_type, Self::None));
        matches!(rest, OCI_LAYER | DOCKER_LAYER | OCI_FOREIGN | DOCKER_FOREIGN).then_some(compression)
    }
}

/// What a layer is called in a manifest of OCI's, which has the same names for all of its parts: Docker's have others for the
/// same bytes. Every other name is its own.
#[must_use]
pub fn of_oci(media_type: &str) -> &str {
    match essence(media_type).as_str() {
        DOCKER_LAYER => OCI_LAYER,
        DOCKER_LAYER_GZIP => OCI_LAYER_GZIP,
        _ => media_type,
    }
}

/// Whether this is the config of an image that can be run.
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    matches!(essence(media_type).as_str(), OCI_CONFIG | DOCKER_CONFIG)
}

/// A type in lower case and without parameters (RFC 9110, 8.3.1).
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether this is what a server says that does not know.
pub(super) fn says_nothing(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "text/plain" | "application/octet-stream" | "binary/octet-stream")
}

/// Whether this is a manifest of before 2016.
pub(super) fn is_schema_1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}
