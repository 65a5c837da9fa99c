//! Puts the built dashboard into the binary: every file of `web/dist` as it is and compressed. Without that folder the
//! table is empty, and the gateway serves the plain page: building needs no Node.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

const DIST: &str = "web/dist";
/// What Vite puts there under names that change with their content.
const HASHED: &str = "assets";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // The folder is always there, by `web/public/.gitkeep`: a path that is not would have this run each time.
    println!("cargo:rerun-if-changed={DIST}");
    let dist = Path::new(DIST);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut table = String::from("pub(super) static FILES: &[File] = &[\n");
    for name in names(dist)? {
        table.push_str(&entry(&dist.join(&name), &name, &out)?);
    }
    table.push_str("];\n");
    fs::write(out.join("dashboard.rs"), table)
}

/// The files to embed, in the order of their names; none if there is no page.
fn names(dist: &Path) -> io::Result<Vec<String>> {
    if !dist.join("index.html").is_file() {
        return Ok(Vec::new());
    }
    let mut names = vec!["index.html".to_owned()];
    for file in fs::read_dir(dist.join(HASHED))? {
        let name = file?.file_name().into_string().map_err(|_| io::ErrorKind::InvalidFilename)?;
        names.push(format!("{HASHED}/{name}"));
    }
    names.sort();
    Ok(names)
}

/// One row of the table, with the compressed bytes beside it where they are fewer.
fn entry(path: &Path, name: &str, out: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let mut row = format!("    File {{ name: {name:?}, plain: include_bytes!({:?})", fs::canonicalize(path)?);
    for (field, coded) in [("gzip", gzip(&bytes)?), ("brotli", brotli(&bytes)?)] {
        let file = out.join(format!("{}.{field}", name.replace('/', "-")));
        if coded.len() < bytes.len() {
            fs::write(&file, coded)?;
            let _ = write!(row, ", {field}: Some(include_bytes!({file:?}))");
        } else {
            let _ = write!(row, ", {field}: None");
        }
    }
    row.push_str(" },\n");
    Ok(row)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut coded = Vec::new();
    let params = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &bytes[..], &mut coded, &params)?;
    Ok(coded)
}
