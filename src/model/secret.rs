//! Values that must never be printed.

use std::fmt;

use subtle::ConstantTimeEq;

/// A secret: `Debug` prints a mask, there is no `Display`, and equality takes the same time wherever it differs.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one place that must send or hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same, in time that depends on lengths alone.
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("gw_abc_topsecret");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert!(secret.matches("gw_abc_topsecret"));
        assert!(!secret.matches("gw_abc_topsecreT"));
    }
}
