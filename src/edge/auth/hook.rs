//! Somebody who is told of what happens here, if there is anybody.

use std::fmt;
use std::sync::OnceLock;

/// Who is told; set once, while the process is built.
pub(super) struct Hook<T>(OnceLock<Box<dyn Fn(T) + Send + Sync>>);

impl<T> Hook<T> {
    /// Makes `told` be told from now on; whoever was set before stays.
    pub(super) fn set(&self, told: impl Fn(T) + Send + Sync + 'static) {
        if self.0.set(Box::new(told)).is_err() {
            tracing::error!("somebody is told already");
        }
    }

    /// Tells what `news` makes, if there is anybody.
    pub(super) fn tell(&self, news: impl FnOnce() -> T) {
        if let Some(told) = self.0.get() {
            told(news());
        }
    }
}

impl<T> Default for Hook<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.0.get().is_some())
    }
}
