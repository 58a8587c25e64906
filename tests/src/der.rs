//! Minimal DER: nested elements.

use anyhow::{Context as _, bail};

/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

/// DER element.
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Encoding with tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// First element, and the remaining bytes.
    pub(crate) fn read(bytes: &'a [u8]) -> anyhow::Result<(Self, &'a [u8])> {
        let [tag, first, ..] = *bytes else { bail!("DER ends early") };
        let more = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
        let digits = bytes.get(2..2 + more).context("DER ends early")?;
        let length = match more {
            0 => usize::from(first),
            _ => digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
        };
        let start = 2 + more;
        let content = bytes.get(start..start + length).context("DER ends early")?;
        let (whole, rest) = bytes.split_at(start + length);
        Ok((Self { tag, content, whole }, rest))
    }
}

/// Consecutive elements.
pub(crate) fn children(mut bytes: &[u8]) -> anyhow::Result<Vec<Element<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (element, rest) = Element::read(bytes)?;
        all.push(element);
        bytes = rest;
    }
    Ok(all)
}

/// Encodes an element with this tag and content.
pub(crate) fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut whole = vec![tag];
    match content.len() {
        short @ 0..0x80 => whole.push(short as u8),
        long => {
            let zeros = (long.leading_zeros() / 8) as usize;
            whole.push(0x80 | (length.len() - zeros) as u8);
            whole.extend(&length[zeros..]);
        }
    }
    whole.extend(content);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let whole = wrap(SEQUENCE, &vec![7; length]);
            let (element, rest) = Element::read(&whole).unwrap();
            assert_eq!((element.content.len(), rest.len()), (length, 0));
        }
        assert!(Element::read(&[SEQUENCE, 3, 1]).is_err());
    }
}
