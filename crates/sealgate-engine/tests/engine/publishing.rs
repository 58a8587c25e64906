//! Signing with certificates, timestamps and logs of a Sigstore in memory: the order of the steps,
//! refusals before anything is uploaded, and resuming.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sealgate_core::bundle::{Bundle, LogEntry, VerificationMaterial};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::Manifest;
use sealgate_core::reference::Identifier;
use sealgate_core::simple_signing::SimpleSigning;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, Check, Overrides, Requirement, RootSource,
    SubjectRequirement, TrustConfig, verify,
};
use sealgate_engine::failure::Failure;
use sealgate_engine::ports::{
    CertificateIssuer, IdentityToken, LogSubmission, SignatureLog, Signer, SubmittedContent,
    TimestampAuthority,
};
use sealgate_engine::sign::{
    Formats, PendingArtifacts, PendingSignatures, SignFailure, SignRequest, SignedImage,
    SigningParties, Step, Unfinished, VerificationKey, resume, sign_image_with,
};
use sealgate_engine::sign_blob::publish_blob;
use sealgate_engine::transparency::TransparencyServices;
use sealgate_engine::verify::{Outcome, VerifyRequest, verify_image};
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::keyless::{
    CertificateIdentity, Certified, ISSUER, Proof, SUBJECT, TestSigstore,
};
use sealgate_testkit::ports::FrozenClock;
use sealgate_testkit::registry::{MemoryRegistry, Request};

use crate::{app, fault};

/// A Sigstore, a signer with a certificate, and a registry with an image.
struct Scene {
    world: Arc<TestSigstore>,
    by: Arc<Certified>,
    registry: MemoryRegistry,
    digest: Digest,
}

/// The signer's key as a port.
struct Holder {
    by: Arc<Certified>,
    public: PublicKey,
}

/// A log of the Sigstore: counts the uploads, and fails a configured number of times.
struct Log {
    world: Arc<TestSigstore>,
    by: Arc<Certified>,
    proof: Proof,
    url: &'static str,
    contents: Vec<Vec<u8>>,
    asked: AtomicUsize,
    failures: Mutex<usize>,
    failure: FaultKind,
}

struct Tsa(Arc<TestSigstore>, Arc<Certified>);

struct Issuer(Vec<Vec<u8>>);

#[async_trait]
impl Signer for Holder {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.by.sign(message))
    }
}

#[async_trait]
impl SignatureLog for Log {
    fn url(&self) -> &str {
        self.url
    }

    async fn upload(&self, submission: &LogSubmission) -> Result<LogEntry, Fault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        {
            let mut failures = self.failures.lock().unwrap();
            if let Some(rest) = failures.checked_sub(1) {
                *failures = rest;
                return Err(fault(self.failure));
            }
        }
        let signed = match &submission.content {
            SubmittedContent::Envelope(envelope) => envelope.pae(),
            SubmittedContent::Message(digest) => {
                let content = self.contents.iter().find(|bytes| Digest::of(bytes) == *digest);
                content.expect("content that the test has told").clone()
            }
        };
        let log = self.world.prove(&self.by, &submission.signature, &signed, self.proof);
        Ok(log.entries.into_iter().next().unwrap())
    }
}

#[async_trait]
impl TimestampAuthority for Tsa {
    fn url(&self) -> &str {
        "https://tsa.example"
    }

    async fn timestamp(&self, signature: &[u8]) -> Result<Vec<u8>, Fault> {
        let log = self.0.prove(&self.1, signature, b"any", Proof::Timestamp);
        Ok(log.timestamps.into_iter().next().unwrap())
    }
}

#[async_trait]
impl CertificateIssuer for Issuer {
    async fn certify(
        &self,
        _signer: &dyn Signer,
        token: &IdentityToken,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        assert_eq!(token.secret(), "token");
        Ok(self.0.clone())
    }
}

impl Scene {
    fn new() -> Self {
        let world = Arc::new(TestSigstore::default());
        let by = Arc::new(world.certified(&CertificateIdentity::default()));
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "logged");
        Self { world, by, registry, digest }
    }

    fn holder(&self) -> Holder {
        Holder { by: self.by.clone(), public: self.by.public_key() }
    }

    fn verification_key(&self) -> VerificationKey {
        VerificationKey::certified(self.by.public_key(), vec![self.by.der.clone()]).unwrap()
    }

    fn log(&self, proof: Proof) -> Log {
        let payload =
            SimpleSigning::new("reg.example/acme/app", self.digest.clone(), &BTreeMap::new());
        Log {
            world: self.world.clone(),
            by: self.by.clone(),
            proof,
            url: "https://log.example",
            contents: vec![payload.to_json().into_bytes(), b"content".to_vec()],
            asked: AtomicUsize::new(0),
            failures: Mutex::new(0),
            failure: FaultKind::ServerError,
        }
    }

    fn tsa(&self) -> Arc<dyn TimestampAuthority> {
        Arc::new(Tsa(self.world.clone(), self.by.clone()))
    }

    /// One log, a timestamp if the log does not sign the time, and the trust root of the Sigstore.
    fn transparency(&self, log: &Arc<Log>) -> TransparencyServices {
        let stamped = log.proof != Proof::RekorV1;
        TransparencyServices {
            timestamps: stamped.then(|| self.tsa()).into_iter().collect(),
            logs: vec![log.clone()],
            root: Some(self.world.trust_root().into()),
            now: self.world.now + 1,
            ..TransparencyServices::none()
        }
    }

    async fn sign(
        &self,
        transparency: &TransparencyServices,
        request: &SignRequest,
    ) -> Result<Vec<SignedImage>, SignFailure> {
        let (signer, key) = (self.holder(), self.verification_key());
        let by = SigningParties { signer: &signer, key: &key, transparency };
        let at = image::at(&app(), &self.digest);
        sign_image_with(&self.registry, &at, by, &FrozenClock::default(), request).await
    }

    /// The outcome of verification with the trust root of this Sigstore.
    async fn verify(&self, authority: Authority, digest: &Digest) -> Outcome {
        let root = Some(self.world.trust_root().into());
        let (source, overrides) = (RootSource::Configured, Overrides::default());
        let request = VerifyRequest {
            trust_config: TrustConfig { root, source, overrides },
            now: self.world.now + 86_400,
            ..VerifyRequest::new(authority)
        };
        verify_image(&self.registry, &image::at(&app(), digest), &request).await.outcome
    }

    fn stored(&self) -> usize {
        self.registry.count(Request::PushBlob) + self.registry.count(Request::PushManifest)
    }
}

fn signer_identity() -> Authority {
    let exactly = |text: &str| Some(Wanted::Exactly(text.to_owned()));
    let matcher = IdentityMatcher {
        issuer: exactly(ISSUER),
        subject: exactly(SUBJECT),
        claims: BTreeMap::new(),
    };
    IdentityAuthority { identities: vec![matcher] }.into()
}

fn legacy() -> SignRequest {
    SignRequest { formats: Formats::Legacy, ..SignRequest::default() }
}

fn unfinished(outcome: Result<Vec<SignedImage>, SignFailure>) -> Unfinished {
    match outcome {
        Err(SignFailure::Unfinished(unfinished)) => *unfinished,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_certificate_signs_verifies_by_its_identity() {
    for proof in [Proof::RekorV1, Proof::RekorV2] {
        let scene = Scene::new();
        let log = Arc::new(scene.log(proof));
        let signed = scene.sign(&scene.transparency(&log), &SignRequest::default()).await.unwrap();
        assert_eq!(log.asked.load(Ordering::Relaxed), 1);
        let bundle = signed[0].bundle.as_ref().unwrap();
        assert_eq!(bundle.log.entries.len(), 1);
        let read = Bundle::parse(&bundle.json).unwrap();
        assert_eq!(read.material, VerificationMaterial::Certificate(scene.by.der.clone()));
        let outcome = scene.verify(signer_identity(), &scene.digest).await;
        let Outcome::Verified { signatures, .. } = outcome else { panic!("{outcome:?}") };
        let stamped = signatures[0].checks().contains(&Check::Timestamp);
        assert_eq!(stamped, proof == Proof::RekorV2);
    }
}

#[tokio::test]
async fn a_certificate_of_another_key_is_refused() {
    let scene = Scene::new();
    let other = scene.world.certified(&CertificateIdentity::default());
    let token = IdentityToken::new("token");
    let ours = Issuer(vec![scene.by.der.clone()]);
    let issued = VerificationKey::issued(&scene.holder(), &ours, &token).await.unwrap();
    assert_eq!(issued, scene.verification_key());
    for wrong in [Issuer(vec![other.der.clone()]), Issuer(Vec::new()), Issuer(vec![vec![0]])] {
        assert!(VerificationKey::issued(&scene.holder(), &wrong, &token).await.is_err());
    }
}

#[tokio::test]
async fn a_legacy_signature_carries_certificate_entry_and_timestamp() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV1));
    let transparency =
        TransparencyServices { timestamps: vec![scene.tsa()], ..scene.transparency(&log) };
    scene.sign(&transparency, &legacy()).await.unwrap();
    let tag = format!("sha256-{}.sig", scene.digest.hex());
    let raw = scene.registry.peek(&app(), &Identifier::Tag(tag)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&raw.bytes).unwrap();
    let names: Vec<_> = manifest.layers[0].annotations.keys().cloned().collect();
    assert_eq!(
        names,
        [
            "dev.cosignproject.cosign/signature",
            "dev.sigstore.cosign/bundle",
            "dev.sigstore.cosign/certificate",
            "dev.sigstore.cosign/chain",
            "dev.sigstore.cosign/rfc3161timestamp",
        ]
    );
    let outcome = scene.verify(signer_identity(), &scene.digest).await;
    assert!(matches!(outcome, Outcome::Verified { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_entry_without_a_signed_entry_timestamp_does_not_fit_into_the_legacy_format() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV2));
    let failure = scene.sign(&scene.transparency(&log), &legacy()).await.unwrap_err();
    assert!(matches!(failure, SignFailure::Failed(Failure::Invalid(_))), "{failure}");
    let two = vec![log.clone() as Arc<dyn SignatureLog>, log.clone()];
    let transparency = TransparencyServices { logs: two, ..scene.transparency(&log) };
    let failure = scene.sign(&transparency, &legacy()).await.unwrap_err();
    assert!(matches!(failure, SignFailure::Failed(Failure::Invalid(_))), "{failure}");
    assert_eq!(scene.stored(), 0);
}

#[tokio::test]
async fn nothing_is_uploaded_that_does_not_verify() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV2));
    let others = Arc::new(TestSigstore::default());
    let elsewhere = Arc::new(others.certified(&CertificateIdentity::default()));
    // A certificate of another authority, a timestamp of another one, a certificate that has
    // expired.
    let foreign_root = TransparencyServices {
        root: Some(Arc::new(others.trust_root())),
        ..scene.transparency(&log)
    };
    let foreign_stamp = TransparencyServices {
        timestamps: vec![Arc::new(Tsa(others.clone(), elsewhere))],
        ..scene.transparency(&log)
    };
    let late = TransparencyServices {
        timestamps: Vec::new(),
        now: scene.world.now + 86_400,
        ..scene.transparency(&log)
    };
    for transparency in [foreign_root, foreign_stamp, late] {
        let failure = scene.sign(&transparency, &SignRequest::default()).await.unwrap_err();
        assert!(matches!(failure, SignFailure::Failed(Failure::Rejected(_))), "{failure}");
    }
    assert_eq!((log.asked.load(Ordering::Relaxed), scene.stored()), (0, 0));
}

#[tokio::test]
async fn an_entry_of_a_log_outside_the_trust_root_is_not_stored() {
    let scene = Scene::new();
    let others = Arc::new(TestSigstore::default());
    let log = Arc::new(Log { world: others, ..scene.log(Proof::RekorV2) });
    let failure = scene.sign(&scene.transparency(&log), &SignRequest::default()).await.unwrap_err();
    assert_eq!(failure.code(), "not-logged");
    assert_eq!(scene.stored(), 0);
}

#[tokio::test]
async fn signing_that_could_never_be_resumed_is_not_started_or_not_kept() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV2));
    let root = TrustRoot { transparency_logs: Vec::new(), ..scene.world.trust_root() };
    let transparency =
        TransparencyServices { root: Some(Arc::new(root)), ..scene.transparency(&log) };
    let failure = scene.sign(&transparency, &SignRequest::default()).await.unwrap_err();
    assert!(matches!(failure, SignFailure::Failed(Failure::Invalid(_))), "{failure}");
    assert_eq!(log.asked.load(Ordering::Relaxed), 0);
    let log = Arc::new(Log {
        failures: Mutex::new(1),
        failure: FaultKind::Unsupported,
        ..scene.log(Proof::RekorV2)
    });
    let transparency = scene.transparency(&log);
    let failure = scene.sign(&transparency, &SignRequest::default()).await.unwrap_err();
    assert!(matches!(failure, SignFailure::Failed(Failure::Fault(_))), "{failure}");
    assert_eq!(scene.stored(), 0);
}

#[tokio::test]
async fn a_failed_upload_stores_nothing_and_is_resumed() {
    let mut scene = Scene::new();
    let other = image::image(&scene.registry, &app(), "below");
    let index =
        image::index(&scene.registry, &app(), &[(&scene.digest, "amd64"), (&other, "arm64")]);
    let children = [scene.digest.clone(), other];
    scene.digest = index.clone();
    let log = Arc::new(Log { failures: Mutex::new(1), ..scene.log(Proof::RekorV2) });
    let transparency = scene.transparency(&log);
    let request = SignRequest { recursive: true, ..SignRequest::default() };
    let left = unfinished(scene.sign(&transparency, &request).await);
    assert_eq!((left.step, left.cause.code()), (Step::Log, "server-error"));
    // All were uploaded except one, and nothing is stored.
    assert_eq!((log.asked.load(Ordering::Relaxed), scene.stored()), (3, 0));
    assert_eq!(left.signatures.missing_logs(), ["https://log.example"]);
    assert!(left.signatures.is_timestamped());
    let kept = left.signatures.to_json().unwrap();
    let signatures = PendingSignatures::parse(kept.as_bytes()).unwrap();
    assert_eq!(signatures, left.signatures);
    let clock = FrozenClock::default();
    let request = SignRequest::default();
    let signed =
        resume(&scene.registry, signatures, &transparency, &clock, &request).await.unwrap();
    // Only the missing one was uploaded.
    assert_eq!((signed.len(), log.asked.load(Ordering::Relaxed)), (3, 4));
    for digest in children.iter().chain([&index]) {
        let outcome = scene.verify(signer_identity(), digest).await;
        assert!(matches!(outcome, Outcome::Verified { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_failed_store_is_resumed_without_another_log_entry() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV1));
    let transparency = scene.transparency(&log);
    scene.registry.fail(Request::PushManifest, "", 1, fault(FaultKind::Denied));
    let left = unfinished(scene.sign(&transparency, &SignRequest::default()).await);
    assert_eq!((left.step, left.cause.code()), (Step::Store, "denied"));
    let (clock, request) = (FrozenClock::default(), SignRequest::default());
    resume(&scene.registry, left.signatures, &transparency, &clock, &request).await.unwrap();
    assert_eq!(log.asked.load(Ordering::Relaxed), 1);
    let outcome = scene.verify(signer_identity(), &scene.digest).await;
    assert!(matches!(outcome, Outcome::Verified { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_file_of_unfinished_signatures_is_not_trusted() {
    let scene = Scene::new();
    let log = Arc::new(Log { failures: Mutex::new(1), ..scene.log(Proof::RekorV2) });
    let transparency = scene.transparency(&log);
    let left = unfinished(scene.sign(&transparency, &SignRequest::default()).await);
    let kept = left.signatures.to_json().unwrap();
    let other = image::image(&scene.registry, &app(), "another image");
    let moved = kept.replace(scene.digest.hex(), other.hex());
    let other_signer = TestSigstore::default().certified(&CertificateIdentity::default());
    let key = kept.replace(
        &serde_json::to_string(&scene.by.public_key().to_pem()).unwrap(),
        &serde_json::to_string(&other_signer.public_key().to_pem()).unwrap(),
    );
    assert_ne!(key, kept);
    assert!(PendingSignatures::parse(key.as_bytes()).is_err());
    for nonsense in ["", "{}", "[]", &kept.replace("unfinished/v1", "unfinished/v9")] {
        assert!(PendingSignatures::parse(nonsense.as_bytes()).is_err(), "{nonsense}");
    }
    // The statement still names the first image.
    let Ok(signatures) = PendingSignatures::parse(moved.as_bytes()) else { panic!() };
    let clock = FrozenClock::default();
    let request = SignRequest::default();
    let failure =
        resume(&scene.registry, signatures, &transparency, &clock, &request).await.unwrap_err();
    assert_eq!(failure.code(), "other-subject");
    assert_eq!((log.asked.load(Ordering::Relaxed), scene.stored()), (1, 0));
}

#[tokio::test]
async fn without_a_trust_root_only_the_signature_is_checked() {
    let scene = Scene::new();
    let log = Arc::new(scene.log(Proof::RekorV2));
    let transparency = TransparencyServices { root: None, ..scene.transparency(&log) };
    scene.sign(&transparency, &SignRequest::default()).await.unwrap();
    let outcome = scene.verify(signer_identity(), &scene.digest).await;
    assert!(matches!(outcome, Outcome::Verified { .. }), "{outcome:?}");
}

#[tokio::test]
async fn every_log_and_every_timestamp_authority_is_used() {
    let scene = Scene::new();
    let one = Arc::new(Log { url: "https://one.example", ..scene.log(Proof::RekorV1) });
    let two = Arc::new(Log { url: "https://two.example", ..scene.log(Proof::RekorV2) });
    let logs: Vec<Arc<dyn SignatureLog>> = vec![one, two];
    let timestamps = vec![scene.tsa(), scene.tsa()];
    let root = Some(scene.world.trust_root().into());
    let transparency = TransparencyServices {
        logs,
        timestamps,
        root,
        now: scene.world.now,
        ..TransparencyServices::none()
    };
    let signed = scene.sign(&transparency, &SignRequest::default()).await.unwrap();
    let log = &signed[0].bundle.as_ref().unwrap().log;
    assert_eq!((log.entries.len(), log.timestamps.len()), (2, 2));
}

#[tokio::test]
async fn a_blob_is_logged_and_a_failed_upload_is_kept() {
    let scene = Scene::new();
    let log = Arc::new(Log { failures: Mutex::new(1), ..scene.log(Proof::RekorV2) });
    let (transparency, key) = (scene.transparency(&log), scene.verification_key());
    let artifact = Artifact::Content(b"content");
    let publish = async || {
        let (signature, digest) = (scene.by.sign(b"content"), Digest::of(b"content"));
        publish_blob(signature, digest, artifact, &key, &transparency).await
    };
    let Err(SignFailure::Unfinished(left)) = publish().await else { panic!() };
    assert!(matches!(left.signatures.artifacts, PendingArtifacts::Blob(_)));
    let kept = left.signatures.to_json().unwrap();
    assert_eq!(PendingSignatures::parse(kept.as_bytes()).unwrap(), left.signatures);
    let signed = publish().await.unwrap();
    let root = Some(scene.world.trust_root().into());
    let (source, overrides) = (RootSource::Configured, Overrides::default());
    let trust_config = TrustConfig { root, source, overrides };
    let authority = signer_identity();
    let trust = trust_config.context(&authority, scene.world.now + 86_400);
    let bundle = BlobSignature::Bundle(signed.bundle.as_bytes());
    let subject = SubjectRequirement::Blob(artifact);
    verify(bundle, &Requirement { authority: &authority, subject }, &trust).unwrap();
}

#[tokio::test]
async fn a_key_signs_with_a_timestamp_as_well() {
    let scene = Scene::new();
    let key = TestKey::p256();
    let verification_key = VerificationKey::plain(key.public_key().clone());
    let root = Some(scene.world.trust_root().into());
    let timestamps = vec![scene.tsa()];
    let transparency = TransparencyServices {
        timestamps,
        root,
        now: scene.world.now,
        ..TransparencyServices::none()
    };
    let by = SigningParties { signer: &key, key: &verification_key, transparency: &transparency };
    let at = image::at(&app(), &scene.digest);
    let clock = FrozenClock::default();
    let signed =
        sign_image_with(&scene.registry, &at, by, &clock, &SignRequest::default()).await.unwrap();
    assert_eq!(signed[0].bundle.as_ref().unwrap().log.timestamps.len(), 1);
    // A configured root that names a log requires a log entry, which is missing.
    let outcome = scene.verify(crate::authority(&[&key]).into(), &scene.digest).await;
    assert_eq!(outcome.rejected()[0].reason.code(), "not-logged");
}
