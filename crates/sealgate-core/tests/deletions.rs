//! Deletions of checks: code that leaves out a check of the verifier does not compile.
//!
//! Each row replaces one piece of this crate's sources in a copy and runs the type checker on it.
//! The pieces are the calls that make a check, or the values that stand for its outcome.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A check, the file that makes it, the piece that is replaced, and the replacement.
type Row = (&'static str, &'static str, &'static str, &'static str);

const DELETIONS: &[Row] = &[
    // The steps of verification.
    (
        "the signer",
        "verify/mod.rs",
        "    let signer = signer::verify(&material, authority, context)?;\n",
        "",
    ),
    (
        "the subject",
        "verify/mod.rs",
        "    let subject = subject::verify(signer.signature(), subject)?;\n",
        "",
    ),
    (
        "the signature, by key",
        "verify/signer.rs",
        "    let signature = signature::verify(material, AuthorizedKeys::of_authority(keys))?;\n",
        "",
    ),
    (
        "the signature, by certificate",
        "verify/signer.rs",
        "    let signature = signature::verify(material, keys)?;\n",
        "",
    ),
    (
        "the timestamps",
        "verify/signer.rs",
        "verify_timestamps(responses, context.root, material.signature)?",
        "crate::timestamp::TrustedTimes::default()",
    ),
    (
        "the required timestamp",
        "verify/signer.rs",
        "\n        .require(context.requirements.timestamp())",
        "",
    ),
    (
        "the log entries",
        "verify/signer.rs",
        "log::verify_entries(&material.log.entries, material.entry_format, context.root, &logged, &at)?",
        "log::LogProofs::default()",
    ),
    (
        "the required log entry",
        "verify/signer.rs",
        "\n        .require(context.requirements.log())",
        "",
    ),
    (
        "the certificate",
        "verify/signer.rs",
        "    let certified = certify(presented, root, &at, context.requirements.sct_requirement())?;\n",
        "",
    ),
    (
        "the times of the certificate",
        "verify/signer.rs",
        "    let SigningTimes(at) = SigningTimes::of(&times, &log, context);\n",
        "",
    ),
    ("the identity", "verify/signature.rs", ".check(identities)?", ""),
    (
        "the identity, by default",
        "verify/signature.rs",
        "certificate.identity().check(identities)?",
        "Default::default()",
    ),
    (
        "the algorithm that a log entry names",
        "verify/signer.rs",
        "    let algorithm = log.check_algorithm(signature.algorithm())?;\n    let log_material = match",
        "    let log_material = match",
    ),
    // The subject.
    (
        "the payload type of the envelope",
        "verify/material.rs",
        "let statement = StatementEnvelope::of(envelope)?;",
        "let statement = envelope;",
    ),
    (
        "the digest of a SimpleSigning payload",
        "verify/subject.rs",
        "            digest: DigestProof::of_payload(&payload.digest, &wanted.digest)?,\n",
        "",
    ),
    (
        "the annotations of a SimpleSigning payload",
        "verify/subject.rs",
        "            annotations: AnnotationsProof::of(&payload.optional, &wanted.annotations)?,\n",
        "",
    ),
    (
        "the digest of an image's statement",
        "verify/subject.rs",
        "        let Ok(digest) = DigestProof::of_subject(subject, digests) else { continue };\n",
        "",
    ),
    (
        "the annotations of an image's statement",
        "verify/subject.rs",
        "match AnnotationsProof::of(&subject.annotations, &wanted.annotations) {",
        "match Ok(Default::default()) {",
    ),
    (
        "the predicate type of an image signature",
        "verify/subject.rs",
        "    let statement = TypedStatement::image_signature(statement)?;\n",
        "",
    ),
    (
        "the predicate type of an attestation",
        "verify/subject.rs",
        "    let statement = TypedStatement::attestation(statement, &wanted.predicate_type)?;\n",
        "",
    ),
    (
        "the digest of an attestation",
        "verify/subject.rs",
        "    let digest = any_subject(&statement, std::slice::from_ref(&wanted.digest))?;\n",
        "",
    ),
    (
        "the digest of a blob's statement",
        "verify/subject.rs",
        "any_subject(&statement, &artifact.digests())?",
        "Default::default()",
    ),
    (
        "the requirement to ignore claims",
        "verify/subject.rs",
        "Some(ignored) => ClaimProof::Ignored { named: Some(payload.digest), _ignored: ignored },",
        "Some(_) => ClaimProof::Ignored { named: Some(payload.digest), _ignored: Default::default() },",
    ),
    (
        "the message digest of a bundle",
        "verify/material.rs",
        "let bound = BoundArtifact::of(artifact, digest.as_ref())?;",
        "let bound = artifact;",
    ),
    // Transparency logs.
    (
        "the signed entry timestamp",
        "log/mod.rs",
        "Inclusion::Set(set::verify(set, entry, log)?)",
        "Inclusion::Set(Default::default())",
    ),
    (
        "the inclusion proof",
        "log/mod.rs",
        "Ok(Inclusion::Proof(verify_inclusion(proof, entry, log, body, None)?))",
        "Ok(Inclusion::Proof(Default::default()))",
    ),
    (
        "the signature of the checkpoint",
        "log/mod.rs",
        "Checkpoint::parse(note)?.verify(log, dialect)?",
        "Checkpoint::parse(note)?",
    ),
    (
        "size and root hash of the checkpoint",
        "log/mod.rs",
        "checkpoint.of_tree(size, root)?",
        "Default::default()",
    ),
    (
        "the origin of the checkpoint",
        "log/checkpoint.rs",
        "        let origin = self.check_origin(log, dialect)?;\n",
        "",
    ),
    (
        "the validity of the log's key",
        "log/mod.rs",
        "    let validity = check_validity(log, set.map(SignedEntryTimestamp::integrated_time), times)?;\n",
        "",
    ),
    (
        "the kind of the entry",
        "log/mod.rs",
        "    let kind = check_kind(entry, format, &body)?;\n",
        "",
    ),
    (
        "the subject of the entry",
        "log/mod.rs",
        "        entry: names(&body, &entry.body, logged, proven)?,\n",
        "",
    ),
    (
        "the subject of an entry that is new",
        "log/mod.rs",
        "None => body.names(logged),",
        "None => Ok(Default::default()),",
    ),
    (
        "the signer of the entry",
        "log/entry.rs",
        "            _signer: self.names_signer(logged.signer)?,\n",
        "",
    ),
    (
        "the content of the entry",
        "log/entry.rs",
        "            _content: self.names_content(logged)?,\n",
        "",
    ),
    // Certificates.
    (
        "the chain",
        "certificate/mod.rs",
        "    let chain = verify_chain(&leaf, presented.untrusted, authorities, times, Purpose::CodeSigning)?;\n",
        "",
    ),
    ("the required SCT", "certificate/mod.rs", ".require(sct)?", ""),
    (
        "the SCTs, by default",
        "certificate/mod.rs",
        "sct::verify(&leaf, &chain, presented.detached_sct, &root.ct_logs)?.require(sct)?",
        "Default::default()",
    ),
    (
        "the purpose of the certificate",
        "certificate/chain.rs",
        "        _purpose: check_purpose(leaf, purpose)?,\n",
        "",
    ),
    (
        "the validity of the certificate",
        "certificate/chain.rs",
        "        _validity: within(leaf, times)?,\n",
        "",
    ),
    (
        "the leaf of the chain",
        "certificate/chain.rs",
        "    let checked = check_leaf(leaf, times, purpose)?;\n",
        "",
    ),
    (
        "the issuers of the chain",
        "certificate/chain.rs",
        "        let checked = path.check(time)?;\n",
        "",
    ),
    (
        "the validity of the authority",
        "certificate/chain.rs",
        "            _authority: self.check_authority(time)?,\n",
        "",
    ),
    // Timestamps.
    (
        "the message imprint",
        "timestamp/mod.rs",
        "    let imprint = info.imprint.check(signature)?;\n",
        "",
    ),
    (
        "the signed attributes",
        "timestamp/mod.rs",
        "    let attributes = token.check_attributes()?;\n",
        "",
    ),
    (
        "the signature of the timestamp",
        "timestamp/signer.rs",
        "        _signature: check_signature(certificate, token, authority)?,\n",
        "",
    ),
    (
        "the signing certificate of the timestamp",
        "timestamp/signer.rs",
        "        _signing_certificate: named,\n",
        "",
    ),
    ("the chain of the timestamp's signer", "timestamp/signer.rs", "        _chain: chain,\n", ""),
    (
        "the usage of the timestamp's signer",
        "timestamp/signer.rs",
        "        _usage: check_usage(certificate)?,\n",
        "",
    ),
];

/// A copy of this crate's sources, and the dependencies that it is compiled with.
struct CrateCopy<'a> {
    folder: PathBuf,
    dependencies: &'a [String],
}

impl<'a> CrateCopy<'a> {
    fn new(number: usize, dependencies: &'a [String]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("deletions-{number}"));
        let _ = fs::remove_dir_all(&folder);
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &folder.join("src"));
        Self { folder, dependencies }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join("src").join(file)
    }

    /// Runs the type checker. Warnings are off, so that types alone decide.
    fn check(&self) -> Output {
        Command::new("rustc")
            .args(["--crate-name", "sealgate_core", "--crate-type", "lib", "--edition", "2024"])
            .args(["--cap-lints", "allow", "--emit", "metadata", "--out-dir"])
            .arg(&self.folder)
            .arg("-C")
            .arg(format!("incremental={}", self.folder.join("incremental").display()))
            .args(self.dependencies)
            .arg(self.path("lib.rs"))
            .output()
            .unwrap()
    }
}

/// The arguments of the compiler that name this crate's dependencies. Cargo compiles those that
/// are not compiled yet.
fn dependencies() -> Vec<String> {
    let metadata = cargo(&["metadata", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let is_ours = |node: &&Value| node["id"].as_str().unwrap().contains("/sealgate-core#");
    let ours = nodes.iter().find(is_ours).unwrap()["deps"].as_array().unwrap();

    let messages = cargo(&["build", "-p", "sealgate-core", "--lib", "--message-format", "json"]);
    let mut arguments = Vec::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line).unwrap();
        let files = message["filenames"].as_array().into_iter().flatten();
        let file = files.filter_map(Value::as_str).find(|file| {
            ["rlib", "so", "dylib", "dll"].iter().any(|end| file.ends_with(&format!(".{end}")))
        });
        let dependency = ours.iter().find(|dependency| dependency["pkg"] == message["package_id"]);
        let Some(file) = file.filter(|_| message["reason"] == "compiler-artifact") else {
            continue;
        };
        if let Some(dependency) = dependency {
            let name = dependency["name"].as_str().unwrap();
            arguments.extend(["--extern".to_owned(), format!("{name}={file}")]);
        }
        let folder = Path::new(file).parent().unwrap().display();
        arguments.extend(["-L".to_owned(), format!("dependency={folder}")]);
    }
    arguments
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Applies one deletion; none if the copy then does not compile.
fn failure(copy: &CrateCopy, (check, file, piece, replacement): &Row) -> Option<String> {
    let path = copy.path(file);
    let source = fs::read_to_string(&path).unwrap();
    let found = source.matches(piece).count();
    if found != 1 {
        return Some(format!("{check}: {found} times in {file}: {piece}"));
    }
    fs::write(&path, source.replacen(piece, replacement, 1)).unwrap();
    let output = copy.check();
    fs::write(&path, source).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // An error of types or names has a code, one of syntax has none.
    let refused = !output.status.success() && errors.contains("error[E");
    (!refused).then(|| format!("{check}: without `{piece}` in {file}: {errors}"))
}

#[test]
fn a_verifier_without_a_check_does_not_compile() {
    let dependencies = dependencies();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let dependencies = &dependencies;
        let work = move |worker: usize| {
            let copy = CrateCopy::new(worker, dependencies);
            let unchanged = copy.check();
            let errors = String::from_utf8_lossy(&unchanged.stderr);
            assert!(unchanged.status.success(), "the unchanged copy: {errors}");
            let rows = DELETIONS.iter().skip(worker).step_by(workers);
            rows.filter_map(|row| failure(&copy, row)).collect::<Vec<_>>()
        };
        let running: Vec<_> =
            (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
