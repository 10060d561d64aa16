//! The thread that writes a log: to standard output or standard error, whose reader may be slow, gone, or
//! never read again. Only this thread waits for it.
//!
//! Lines that cannot be written are counted, and the log itself says how many are missing once it can be
//! written again; the next line begins on a line of its own.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::settings::LogFormat;
use crate::state::lines::{Lines, count};
use crate::state::metrics::Log;

/// Lines are written together up to so many bytes: what a pipe takes in one piece (POSIX PIPE_BUF on Linux),
/// so that the lines of two processes, of which one hands over to the other, do not mix.
const BYTES_AT_ONCE: usize = 4096;
/// How long a stop waits for a reader.
const WAIT_FOR_READER: Duration = Duration::from_secs(2);
/// Between two tries at a pipe that takes nothing now and does not let anybody wait for it (`O_NONBLOCK`).
const RETRY_FULL_PIPE_AFTER: Duration = Duration::from_millis(10);

/// A log that is written until this is dropped.
#[derive(Debug)]
pub struct LineWriter(Arc<Lines>);

impl LineWriter {
    /// Writes what is left in `lines`. `log` and `format`: what it says of lines that are missing.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        log: Log,
        format: LogFormat,
        sink: Box<dyn Write + Send>,
        lines: Arc<Lines>,
    ) -> io::Result<Self> {
        let writer = Writer { log, format, sink, lines: lines.clone(), is_cut: false };
        std::thread::Builder::new().name(format!("log-{}", log.label())).spawn(move || writer.run())?;
        Ok(Self(lines))
    }

    pub fn lines(&self) -> &Arc<Lines> {
        &self.0
    }

    /// Writes what was left so far, then ends. Blocks until that is done, two seconds at most.
    ///
    /// # Errors
    /// So many lines are not written: nobody reads.
    pub fn finish(self) -> Result<(), u64> {
        self.finish_within(WAIT_FOR_READER)
    }

    fn finish_within(self, patience: Duration) -> Result<(), u64> {
        self.0.stop();
        match self.0.end(patience) {
            0 => Ok(()),
            left => Err(left),
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Writer {
    log: Log,
    format: LogFormat,
    sink: Box<dyn Write + Send>,
    lines: Arc<Lines>,
    /// The last line was written by half.
    is_cut: bool,
}

impl Writer {
    fn run(mut self) {
        let mut bytes = Vec::new();
        loop {
            let taken = self.lines.take(&mut bytes);
            self.write(&bytes);
            if taken.lost > 0 {
                self.say_missing(taken.lost);
            }
            let _ = self.sink.flush();
            self.lines.all_written(taken);
            if taken.is_last {
                return;
            }
        }
    }

    /// What fails is not tried again: it is counted, and whoever reads our messages hears of it.
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (together, behind) = rest.split_at(whole_lines(rest));
            if let Err((lost, error)) = self.write_together(together)
                && self.lines.lost(lost)
                && self.log == Log::Access
            {
                tracing::warn!(%error, "the access log cannot be written; until it can its lines are lost");
            }
            self.lines.written(count(together));
            rest = behind;
        }
    }

    fn say_missing(&mut self, lines: u64) {
        let said = missing(self.log, self.format, lines, SystemTime::now());
        if self.write_together(said.as_bytes()).is_err() {
            self.lines.say_later(lines);
        }
    }

    /// Writes whole lines, or says how many were not written whole.
    fn write_together(&mut self, lines: &[u8]) -> Result<(), (u64, io::Error)> {
        if self.is_cut {
            self.put(b"\n").map_err(|(_, error)| (count(lines), error))?;
            self.is_cut = false;
        }
        self.put(lines).map_err(|(written, error)| {
            let (before, rest) = lines.split_at(written);
            self.is_cut = before.last().is_some_and(|last| *last != b'\n');
            (count(rest), error)
        })
    }

    /// Writes all of it, or says how much and why not more.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => return Err((at, io::ErrorKind::WriteZero.into())),
                Ok(count) => at = at.saturating_add(count).min(bytes.len()),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => std::thread::sleep(RETRY_FULL_PIPE_AFTER),
                    _ => return Err((at, error)),
                },
            }
        }
        Ok(())
    }
}

/// How long the lines are that go out together: as many as fit, one at least.
fn whole_lines(lines: &[u8]) -> usize {
    let ends = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    let first = || lines.iter().position(|byte| *byte == b'\n');
    if lines.len() <= BYTES_AT_ONCE {
        return lines.len();
    }
    let end = lines.get(..BYTES_AT_ONCE).and_then(ends).or_else(first);
    end.map_or(lines.len(), |end| end.saturating_add(1))
}

/// What a log says of lines that are missing just before.
fn missing(log: Log, format: LogFormat, lines: u64, at: SystemTime) -> String {
    let time = humantime::format_rfc3339_millis(at);
    match (log, format) {
        (Log::Access, LogFormat::Json) => format!("{{\"time\":\"{time}\",\"dropped_lines\":{lines}}}\n"),
        (Log::Messages, LogFormat::Json) => format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"lines are missing here\",\"dropped_lines\":{lines},\"target\":\"{}\"}}\n",
            module_path!(),
        ),
        (Log::Access, LogFormat::Text) => format!("{time} {lines} lines dropped\n"),
        (Log::Messages, LogFormat::Text) => {
            format!("{time}  WARN {}: lines are missing here dropped_lines={lines}\n", module_path!())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::state::lines::WAITING;

    /// What each write brought.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().concat()).unwrap()
        }
    }

    fn start(sink: impl Write + Send + 'static) -> LineWriter {
        LineWriter::start(Log::Access, LogFormat::Json, Box::new(sink), Arc::default()).unwrap()
    }

    fn write_all(writer: &LineWriter, texts: &[&str]) {
        for text in texts {
            assert!(!writer.lines().write(text.as_bytes()));
        }
    }

    #[test]
    fn a_stop_loses_no_line() {
        let sink = Sink::default();
        let log = start(sink.clone());
        write_all(&log, &["a\n"; 1000]);
        log.finish().unwrap();
        assert_eq!(sink.text(), "a\n".repeat(1000));
    }

    #[test]
    fn lines_are_written_whole_and_many_in_one_piece_that_a_pipe_takes() {
        let sink = Sink::default();
        let log = start(sink.clone());
        let (long, short) = (format!("{}\n", "x".repeat(2300)), format!("{}\n", "x".repeat(300)));
        (0..100).for_each(|at| write_all(&log, &[if at % 9 == 0 { &long } else { &short }]));
        log.finish().unwrap();
        let pieces = sink.0.lock().unwrap().clone();
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n") && piece.len() <= BYTES_AT_ONCE));
        assert_eq!(count(&pieces.concat()), 100);
        assert!(pieces.len() < 50, "{}", pieces.len());
        let longer = [&b"x".repeat(2 * BYTES_AT_ONCE)[..], b"\n", b"y\n"].concat();
        assert_eq!(whole_lines(&longer), 2 * BYTES_AT_ONCE + 1, "a line is never cut");
    }

    /// A reader that does not read until it is told to, or gone.
    struct Stuck(mpsc::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_reads_too_slowly_loses_lines_and_is_told_how_many() {
        let (reads, sink) = (mpsc::channel(), Sink::default());
        let log = start(Stuck(reads.1, sink.clone()));
        let line = format!("{}\n", "x".repeat(2047));
        let lines = 2 * WAITING / line.len() + 100;
        let told = (0..lines).filter(|_| log.lines().write(line.as_bytes())).count();
        assert_eq!(told, 1, "who wrote the first that was lost says so");
        let lost = log.lines().newly_lost();
        drop(reads.0);
        log.finish().unwrap();
        let written = sink.text();
        let dropped = written.lines().filter(|line| line.contains("dropped_lines"));
        let dropped: Vec<serde_json::Value> =
            dropped.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(dropped.iter().all(|line| line["time"].is_string()));
        let dropped: u64 = dropped.iter().map(|line| line["dropped_lines"].as_u64().unwrap()).sum();
        assert!(dropped > 0);
        assert_eq!(dropped, lost, "the metrics say as many");
        let whole = written.lines().filter(|line| line.starts_with('x')).count();
        assert_eq!(whole as u64 + dropped, lines as u64);
    }

    #[test]
    fn a_stop_does_not_wait_for_a_reader_that_never_reads_and_says_what_is_left() {
        let (reads, never) = mpsc::channel();
        let log = start(Stuck(never, Sink::default()));
        write_all(&log, &["a\n", "b\n", "c\n"]);
        assert_eq!(log.finish_within(Duration::from_millis(50)), Err(3));
        drop(reads);
    }

    /// A disk that is full for a while: it takes five bytes, then fails as often as it is told, then takes
    /// all.
    struct Full(u32, Sink);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let is_first = self.1.0.lock().unwrap().is_empty();
            match (self.0, is_first) {
                (0, _) => self.1.write(bytes),
                (_, true) => self.1.write(&bytes[..5]),
                _ => {
                    self.0 -= 1;
                    Err(io::ErrorKind::StorageFull.into())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_begins_on_a_line_of_its_own() {
        let sink = Sink::default();
        let log = start(Full(3, sink.clone()));
        // The first is cut behind its fifth byte; the second does not get that far, nor does what is said of
        // the first.
        for _ in 0..2 {
            write_all(&log, &["one\ntwo\nthree\n"]);
            log.lines().wait(WAIT_FOR_READER);
        }
        write_all(&log, &["four\n"]);
        let lines = log.lines().clone();
        log.finish().unwrap();
        let written = sink.text();
        let (before, said) = written.split_at("one\nt\nfour\n".len());
        assert_eq!(before, "one\nt\nfour\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(said).unwrap()["dropped_lines"], 2 + 3);
        assert_eq!(lines.newly_lost(), 2 + 3);
    }

    /// What was made non-blocking by whoever has the other end of the terminal.
    struct Impatient(u32, Sink);

    impl Write for Impatient {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0.is_multiple_of(3) {
                self.1.write(&bytes[..1])
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_takes_nothing_just_now_is_tried_again() {
        let sink = Sink::default();
        let log = start(Impatient(0, sink.clone()));
        write_all(&log, &["one\n", "two\n"]);
        let lines = log.lines().clone();
        log.finish().unwrap();
        assert_eq!((sink.text().as_str(), lines.newly_lost()), ("one\ntwo\n", 0));
    }

    #[test]
    fn what_is_missing_is_said_as_the_lines_around_it_are_written() {
        let said = |log, format| missing(log, format, 7, SystemTime::UNIX_EPOCH);
        assert_eq!(
            said(Log::Access, LogFormat::Json),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"dropped_lines\":7}\n"
        );
        let message: serde_json::Value = serde_json::from_str(&said(Log::Messages, LogFormat::Json)).unwrap();
        assert_eq!((&message["level"], &message["dropped_lines"]), (&"WARN".into(), &7.into()));
        assert_eq!(said(Log::Access, LogFormat::Text), "1970-01-01T00:00:00.000Z 7 lines dropped\n");
        assert!(said(Log::Messages, LogFormat::Text).ends_with("dropped_lines=7\n"));
    }
}
