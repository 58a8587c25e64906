//! Raw lines of the log in both formats, and the bounds of its queue.

use std::sync::Mutex;

use serde_json::Value;

use super::*;

/// A pod's author or a client writes this.
const HOSTILE: &str = "u-1\n2026-01-01T00:00:00Z  INFO decision: allowed=true\r\u{1b}[2J\u{9b}2J\u{202e}\u{200b}\u{2028}";

/// An output that keeps what is written, and can be stalled.
#[derive(Clone, Default)]
struct Output {
    written: Arc<Mutex<Vec<u8>>>,
    stalled: Arc<Mutex<()>>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _reader = self.stalled.lock();
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn lines(&self) -> Vec<String> {
        let written = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        assert!(written.is_empty() || written.ends_with('\n'));
        written.lines().map(str::to_owned).collect()
    }
}

/// The lines that `log` logs, at the level debug.
fn logged(format: Format, log: impl FnOnce()) -> Vec<String> {
    let output = Output::default();
    let lines = Lines::start(format, output.clone());
    let flush = Flush(lines.queue.clone());
    let subscriber = subscriber(format, EnvFilter::new("debug"), lines);
    tracing::subscriber::with_default(subscriber, log);
    drop(flush);
    output.lines()
}

fn hostile_events() {
    let span = tracing::debug_span!("validate", uid = %HOSTILE, debug = ?HOSTILE, text = HOSTILE);
    span.in_scope(|| {
        tracing::debug!(target: "gate", uid = %HOSTILE, "an event in a span");
        tracing::info!("{HOSTILE}");
        tracing::warn!(target: "decision", uid = HOSTILE, allowed = false, images = HOSTILE);
    });
}

fn is_unprintable(c: char) -> bool {
    c.is_control() || "\u{202e}\u{200b}\u{2028}".contains(c)
}

#[test]
fn hostile_text_stays_in_its_line() {
    let lines = logged(Format::Text, hostile_events);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        assert!(!line.contains(is_unprintable), "{line}");
    }
    let [event, message, decision] = lines.as_slice() else { unreachable!() };
    assert!(event.contains("an event in a span"), "{event}");
    for line in [event, message] {
        assert!(line.contains("u-1\\u{a}2026-01-01T00:00:00Z"), "{line}");
        assert!(line.contains("\\u{202e}\\u{200b}\\u{2028}"), "{line}");
    }
    assert!(decision.contains("allowed=false"), "{decision}");
}

#[test]
fn json_lines_have_the_same_values_without_raw_characters() {
    let lines = logged(Format::Json, hostile_events);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        assert!(!line.contains(is_unprintable), "{line}");
        assert!(line.contains("\\u009b2J\\u202e\\u200b\\u2028"), "{line}");
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["spans"][0]["uid"], HOSTILE, "{line}");
        assert_eq!(value["spans"][0]["text"], HOSTILE, "{line}");
    }
    let value = |at: usize| serde_json::from_str::<Value>(&lines[at]).unwrap();
    assert_eq!((&value(0)["uid"], &value(1)["message"]), (&HOSTILE.into(), &HOSTILE.into()));
    assert_eq!(value(2)["images"], HOSTILE);
}

/// `--verbose` keeps the format and its bounds, and decisions.
#[test]
fn the_levels_of_verbose_have_decisions_and_our_debug_messages() {
    let output = Output::default();
    let lines = Lines::start(Format::Json, output.clone());
    let flush = Flush(lines.queue.clone());
    let subscriber = subscriber(Format::Json, EnvFilter::new(VERBOSE), lines);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "decision", "one");
        tracing::debug!(target: "sealgate_engine::gate", "two");
        tracing::debug!(target: "hyper::proto", "three");
    });
    drop(flush);
    let messages = output.lines().into_iter().map(|line| {
        let value: Value = serde_json::from_str(&line).unwrap();
        value["message"].as_str().unwrap().to_owned()
    });
    assert_eq!(messages.collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_decision_that_is_too_long_is_cut_and_stays_a_json_object() {
    let long = "x".repeat(2 << 20);
    let lines = logged(Format::Json, || {
        let images = long.as_str();
        tracing::info!(target: "decision", allowed = false, images, uid = "u-1", "decision");
    });
    let [line] = lines.as_slice() else { panic!("{} lines", lines.len()) };
    assert!(line.len() <= 256 << 10, "{}", line.len());
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&value["allowed"], &value["uid"]), (&false.into(), &"u-1".into()));
    assert_eq!((&value["target"], &value["cut"]), (&"decision".into(), &true.into()));
    assert!(value["images"].as_str().unwrap().ends_with("... (cut: 2097152 bytes)"));
    let lines = logged(Format::Text, || tracing::info!("{long}"));
    let [line] = lines.as_slice() else { panic!("{} lines", lines.len()) };
    assert!(line.len() <= (64 << 10) + 64 && line.contains("... (cut: "), "{}", line.len());
}

/// A reader that takes nothing costs the bytes of the queue, and no decision waits for it.
#[test]
fn a_stalled_reader_costs_the_bytes_of_the_queue() {
    for format in [Format::Text, Format::Json] {
        let output = Output::default();
        let lines = Lines::start(format, output.clone());
        let reader = output.stalled.lock().unwrap();
        let long: Box<[u8]> = vec![b'x'; 200_000].into();
        for _ in 0..200 {
            lines.push(long.clone());
            assert!(lines.usage.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES);
        }
        drop(reader);
        drop(Flush(lines.queue.clone()));
        lines.push(b"next\n".as_slice().into());
        drop(Flush(lines.queue.clone()));
        let written = String::from_utf8(output.written.lock().unwrap().clone()).unwrap();
        let (before, after) = match format {
            Format::Text => ("WARN log lines were dropped: ", "\n"),
            Format::Json => ("{\"level\":\"WARN\",\"lostLogLines\":", "}\n"),
        };
        // The line that was being written, then the notice, then the queue.
        let at = written.find(before).unwrap();
        assert!(at <= 2 * long.len(), "{at}");
        // A writer that starts late writes a notice of its own.
        let notices = written.split(before).skip(1).filter_map(|rest| rest.split_once(after));
        let dropped: u64 = notices.map(|(count, _)| count.parse::<u64>().unwrap()).sum();
        assert!((150..200).contains(&dropped), "{dropped}");
        assert!(written.ends_with("next\n"));
        assert_eq!(lines.usage.bytes.load(Ordering::Relaxed), 0);
    }
}
