//! `gatewatch generate`, for `make install` and packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure};

/// The shells, and the folder of each.
const SHELLS: [(Shell, &str); 3] = [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];

/// Flags of `generate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder for `man1`, `bash`, `zsh` and `fish`; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let told = |error: io::Error| Failure::Other(format!("{}: {error}", args.out.display()));
    generate(&args.out, &date()).map_err(told)?;
    Ok(ExitCode::SUCCESS)
}

/// The day that pages are of: today, or that of the variable by which packages are built the same twice.
fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let at = given.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let text = humantime::format_rfc3339_seconds(at.unwrap_or_else(SystemTime::now)).to_string();
    text.chars().take_while(|c| *c != 'T').collect()
}

fn generate(out: &Path, date: &str) -> io::Result<()> {
    let pages = out.join("man1");
    fs::create_dir_all(&pages)?;
    let mut command = shown();
    command.build();
    write_pages(&command, date, &pages)?;
    for (shell, folder) in SHELLS {
        let folder = out.join(folder);
        fs::create_dir_all(&folder)?;
        let mut command = shown();
        clap_complete::generate_to(shell, &mut command, "gatewatch", folder)?;
    }
    Ok(())
}

/// One page for `command` and one for each below it.
fn write_pages(command: &Command, date: &str, pages: &Path) -> io::Result<()> {
    let page = Man::new(command.clone()).source(concat!("gatewatch ", env!("CARGO_PKG_VERSION")));
    let page = page.date(date).manual("gatewatch");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(pages.join(page.get_filename()), tidy(&String::from_utf8_lossy(&text)))?;
    command.get_subcommands().try_for_each(|below| write_pages(below, date, pages))
}

/// `page` without what mandoc warns of: line breaks around an empty line, where one space says it, and blanks at line ends.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    lines.join("\n").replace("\n.br\n\n.br\n", "\n.sp\n") + "\n"
}

/// The commands as people see them: completions would offer hidden ones too.
fn shown() -> Command {
    let all = Cli::command();
    let mut shown = Command::new("gatewatch").version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    if let Some(about) = all.get_about() {
        shown = shown.about(about.clone());
    }
    shown.subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Command;

    use super::{generate, shown};

    /// Every command below `command`, with its words joined by `-`.
    fn commands(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        found.push((name.to_owned(), command.clone()));
        for below in command.get_subcommands() {
            commands(below, &format!("{name}-{}", below.get_name()), found);
        }
    }

    fn all() -> Vec<(String, Command)> {
        let mut found = Vec::new();
        commands(&shown(), "gatewatch", &mut found);
        assert!(found.len() > 12, "{}", found.len());
        found
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn every_command_has_a_man_page_that_tells_of_its_flags_and_of_the_commands_below_it() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "2026-11-26").unwrap();
        let all = all();
        for (name, command) in &all {
            let page = read(&dir.path().join(format!("man1/{name}.1"))).replace("\\-", "-");
            for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{flag}")), "{name}.1 does not tell of --{flag}");
            }
            for below in command.get_subcommands() {
                assert!(page.contains(&format!("{name}-{}(1)", below.get_name())), "{name}.1: {}", below.get_name());
            }
        }
        assert_eq!(fs::read_dir(dir.path().join("man1")).unwrap().count(), all.len(), "and nothing else has one");
    }

    #[test]
    fn every_shell_completes_every_command_and_flag_and_no_hidden_one() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "2026-11-26").unwrap();
        for file in ["bash/gatewatch.bash", "zsh/_gatewatch", "fish/gatewatch.fish"] {
            let script = read(&dir.path().join(file));
            for (name, command) in all() {
                assert!(script.contains(command.get_name()), "{file}: {name}");
                for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
                    // fish writes `-l flag`.
                    assert!(script.contains(&format!("--{flag}")) || script.contains(&format!("-l {flag}")), "{flag}");
                }
            }
            assert!(!script.contains("generate"), "{file}");
        }
    }
}
