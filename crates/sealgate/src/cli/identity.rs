//! The identities that may have signed: cosign's `--certificate-*` flags.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use sealgate_core::identity::{Claim, IdentityAuthority, IdentityMatcher, Pattern, Wanted};

use crate::failure::CliError;
use crate::terminal;

/// The flags as typed. An empty value counts as not given, as in cosign.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct IdentityFlags {
    /// Identity that the certificate must contain; if repeated, one match is enough
    #[arg(long, alias = "cert-identity", value_name = "IDENTITY")]
    certificate_identity: Vec<String>,

    /// Regular expression (Go syntax) for the identity; if repeated, one match is enough
    #[arg(long, alias = "cert-identity-regexp", value_name = "REGEXP")]
    certificate_identity_regexp: Vec<String>,

    /// OIDC issuer that the certificate must contain; if repeated, one match is enough
    #[arg(long, alias = "cert-oidc-issuer", value_name = "URL")]
    certificate_oidc_issuer: Vec<String>,

    /// Regular expression (Go syntax) for the OIDC issuer; if repeated, one match is enough
    #[arg(long, alias = "cert-oidc-issuer-regexp", value_name = "REGEXP")]
    certificate_oidc_issuer_regexp: Vec<String>,

    /// Name of the GitHub workflow that the certificate must contain
    #[arg(long, value_name = "NAME")]
    certificate_github_workflow_name: Option<String>,

    /// Git ref of the GitHub workflow run that the certificate must contain
    #[arg(long, value_name = "REF")]
    certificate_github_workflow_ref: Option<String>,

    /// Repository of the GitHub workflow run that the certificate must contain
    #[arg(long, value_name = "OWNER/NAME")]
    certificate_github_workflow_repository: Option<String>,

    /// Commit of the GitHub workflow run that the certificate must contain
    #[arg(long, value_name = "SHA")]
    certificate_github_workflow_sha: Option<String>,

    /// Event that triggered the GitHub workflow run, which the certificate must contain
    #[arg(long, value_name = "EVENT")]
    certificate_github_workflow_trigger: Option<String>,
}

impl IdentityFlags {
    /// The number of ways in which an identity is given, of the text and the regular expression. An
    /// issuer alone counts as none.
    pub(crate) fn manners(&self) -> usize {
        [&self.certificate_identity, &self.certificate_identity_regexp]
            .into_iter()
            .filter(|values| texts(values).next().is_some())
            .count()
    }

    /// The flags about certificates, with whether each was given.
    pub(crate) fn given(&self) -> Vec<(&'static str, bool)> {
        let several = [
            ("--certificate-identity", &self.certificate_identity),
            ("--certificate-identity-regexp", &self.certificate_identity_regexp),
            ("--certificate-oidc-issuer", &self.certificate_oidc_issuer),
            ("--certificate-oidc-issuer-regexp", &self.certificate_oidc_issuer_regexp),
        ];
        let several = several.map(|(flag, values)| (flag, texts(values).next().is_some()));
        let claims = self.claims().map(|(_, flag, value)| (flag, value.is_some()));
        several.into_iter().chain(claims).collect()
    }

    /// The authority that the flags describe.
    pub(crate) fn authority(&self) -> Result<IdentityAuthority, CliError> {
        let subjects = self.subjects()?;
        let issuers = self.issuers()?;
        if subjects.len() > 1 && issuers.len() > 1 {
            return Err(CliError::new("several identities and several issuers were given")
                .note("it is ambiguous which identity belongs to which issuer: verify once for each issuer"));
        }
        let claims: BTreeMap<_, _> = self
            .claims()
            .into_iter()
            .filter_map(|(claim, _, value)| Some((claim, value?.to_owned())))
            .collect();
        let mut identities = Vec::new();
        for subject in &subjects {
            identities.extend(issuers.iter().map(|issuer| IdentityMatcher {
                issuer: Some(issuer.clone()),
                subject: Some(subject.clone()),
                claims: claims.clone(),
            }));
        }
        let warnings: BTreeSet<_> = identities.iter().flat_map(IdentityMatcher::warnings).collect();
        warnings.iter().for_each(terminal::warn);
        Ok(IdentityAuthority { identities })
    }

    fn subjects(&self) -> Result<Vec<Wanted>, CliError> {
        let (exact, regexps) = (&self.certificate_identity, &self.certificate_identity_regexp);
        let subjects = wanted("subject", exact, regexps)?;
        match subjects.is_empty() {
            true => Err(required("--certificate-identity", "--certificate-identity-regexp")),
            false => Ok(subjects),
        }
    }

    /// The issuers. Where both an issuer and an expression are given, cosign requires both: the
    /// issuer must match the expression.
    fn issuers(&self) -> Result<Vec<Wanted>, CliError> {
        let (exact, regexps) =
            (&self.certificate_oidc_issuer, &self.certificate_oidc_issuer_regexp);
        let issuers = wanted("issuer", exact, regexps)?;
        let of_kind = |exactly: bool| {
            issuers.iter().filter(move |one| matches!(one, Wanted::Exactly(_)) == exactly)
        };
        let fits = |text: &str| of_kind(false).any(|expression| expression.matches(text));
        if issuers.is_empty() {
            return Err(required("--certificate-oidc-issuer", "--certificate-oidc-issuer-regexp"));
        }
        if of_kind(true).next().is_none() || of_kind(false).next().is_none() {
            return Ok(issuers);
        }
        let both: Vec<_> = of_kind(true)
            .filter(|one| matches!(one, Wanted::Exactly(text) if fits(text)))
            .cloned()
            .collect();
        match both.is_empty() {
            true => Err(CliError::new(
                "--certificate-oidc-issuer does not match --certificate-oidc-issuer-regexp",
            )
            .note(
                "where both are given, both must match, and here no issuer can: give one of them",
            )),
            false => Ok(both),
        }
    }

    fn claims(&self) -> [(Claim, &'static str, Option<&str>); 5] {
        [
            (
                Claim::GithubWorkflowName,
                "--certificate-github-workflow-name",
                non_empty(&self.certificate_github_workflow_name),
            ),
            (
                Claim::GithubWorkflowRef,
                "--certificate-github-workflow-ref",
                non_empty(&self.certificate_github_workflow_ref),
            ),
            (
                Claim::GithubWorkflowRepository,
                "--certificate-github-workflow-repository",
                non_empty(&self.certificate_github_workflow_repository),
            ),
            (
                Claim::GithubWorkflowSha,
                "--certificate-github-workflow-sha",
                non_empty(&self.certificate_github_workflow_sha),
            ),
            (
                Claim::GithubWorkflowTrigger,
                "--certificate-github-workflow-trigger",
                non_empty(&self.certificate_github_workflow_trigger),
            ),
        ]
    }
}

fn non_empty(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

fn texts(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().map(String::as_str).filter(|text| !text.is_empty())
}

fn wanted(what: &str, exact: &[String], regexps: &[String]) -> Result<Vec<Wanted>, CliError> {
    let mut wanted: Vec<_> = texts(exact).map(|text| Wanted::Exactly(text.to_owned())).collect();
    for text in texts(regexps) {
        let pattern = Pattern::new(text).map_err(|error| {
            CliError::new(format!("malformed {what} in identity: {text} : {error}"))
        })?;
        wanted.push(Wanted::Matching(pattern));
    }
    Ok(wanted)
}

fn required(flag: &str, regexp: &str) -> CliError {
    CliError::new(format!("{flag} or {regexp} is required for verification in keyless mode"))
        .note("say who may have signed: an identity and its issuer, or a key with --key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(identities: &[&str], issuers: &[&str]) -> IdentityFlags {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        IdentityFlags {
            certificate_identity: owned(identities),
            certificate_oidc_issuer: owned(issuers),
            ..IdentityFlags::default()
        }
    }

    #[test]
    fn an_identity_and_an_issuer_are_needed() {
        let message = |flags: IdentityFlags| flags.authority().unwrap_err().message;
        let first = "--certificate-identity or --certificate-identity-regexp is required for verification in keyless mode";
        let second = "--certificate-oidc-issuer or --certificate-oidc-issuer-regexp is required for verification in keyless mode";
        assert_eq!(message(flags(&[], &["i"])), first);
        assert_eq!(message(flags(&[""], &["i"])), first);
        assert_eq!(message(flags(&["a"], &[])), second);
        assert!(flags(&["a"], &["i"]).authority().is_ok());
    }

    #[test]
    fn several_identities_are_each_enough_but_never_mixed() {
        let wanted = flags(&["a", "b"], &["i"]).authority().unwrap();
        let issuer = Some(Wanted::Exactly("i".to_owned()));
        assert_eq!(wanted.identities.len(), 2);
        assert!(wanted.identities.iter().all(|one| one.issuer == issuer));
        assert_eq!(flags(&["a"], &["i", "j"]).authority().unwrap().identities.len(), 2);
        assert!(flags(&["a", "b"], &["i", "j"]).authority().is_err());
    }

    #[test]
    fn an_issuer_and_an_expression_must_both_hold() {
        let both = |expression: &str| IdentityFlags {
            certificate_oidc_issuer_regexp: vec![expression.to_owned()],
            ..flags(&["a"], &["https://issuer.example"])
        };
        let wanted = both("^https://issuer[.]").authority().unwrap();
        let exactly = Some(Wanted::Exactly("https://issuer.example".to_owned()));
        assert_eq!(wanted.identities.len(), 1);
        assert_eq!(wanted.identities.first().unwrap().issuer, exactly);
        assert!(both("^https://other$").authority().is_err());
    }

    #[test]
    fn expressions_that_are_none_are_told_in_cosigns_words() {
        let bad = IdentityFlags {
            certificate_identity_regexp: vec!["a(".to_owned()],
            ..flags(&[], &["i"])
        };
        let message = bad.authority().unwrap_err().message;
        assert!(
            message.starts_with("malformed subject in identity: a( : error parsing regexp: "),
            "{message}"
        );
    }

    #[test]
    fn claims_that_are_empty_say_nothing() {
        let with = |value: &str| IdentityFlags {
            certificate_github_workflow_name: Some(value.to_owned()),
            ..flags(&["a"], &["i"])
        };
        let claims = |flags: IdentityFlags| flags.authority().unwrap().identities.remove(0).claims;
        assert!(claims(with("")).is_empty());
        assert_eq!(claims(with("CI")).get(&Claim::GithubWorkflowName).unwrap(), "CI");
        assert!(with("CI").given().contains(&("--certificate-github-workflow-name", true)));
    }
}
