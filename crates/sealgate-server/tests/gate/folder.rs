//! Policies that change while the gate serves.

use sealgate_testkit::key::TestKey;

use crate::fixture::{GateFixture, TIMEOUT, gate, policy};

const BROKEN: &str = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\n";

/// Asks about `good` until the denial fits.
async fn until_denial(gate: &GateFixture, good: impl Fn(&str) -> bool) {
    let digest = gate.push("good");
    let start = std::time::Instant::now();
    loop {
        let denial = gate.denial("good", &digest).await;
        if good(&denial) {
            return;
        }
        assert!(start.elapsed() < TIMEOUT, "still: {denial}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_edit_is_applied_and_a_deleted_file_is_gone() {
    let gate = gate(|key| vec![("a.yaml", policy("ours", "**", key))]);
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    gate.ready().await;
    assert_eq!(gate.denial("good", &digest).await, "");
    gate.file("a.yaml", Some(&policy("theirs", "**", &TestKey::p256())));
    until_denial(&gate, |denial| denial.contains("failed policy: theirs")).await;
    gate.file("a.yaml", Some(&policy("ours", "**", &gate.key)));
    until_denial(&gate, str::is_empty).await;
    gate.file("a.yaml", None);
    until_denial(&gate, |denial| denial.contains("no matching policies")).await;
}

#[tokio::test]
async fn a_broken_edit_keeps_the_policy_and_is_reported() {
    let gate = gate(|_| vec![("a.yaml", policy("strict", "**", &TestKey::p256()))]);
    gate.ready().await;
    gate.file("b.yaml", Some("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-policy-controller\ndata:\n  no-match-policy: allow\n"));
    gate.file("a.yaml", Some(BROKEN));
    let text = gate.until("/readyz", |_, text| text.contains("a.yaml")).await;
    assert!(text.contains("last good version"), "{text}");
    let digest = gate.push("good");
    let denial = gate.denial("good", &digest).await;
    assert!(denial.contains("failed policy: strict"), "{denial}");
    gate.file("a.yaml", Some(""));
    gate.until("/readyz", |_, text| text.contains("no documents")).await;
    let denial = gate.denial("good", &digest).await;
    assert!(denial.contains("failed policy: strict"), "{denial}");
    let (_, page) = gate.get("/metrics").await;
    assert!(page.contains("sealgate_policy_problems 1"), "{page}");
    gate.file("a.yaml", None);
    until_denial(&gate, str::is_empty).await;
}

#[tokio::test]
async fn a_gate_that_starts_on_a_broken_file_admits_nothing_until_it_is_corrected() {
    let gate =
        gate(|key| vec![("a.yaml", policy("ours", "**", key)), ("broken.yaml", BROKEN.to_owned())]);
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    let text = gate.until("/readyz", |_, text| text.contains("broken.yaml")).await;
    assert!(text.starts_with("not ready"), "{text}");
    let denial = gate.denial("good", &digest).await;
    assert!(denial.contains("not ready"), "{denial}");
    gate.file("broken.yaml", None);
    gate.ready().await;
    assert_eq!(gate.denial("good", &digest).await, "");
}

/// A lax policy that everything passes, and a strict one whose loss would open the gate.
const LAX: &str = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: lax\nspec:\n  images:\n  - glob: \"**\"\n  authorities:\n  - static:\n      action: pass\n";

#[tokio::test]
async fn a_file_that_turns_into_something_else_keeps_its_policy() {
    let strict = policy("strict", "**", &TestKey::p256());
    let gate = gate(|_| vec![("lax.yaml", LAX.to_owned()), ("strict.yaml", strict.clone())]);
    gate.ready().await;
    let digest = gate.push("app");
    let path = gate.path("strict.yaml");
    let unknown_version = strict.replace("policy.sigstore.dev/v1beta1", "policy.sigstore.dev/v9");
    let unknown_kind = strict.replace("ClusterImagePolicy", "ClusterImagePolicie");
    let another = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: strict\n".to_owned();
    let unparsed = strict.replace("images:", "imagse:");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let becomes: [(&str, &dyn Fn()); 13] = [
        ("an error page", &|| write("404: Not Found")),
        ("HTML", &|| write("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n")),
        ("a Git LFS pointer", &|| {
            write("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n");
        }),
        ("an empty object", &|| write("{}")),
        ("plain text", &|| write("see the wiki")),
        ("nothing", &|| write("")),
        ("an unknown version", &|| write(&unknown_version)),
        ("an unknown kind", &|| write(&unknown_kind)),
        ("another object", &|| write(&another)),
        ("a policy that is not read", &|| write(&unparsed)),
        ("bytes", &|| std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap()),
        ("a folder", &|| {
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }),
        ("a link to nothing", &|| {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("gone", &path).unwrap();
        }),
    ];
    for (what, turn) in becomes {
        turn();
        let text = gate.until("/readyz", |_, text| text.contains("strict.yaml: ")).await;
        assert!(text.contains("last good version"), "{what}: {text}");
        let denial = gate.denial("app", &digest).await;
        assert!(denial.contains("failed policy: strict"), "{what}: {denial}");
        match path.is_dir() {
            true => std::fs::remove_dir(&path).unwrap(),
            false => std::fs::remove_file(&path).unwrap(),
        }
        write(&strict);
        let corrected = |text: &str| text.contains("2 policies") && !text.contains("strict.yaml");
        gate.until("/readyz", |_, text| corrected(text)).await;
    }
    // Deleting the file is how its policy is removed.
    std::fs::remove_file(&path).unwrap();
    until_denial(&gate, str::is_empty).await;
}

#[tokio::test]
async fn keys_come_from_secrets_of_the_folder() {
    let reference = "apiVersion: policy.sigstore.dev/v1alpha1\nkind: ClusterImagePolicy\nmetadata:\n  name: by-secret\nspec:\n  images:\n  - glob: \"**\"\n  authorities:\n  - key:\n      secretRef:\n        name: team\n";
    let gate = gate(|_| vec![("policy.yaml", reference.to_owned())]);
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    gate.ready().await;
    let denial = gate.denial("good", &digest).await;
    assert!(denial.contains("not found"), "{denial}");
    let key = sealgate_engine::ports::Signer::public_key(&gate.key).to_pem();
    let key: String = key.lines().map(|line| format!("    {line}\n")).collect();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: team\n  namespace: cosign-system\nstringData:\n  cosign.pub: |\n{key}"
    );
    gate.file("secret.yaml", Some(&secret));
    until_denial(&gate, str::is_empty).await;
}

#[tokio::test]
async fn a_pattern_that_no_image_can_match_is_a_problem_of_its_file() {
    let gate = gate(|key| vec![("a.yaml", policy("ours", "**", key))]);
    gate.ready().await;
    let scheme = policy("ours", "**", &gate.key).replace("registry.test", "https://registry.test");
    gate.file("a.yaml", Some(&scheme));
    let text = gate.until("/readyz", |_, text| text.contains("a.yaml: ")).await;
    assert!(text.contains("an image name has no scheme; write registry.test/**"), "{text}");
    assert!(text.contains("last good version"), "{text}");
}

#[tokio::test]
async fn a_policy_without_authorities_is_a_problem() {
    let without = LAX.split("  authorities:").next().unwrap().to_owned();
    let gate = gate(|_| vec![("a.yaml", without)]);
    gate.ready().await;
    let (_, text) = gate.get("/readyz").await;
    assert!(text.contains("a.yaml: lax: missing field(s): spec.authorities"), "{text}");
}

#[tokio::test]
async fn objects_of_a_cluster_have_no_effect_and_a_warning() {
    let gate = gate(|key| vec![("a.yaml", policy("ours", "**", key))]);
    gate.ready().await;
    let object = serde_json::json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "theirs" },
        "spec": { "images": [{ "glob": "**" }],
            "authorities": [{ "static": { "action": "pass" } }] },
    });
    let mut review = crate::fixture::review("unused");
    review["request"]["kind"] = serde_json::json!({
        "group": "policy.sigstore.dev", "version": "v1beta1", "kind": "ClusterImagePolicy" });
    review["request"]["object"] = object;
    let (status, text) = gate.post("/validate-policies", review.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let warning = "this gate reads its policies from a folder: this object has no effect";
    assert_eq!(answer["response"]["warnings"], serde_json::json!([warning]));
    let (_, ready) = gate.get("/readyz").await;
    assert!(ready.contains("1 policy from a folder"), "{ready}");
}
