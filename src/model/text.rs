//! What characters do to the text around them.

/// Whether `c` changes how the line that it stands in is read: a control character, one that ends a line, or one that
/// turns the direction of what follows (Unicode's `Bidi_Control`).
pub fn disturbs_line(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}
