//! The gatewatch binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewatch::cli::main()
}
