//! Pagination by `Link: <…>; rel="next"`, within the same registry.

use reqwest::header::LINK;
use sealgate_core::fault::{Fault, FaultKind};
use url::Url;

use crate::reply::Reply;
use crate::transport::has_user;

/// URL of the next page, if any.
///
/// # Errors
/// `Malformed` when the link leaves the registry or is not a URL.
pub(crate) fn next(reply: &Reply) -> Result<Option<Url>, Fault> {
    let values = reply.headers.get_all(LINK).iter().filter_map(|v| v.to_str().ok());
    let Some(text) = values.flat_map(|v| v.split(", <")).find_map(next_of) else {
        return Ok(None);
    };
    let url = reply.url.join(text).ok();
    // The HTTP library would send a user name in the URL as credentials.
    let url = url.filter(|url| url.origin() == reply.url.origin() && !has_user(url));
    let malformed = |detail: &str| Err(reply.fault(FaultKind::Malformed, detail));
    match url {
        None => malformed("the next page of a list is not at the same registry"),
        Some(url) if url == reply.url => malformed("the next page of a list is the page itself"),
        Some(url) => Ok(Some(url)),
    }
}

/// Target of a link with `rel="next"`.
fn next_of(link: &str) -> Option<&str> {
    let link = link.trim().trim_start_matches('<');
    let (target, parameters) = link.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let value = value.trim().trim_end_matches(',').trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|v| v == "next")
    });
    is_next.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_links() {
        assert_eq!(next_of(r#"</v2/_x?n=1&last=a>; rel="next""#), Some("/v2/_x?n=1&last=a"));
        assert_eq!(next_of("<?a=b>;rel=next"), Some("?a=b"));
        assert_eq!(next_of(r#"</x>; rel="prev""#), None);
        assert_eq!(next_of("</x>"), None);
        assert_eq!(next_of("garbage"), None);
    }
}
