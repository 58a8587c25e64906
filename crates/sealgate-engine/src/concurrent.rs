//! Bounded concurrency.

use futures::stream::{self, Stream, StreamExt as _};

/// Starts the work on each item when its turn comes, at most `limit` at a time, and yields the
/// results in order of completion. Work that has not started takes no memory: a future can be
/// thousands of bytes, and an outsider chooses the number of items.
pub(crate) fn unordered<T, Work: Future>(
    items: Vec<T>,
    limit: usize,
    start: impl FnMut(T) -> Work,
) -> impl Stream<Item = Work::Output> {
    stream::iter(items).map(start).buffer_unordered(limit)
}

/// Variant that yields the results in the order of the items.
pub(crate) fn ordered<T, Work: Future>(
    items: Vec<T>,
    limit: usize,
    start: impl FnMut(T) -> Work,
) -> impl Stream<Item = Work::Output> {
    stream::iter(items).map(start).buffered(limit)
}
