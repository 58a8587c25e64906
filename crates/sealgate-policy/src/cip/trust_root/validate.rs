//! Validation of TrustRoots, with policy-controller's messages where it has one. Every element of
//! every list is validated (policy-controller reports only the errors of the last element).

use serde_json::Value;

use sealgate_core::trust::{MAX_AUTHORITIES, MAX_LOGS, TrustRoot};

use super::{
    Bytes, CertificateAuthority, DistinguishedName, Keys, Log, Remote, Repository, Spec,
    TrustRootObject, ValidFor,
};
use crate::cip::bounds::{self, MAX_CERTIFICATES, MAX_KEY, MAX_NAME, MAX_TEXT, count, length};
use crate::cip::field_error::{FieldErrors, Level};

/// The maximum size of a `root.json`, in bytes.
pub const MAX_ROOT: usize = 512 * 1024;
/// The maximum size of `mirrorFS`, in bytes: more than an API server stores.
pub const MAX_MIRROR: usize = 2 * 1024 * 1024;
/// The maximum size of all keys and certificates of `sigstoreKeys`, in bytes.
pub const MAX_KEYS_IN_TOTAL: usize = 512 * 1024;
/// The gzip magic number.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The hash algorithms that policy-controller knows; every log in use has the first.
const HASHES: [&str; 6] = ["sha-256", "sha256", "sha-384", "sha384", "sha-512", "sha512"];

/// Validates `object`: errors and warnings. The result is the same with and without defaults filled
/// in. An object that exceeds a bound has that error only.
pub fn validate(object: &TrustRootObject) -> FieldErrors {
    let errors = match within_bounds(&object.spec) {
        Ok(()) => spec(&object.spec),
        Err(excess) => excess,
    };
    errors.via_field("spec")
}

/// Checks the lengths of all lists and texts, before anything in them is parsed.
fn within_bounds(spec: &Spec) -> Result<(), FieldErrors> {
    if let Some(Remote { mirror, targets, trusted_root_target, .. }) = &spec.remote {
        length(mirror, MAX_TEXT, "mirror")
            .and_then(|()| length(targets, MAX_NAME, "targets"))
            .and_then(|()| length(trusted_root_target, MAX_NAME, "trustedRootTarget"))
            .map_err(|error| error.via_field("remote"))?;
    }
    if let Some(Repository { mirror_fs, targets, trusted_root_target, .. }) = &spec.repository {
        length(&mirror_fs.0, MAX_MIRROR, "mirrorFS")
            .and_then(|()| length(targets, MAX_NAME, "targets"))
            .and_then(|()| length(trusted_root_target, MAX_NAME, "trustedRootTarget"))
            .map_err(|error| error.via_field("repository"))?;
    }
    match &spec.sigstore_keys {
        Some(keys) => keys_within_bounds(keys).map_err(|error| error.via_field("sigstoreKeys")),
        None => Ok(()),
    }
}

fn keys_within_bounds(keys: &Keys) -> Result<(), FieldErrors> {
    let mut total = 0;
    for (all, name) in [
        (&keys.certificate_authorities, "certificateAuthorities"),
        (&keys.timestamp_authorities, "timestampAuthorities"),
    ] {
        count(all.len(), MAX_AUTHORITIES, name)?;
        bounds::each(all, name, authority_within_bounds)?;
        total += all.iter().map(|one| one.cert_chain.0.len()).sum::<usize>();
    }
    for (all, name) in [(&keys.t_logs, "tLogs"), (&keys.ct_logs, "ctLogs")] {
        count(all.len(), MAX_LOGS, name)?;
        bounds::each(all, name, log_within_bounds)?;
        total += all.iter().map(|one| one.public_key.0.len()).sum::<usize>();
    }
    if total > MAX_KEYS_IN_TOTAL {
        let message = format!("more than {MAX_KEYS_IN_TOTAL} bytes of keys and certificates");
        return Err(FieldErrors::generic(message, [""]));
    }
    Ok(())
}

fn authority_within_bounds(authority: &CertificateAuthority) -> Result<(), FieldErrors> {
    let DistinguishedName { organization, common_name } = &authority.subject;
    length(organization, MAX_NAME, "organization")
        .and_then(|()| length(common_name, MAX_NAME, "commonName"))
        .map_err(|error| error.via_field("subject"))?;
    length(&authority.uri, MAX_TEXT, "uri")?;
    length(&authority.cert_chain.0, MAX_CERTIFICATES, "certChain")?;
    times_within_bounds(authority.valid_for.as_ref())
}

fn log_within_bounds(log: &Log) -> Result<(), FieldErrors> {
    length(&log.base_url, MAX_TEXT, "baseURL")?;
    length(&log.hash_algorithm, MAX_NAME, "hashAlgorithm")?;
    length(&log.public_key.0, MAX_KEY, "publicKey")?;
    times_within_bounds(log.valid_for.as_ref())
}

fn times_within_bounds(valid_for: Option<&ValidFor>) -> Result<(), FieldErrors> {
    let Some(ValidFor { start, end }) = valid_for else { return Ok(()) };
    length(start, MAX_NAME, "start")
        .and_then(|()| length(end, MAX_NAME, "end"))
        .map_err(|error| error.via_field("validFor"))
}

fn spec(spec: &Spec) -> FieldErrors {
    let given = [spec.remote.is_some(), spec.repository.is_some(), spec.sigstore_keys.is_some()];
    let paths = ["remote", "repository", "sigstoreKeys"];
    let mut errors = match given.iter().filter(|given| **given).count() {
        0 => FieldErrors::missing_one_of(paths),
        1 => FieldErrors::none(),
        _ => FieldErrors::multiple_one_of(paths),
    };
    if let Some(part) = &spec.remote {
        errors.also(remote(part).via_field("remote"));
    }
    if let Some(part) = &spec.repository {
        errors.also(repository(part).via_field("repository"));
    }
    if let Some(part) = &spec.sigstore_keys {
        errors.also(keys(part).via_field("sigstoreKeys"));
    }
    errors
}

fn remote(remote: &Remote) -> FieldErrors {
    let mut errors = root(&remote.root);
    let host = ["https://", "http://"].iter().find_map(|scheme| remote.mirror.strip_prefix(scheme));
    let host = host.and_then(|rest| rest.split(['/', '?', '#']).next());
    if remote.mirror.is_empty() {
        errors.also(FieldErrors::missing(["mirror"]));
    } else if host.is_none_or(|host| host.is_empty() || host.contains('@')) {
        let error = FieldErrors::invalid(&remote.mirror, "mirror");
        errors.also(error.details("want the address of a server, https://…"));
    }
    errors.also(names(&remote.targets, &remote.trusted_root_target));
    errors
}

fn repository(repository: &Repository) -> FieldErrors {
    let mut errors = root(&repository.root);
    if repository.mirror_fs.0.is_empty() {
        errors.also(FieldErrors::missing(["mirrorFS"]));
    } else if !repository.mirror_fs.0.starts_with(&GZIP) {
        let error = FieldErrors::invalid("failed to construct a TUF client", "mirrorFS");
        errors.also(error.details("failed to uncompress: gzip: invalid header"));
    }
    errors.also(names(&repository.targets, &repository.trusted_root_target));
    errors
}

/// Checks whether `root.json` can be the initial root of a TUF client. The client verifies its
/// signatures.
fn root(root: &Bytes) -> FieldErrors {
    if root.0.is_empty() {
        return FieldErrors::missing(["root"]);
    }
    if root.0.len() > MAX_ROOT {
        let error = FieldErrors::invalid("failed to unmarshal", "root");
        return error.details(format!("larger than {MAX_ROOT} bytes"));
    }
    match serde_json::from_slice::<Value>(&root.0) {
        Err(error) => {
            FieldErrors::invalid("failed to unmarshal", "root").details(error.to_string())
        }
        Ok(root) if root.get("signatures").and_then(Value::as_array).is_none_or(Vec::is_empty) => {
            let error = FieldErrors::invalid("missing signatures in root.json", "root");
            error.details("no signatures")
        }
        Ok(_) => FieldErrors::none(),
    }
}

/// Checks values that become parts of a path.
fn names(targets: &str, target: &str) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (value, name) in [(targets, "targets"), (target, "trustedRootTarget")] {
        let relative = |part: &str| part == ".." || part == ".";
        if value.starts_with('/') || value.split('/').any(relative) || value.len() > 256 {
            errors.also(FieldErrors::invalid(value, name).details("want a relative path"));
        }
    }
    errors
}

fn keys(keys: &Keys) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let lists = [
        keys.certificate_authorities.is_empty(),
        keys.timestamp_authorities.is_empty(),
        keys.t_logs.is_empty(),
        keys.ct_logs.is_empty(),
    ];
    if lists.iter().all(|empty| *empty) {
        errors
            .also(FieldErrors::missing_one_of(["certificateAuthorities", "timestampAuthorities"]));
    }
    for (all, name) in [
        (&keys.certificate_authorities, "certificateAuthorities"),
        (&keys.timestamp_authorities, "timestampAuthorities"),
    ] {
        for (index, one) in all.iter().enumerate() {
            errors.also(authority(one).via_field_index(name, index));
        }
    }
    for (all, name) in [(&keys.t_logs, "tLogs"), (&keys.ct_logs, "ctLogs")] {
        for (index, one) in all.iter().enumerate() {
            errors.also(log(one).via_field_index(name, index));
        }
    }
    if errors.filter(Level::Error).is_empty() {
        errors.also(as_a_whole(keys));
    }
    errors
}

fn authority(authority: &CertificateAuthority) -> FieldErrors {
    let DistinguishedName { organization, common_name } = &authority.subject;
    let mut errors = FieldErrors::none();
    for (value, name) in [(organization, "organization"), (common_name, "commonName")] {
        if value.is_empty() {
            errors.also(FieldErrors::missing([name]).via_field("subject"));
        }
    }
    if authority.uri.is_empty() {
        errors.also(FieldErrors::missing(["uri"]));
    }
    if authority.cert_chain.0.is_empty() {
        errors.also(FieldErrors::missing(["certChain"]));
    } else {
        let alone = Keys { certificate_authorities: vec![authority.clone()], ..Keys::default() };
        errors.also(unreadable(&alone, "error splitting the certificates", "certChain"));
    }
    errors.also(valid_for(authority.valid_for.as_ref()));
    errors
}

fn log(log: &Log) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (value, name) in [(&log.base_url, "baseURL"), (&log.hash_algorithm, "hashAlgorithm")] {
        if value.is_empty() {
            errors.also(FieldErrors::missing([name]));
        }
    }
    let hash = log.hash_algorithm.to_ascii_lowercase();
    if !hash.is_empty() && !HASHES.contains(&hash.as_str()) {
        errors.also(FieldErrors::invalid(&log.hash_algorithm, "hashAlgorithm"));
    }
    if log.public_key.0.is_empty() {
        errors.also(FieldErrors::missing(["publicKey"]));
    } else {
        // With any hash, so that the key is looked at.
        let alone = Log { hash_algorithm: String::new(), ..log.clone() };
        let alone = Keys { t_logs: vec![alone], ..Keys::default() };
        errors.also(unreadable(&alone, "not a public key", "publicKey"));
    }
    errors.also(valid_for(log.valid_for.as_ref()));
    errors
}

/// Checks that the single part in `keys` can be parsed; the bytes themselves are not repeated in
/// the message.
fn unreadable(keys: &Keys, value: &str, name: &str) -> FieldErrors {
    let mut keys = keys.clone();
    // Times have errors of their own.
    keys.certificate_authorities.iter_mut().for_each(|one| one.valid_for = None);
    keys.t_logs.iter_mut().for_each(|one| one.valid_for = None);
    match keys.trust_root() {
        Ok(_) => FieldErrors::none(),
        Err(error) => FieldErrors::invalid(value, name).details(error.to_string()),
    }
}

fn valid_for(valid_for: Option<&ValidFor>) -> FieldErrors {
    let Some(times) = valid_for else { return FieldErrors::none() };
    match times.validity() {
        Err(error) => FieldErrors::invalid(&times.start, "validFor").details(error.to_string()),
        Ok(validity) => match (validity.start, validity.end) {
            (Some(start), Some(end)) if end < start => {
                FieldErrors::invalid(&times.end, "validFor").details("the end is before the start")
            }
            _ => FieldErrors::none(),
        },
    }
}

/// Checks of the trust root as a whole: too many parts, or parts that are not used.
fn as_a_whole(keys: &Keys) -> FieldErrors {
    let TrustRoot { skipped, .. } = match keys.trust_root() {
        Err(error) => return FieldErrors::generic(error.to_string(), [""]),
        Ok(root) => root,
    };
    let mut warnings = FieldErrors::none();
    for part in skipped {
        let message = format!("{} is not used: {}", part.uri, part.reason);
        warnings.also(FieldErrors::generic(message, [""]));
    }
    warnings.at(Level::Warning)
}
