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
    /// Print a description of each variable
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    show_descriptions: Option<bool>,

    /// Also show passwords and tokens
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    show_sensitive_values: Option<bool>,

    /// Output format
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
        "is the bearer token with which a GitHub Actions job requests its identity token",
        "text",
    ),
    variable(
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "is the address at which a GitHub Actions job requests its identity token",
        "a URL",
    ),
    variable(
        "ALL_PROXY",
        "is the proxy to use if HTTPS_PROXY or HTTP_PROXY is not set",
        "a URL or HOST:PORT",
    ),
    variable(
        "BROWSER",
        "is a browser for the login, which is also used without a display",
        "a program",
    ),
    secret(
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "is the token with which a Buildkite job requests its identity token",
        "text",
    ),
    variable(
        "BUILDKITE_AGENT_ENDPOINT",
        "is the address of the Buildkite agent API, instead of the public one",
        "a URL",
    ),
    variable("BUILDKITE_JOB_ID", "is the Buildkite job that the identity token is for", "a job ID"),
    variable("CIRCLECI", "indicates a CircleCI job, which can get identity tokens", "true"),
    secret(
        "CIRCLE_OIDC_TOKEN_V2",
        "is the CircleCI identity token, used if the circleci program is not installed",
        "an identity token",
    ),
    variable(
        "COSIGN_DOCKER_MEDIA_TYPES",
        "selects Docker media types instead of OCI media types for new legacy signatures",
        "1 or 0 (default)",
    ),
    variable(
        "COSIGN_MAX_ATTACHMENT_SIZE",
        "is the maximum size of a signature or bundle that is read from a registry",
        "a size such as 1MiB (default)",
    ),
    secret("COSIGN_PASSWORD", "is the password of private keys", "text"),
    variable(
        "COSIGN_REPOSITORY",
        "is the repository in which signatures are stored and looked up, instead of the image's own",
        "a repository, registry/path",
    ),
    variable(
        "DISPLAY",
        "indicates a display, so that a browser can be opened for the login",
        "an X display",
    ),
    variable("DOCKER_CONFIG", "is the folder with Docker's config.json", "a folder"),
    variable(
        "GCE_METADATA_HOST",
        "is the address of Google's metadata server, and indicates that there is one",
        "a host, HOST:PORT",
    ),
    variable(
        "GITHUB_ACTIONS",
        "indicates a GitHub Actions job, which can get an identity token",
        "true",
    ),
    variable("GITLAB_CI", "indicates a GitLab job, which can get an identity token", "true"),
    variable(
        "GOOGLE_SERVICE_ACCOUNT_NAME",
        "is the Google service account that the identity token is for",
        "an e-mail address",
    ),
    variable("HOME", "holds .docker/config.json, .kube/config and .sigstore/root", "a folder"),
    variable(
        "HTTPS_PROXY",
        "is the proxy for HTTPS requests to registries and services",
        "a URL or HOST:PORT",
    ),
    variable(
        "HTTP_PROXY",
        "is the proxy for plain HTTP requests to registries and services",
        "a URL or HOST:PORT",
    ),
    variable("KUBECONFIG", "selects the cluster for k8s:// keys and for install", "a file"),
    variable(
        "NO_PROXY",
        "lists hosts that are contacted without a proxy, following Go's rules",
        "names, addresses and networks, comma separated",
    ),
    variable(
        "PATH",
        "is the search path for programs (browsers, credential helpers, circleci)",
        "folders",
    ),
    variable(
        "REGISTRY_AUTH_FILE",
        "is a file in the auth.json format of containers, with credentials",
        "a file",
    ),
    variable("REQUEST_METHOD", "disables HTTP_PROXY, as in every CGI program", "a word"),
    variable("RUST_LOG", "sets the log level, for each module if needed", "a tracing filter"),
    variable(
        "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
        "is the public key of the CT log, instead of those in the trust root",
        "a PEM file",
    ),
    secret(
        "SIGSTORE_ID_TOKEN",
        "is the identity token for signing, if none is given as a flag",
        "an identity token",
    ),
    variable(
        "SIGSTORE_REKOR_PUBLIC_KEY",
        "is the public key of the transparency log, instead of those in the trust root",
        "a PEM file",
    ),
    variable(
        "SIGSTORE_ROOT_FILE",
        "is the file with Fulcio's certificates, instead of those in the trust root",
        "a PEM file",
    ),
    variable(
        "SIGSTORE_TSA_CERTIFICATE_FILE",
        "is the certificate chain of the timestamp authority, instead of those in the trust root",
        "a PEM file",
    ),
    variable(
        "SOURCE_DATE_EPOCH",
        "is the time to write into signatures, instead of the current time",
        "seconds since 1970",
    ),
    variable(
        "SPIFFE_ENDPOINT_SOCKET",
        "is a file with a SPIFFE token; the socket protocol is not supported",
        "a file",
    ),
    variable(
        "TUF_MIRROR",
        "is the TUF mirror for the trust root, instead of the one chosen with `initialize`",
        "a URL or a folder",
    ),
    variable(
        "TUF_ROOT",
        "is the folder in which trust roots are cached, instead of ~/.sigstore/root",
        "a folder",
    ),
    variable("TUF_ROOT_JSON", "is the initial TUF root of a private mirror", "a TUF root.json"),
    variable(
        "WAYLAND_DISPLAY",
        "indicates a display, so that a browser can be opened for the login",
        "a Wayland display",
    ),
    variable(
        "WSL_DISTRO_NAME",
        "indicates WSL, where the Windows browser is used for the login",
        "a name",
    ),
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
