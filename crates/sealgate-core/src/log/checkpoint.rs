//! Checkpoints: a tree's origin, size and root hash as a signed note (C2SP tlog-checkpoint and
//! signed-note, and Rekor v1's variant of it). Parsing and the log's own signature; cosignatures
//! are ignored.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::Hash;
use crate::key::KeyAlgorithm;
use crate::reject::{Foreign, LogReject};
use crate::trust::TransparencyLog;

/// The maximum size of a note in bytes.
const MAX_NOTE: usize = 64 << 10;
const MAX_EXTENSIONS: usize = 16;
const MAX_SIGNATURES: usize = 64;
/// The maximum number of signature lines with the log's hint that are tried: a genuine note has
/// one.
const MAX_TRIED: usize = 4;
/// Algorithm byte of Ed25519 in the key id of a signed note.
const ED25519: &[u8] = b"\n\x01";
const ED25519_KEY: usize = 32;

/// A checkpoint, parsed but unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint<'a> {
    /// The origin line, which names the log.
    pub origin: &'a str,
    /// The number of entries.
    pub size: u64,
    /// The root hash.
    pub root: Hash,
    signed: &'a str,
    signatures: Vec<Line<'a>>,
}

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    name: &'a str,
    hint: [u8; 4],
    signature: Vec<u8>,
}

/// A checkpoint whose signature and origin were verified. Made by [`Checkpoint::verify`] only.
pub(super) struct VerifiedCheckpoint {
    size: u64,
    root: Hash,
    _origin: OriginProof,
}

/// Proof that the checkpoint's origin is one of the log's.
struct OriginProof(());

/// Proof that a verified checkpoint has a given size and root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckpointProof {
    size: u64,
    root: Hash,
}

/// Form of the origin line in a log's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Rekor v1: `<name> - <tree id>`, signed as `<name>`; the name is not that of its address
    /// in every installation, the key alone decides.
    Rekor1,
    /// Rekor v2: the host name of its address, or the name that its key id was made with.
    Rekor2,
}

impl<'a> Checkpoint<'a> {
    /// Reads a signed note that is a checkpoint, at most 64 KiB.
    pub fn parse(note: &'a str) -> Result<Self, LogReject> {
        let malformed = LogReject::CheckpointFormat;
        if note.len() > MAX_NOTE {
            return Err(malformed("longer than 64 KiB"));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(malformed("control characters"));
        }
        let at = note.rfind("\n\n").ok_or(malformed("no blank line before its signatures"))?;
        let (signed, lines) = note.split_at_checked(at + 1).unwrap_or_default();
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(malformed("no line break at its end"))?;
        let (origin, size, root) = tree(signed)?;
        Ok(Self { origin, size, root, signed, signatures: signatures(lines)? })
    }

    /// Verifies the log's signature, and that the tree is one of the log's own.
    pub(super) fn verify(
        &self,
        log: &TransparencyLog,
        dialect: Dialect,
    ) -> Result<VerifiedCheckpoint, LogReject> {
        let origin = self.check_origin(log, dialect)?;
        let mut hints = log.checkpoint_key_ids();
        hints.extend(note_key_id(self.origin, log).and_then(|id| id.first_chunk().copied()));
        let ours = |line: &&Line<'_>| hints.contains(&line.hint) && self.is_name(line, dialect);
        let verifies =
            |line: &Line<'_>| log.key.verify(self.signed.as_bytes(), &line.signature).is_ok();
        if self.signatures.iter().filter(ours).take(MAX_TRIED).any(verifies) {
            return Ok(VerifiedCheckpoint { size: self.size, root: self.root, _origin: origin });
        }
        Err(LogReject::CheckpointSignature)
    }

    fn check_origin(
        &self,
        log: &TransparencyLog,
        dialect: Dialect,
    ) -> Result<OriginProof, LogReject> {
        let fits = match dialect {
            Dialect::Rekor1 => match self.origin.rsplit_once(" - ") {
                Some((name, tree)) => !name.is_empty() && is_decimal(tree),
                None => self.origin == log.origin,
            },
            Dialect::Rekor2 => {
                self.origin == log.origin
                    || note_key_id(self.origin, log).is_some_and(|id| id == log.log_id())
            }
        };
        if fits {
            Ok(OriginProof(()))
        } else {
            Err(LogReject::CheckpointOrigin(Foreign::new(self.origin)))
        }
    }

    fn is_name(&self, line: &Line<'_>, dialect: Dialect) -> bool {
        let name = match dialect {
            Dialect::Rekor1 => self.origin.rsplit_once(" - ").map_or(self.origin, |(name, _)| name),
            Dialect::Rekor2 => self.origin,
        };
        line.name == name
    }
}

impl VerifiedCheckpoint {
    /// Compares size and root hash with those of an inclusion proof.
    pub(super) fn of_tree(&self, size: u64, root: Hash) -> Result<CheckpointProof, LogReject> {
        match (self.size == size, self.root == root) {
            (true, true) => Ok(CheckpointProof { size, root }),
            (false, _) => Err(LogReject::CheckpointSize),
            (true, false) => Err(LogReject::CheckpointRoot),
        }
    }
}

/// The key id of an Ed25519 log under the name `origin`: it binds name and key.
fn note_key_id(origin: &str, log: &TransparencyLog) -> Option<Vec<u8>> {
    if log.key.key.algorithm() != KeyAlgorithm::Ed25519 {
        return None;
    }
    let spki = log.key.key.spki_der();
    let raw = spki.get(spki.len().checked_sub(ED25519_KEY)?..)?;
    let named = [origin.as_bytes(), ED25519, raw].concat();
    Some(digest(&SHA256, &named).as_ref().to_vec())
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Origin, size and root of the signed part.
fn tree(signed: &str) -> Result<(&str, u64, Hash), LogReject> {
    let malformed = LogReject::CheckpointFormat;
    let mut lines = signed.strip_suffix('\n').unwrap_or(signed).split('\n');
    let origin = lines.next().filter(|line| !line.is_empty()).ok_or(malformed("no origin"))?;
    let size = lines.next().and_then(tree_size).ok_or(malformed("no tree size"))?;
    let root = lines.next().and_then(|line| STANDARD.decode(line).ok());
    let root = root.and_then(|root| root.try_into().ok());
    let root = root.ok_or(malformed("no root hash of 32 bytes"))?;
    for (count, extension) in lines.enumerate() {
        if count >= MAX_EXTENSIONS {
            return Err(malformed("more than 16 extension lines"));
        }
        if extension.is_empty() {
            return Err(malformed("an empty extension line"));
        }
    }
    Ok((origin, size, root))
}

/// A decimal number without leading zeros.
fn tree_size(line: &str) -> Option<u64> {
    let canonical = is_decimal(line) && (line == "0" || !line.starts_with('0'));
    if canonical { line.parse().ok() } else { None }
}

fn signatures(lines: &str) -> Result<Vec<Line<'_>>, LogReject> {
    let mut signatures: Vec<Line<'_>> = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() >= MAX_SIGNATURES {
            return Err(LogReject::CheckpointFormat("more than 64 signatures"));
        }
        let line = signature_line(line);
        let line = line.ok_or(LogReject::CheckpointFormat("a line that is not a signature"))?;
        if !signatures.contains(&line) {
            signatures.push(line);
        }
    }
    Ok(signatures)
}

/// `— <name> <base64 of hint and signature>`.
fn signature_line(line: &str) -> Option<Line<'_>> {
    let (name, bytes) = line.strip_prefix("\u{2014} ")?.rsplit_once(' ')?;
    let bytes = STANDARD.decode(bytes).ok()?;
    let (hint, signature) = bytes.split_first_chunk::<4>()?;
    let usable = !name.is_empty() && !signature.is_empty();
    usable.then(|| Line { name, hint: *hint, signature: signature.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn reads_a_note_with_extensions_and_several_signatures() {
        let note = format!(
            "log.example - 12\n42\n{ROOT}\nTimestamp: 5\n\n\u{2014} a b AAAAAAE=\n\u{2014} c AAAAAQE=\n"
        );
        let checkpoint = Checkpoint::parse(&note).unwrap();
        assert_eq!((checkpoint.origin, checkpoint.size), ("log.example - 12", 42));
        assert_eq!(checkpoint.root, [0; 32]);
        let signatures: Vec<_> =
            checkpoint.signatures.iter().map(|line| (line.name, line.hint)).collect();
        assert_eq!(signatures, [("a b", [0, 0, 0, 0]), ("c", [0, 0, 0, 1])]);
        assert!(checkpoint.signed.ends_with("Timestamp: 5\n"));
    }

    #[test]
    fn refuses_what_is_no_checkpoint() {
        let many = "x\n".repeat(17);
        let signature = "\u{2014} a AAAAAAE=\n";
        for (note, why) in [
            (String::new(), "blank line"),
            (format!("o\n1\n{ROOT}\n"), "blank line"),
            (format!("o\n1\n{ROOT}\n\n"), "line break"),
            (format!("o\n1\n{ROOT}\n\n\u{2014} a AAAAAAE="), "line break"),
            (format!("\n1\n{ROOT}\n\n{signature}"), "origin"),
            (format!("o\n01\n{ROOT}\n\n{signature}"), "size"),
            (format!("o\n+1\n{ROOT}\n\n{signature}"), "size"),
            (format!("o\n18446744073709551616\n{ROOT}\n\n{signature}"), "size"),
            (format!("o\n1\nAAAA\n\n{signature}"), "root"),
            (format!("o\n1\n\n{signature}"), "root"),
            (format!("o\n1\n{ROOT}\n{many}\n{signature}"), "16 extension"),
            (format!("o\n1\n{ROOT}\n\n\n{signature}"), "extension"),
            (format!("o\r\n1\n{ROOT}\n\n{signature}"), "control"),
            (format!("o\n1\n{ROOT}\n\n- a AAAAAAE=\n"), "not a signature"),
            (format!("o\n1\n{ROOT}\n\n\u{2014} a AAAA\n"), "not a signature"),
            (format!("o\n1\n{ROOT}\n\n\u{2014} a\n"), "not a signature"),
            (format!("o\n1\n{ROOT}\n\n{}", signature.repeat(65)), ""),
            ("x".repeat(MAX_NOTE + 1), "longer"),
        ] {
            match Checkpoint::parse(&note) {
                Err(LogReject::CheckpointFormat(said)) => {
                    assert!(!why.is_empty() && said.contains(why), "{said} is not about {why}");
                }
                // The same line many times counts once.
                Ok(checkpoint) => assert!(why.is_empty() && checkpoint.signatures.len() == 1),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(note in "[\\PC\n]{0,200}") {
            let _ = Checkpoint::parse(&note);
        }
    }
}
