//! The gate's log: lines on standard error, written by a separate thread.
//!
//! A decision must not wait for the reader of the log. Lines go through a queue that is bounded in
//! bytes; when it is full they are dropped, and as soon as there is room their number is logged
//! before any other line. `line` makes each line printable and bounded.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

mod line;
mod text;

/// The format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The capacity of the queue, in lines.
const QUEUE_LINES: usize = 16_384;

/// The capacity of the queue, in bytes.
const QUEUE_BYTES: usize = 8 << 20;

/// The time limit for writing the last lines on shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The levels that are logged unless `RUST_LOG` is set.
pub(super) const DEFAULT: &str = "info";
/// The levels that are logged with `--verbose`.
pub(super) const VERBOSE: &str = "info,sealgate=debug";

/// Starts logging, at `levels` unless `RUST_LOG` is set. Dropping the returned value flushes the
/// queue.
pub(super) fn start(format: Format, levels: &str) -> Flush {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::new(filter),
        _ => EnvFilter::new(levels),
    };
    let writer = Lines::start(format, io::stderr());
    let flush = Flush(writer.queue.clone());
    // If a subscriber is already installed, it is kept.
    let _ = tracing::subscriber::set_global_default(subscriber(format, filter, writer));
    flush
}

fn subscriber(
    format: Format,
    filter: EnvFilter,
    writer: Lines,
) -> Box<dyn Subscriber + Send + Sync> {
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => Box::new(logging.event_format(text::Text::new()).finish()),
        Format::Json => {
            Box::new(logging.json().flatten_event(true).with_current_span(false).finish())
        }
    }
}

/// An item of the queue.
enum Item {
    Line(Box<[u8]>),
    /// A request to write all previous items; dropped when done.
    Flush(SyncSender<()>),
}

/// Flushes the queue when dropped.
pub(super) struct Flush(SyncSender<Item>);

/// The sending half of the queue.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Item>,
    usage: Arc<QueueUsage>,
    format: Format,
}

/// Usage of the queue.
#[derive(Default)]
struct QueueUsage {
    /// The bytes of the lines in the queue.
    bytes: AtomicUsize,
    /// The number of lines that were dropped since it was last logged.
    dropped: AtomicU64,
}

/// A line that is being formatted; queued as a whole when dropped.
struct Line {
    bytes: Vec<u8>,
    to: Lines,
}

impl Lines {
    fn start(format: Format, out: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let usage = Arc::<QueueUsage>::default();
        let of_writer = Arc::clone(&usage);
        let writing = std::thread::Builder::new().name("log".to_owned());
        // Without a thread, the queue fills up and lines are dropped; the gate continues.
        let _ = writing.spawn(move || write(&lines, &of_writer, format, out));
        Self { queue, usage, format }
    }

    fn push(&self, line: Box<[u8]>) {
        let size = line.len();
        let queued = self.usage.reserve(size) && {
            let sent = self.queue.try_send(Item::Line(line)).is_ok();
            if !sent {
                self.usage.release(size);
            }
            sent
        };
        if !queued {
            self.usage.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl QueueUsage {
    /// Reserves room for a line; false if there is none.
    fn reserve(&self, size: usize) -> bool {
        let with = |bytes: usize| bytes.checked_add(size).filter(|bytes| *bytes <= QUEUE_BYTES);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok()
    }

    fn release(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Writes until all senders are dropped.
fn write(items: &Receiver<Item>, usage: &QueueUsage, format: Format, out: impl Write) {
    let mut out = io::BufWriter::with_capacity(64 << 10, out);
    while let Ok(item) = items.recv() {
        let mut flushed = Vec::new();
        let mut next = Some(item);
        while let Some(item) = next {
            write_dropped(&mut out, usage, format);
            match item {
                Item::Line(line) => {
                    let _ = out.write_all(&line);
                    usage.release(line.len());
                }
                Item::Flush(done) => flushed.push(done),
            }
            next = items.try_recv().ok();
        }
        write_dropped(&mut out, usage, format);
        let _ = out.flush();
    }
}

/// Writes the number of lines that were dropped, if there are any.
fn write_dropped(out: &mut impl Write, usage: &QueueUsage, format: Format) {
    let _ = match (usage.dropped.swap(0, Ordering::Relaxed), format) {
        (0, _) => Ok(()),
        (lost, Format::Json) => writeln!(out, "{{\"level\":\"WARN\",\"lostLogLines\":{lost}}}"),
        (lost, Format::Text) => writeln!(out, "WARN log lines were dropped: {lost}"),
    };
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(0);
        if self.0.try_send(Item::Flush(done)).is_ok() {
            // Returns an error as soon as the other end is dropped, which signals completion.
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::with_capacity(512), to: self.clone() }
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.to.push(line::finished(self.to.format, std::mem::take(&mut self.bytes)));
    }
}

#[cfg(test)]
mod tests;
