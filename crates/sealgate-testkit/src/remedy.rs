//! Check that no remedy advises weakening a policy or command.

/// Phrases of weakening advice, in lower case.
const WEAKENING: [&str; 36] = [
    "remove the field",
    "remove it from the policy",
    "remove the policy",
    "delete the policy",
    "change the policy",
    "drop `",
    "drop the",
    "leave the",
    "leave it out",
    "without checking",
    "do not ask",
    "do not require",
    "stop asking",
    "require the value that was signed",
    "no-match-policy",
    "mode: warn",
    "mode warn",
    "warn mode",
    "static: pass",
    "action: pass",
    "exempt",
    "unlabel",
    "--insecure",
    "insecureignore",
    "--allow-insecure",
    "--allow-http",
    "--check-claims",
    "--private-infrastructure",
    "insecure-registries",
    "ignore-tlog",
    "ignore-sct",
    "disable",
    "turn off",
    "switch off",
    "switch it off",
    "skip ",
];

/// Phrase in `remedy` that advises weakening, if any.
pub fn weakens(remedy: &str) -> Option<&'static str> {
    let remedy = remedy.to_lowercase();
    WEAKENING.into_iter().find(|words| remedy.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_that_was_given_once_is_found() {
        for remedy in [
            "remove the field from the policy, or wait for the version that brings it",
            "sign in the format that the policy names, or drop `signatureFormat`",
            "use another image, or change the policy",
            "add the image to a ClusterImagePolicy, or set no-match-policy in config-policy-controller",
            "Leave the hash algorithm out, or name the one that the signer uses.",
            "Sign with `-a key=value`, or do not require the annotation.",
            "Sign with the required value, or require the value that was signed.",
            "Use a trust root that names the certificate log, or do not ask for its promise.",
            "give --registry-cacert FILE; for one without TLS --allow-http-registry",
        ] {
            assert!(weakens(remedy).is_some(), "{remedy}");
        }
        assert_eq!(weakens("Sign again with `-a key=value`."), None);
    }
}
