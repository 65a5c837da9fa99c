//! Rows as CSV (RFC 4180) and as JSON lines.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Cell, Object, Row, Rows, TaskRow, Wanted};
use crate::journal::RunSummary;
use crate::model::Timestamp;

/// The formats of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values, names of columns first.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl ExportFormat {
    /// Its word in a query, and the ending of a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/x-ndjson",
        }
    }
}

/// Makes text of rows.
#[derive(Debug)]
pub struct Encoder {
    format: ExportFormat,
    scratch: String,
}

impl Encoder {
    /// One for `format`.
    pub fn new(format: ExportFormat) -> Self {
        Self { format, scratch: String::new() }
    }

    /// What stands before the first row of what is `wanted`.
    pub fn head(&self, wanted: &Wanted) -> Vec<u8> {
        match self.format {
            ExportFormat::Jsonl => Vec::new(),
            ExportFormat::Csv if wanted.tasks() => csv_head::<TaskRow>(),
            ExportFormat::Csv => csv_head::<RunSummary>(),
        }
    }

    /// Appends `rows` to `out`.
    pub fn rows(&mut self, rows: &Rows, out: &mut Vec<u8>) {
        match rows {
            Rows::Runs(runs) => self.each(runs, out),
            Rows::Tasks(tasks) => self.each(tasks, out),
        }
    }

    fn each<R: Row>(&mut self, rows: &[R], out: &mut Vec<u8>) {
        match self.format {
            ExportFormat::Csv => {
                let mut csv = csv_writer(std::mem::take(out));
                for row in rows {
                    let fields = R::COLUMNS.iter().map(|column| (column.cell)(row));
                    for cell in fields {
                        let field = csv_field(&cell, &mut self.scratch);
                        csv.write_field(field.as_bytes()).expect(IN_MEMORY);
                    }
                    csv.write_record(None::<&[u8]>).expect(IN_MEMORY);
                }
                *out = csv.into_inner().expect(IN_MEMORY);
            }
            ExportFormat::Jsonl => {
                for row in rows {
                    serde_json::to_writer(&mut *out, &Object(row)).expect(IN_MEMORY);
                    out.push(b'\n');
                }
            }
        }
    }
}

/// Why writing cannot fail: a vector takes everything, keys are texts, and each record has a field for each column.
const IN_MEMORY: &str = "rows of equal length are written into memory";

fn csv_writer(out: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).buffer_capacity(CSV_BUFFER).from_writer(out)
}

/// Bytes that the CSV writer gathers before it appends them.
const CSV_BUFFER: usize = 8 * 1024;

fn csv_head<R: Row>() -> Vec<u8> {
    let mut csv = csv_writer(Vec::new());
    csv.write_record(R::COLUMNS.iter().map(|column| column.name)).expect(IN_MEMORY);
    csv.into_inner().expect(IN_MEMORY)
}

/// What a cell is in CSV. `scratch` holds the text of a number.
fn csv_field<'a>(cell: &'a Cell<'_>, scratch: &'a mut String) -> Cow<'a, str> {
    scratch.clear();
    let written = match cell {
        Cell::Empty => Ok(()),
        Cell::Text(text) => return defused(text),
        Cell::Count(count) => write!(scratch, "{count}"),
        // As in JSON, where a number that is none is null.
        Cell::Number(number) | Cell::Seconds(number) | Cell::Time(Timestamp(number)) if !number.is_finite() => Ok(()),
        Cell::Number(number) | Cell::Seconds(number) | Cell::Time(Timestamp(number)) => write!(scratch, "{number}"),
        Cell::Flag(flag) => write!(scratch, "{flag}"),
    };
    written.expect("a string takes everything");
    Cow::Borrowed(scratch)
}

/// A text that no spreadsheet takes for a formula: task ids come from logs, which anybody on the VM may write.
fn defused(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_a_spreadsheet_would_run_is_a_text_in_csv() {
        for dangerous in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            let mut scratch = String::new();
            assert_eq!(csv_field(&Cell::Text(dangerous.into()), &mut scratch), format!("'{dangerous}"));
        }
        for plain in ["", "task", "a=b", "'x", " =1"] {
            assert_eq!(csv_field(&Cell::Text(plain.into()), &mut String::new()), plain);
        }
        assert_eq!(csv_field(&Cell::Number(-1.5), &mut String::new()), "-1.5", "a number is none of these");
    }

    #[test]
    fn what_is_not_known_is_empty_and_never_zero() {
        for cell in [Cell::Empty, Cell::Number(f64::NAN), Cell::Seconds(f64::INFINITY)] {
            assert_eq!(csv_field(&cell, &mut String::from("old")), "");
            assert_eq!(serde_json::to_string(&cell).expect("JSON"), "null");
        }
    }
}
