//! Logs on stderr, as text or JSON: one event, one line, whatever a VM or a client put into a value (G61).

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::model::disturbs_line;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a list of directives.
    #[error("log level {level:?} is not understood: {source}")]
    Level {
        /// As configured.
        level: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs are set up once per process.
    #[error("logs are set up already")]
    Twice,
}

/// Sets up logging for the whole process. `level` is a level (`info`) or directives (`info,gatewatch::probe=debug`).
pub fn init(format: LogFormat, level: &str) -> Result<(), LogsError> {
    let subscriber = subscriber(format, level, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::Twice)
}

/// Checks `level` without setting anything up.
pub fn check_level(level: &str) -> Result<(), LogsError> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    EnvFilter::builder().parse(level).map_err(|source| LogsError::Level { level: level.to_owned(), source })
}

/// What writes logs to `writer`, one event a line. `level` is as for [`init`].
///
/// # Errors
/// A level that is none.
pub fn subscriber<W>(format: LogFormat, level: &str, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(level)?;
    // No colours: the writer escapes every control character, its own included.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(OneLine(writer));
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(true).finish()),
    })
}

/// Makes writers that keep each event on one line.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

/// The formatter hands over one event, with its newline, per call of `write`.
struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(disturbs_line) {
            self.0.write_all(escape(line).as_bytes())?;
            self.0.write_all(b"\n")?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Escapes as JSON does, so that the result stays JSON where it was.
fn escape(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if disturbs_line(c) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{LogFormat, check_level, subscriber};
    use crate::model::disturbs_line;
    use crate::telemetry::captured::Captured;

    fn logged(format: LogFormat, event: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(format, "info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, event);
        captured.text()
    }

    const NASTY: &str = "a\x1b[31mred\r\nERROR forged: line\u{85}\u{2028}\u{202e}\u{200f}\x00\t\x7f";

    #[test]
    fn g61_one_event_is_one_line_whatever_its_values() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || {
                let span = tracing::info_span!("task", task = NASTY);
                let _in_span = span.enter();
                tracing::info!(display = %NASTY, debug = ?NASTY, text = NASTY, "said {NASTY}");
            });
            assert!(text.ends_with('\n'));
            let line = &text[..text.len() - 1];
            assert!(!line.contains(disturbs_line), "{format:?}: {line:?}");
            assert!(line.contains("forged"));
            if format == LogFormat::Json {
                let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(parsed["text"], NASTY, "JSON gives the value back whole");
            }
        }
    }

    #[test]
    fn the_level_is_a_level_or_directives() {
        assert!(check_level("debug").is_ok());
        assert!(check_level("info,gatewatch::probe=trace").is_ok());
        let refused = check_level("gatewatch=loud").unwrap_err();
        assert!(refused.to_string().contains("gatewatch=loud"), "{refused}");
        assert_eq!(logged(LogFormat::Text, || tracing::debug!("quiet")), "");
    }
}
