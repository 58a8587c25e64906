//! The gate's log: lines on standard error, written by a separate thread.
//!
//! A decision must not wait for the reader of the log. Lines go through a bounded queue; when it is
//! full they are dropped, and their number is logged as soon as there is room.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

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
const QUEUE_CAPACITY: usize = 16_384;

/// The time limit for writing the last lines on shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts logging, at level info unless `RUST_LOG` is set. Dropping the returned value flushes the
/// queue.
pub(super) fn start(format: Format) -> Flush {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::new(filter),
        _ => EnvFilter::new("info"),
    };
    let writer = Lines::start(format);
    let flush = Flush(writer.queue.clone());
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // If a subscriber is already installed (`--verbose`), it is kept.
    let _ = match format {
        Format::Text => logging.event_format(text::Text::new()).try_init(),
        Format::Json => logging.json().flatten_event(true).with_current_span(false).try_init(),
    };
    flush
}

/// An item of the queue.
enum Item {
    Line(Vec<u8>),
    /// A request to write all previous items; dropped when done.
    Flush(SyncSender<()>),
}

/// Flushes the queue when dropped.
pub(super) struct Flush(SyncSender<Item>);

/// The sending half of the queue.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

/// A line that is being formatted; queued as a whole when dropped.
struct Line {
    bytes: Vec<u8>,
    to: Lines,
}

impl Lines {
    fn start(format: Format) -> Self {
        let (queue, lines) = sync_channel(QUEUE_CAPACITY);
        let dropped = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&dropped);
        let writing = std::thread::Builder::new().name("log".to_owned());
        // Without a thread, the queue fills up and lines are dropped; the gate continues.
        let _ = writing.spawn(move || write(&lines, &counted, format));
        Self { queue, dropped }
    }
}

/// Writes until all senders are dropped.
fn write(items: &Receiver<Item>, dropped: &AtomicU64, format: Format) {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stderr());
    while let Ok(item) = items.recv() {
        let mut flushed = Vec::new();
        let mut next = Some(item);
        while let Some(item) = next {
            match item {
                Item::Line(line) => drop(out.write_all(&line)),
                Item::Flush(done) => flushed.push(done),
            }
            next = items.try_recv().ok();
        }
        let _ = match (dropped.swap(0, Ordering::Relaxed), format) {
            (0, _) => Ok(()),
            (lost, Format::Json) => {
                writeln!(out, "{{\"level\":\"WARN\",\"lostLogLines\":{lost}}}")
            }
            (lost, Format::Text) => writeln!(out, "WARN log lines were dropped: {lost}"),
        };
        let _ = out.flush();
    }
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
        if self.to.queue.try_send(Item::Line(std::mem::take(&mut self.bytes))).is_err() {
            self.to.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
