//! The tags of an image's attachments, which cosign derives from its digest.

use sealgate_core::digest::Digest;
use sealgate_core::reference::{Identifier, Reference, Repository};

/// An attachment that has a tag of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attachment {
    /// Legacy signatures, `.sig`.
    Signatures,
    /// Legacy attestations, `.att`.
    Attestations,
    /// An unsigned bill of materials, `.sbom`.
    Sbom,
    /// The fallback index of referrers, and cosign's `digest` type: no suffix.
    Referrers,
}

impl Attachment {
    /// The three legacy kinds.
    pub const LEGACY: [Self; 3] = [Self::Signatures, Self::Attestations, Self::Sbom];

    /// The suffix of the tag.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Signatures => ".sig",
            Self::Attestations => ".att",
            Self::Sbom => ".sbom",
            Self::Referrers => "",
        }
    }
}

/// The tag, `<prefix><algorithm>-<hex><suffix>`.
pub fn tag(prefix: &str, digest: &Digest, what: Attachment) -> String {
    format!("{prefix}{}-{}{}", digest.algorithm().name(), digest.hex(), what.suffix())
}

/// The tag as a reference in `repository`.
pub fn location(
    repository: &Repository,
    prefix: &str,
    digest: &Digest,
    what: Attachment,
) -> Reference {
    repository.at(Identifier::Tag(tag(prefix, digest, what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_tags_as_cosign_does() {
        let digest = Digest::of(b"{}");
        let hex = digest.hex();
        let repository = Repository::parse("ghcr.io/acme/app").unwrap();
        let at = |prefix, what| location(&repository, prefix, &digest, what).to_string();
        assert_eq!(at("", Attachment::Signatures), format!("ghcr.io/acme/app:sha256-{hex}.sig"));
        assert_eq!(
            at("v", Attachment::Attestations),
            format!("ghcr.io/acme/app:vsha256-{hex}.att")
        );
        assert_eq!(at("", Attachment::Referrers), format!("ghcr.io/acme/app:sha256-{hex}"));
    }
}
