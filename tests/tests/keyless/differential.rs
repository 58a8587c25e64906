//! Differential test: the same mutated bundles for sigstore-go and Sealgate. Every difference must
//! be listed in the table below, or is a bug.
//!
//! `SEALGATE_MUTATIONS=5000` sets the number of mutations, `SEALGATE_SEED=1000000` the seed.

use sealgate_tests::mutate::{Random, mutate};
use sealgate_tests::oracle;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::sigstore;
use serde_json::{Value, json};

const ADA: &str = "ada@example.com";
/// Number of mutations in a test run.
const MUTATIONS: u64 = 400;

/// Mutated bundle and both results.
struct Case {
    what: String,
    ours: String,
    theirs: String,
}

/// Intended difference: a part of each result, and the reason.
struct Explained {
    ours: &'static str,
    theirs: &'static str,
    #[allow(dead_code, reason = "it is for who reads the table")]
    why: &'static str,
}

const REBUILT: &str = "sigstore-go builds the entry of a Rekor v2 log anew from the bundle, and \
                       takes root and size from the checkpoint, so that it never looks at these \
                       fields. We do both: what is there must be right";

const EXPLAINED: &[Explained] = &[
    Explained { ours: "[log-other-kind]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-proof-root]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-checkpoint-size]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-proof-shape]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-index]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-number]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-kind]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-signer]", theirs: "good", why: REBUILT },
    Explained { ours: "[log-digest]", theirs: "good", why: REBUILT },
    Explained { ours: "[bad-field]", theirs: "good", why: REBUILT },
    Explained {
        ours: "[timestamp-content]",
        theirs: "good",
        why: "RFC 3161 names the one type of content that a timestamp may have",
    },
    Explained {
        ours: "good",
        theirs: "unknown field",
        why: "a field that nobody knows says nothing; later versions of the format may add some",
    },
    Explained {
        ours: "good",
        theirs: "duplicate tlog entries found",
        why: "an entry that stands twice counts once",
    },
    Explained {
        ours: "good",
        theirs: "missing verification material",
        why: "without the digest in the bundle we compare with that of the file itself",
    },
];

#[test]
fn changed_bundles_are_judged_as_sigstore_go_judges_them() {
    let count = number("SEALGATE_MUTATIONS").unwrap_or(MUTATIONS);
    let first = number("SEALGATE_SEED").unwrap_or_default();
    let sandbox = Sandbox::new();
    let bundles = genuine(&sandbox);
    let whats: Vec<String> = (first..first + count)
        .map(|seed| write_case(&sandbox, &bundles, seed, seed - first))
        .collect();
    let theirs = ask_sigstore_go(&sandbox, count);
    let ours = ask_sealgate(&sandbox, count);
    let cases = whats.into_iter().zip(ours).zip(theirs);
    let cases: Vec<Case> =
        cases.map(|((what, ours), theirs)| Case { what, ours, theirs }).collect();
    let accepted = cases.iter().filter(|case| case.ours == "good").count();
    println!("{count} changed bundles: {accepted} still verify, {} do not", cases.len() - accepted);
    let unexplained: Vec<String> = cases
        .iter()
        .filter(|case| (case.ours == "good") != (case.theirs == "good") && !explained(case))
        .map(|case| format!("{}\n  ours:   {}\n  theirs: {}", case.what, case.ours, case.theirs))
        .collect();
    assert!(unexplained.is_empty(), "{}:\n{}", unexplained.len(), unexplained.join("\n"));
    // Accepting or refusing everything would be no comparison.
    assert!(accepted as u64 > count / 100 && (accepted as u64) < count / 2, "{accepted}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn explained(case: &Case) -> bool {
    let says = |said: &str, part: &str| said == part || (part != "good" && said.contains(part));
    EXPLAINED.iter().any(|known| says(&case.ours, known.ours) && says(&case.theirs, known.theirs))
}

/// A message signature and an attestation, each with a second one as donor; all by one signer, over
/// one file each.
fn genuine(sandbox: &Sandbox) -> [[Value; 2]; 2] {
    sandbox.write("app.txt", "an artifact\n");
    sandbox.write("other.txt", "another artifact\n");
    sandbox.write("predicate.json", json!({ "key": "value" }).to_string());
    let sign = |verb: &str, file: &str| {
        let sigstore = sigstore::shared();
        let bundle = format!("{verb}-{file}.json");
        let root = format!("--trusted-root={}", sigstore.trusted_root().display());
        let config = format!("--signing-config={}", sigstore.signing_config().display());
        let token = sigstore.token(ADA);
        let out = format!("--bundle={bundle}");
        let mut words = vec![verb, "-y", &root, &config, "--identity-token", &token, &out];
        if verb == "attest-blob" {
            words.extend(["--predicate=predicate.json", "--type=https://example.com/p"]);
        }
        words.push(file);
        sandbox.cosign(&words).ok();
        serde_json::from_str(&sandbox.read(&bundle)).expect("a bundle")
    };
    ["sign-blob", "attest-blob"].map(|verb| ["app.txt", "other.txt"].map(|file| sign(verb, file)))
}

/// Writes mutated bundle `number`; returns a description of the mutation.
fn write_case(sandbox: &Sandbox, bundles: &[[Value; 2]; 2], seed: u64, number: u64) -> String {
    let [document, donor] = &bundles[usize::from(seed.is_multiple_of(3))];
    let (text, what) = mutate(document, donor, &mut Random::new(seed));
    sandbox.write(&format!("case-{number}.json"), text);
    format!("seed {seed}: {what}")
}

fn ask_sigstore_go(sandbox: &Sandbox, count: u64) -> Vec<String> {
    let sigstore = sigstore::shared();
    let question = |number| {
        json!({
            "Bundle": sandbox.path(&format!("case-{number}.json")),
            "Artifact": sandbox.path("app.txt"),
            "Issuer": sigstore.issuer.people(),
            "Subject": ADA,
        })
    };
    oracle::judge_bundles(&sigstore.trusted_root(), (0..count).map(question))
}

/// Results in the oracle's form: `good`, or `bad` and the reason. Four processes at a time.
fn ask_sealgate(sandbox: &Sandbox, count: u64) -> Vec<String> {
    let mut answers = vec![String::new(); usize::try_from(count).expect("a number of files")];
    let share = answers.len().div_ceil(4).max(1);
    std::thread::scope(|scope| {
        for (part, chunk) in answers.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (offset, answer) in chunk.iter_mut().enumerate() {
                    *answer = ask_once(sandbox, part * share + offset);
                }
            });
        }
    });
    answers
}

fn ask_once(sandbox: &Sandbox, number: usize) -> String {
    let sigstore = sigstore::shared();
    let run = sandbox.sealgate(&[
        "verify-blob",
        &format!("--bundle=case-{number}.json"),
        &format!("--trusted-root={}", sigstore.trusted_root().display()),
        &format!("--certificate-oidc-issuer={}", sigstore.issuer.people()),
        &format!("--certificate-identity={ADA}"),
        "app.txt",
    ]);
    match run.code {
        0 => "good".to_owned(),
        1 => format!("bad: {}", run.stderr.replace('\n', " ")),
        _ => panic!("{}", run.report()),
    }
}
