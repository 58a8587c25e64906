//! One field of a DER sequence after the other, and the hashes that a timestamp may name.
//! `der` refuses what is not DER: indefinite lengths, lengths that are not the shortest.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, FixedTag, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::digest::Algorithm;
use crate::reject::{Foreign, TimestampReject};

/// The fields of a sequence or set.
pub(super) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// The fields of the whole of `bytes`, which must be one sequence.
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Result<Self, TimestampReject> {
        Self::of(AnyRef::from_der(bytes).map_err(malformed)?, Tag::Sequence)
    }

    /// The fields of `value`, which must have this tag.
    pub(super) fn of(value: AnyRef<'a>, tag: Tag) -> Result<Self, TimestampReject> {
        if value.tag() != tag {
            return Err(malformed(value.tag().unexpected_error(Some(tag)).into()));
        }
        SliceReader::new(value.value()).map(Self).map_err(malformed)
    }

    /// The next field.
    pub(super) fn next<T: Decode<'a, Error = der::Error>>(&mut self) -> Result<T, TimestampReject> {
        T::decode(&mut self.0).map_err(malformed)
    }

    /// The next field, a sequence.
    pub(super) fn sequence(&mut self) -> Result<Self, TimestampReject> {
        Self::of(self.next()?, Tag::Sequence)
    }

    /// The next field, a set.
    pub(super) fn set(&mut self) -> Result<Self, TimestampReject> {
        Self::of(self.next()?, Tag::Set)
    }

    /// The next field, an object identifier.
    pub(super) fn oid(&mut self) -> Result<ObjectIdentifier, TimestampReject> {
        self.next()
    }

    /// The next field if it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<AnyRef<'a>>, TimestampReject> {
        if self.is_empty() || Tag::peek(&self.0).map_err(malformed)? != tag {
            return Ok(None);
        }
        self.next().map(Some)
    }

    /// The next field, decoded, if it has its type's tag.
    pub(super) fn optional_of<T>(&mut self) -> Result<Option<T>, TimestampReject>
    where
        T: Decode<'a, Error = der::Error> + FixedTag,
    {
        if self.is_empty() || Tag::peek(&self.0).map_err(malformed)? != T::TAG {
            return Ok(None);
        }
        self.next().map(Some)
    }

    /// The bytes of the next field, tag and length included.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], TimestampReject> {
        self.0.tlv_bytes().map_err(malformed)
    }

    /// Each field's bytes, at most `limit`; more are `what`.
    pub(super) fn all(
        mut self,
        limit: usize,
        what: &'static str,
    ) -> Result<Vec<&'a [u8]>, TimestampReject> {
        let mut all = Vec::new();
        while !self.is_empty() {
            if all.len() >= limit {
                return Err(TimestampReject::TooMany(what));
            }
            all.push(self.bytes()?);
        }
        Ok(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// Checks that no field is left.
    pub(super) fn finish(self) -> Result<(), TimestampReject> {
        self.0.finish().map_err(malformed)
    }
}

/// A constructed context-specific tag.
pub(super) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

pub(super) fn malformed(error: der::Error) -> TimestampReject {
    TimestampReject::Malformed(Foreign::new(error.to_string()))
}

/// The identifier of an algorithm. Its parameters must be absent or NULL, as for all accepted
/// algorithms.
pub(super) fn algorithm(mut fields: Fields<'_>) -> Result<ObjectIdentifier, TimestampReject> {
    let oid = fields.oid()?;
    fields.optional(Tag::Null)?;
    match fields.is_empty() {
        true => Ok(oid),
        false => Err(TimestampReject::Algorithm(Foreign::new(format!("{oid} with parameters")))),
    }
}

/// The hash that an algorithm identifier names.
pub(super) fn hash(fields: Fields<'_>) -> Result<Algorithm, TimestampReject> {
    let oid = algorithm(fields)?;
    hash_of(oid).ok_or_else(|| TimestampReject::Hash(Foreign::new(oid.to_string())))
}

fn hash_of(oid: ObjectIdentifier) -> Option<Algorithm> {
    const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
    const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
    const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
    match oid {
        SHA256 => Some(Algorithm::Sha256),
        SHA384 => Some(Algorithm::Sha384),
        SHA512 => Some(Algorithm::Sha512),
        _ => None,
    }
}
