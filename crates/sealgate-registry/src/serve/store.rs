//! What is stored: per repository blobs, manifests, tags, and uploads under way.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use sealgate_core::digest::Digest;
use sealgate_core::manifest::Descriptor;

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) repositories: BTreeMap<String, Repository>,
    next_upload: u64,
}

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) blobs: HashMap<Digest, Bytes>,
    pub(super) manifests: HashMap<Digest, Stored>,
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) uploads: HashMap<String, BytesMut>,
}

/// One manifest.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    /// What it refers to, and its entry in that one's list.
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
    /// The digest that a tag or a digest's text stands for.
    pub(super) fn digest(&self, reference: &str) -> Option<Digest> {
        match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => self.tags.get(reference).cloned(),
        }
    }

    /// The entries of all manifests that refer to `subject`, sorted by digest.
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
