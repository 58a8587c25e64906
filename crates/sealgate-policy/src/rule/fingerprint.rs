//! Fingerprints of rules: SHA-256 over a canonical encoding of everything that affects a verdict.
//! Every text has its length and every variant its own tag, so that different rules never have the
//! same encoding.

use sealgate_core::digest::{Algorithm, Digest, Hasher};
use sealgate_core::identity::{IdentityMatcher, Wanted};
use sealgate_core::key::HashAlgorithm;
use sealgate_core::verify::{
    Authority, Chains, ClaimComparison, Override, Overrides, RootSource, TrustConfig,
};

use crate::glob::TagMatching;
use crate::object_match::{ObjectMatch, Operator};
use crate::rule::{Mode, Need, Rule, SignatureRequirement, SignedBy, Source, When};

/// Computes the fingerprint of a rule.
pub(crate) fn of_rule(name: &str, when: &When, need: &Need, mode: Mode) -> Digest {
    let mut hasher = FingerprintHasher::new();
    hasher.text("sealgate rule v2");
    hasher.text(name);
    hasher.text(mode.name());
    hasher.when(when);
    hasher.need(need);
    hasher.0.finish()
}

/// Computes the fingerprint of a criterion outside of any rule.
pub(crate) fn of_criterion(name: &str, need: &Need, mode: Mode) -> Digest {
    let mut hasher = FingerprintHasher::new();
    hasher.text("sealgate criterion v1");
    hasher.text(name);
    hasher.text(mode.name());
    hasher.need(need);
    hasher.0.finish()
}

/// Computes the fingerprint of a requirement.
pub(crate) fn of_requirement(requirement: &SignatureRequirement) -> Digest {
    let mut hasher = FingerprintHasher::new();
    hasher.text("sealgate requirement v1");
    hasher.requirement(requirement);
    hasher.0.finish()
}

/// Computes the fingerprint of rules in the given order, with the name of the no-match policy.
pub(crate) fn of_set(rules: &[Rule], no_match: &str) -> Digest {
    let mut hasher = FingerprintHasher::new();
    hasher.number(rules.len() + 1);
    for rule in rules {
        hasher.text(&rule.fingerprint().to_string());
    }
    hasher.text(no_match);
    hasher.0.finish()
}

/// A hasher of the canonical encoding.
struct FingerprintHasher(Hasher);

impl FingerprintHasher {
    fn new() -> Self {
        Self(Digest::hasher(Algorithm::Sha256))
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, each: impl Fn(&mut Self, T)) {
        self.number(items.len());
        for item in items {
            each(self, item);
        }
    }

    fn option(&mut self, text: Option<&str>) {
        self.list(text.into_iter(), |hasher, text| hasher.text(text));
    }

    fn when(&mut self, when: &When) {
        self.list(when.images.iter(), |hasher, glob| hasher.text(glob.text()));
        self.text(match when.tags {
            TagMatching::AsWritten => "as written",
            TagMatching::OnlyWithoutDigest => "only without digest",
        });
        self.list(when.matches.iter(), Self::object);
    }

    fn object(&mut self, object: &ObjectMatch) {
        self.list(object.namespaces.iter(), |hasher, name| hasher.text(name));
        self.option(object.group.as_deref());
        self.option(object.version.as_deref());
        self.option(object.resource.as_deref());
        self.list(object.selector.requirements().iter(), |hasher, requirement| {
            hasher.text(&requirement.key);
            hasher.text(match requirement.operator {
                Operator::In => "In",
                Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
            });
            hasher.list(requirement.values.iter(), |hasher, value| hasher.text(value));
        });
    }

    fn need(&mut self, need: &Need) {
        match need {
            Need::All(needs) => {
                self.text("all");
                self.list(needs.iter(), Self::need);
            }
            Need::Any(needs) => {
                self.text("any");
                self.list(needs.iter(), Self::need);
            }
            Need::Signed(signed) => self.signed(signed),
            Need::Always { authority } => self.words("always", [authority, ""]),
            Need::Never { authority, message } => self.words("never", [authority, message]),
            Need::Exempt => self.words("exempt", ["", ""]),
            Need::Undecidable { authority, condition, detail } => {
                self.words("undecidable", [authority, detail]);
                self.text(condition.code());
            }
        }
    }

    fn words(&mut self, variant: &str, words: [&str; 2]) {
        self.text(variant);
        words.iter().for_each(|word| self.text(word));
    }

    fn signed(&mut self, signed: &SignedBy) {
        self.words("signed", [&signed.authority, signed.formats.name()]);
        self.text(&signed.requirement.id().to_string());
    }

    fn requirement(&mut self, requirement: &SignatureRequirement) {
        let SignatureRequirement { by, trust_config, source, annotations, claims } = requirement;
        match by {
            Authority::Keys(keys) => {
                self.text("keys");
                self.list(keys.keys.iter(), |hasher, key| hasher.bytes(key.spki_der()));
                self.option(keys.hash.map(hash_name));
            }
            Authority::Identities(wanted) => {
                self.text("identities");
                self.list(wanted.identities.iter(), Self::identity);
            }
        }
        self.trust_config(trust_config);
        self.list(source.iter(), Self::source);
        self.list(annotations.iter(), |hasher, (key, value)| {
            hasher.words("annotation", [key, value])
        });
        self.text(match claims {
            ClaimComparison::Checked => "claims checked",
            ClaimComparison::Ignored => "claims ignored",
        });
    }

    fn identity(&mut self, identity: &IdentityMatcher) {
        for wanted in [&identity.issuer, &identity.subject] {
            self.list(wanted.iter(), |hasher, wanted| match wanted {
                Wanted::Exactly(text) => hasher.words("exactly", [text, ""]),
                Wanted::Matching(pattern) => hasher.words("matching", [pattern.as_str(), ""]),
            });
        }
        self.list(identity.claims.iter(), |hasher, (claim, value)| {
            hasher.words("claim", [claim.name(), value]);
        });
    }

    fn trust_config(&mut self, trust_config: &TrustConfig) {
        let root = trust_config.root.as_ref().map(|root| root.fingerprint().to_string());
        self.option(root.as_deref());
        self.text(match trust_config.source {
            RootSource::Configured => "configured",
            RootSource::Embedded => "embedded",
        });
        let Overrides { log, timestamp, sct, chains } = trust_config.overrides;
        for setting in [log, timestamp, sct] {
            self.text(match setting {
                Override::Unset => "unsaid",
                Override::Required => "required",
                Override::Ignored => "ignored",
            });
        }
        self.text(match chains {
            Chains::ByVersion => "chains by version",
            Chains::Allowed => "chains allowed",
        });
    }

    fn source(&mut self, source: &Source) {
        self.option(source.repository.as_ref().map(ToString::to_string).as_deref());
        self.text(if source.include_image_repository { "also beside" } else { "only there" });
        self.option(source.tag_prefix.as_deref());
        self.list(source.pull_secrets.iter(), |hasher, name| hasher.text(name));
    }
}

fn hash_name(hash: HashAlgorithm) -> &'static str {
    match hash {
        HashAlgorithm::Sha224 => "sha224",
        HashAlgorithm::Sha256 => "sha256",
        HashAlgorithm::Sha384 => "sha384",
        HashAlgorithm::Sha512 => "sha512",
    }
}
