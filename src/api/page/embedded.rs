//! The files of `web/dist` as `build.rs` found them; none if the page was not built.

use super::File;

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));
