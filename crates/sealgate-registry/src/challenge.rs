//! Parser of `WWW-Authenticate` challenges.
//!
//! Registries and proxies write this header loosely: values without quotes, quotes inside quotes, a
//! missing comma or a semicolon in its place, non-ASCII text. Go's clients accept such headers, so
//! registries keep sending them. This parser reads everything that Go's parser reads, with the same
//! result or more; for Basic the scheme alone is enough. The header decides only which of the
//! registry's own credentials are sent, and in which form.

use std::fmt;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::reply::printable;

/// Authentication challenge of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        /// Scope requested by the registry; used only when the scope of the operation was not
        /// enough.
        scope: Option<String>,
    },
}

/// 401 response that no credentials can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswerable {
    /// No challenge, or none that names a scheme.
    Unnamed,
    /// Only unsupported schemes.
    Schemes(Vec<String>),
    /// Bearer without a realm, so the token endpoint is unknown.
    NoRealm,
}

/// Maximum number of headers read from one response.
const MAX_HEADERS: usize = 8;
/// Maximum length of a header, in bytes; a longer one is not read.
const MAX_HEADER: usize = 16 << 10;
/// Maximum length of a value, in bytes.
const MAX_VALUE: usize = 4096;

/// Scheme in a header, with its parameters.
struct SchemeChallenge<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Challenge {
    /// Preferred challenge of a 401 response: Bearer before Basic.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, Unanswerable> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.as_bytes());
        let values = values.filter(|bytes| bytes.len() <= MAX_HEADER).take(MAX_HEADERS);
        let texts: Vec<_> = values.map(String::from_utf8_lossy).collect();
        let offers: Vec<SchemeChallenge<'_>> =
            texts.iter().flat_map(|text| SchemeChallenges(text.as_ref())).collect();
        if let Some(bearer) = offers.iter().find_map(SchemeChallenge::bearer) {
            return Ok(bearer);
        }
        let named = |scheme: &str| offers.iter().any(|offer| offer.is(scheme));
        if named("basic") {
            return Ok(Self::Basic);
        }
        if named("bearer") {
            return Err(Unanswerable::NoRealm);
        }
        let schemes: Vec<String> = offers.iter().take(3).map(|o| printable(o.scheme)).collect();
        Err(if schemes.is_empty() { Unanswerable::Unnamed } else { Unanswerable::Schemes(schemes) })
    }

    /// Size of its texts, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Basic => 0,
            Self::Bearer { realm, service, scope } => {
                realm.len() + service.len() + scope.as_ref().map_or(0, String::len)
            }
        }
    }

    /// Returns whether both challenges are answered in the same way, regardless of scope.
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic, Self::Basic) => true,
            (
                Self::Bearer { realm, service, .. },
                Self::Bearer { realm: other_realm, service: other_service, .. },
            ) => realm == other_realm && service == other_service,
            _ => false,
        }
    }
}

impl SchemeChallenge<'_> {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn bearer(&self) -> Option<Challenge> {
        let value = |name: &str| {
            let mut found =
                self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next_back().map(|(_, value)| value.clone()).filter(|v| v.len() <= MAX_VALUE)
        };
        let realm = value("realm").filter(|realm| self.is("bearer") && !realm.is_empty())?;
        let service = value("service").unwrap_or_default();
        Some(Challenge::Bearer { realm, service, scope: value("scope") })
    }
}

/// Iterator over the schemes in the rest of a header.
struct SchemeChallenges<'a>(&'a str);

impl<'a> Iterator for SchemeChallenges<'a> {
    type Item = SchemeChallenge<'a>;

    fn next(&mut self) -> Option<SchemeChallenge<'a>> {
        // Text that is not a token cannot be a scheme.
        let start = self.0.find(|c: char| c.is_ascii() && is_token(c))?;
        let (scheme, mut rest) = token(&self.0[start..]);
        let mut parameters = Vec::new();
        loop {
            let (separator, after) = split_at_end(rest, |c| is_space(c) || matches!(c, ',' | ';'));
            rest = after;
            let (name, after) = token(rest);
            match after.trim_start_matches(is_space).strip_prefix('=') {
                Some(value) if !name.is_empty() => {
                    let (value, after) = read_value(value.trim_start_matches(is_space));
                    parameters.push((name, value));
                    rest = after;
                }
                // `Basic realm="a", Bearer realm=...`: the next scheme follows a comma.
                _ if !name.is_empty() && separator.contains(',') => break,
                _ if rest.is_empty() => break,
                // The rest of a value that contained spaces or quotes.
                _ => rest = skip(rest, name),
            }
        }
        self.0 = rest;
        Some(SchemeChallenge { scheme, parameters })
    }
}

/// Strips the prefix `name` from `text`, or one character if `name` is empty.
fn skip<'a>(text: &'a str, name: &str) -> &'a str {
    let first = text.chars().next().map_or(0, char::len_utf8);
    &text[name.len().max(first)..]
}

/// Reads a quoted value with its escapes resolved, or an unquoted one that ends at a space, comma
/// or semicolon; returns it with the remaining text. An unterminated quoted value is empty.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = split_at_end(text, |c| !is_space(c) && !matches!(c, ',' | ';'));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (String::new(), "")
}

fn token(text: &str) -> (&str, &str) {
    split_at_end(text, is_token)
}

/// Splits `text` before the first character that does not fit.
fn split_at_end(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !fits(c)).unwrap_or(text.len()))
}

/// Token characters of RFC 9110 section 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

impl fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("its response has no authentication challenge"),
            Self::Schemes(schemes) => {
                let schemes = schemes.join(", ");
                write!(f, "it asks for {schemes}; only Basic and Bearer are supported")
            }
            Self::NoRealm => {
                f.write_str("its Bearer challenge has no realm, so the token endpoint is unknown")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn parse(lines: &[&str]) -> Result<Challenge, Unanswerable> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.as_bytes().try_into().unwrap());
        }
        Challenge::parse(&headers)
    }

    fn bearer(service: &str, scope: Option<&str>) -> Result<Challenge, Unanswerable> {
        let (realm, service) = ("https://auth.io/token".into(), service.into());
        Ok(Challenge::Bearer { realm, service, scope: scope.map(str::to_owned) })
    }

    #[test]
    fn reads_challenges() {
        let scope = Some("repository:a/b:pull,push");
        let line = r#"Bearer realm="https://auth.io/token",service="reg",scope="repository:a/b:pull,push""#;
        assert_eq!(parse(&[line]), bearer("reg", scope));
        assert_eq!(parse(&[r#"Basic realm="x""#, line]), bearer("reg", scope));
        assert_eq!(parse(&[&format!("{line}, Basic realm=\"x\"")]), bearer("reg", scope));
        assert_eq!(parse(&[&format!("Basic realm=\"x\", {line}")]), bearer("reg", scope));
        assert_eq!(parse(&[&format!("Negotiate, NTLM, {line}")]), bearer("reg", scope));
        assert_eq!(parse(&[r#"basic realm="x""#]), Ok(Challenge::Basic));
        assert_eq!(parse(&["Negotiate abc==, Basic realm=\"x\""]), Ok(Challenge::Basic));
        let escaped = r#"Bearer realm="https://auth.io/token",service="a \"b\" \\c""#;
        assert_eq!(parse(&[escaped]), bearer(r#"a "b" \c"#, None));
    }

    /// Headers of real registries and proxies; go-containerregistry reads each of them.
    #[test]
    fn basic_needs_its_scheme_only() {
        for line in [
            "Basic",
            "BASIC ",
            "basic,",
            "Basic realm",
            "Basic realm=",
            "Basic realm=\"\"",
            "Basic realm=/",
            "Basic realm=https://reg.io/",
            "Basic realm=My Private Registry",
            "Basic realm=My Bearer Registry",
            "Basic realm=\"My \"private\" registry\"",
            "Basic realm=\"not closed",
            "Basic realm='x y'",
            "Basic realm=\"Régistre privé\"",
            "Basic realm=Régistre privé, charset=\"UTF-8\"",
            "Basic =",
            "Basic \"",
            "Basic realm=\"x\";charset=\"UTF-8\"",
            "Basic realm = \"x\"",
            " Basic realm=x",
        ] {
            assert_eq!(parse(&[line]), Ok(Challenge::Basic), "{line}");
        }
    }

    #[test]
    fn bearer_needs_its_realm_only() {
        let realm = r#"realm="https://auth.io/token""#;
        for (line, service, scope) in [
            (format!("bearer {realm}"), "", None),
            (format!("Bearer  {realm} ,  service=reg"), "reg", None),
            (format!("Bearer {realm} service=\"reg\""), "reg", None),
            (format!("Bearer {realm};service=\"reg\";scope=\"s\""), "reg", Some("s")),
            (format!("Bearer {realm}; service=reg"), "reg", None),
            (format!("Bearer {realm},service=reg.io:5000"), "reg.io:5000", None),
            (format!("Bearer service=My Registry,{realm}"), "My", None),
            (format!("Bearer {realm},service=\"My \"inner\" one\",scope=\"s\""), "My ", Some("s")),
            (format!("Bearer {realm},service=\"Région\""), "Région", None),
            (format!("Bearer {realm},service=,scope=\"s\""), "", Some("s")),
            (format!("Bearer {realm},service"), "", None),
            (format!("Bearer {realm},scope=repository:a/b:pull"), "", Some("repository:a/b:pull")),
            (format!("Bearer {realm},{realm}"), "", None),
            (format!("Bearer error=\"invalid_token\", {realm}"), "", None),
            ("Bearer realm=https://auth.io/token,service=reg".into(), "reg", None),
            ("Bearer Realm=https://auth.io/token".into(), "", None),
        ] {
            assert_eq!(parse(&[&line]), bearer(service, scope), "{line}");
        }
    }

    #[test]
    fn unanswerable_challenges_are_reported() {
        let schemes = |list: &[&str]| {
            Err(Unanswerable::Schemes(list.iter().map(|s| (*s).to_owned()).collect()))
        };
        assert_eq!(parse(&[]), Err(Unanswerable::Unnamed));
        assert_eq!(parse(&[""]), Err(Unanswerable::Unnamed));
        assert_eq!(parse(&["\"=,;", "é"]), Err(Unanswerable::Unnamed));
        assert_eq!(parse(&["Negotiate"]), schemes(&["Negotiate"]));
        assert_eq!(parse(&["NTLM, Digest realm=\"x\""]), schemes(&["NTLM", "Digest"]));
        for line in [
            "Bearer",
            r#"Bearer service="x""#,
            r#"Bearer realm="""#,
            r#"Bearer realm="https://auth.io/token,service=reg"#,
        ] {
            assert_eq!(parse(&[line]), Err(Unanswerable::NoRealm), "{line}");
        }
        let long = format!("Bearer realm=\"https://auth.io/{}\"", "x".repeat(MAX_VALUE));
        assert_eq!(parse(&[&long]), Err(Unanswerable::NoRealm));
        let huge = format!("Basic realm=\"{}\"", "x".repeat(MAX_HEADER));
        assert_eq!(parse(&[&huge]), Err(Unanswerable::Unnamed));
    }

    const VALID: [&str; 5] = [
        r#"Bearer realm="https://auth.io/token",service="reg",scope="repository:a/b:pull,push""#,
        r#"Basic realm="My \"private\" registry", charset="UTF-8""#,
        r#"Negotiate abc==, Basic realm=x, Bearer realm=https://auth.io/token;service=reg"#,
        r#"bearer error = "invalid_token" , realm="https://auth.io/é""#,
        r#"Digest realm="a\\", nonce='b, c', NTLM"#,
    ];

    /// Valid header with some characters removed, inserted or replaced by characters with syntactic
    /// meaning.
    fn mutated() -> impl Strategy<Value = String> {
        let meaningful = ['"', ',', ';', '=', '\\', ' ', '\t', '\'', 'é', 'a'];
        let change = (any::<Index>(), 0..3_u8, proptest::sample::select(meaningful.to_vec()));
        let header = proptest::sample::select(VALID.to_vec());
        (header, prop::collection::vec(change, 1..12)).prop_map(|(header, changes)| {
            let mut chars: Vec<char> = header.chars().collect();
            for (at, change, new) in changes {
                let at = at.index(chars.len() + 1);
                let end = if change == 0 { at } else { (at + 1).min(chars.len()) };
                chars.splice(at..end, (change != 1).then_some(new));
            }
            chars.into_iter().collect()
        })
    }

    /// Checks that the parsed parts are together no longer than the input.
    fn check_challenges(text: &str) -> Result<(), TestCaseError> {
        let offers: Vec<SchemeChallenge<'_>> =
            SchemeChallenges(text).take(text.len() + 1).collect();
        let mut read = 0;
        for SchemeChallenge { scheme, parameters } in &offers {
            prop_assert!(!scheme.is_empty() && scheme.chars().all(is_token), "{scheme:?}");
            read += scheme.len();
            for (name, value) in parameters {
                prop_assert!(!name.is_empty() && name.chars().all(is_token), "{name:?}");
                read += name.len() + 1 + value.len();
            }
        }
        prop_assert!(read <= text.len(), "{read} of {} bytes", text.len());
        Ok(())
    }

    fn check_headers(lines: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(value) = line.as_slice().try_into() {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        let longest = |text: &str| text.len() <= MAX_VALUE;
        match Challenge::parse(&headers) {
            Ok(Challenge::Bearer { realm, service, scope }) => {
                prop_assert!(!realm.is_empty() && longest(&realm) && longest(&service));
                prop_assert!(scope.is_none_or(|scope| longest(&scope)));
            }
            Err(Unanswerable::Schemes(schemes)) => {
                prop_assert!((1..=3).contains(&schemes.len()));
                prop_assert!(schemes.iter().all(|scheme| longest(scheme)));
            }
            Ok(Challenge::Basic) | Err(Unanswerable::Unnamed | Unanswerable::NoRealm) => {}
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text: String) {
            check_challenges(&text)?;
        }

        #[test]
        fn text_of_meaningful_characters_is_read_to_its_end(text in r#"[",;=\\ \t\r\na-cé]{0,200}"#) {
            check_challenges(&text)?;
        }

        #[test]
        fn a_changed_header_is_read_to_its_end(text in mutated()) {
            check_challenges(&text)?;
            check_headers(&[text.into_bytes()])?;
        }

        #[test]
        fn any_headers_have_a_bounded_answer(lines in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b'"'), Just(b','), Just(b'='), 0x20..=0xff_u8], 0..300),
            0..12,
        )) {
            check_headers(&lines)?;
        }

        /// Headers and values close to the length limits.
        #[test]
        fn a_long_header_has_a_bounded_answer(text in mutated(), more in 0..2 * MAX_HEADER) {
            let long = text.replace("token", &"x".repeat(more));
            check_challenges(&long)?;
            check_headers(&[long.into_bytes()])?;
        }
    }
}
