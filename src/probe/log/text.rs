//! Bytes of a line: what terminals would not print is taken out, numbers and texts are taken from what is left.

/// Characters that a text of a fact has at most.
pub(super) const TEXT_MAX: usize = 256;

/// Largest count (tasks of a run, steps of a task) that is believed.
pub(super) const COUNT_MAX: u64 = 1_000_000;

/// Longest OSC sequence (a window title, a link) that is taken out, in bytes. A longer one is text.
const OSC_MAX: usize = 4096;

/// A claim that cannot be true: no fact, but reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Absurd;

/// Whether `line` holds control characters other than tabs. No early exit: so it is vectorised.
pub(super) fn has_control(line: &[u8]) -> bool {
    line.iter().fold(false, |seen, &b| seen | is_control(b))
}

fn is_control(b: u8) -> bool {
    (b < 0x20) & (b != b'\t') | (b == 0x7f)
}

/// Writes `line` without escape sequences and control characters (tabs stay) into `out`.
pub(super) fn strip(line: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = line;
    while let Some(at) = rest.iter().position(|&b| is_control(b)) {
        out.extend_from_slice(&rest[..at]);
        rest = if rest[at] == 0x1b { after_escape(&rest[at + 1..]) } else { &rest[at + 1..] };
    }
    out.extend_from_slice(rest);
}

/// What follows an escape sequence whose ESC stood before `rest` (ECMA-48, 5.4: parameters, intermediates, final).
fn after_escape(rest: &[u8]) -> &[u8] {
    let skip = |from: usize, range: std::ops::RangeInclusive<u8>| {
        rest[from..].iter().position(|b| !range.contains(b)).map_or(rest.len(), |n| from + n)
    };
    match rest.first() {
        Some(b'[') => {
            let end = skip(skip(1, 0x30..=0x3f), 0x20..=0x2f);
            let complete = rest.get(end).is_some_and(|b| (0x40..=0x7e).contains(b));
            &rest[end + usize::from(complete)..]
        }
        Some(b']') => {
            let window = &rest[..rest.len().min(OSC_MAX)];
            match window.iter().position(|&b| b == 0x07 || b == 0x1b) {
                Some(end) if window[end] == 0x07 => &rest[end + 1..],
                Some(end) if rest.get(end + 1) == Some(&b'\\') => &rest[end + 2..],
                _ => &rest[1..],
            }
        }
        Some(_) => {
            let end = skip(0, 0x20..=0x2f);
            let complete = rest.get(end).is_some_and(|b| (0x30..=0x7e).contains(b));
            &rest[end + usize::from(complete)..]
        }
        None => rest,
    }
}

/// `bytes` as a text of a fact: UTF-8 as far as it goes, no control characters, trimmed, cut at [`TEXT_MAX`]
/// characters; `None` if nothing is left.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii();
    // A character takes at most 4 bytes: a cut here never changes one that is kept.
    let decoded = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX * 4 + 4)]);
    let kept: String = decoded.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// The word at the start of `bytes` (up to white space), and what follows it.
pub(super) fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len()))
}

/// Decimal digits at the start of `bytes` as a number (too large a one becomes `u64::MAX`), and what follows them.
pub(super) fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(len);
    let number = digits.iter().fold(0_u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    (len > 0).then_some((number, rest))
}

/// A count of tasks, if it can be one.
pub(super) fn count(n: u64) -> Result<u64, Absurd> {
    if (1..=COUNT_MAX).contains(&n) { Ok(n) } else { Err(Absurd) }
}

/// The number of a step, if it can be one. Steps may count from 0.
pub(super) fn step_number(n: u64) -> Result<u64, Absurd> {
    if n <= COUNT_MAX { Ok(n) } else { Err(Absurd) }
}

/// `bytes` as a score: `None` if it is no number.
pub(super) fn score(bytes: &[u8]) -> Option<Result<f64, Absurd>> {
    let number: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(if number.is_finite() { Ok(number) } else { Err(Absurd) })
}

/// The score at the start of `bytes`, up to white space or one of `,;/()`.
pub(super) fn leading_score(bytes: &[u8]) -> Option<Result<f64, Absurd>> {
    let bytes = bytes.trim_ascii_start();
    let ends = |b: &u8| b.is_ascii_whitespace() || b",;/()".contains(b);
    score(&bytes[..bytes.iter().position(ends).unwrap_or(bytes.len())])
}

/// `2026-01-02 10:11:12,345` (also `T`, `/`, `.`, a zone, or the time alone) at the start of `bytes`, and what follows.
pub(super) fn stamp(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if !bytes.first()?.is_ascii_digit() {
        return None;
    }
    let shaped = |from: usize, shape: &[u8]| {
        bytes.get(from..from + shape.len()).is_some_and(|part| {
            part.iter().zip(shape).all(|(b, s)| match s {
                b'0' => b.is_ascii_digit(),
                b'-' => *b == b'-' || *b == b'/',
                b' ' => *b == b' ' || *b == b'T',
                _ => b == s,
            })
        })
    };
    let mut end = if shaped(0, b"0000-00-00 00:00:00") {
        19
    } else if shaped(0, b"00:00:00") {
        8
    } else {
        return None;
    };
    if matches!(bytes.get(end), Some(b'.' | b',')) && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1;
        end += bytes[end..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    match bytes.get(end) {
        Some(b'Z') => end += 1,
        Some(b'+' | b'-') => {
            let zone = [&b"00:00"[..], b"0000"].into_iter().find(|shape| shaped(end + 1, shape));
            end += zone.map_or(0, |shape| 1 + shape.len());
        }
        _ => {}
    }
    let (stamp, rest) = bytes.split_at(end);
    (!rest.first().is_some_and(u8::is_ascii_alphanumeric)).then_some((stamp, rest))
}
