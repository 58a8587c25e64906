//! Wildcard patterns: `*` matches any text without `/`, `**` any text, everything else itself.
//!
//! Not compiled to a regular expression: for thousands of policies that would take seconds, and 20
//! KiB each. A literal prefix or suffix that does not match ends the comparison at once; the rest
//! takes at most the product of both lengths.

/// A compiled wildcard pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// A pattern without wildcards.
    Literal(Box<str>),
    /// A pattern with wildcards: the literal prefix and suffix, and the elements between them.
    Open { prefix: Box<str>, suffix: Box<str>, middle: Box<[Element]> },
}

/// One element between prefix and suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Byte(u8),
    /// `*`
    Segment,
    /// `**`
    Any,
}

impl Wildcard {
    pub(super) fn new(text: &str) -> Self {
        let (Some(first), Some(last)) = (text.find('*'), text.rfind('*')) else {
            return Self::Literal(text.into());
        };
        let (prefix, rest) = text.split_at(first);
        let (middle, suffix) = rest.split_at(last - first + 1);
        let mut elements = Vec::with_capacity(middle.len());
        let mut bytes = middle.bytes().peekable();
        while let Some(byte) = bytes.next() {
            elements.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Element::Any,
                b'*' => Element::Segment,
                byte => Element::Byte(byte),
            });
        }
        Self::Open { prefix: prefix.into(), suffix: suffix.into(), middle: elements.into() }
    }

    /// The literal prefix of every matching text.
    pub(super) fn literal_prefix(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::Open { prefix, .. } => prefix,
        }
    }

    /// Returns whether all of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Open { prefix, suffix, middle } => {
                let rest = text.as_bytes().strip_prefix(prefix.as_bytes());
                let rest = rest.and_then(|rest| rest.strip_suffix(suffix.as_bytes()));
                rest.is_some_and(|rest| fits(middle, rest))
            }
        }
    }
}

/// Returns whether `elements` match all of `text`. Tracks all possible positions at once, so that
/// no input takes exponential time.
fn fits(elements: &[Element], text: &[u8]) -> bool {
    if let [Element::Any] = elements {
        return true;
    }
    if let [Element::Segment] = elements {
        return !text.contains(&b'/');
    }
    // `reached[i]`: the first `i` elements fit what was read.
    let mut reached = vec![false; elements.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    pass_wildcards(elements, &mut reached);
    for byte in text {
        let mut next = vec![false; elements.len() + 1];
        for (at, element) in elements.iter().enumerate() {
            if !reached[at] {
                continue;
            }
            match element {
                Element::Byte(wanted) if wanted == byte => next[at + 1] = true,
                Element::Byte(_) => {}
                Element::Segment if *byte == b'/' => {}
                Element::Segment | Element::Any => next[at] = true,
            }
        }
        pass_wildcards(elements, &mut next);
        if !next.contains(&true) {
            return false;
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

/// A wildcard matches the empty text, too.
fn pass_wildcards(elements: &[Element], reached: &mut [bool]) {
    for (at, element) in elements.iter().enumerate() {
        if reached[at] && !matches!(element, Element::Byte(_)) {
            reached[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pattern as a regular expression.
    fn expression(text: &str) -> regex::Regex {
        let any = text.split("**").map(|part| {
            let parts: Vec<String> = part.split('*').map(regex::escape).collect();
            parts.join("[^/]*")
        });
        let any: Vec<String> = any.collect();
        regex::Regex::new(&format!("^(?s:{})$", any.join(".*"))).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn fits_what_the_regular_expression_fits(
            pattern in "([ab/.]|\\*|\\*\\*){0,8}",
            text in "[ab/.]{0,10}",
        ) {
            let expected = expression(&pattern).is_match(&text);
            prop_assert_eq!(Wildcard::new(&pattern).is_match(&text), expected);
        }
    }

    #[test]
    fn the_worst_pattern_and_text_take_no_time() {
        let pattern = Wildcard::new(&"*a".repeat(500));
        let text = "a".repeat(4000);
        let start = std::time::Instant::now();
        assert!(pattern.is_match(&text) && !pattern.is_match(&format!("{text}b")));
        let double = Wildcard::new(&format!("{}b*c", "**a".repeat(300)));
        assert!(!double.is_match(&format!("{text}c")));
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }
}
