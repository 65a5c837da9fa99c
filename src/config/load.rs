//! From a file, or a text, to a [`Config`].

use std::path::Path;

use super::issue::{ConfigErrors, Place};
use super::listed::CONFIG;
use super::reader::Reader;
use super::{Config, Env, files, sections};

/// The largest configuration file, bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

impl Config {
    /// Loads the file at `path`, at most 1 MiB, with the variables of `env` laid over it; without a path, the variables
    /// and the defaults alone.
    ///
    /// It looks at the files that the configuration names (whether they are there, readable and private), but opens no
    /// socket and writes nothing. Relative paths are relative to the working directory.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(path: Option<&Path>, env: &dyn Env) -> Result<Self, ConfigErrors> {
        let Some(path) = path else {
            return Self::parse("", "defaults", env);
        };
        let origin = path.to_string_lossy();
        match files::text(path, MAX_CONFIG_BYTES) {
            Ok(text) => Self::parse(&text, &origin, env),
            Err(message) => Err(ConfigErrors::one(Place::Whole(origin.into()), "", message)),
        }
    }

    /// As [`Config::load`], from a text that came from `origin`.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn parse(text: &str, origin: &str, env: &dyn Env) -> Result<Self, ConfigErrors> {
        if text.len() as u64 > MAX_CONFIG_BYTES {
            let message = format!("is larger than {MAX_CONFIG_BYTES} bytes");
            return Err(ConfigErrors::one(Place::Whole(origin.into()), "", message));
        }
        let reader = Reader::new(text, origin, env, CONFIG);
        let document = reader.document(true);
        let config = document.as_ref().and_then(|document| sections::read(document, &reader));
        let (config, warnings) = reader.finish(config)?;
        Ok(Self { warnings, ..config })
    }
}
