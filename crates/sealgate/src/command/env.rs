//! `env`: prints the environment variables that the program reads, and their values.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::values::{BOOL, go_bool};
use crate::failure::Outcome;
use crate::output::{self, Format};
use crate::session::Session;

/// Print environment variables and their values
#[derive(Args, Debug)]
pub(crate) struct EnvArgs {
    /// Say what each is for
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    show_descriptions: Option<bool>,

    /// Show passwords and tokens, too
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    show_sensitive_values: Option<bool>,

    /// How to print them
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

/// An environment variable that the program reads.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) expects: &'static str,
    pub(crate) sensitive: bool,
}

const fn variable(name: &'static str, meaning: &'static str, expects: &'static str) -> Variable {
    Variable { name, meaning, expects, sensitive: false }
}

const fn secret(name: &'static str, meaning: &'static str, expects: &'static str) -> Variable {
    Variable { name, meaning, expects, sensitive: true }
}

/// The variables that the program reads; each flag has one more, `COSIGN_<FLAG>`.
pub(crate) const VARIABLES: [Variable; 41] = [
    secret(
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "is what a job of GitHub Actions gets its identity token with",
        "text",
    ),
    variable(
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "is where a job of GitHub Actions gets its identity token",
        "a URL",
    ),
    variable(
        "ALL_PROXY",
        "is the proxy where HTTPS_PROXY or HTTP_PROXY is not set",
        "a URL or HOST:PORT",
    ),
    variable(
        "BROWSER",
        "says that there is a browser to log in with, without a screen too",
        "a program",
    ),
    secret(
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "is what a job of Buildkite gets its identity token with",
        "text",
    ),
    variable(
        "BUILDKITE_AGENT_ENDPOINT",
        "is Buildkite's agent API instead of the public one",
        "a URL",
    ),
    variable(
        "BUILDKITE_JOB_ID",
        "is the job of Buildkite that the identity token is for",
        "a job's id",
    ),
    variable(
        "CIRCLECI",
        "says that this is a job of CircleCI, which gives identity tokens",
        "true",
    ),
    secret(
        "CIRCLE_OIDC_TOKEN_V2",
        "is CircleCI's identity token, where its program is missing",
        "an identity token",
    ),
    variable(
        "COSIGN_DOCKER_MEDIA_TYPES",
        "makes new legacy signature images Docker's kind instead of OCI's",
        "1 or 0 (default)",
    ),
    variable(
        "COSIGN_MAX_ATTACHMENT_SIZE",
        "is the largest signature or bundle that is read from a registry",
        "a size such as 1MiB (default)",
    ),
    secret("COSIGN_PASSWORD", "is the password of private keys", "text"),
    variable(
        "COSIGN_REPOSITORY",
        "is where signatures are stored and looked for instead of beside the image",
        "a repository, registry/path",
    ),
    variable("DISPLAY", "says that there is a screen for a browser to log in with", "an X display"),
    variable("DOCKER_CONFIG", "is the folder of docker's config.json", "a folder"),
    variable(
        "GCE_METADATA_HOST",
        "is Google's metadata server, and says that there is one",
        "a host, HOST:PORT",
    ),
    variable(
        "GITHUB_ACTIONS",
        "says that this is a job of GitHub Actions, which could give a token",
        "true",
    ),
    variable("GITLAB_CI", "says that this is a job of GitLab, which could give a token", "true"),
    variable(
        "GOOGLE_SERVICE_ACCOUNT_NAME",
        "is the account of Google's that an identity token is for",
        "an e-mail address",
    ),
    variable("HOME", "holds .docker/config.json, .kube/config and .sigstore/root", "a folder"),
    variable("HTTPS_PROXY", "is the proxy for registries and services", "a URL or HOST:PORT"),
    variable("HTTP_PROXY", "is the proxy for those without TLS", "a URL or HOST:PORT"),
    variable("KUBECONFIG", "says which cluster k8s:// keys and install mean", "a file"),
    variable(
        "NO_PROXY",
        "names hosts that are reached without proxy, by Go's rules",
        "names, addresses and networks, comma separated",
    ),
    variable(
        "PATH",
        "is where programs are looked for (browsers, credential helpers, circleci)",
        "folders",
    ),
    variable("REGISTRY_AUTH_FILE", "is a containers auth.json with credentials", "a file"),
    variable(
        "REQUEST_METHOD",
        "keeps HTTP_PROXY from being used, as in every CGI program",
        "a word",
    ),
    variable("RUST_LOG", "says which parts tell what they do", "a tracing filter"),
    variable(
        "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
        "is the key of the certificate log instead of the trust root's",
        "a PEM file",
    ),
    secret(
        "SIGSTORE_ID_TOKEN",
        "is the identity token to sign with, where none is given",
        "an identity token",
    ),
    variable(
        "SIGSTORE_REKOR_PUBLIC_KEY",
        "is the key of the transparency log instead of the trust root's",
        "a PEM file",
    ),
    variable(
        "SIGSTORE_ROOT_FILE",
        "holds the certificates of Fulcio instead of the trust root's",
        "a PEM file",
    ),
    variable(
        "SIGSTORE_TSA_CERTIFICATE_FILE",
        "is the chain of the timestamp authority instead of the trust root's",
        "a PEM file",
    ),
    variable(
        "SOURCE_DATE_EPOCH",
        "is the time that is written into signatures instead of now",
        "seconds since 1970",
    ),
    variable(
        "SPIFFE_ENDPOINT_SOCKET",
        "is a file with SPIFFE's token; its socket is not spoken",
        "a file",
    ),
    variable(
        "TUF_MIRROR",
        "is the mirror of the trust root instead of the one of `initialize`",
        "a URL or a folder",
    ),
    variable(
        "TUF_ROOT",
        "is the folder of the trust root's copies, instead of ~/.sigstore/root",
        "a folder",
    ),
    variable(
        "TUF_ROOT_JSON",
        "is the root with which trust in a private mirror begins",
        "a TUF root.json",
    ),
    variable(
        "WAYLAND_DISPLAY",
        "says that there is a screen for a browser to log in with",
        "a Wayland display",
    ),
    variable("WSL_DISTRO_NAME", "says that the browser to log in with is Windows's", "a name"),
    variable("XDG_RUNTIME_DIR", "holds containers/auth.json", "a folder"),
];

/// Variables of other Sigstore programs that users expect to find here.
const FOREIGN: [&str; 3] = ["COSIGN_", "SIGSTORE_", "TUF_"];

pub(crate) fn run(args: EnvArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    if args.output == Format::Json {
        let show = args.show_sensitive_values == Some(true);
        return output::document(session, "env", json!({ "variables": fields(show) }));
    }
    let describe = args.show_descriptions != Some(false);
    let show = args.show_sensitive_values == Some(true);
    for Variable { name, meaning, expects, sensitive } in &VARIABLES {
        if describe {
            session.line(format!("# {name} {meaning}\n# Expects: {expects}"))?;
        }
        let value = std::env::var(name).unwrap_or_default();
        session.line(assignment(name, &value, *sensitive && !show))?;
    }
    let others = others();
    if describe && !others.is_empty() {
        session.line(
            "# The variables below stand for flags (COSIGN_<FLAG>) or belong to other tools.",
        )?;
    }
    others.iter().try_for_each(|(name, value)| session.line(assignment(name, value, !show)))
}

/// The variables that the program reads, and those that are set and belong to flags or other tools.
fn fields(show: bool) -> Vec<Value> {
    let hidden = |value: &str, hide: bool| match value {
        "" => None,
        _ if hide => Some("******".to_owned()),
        value => Some(value.to_owned()),
    };
    let own = VARIABLES.iter().map(|Variable { name, meaning, expects, sensitive }| {
        let value = std::env::var(name).unwrap_or_default();
        let value = hidden(&value, *sensitive && !show);
        json!({ "name": name, "value": value, "meaning": meaning, "expects": expects })
    });
    let others = others().into_iter().map(|(name, value)| {
        json!({ "name": name, "value": hidden(&value, !show), "meaning": null, "expects": null })
    });
    own.chain(others).collect()
}

/// The variables that are set and belong to flags or other tools, by name.
fn others() -> Vec<(String, String)> {
    let mut others: Vec<(String, String)> =
        std::env::vars().filter(|(name, _)| is_other(name)).collect();
    others.sort();
    others
}

fn is_other(name: &str) -> bool {
    FOREIGN.iter().any(|prefix| name.starts_with(prefix))
        && VARIABLES.iter().all(|variable| variable.name != name)
}

fn assignment(name: &str, value: &str, hide: bool) -> String {
    match value {
        "" => format!("{name}="),
        _ if hide => format!("{name}=******"),
        value => format!("{name}={value}"),
    }
}
