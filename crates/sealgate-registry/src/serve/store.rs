//! Storage: blobs, manifests, tags and pending uploads of each repository.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use sealgate_core::digest::Digest;
use sealgate_core::manifest::Descriptor;

/// Content of the registry.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) repositories: BTreeMap<String, Repository>,
    next_upload: u64,
}

/// Content of one repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) blobs: HashMap<Digest, Bytes>,
    pub(super) manifests: HashMap<Digest, Stored>,
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) uploads: HashMap<String, BytesMut>,
}

/// Stored manifest.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    /// Subject of the manifest, and the manifest's entry in the referrers list of that subject.
    pub(super) refers: Option<(Digest, Descriptor)>,
}

impl Store {
    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn make(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub(super) fn begin_upload(&mut self, name: &str) -> String {
        self.next_upload += 1;
        let id = format!("upload-{}", self.next_upload);
        self.make(name).uploads.insert(id.clone(), BytesMut::new());
        id
    }
}

impl Repository {
    /// Digest for a reference, which is a tag or a digest.
    pub(super) fn digest(&self, reference: &str) -> Option<Digest> {
        match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => self.tags.get(reference).cloned(),
        }
    }

    /// Entries of all manifests that refer to `subject`, sorted by digest.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let mut list: Vec<Descriptor> = self
            .manifests
            .values()
            .filter_map(|stored| stored.refers.as_ref())
            .filter(|(to, _)| to == subject)
            .map(|(_, entry)| entry.clone())
            .collect();
        list.sort_by(|a, b| a.digest.cmp(&b.digest));
        list
    }
}
