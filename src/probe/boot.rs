//! What a container's log says about the boot of its Windows.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::{BootMark, Dependency};

/// What is looked for in a container's log on the VM: extended regular expression of every line that [`marks`] could
/// read. Beside these only the newest lines come over.
pub(super) const MARKS: &str = "[0-9]%|Extracting|Adding|Building|Creating|Booting|Boot0004|started successfully|\
install\\.bat|setup\\.ps1|on-logon\\.ps1|[Ii]nstall";

/// Most characters of the container's log that are kept for people.
const TAIL_CHARS: usize = 500;

/// wget's progress, in its dots (`1234K ........ 45% 80.1M 30s`, at the end `100% 85.3M=62s`) or as a bar
/// (`45%[====> ] 1.2G 80.1MB/s eta 30s`).
static WGET: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?:^\s*\d+[KMG]?\s[\s.,]*?(?P<dots>\d{1,3})%(?:\s*[\d.,]+[KMGT]?)?(?:\s*(?P<took>=)|\s+)?(?P<left>(?:\d+(?:\.\d+)?[dhms])+)?\s*$)",
        r"|(?:(?P<bar>\d{1,3})%\s*\[[=>\s+-]*\].*?(?:eta\s+(?P<eta>(?:\d+[dhms]\s*)+))?\s*$)",
    ))
});
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"(\d+)(?:\.\d+)?([dhms])"));
static SCRIPT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b(install\.bat|setup\.ps1|on-logon\.ps1)\b"));
static INSTALL: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b(?:re)?install(?:ing|ed|ation|s)?\b"));
static INSTALLED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\binstalled\b|\binstallation (?:is |was )?(?:complete|finished|done|successful)"));
static NOT_INSTALLED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b(?:not|isn't|wasn't|being|gets|to be)\s+(?:\w+\s+)?installed\b"));
static ESCAPES: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"));

/// Dependencies of the benchmark, each with the words that name it in a log.
static DEPENDENCIES: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    [
        ("Python", r"python"),
        ("Git", r"git"),
        ("Google Chrome", r"(?:google )?chrome"),
        ("LibreOffice", r"libre ?office"),
        ("VLC", r"vlc"),
        ("VS Code", r"vs ?code|visual studio code"),
        ("GIMP", r"gimp"),
        ("7-Zip", r"7-?zip"),
        ("Thunderbird", r"thunderbird"),
        ("FFmpeg", r"ffmpeg"),
        ("Caddy", r"caddy"),
        ("Node.js", r"node(?:\.js|js)"),
    ]
    .map(|(name, words)| (name, regex(&format!(r"(?i)\b(?:{words})\b"))))
    .into()
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern, compiled by the tests")
}

/// What `log` says, in the order in which it last said it: each kind of mark, each setup script and each dependency at
/// most once, so the count is bounded whatever the log holds.
pub fn marks(log: &str) -> Vec<BootMark> {
    let mut found: Vec<BootMark> = Vec::new();
    for line in log.split(['\n', '\r']) {
        let line = ESCAPES.replace_all(line, "");
        for mark in of_line(&line) {
            found.retain(|other| !same_kind(other, &mark));
            found.push(mark);
        }
    }
    found
}

/// The end of `log` for people: escape sequences and control characters removed, lines kept, at most 500 characters.
pub fn tail(log: &str) -> String {
    let clean = ESCAPES.replace_all(log, "");
    let clean: String = clean
        .chars()
        .map(|c| if c == '\r' || c == '\t' { ' ' } else { c })
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let clean = clean.trim();
    let skip = clean.chars().count().saturating_sub(TAIL_CHARS);
    clean.chars().skip(skip).collect()
}

fn of_line(line: &str) -> Vec<BootMark> {
    let mut marks = Vec::new();
    if let Some(mark) = download(line) {
        return vec![mark];
    }
    let has = |text: &str| line.contains(text);
    for (named, mark) in [
        (has("Extracting"), BootMark::Extracting),
        (has("Adding") && has("image"), BootMark::Configuring),
        (has("Building Windows") || has("Creating a"), BootMark::Building),
        (has("Booting Windows"), BootMark::Booting),
        (has("Boot0004"), BootMark::LoginWait),
        (has("Windows started successfully"), BootMark::WindowsStarted),
    ] {
        if named {
            marks.push(mark);
        }
    }
    if let Some(script) = SCRIPT.find(line) {
        marks.push(BootMark::SetupScript(script.as_str().to_ascii_lowercase()));
    }
    if INSTALL.is_match(line) {
        let complete = INSTALLED.is_match(line) && !NOT_INSTALLED.is_match(line);
        for (name, _) in DEPENDENCIES.iter().filter(|(_, words)| words.is_match(line)) {
            marks.push(BootMark::Dependency(Dependency { name: (*name).to_owned(), complete }));
        }
    }
    marks
}

fn download(line: &str) -> Option<BootMark> {
    let found = WGET.captures(line)?;
    let percent: f64 = found.name("dots").or_else(|| found.name("bar"))?.as_str().parse().ok()?;
    let left = found.name("left").or_else(|| found.name("eta")).map(|text| seconds(text.as_str()));
    // After `=` stands the time it took: nothing is left.
    let seconds_left = if found.name("took").is_some() { Some(0) } else { left };
    (percent <= 100.0).then_some(BootMark::Downloading { percent, seconds_left })
}

fn seconds(text: &str) -> u64 {
    TIME.captures_iter(text).fold(0, |sum, part| {
        let unit = match &part[2] {
            "d" => 86_400,
            "h" => 3600,
            "m" => 60,
            _ => 1,
        };
        part[1].parse::<u64>().unwrap_or(0).saturating_mul(unit).saturating_add(sum)
    })
}

fn same_kind(a: &BootMark, b: &BootMark) -> bool {
    match (a, b) {
        (BootMark::Dependency(a), BootMark::Dependency(b)) => a.name == b.name,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downloading(percent: f64, seconds_left: Option<u64>) -> Vec<BootMark> {
        vec![BootMark::Downloading { percent, seconds_left }]
    }

    fn dependency(name: &str, complete: bool) -> Vec<BootMark> {
        vec![BootMark::Dependency(Dependency { name: name.to_owned(), complete })]
    }

    #[test]
    fn every_line_of_the_table_is_its_mark() {
        for (line, expected) in [
            ("1234K ........ 45% 80.1M 30s", downloading(45.0, Some(30))),
            (
                "  6000K .......... .......... .......... .......... ..........  0%  112M 53s",
                downloading(0.0, Some(53)),
            ),
            (
                " 98304K ........ ........ ........ ........ ........ ........  1% 80.1M 1m30s",
                downloading(1.0, Some(90)),
            ),
            ("5242880K ........ ,,,,,,.. 99% 1.02M 2h5m", downloading(99.0, Some(7500))),
            ("5242880K ........ 100% 85.3M=62s", downloading(100.0, Some(0))),
            ("5242880K ...... 100% 85.3M=1.5s", downloading(100.0, Some(0))),
            ("5242880K ...... 37%", downloading(37.0, None)),
            ("win.iso  45%[=====>      ]  2.40G  80.1MB/s    eta 1m 30s", downloading(45.0, Some(90))),
            ("\x1b[1;32m1234K .... 45% 80.1M 30s\x1b[0m", downloading(45.0, Some(30))),
            ("1234K ........ 450% 80.1M 30s", vec![]),
            ("memory 45% used", vec![]),
            ("❯ Downloading Windows 11 Enterprise...", vec![]),
            ("❯ Extracting Windows 11 Enterprise image...", vec![BootMark::Extracting]),
            ("❯ Adding drivers to image...", vec![BootMark::Configuring]),
            ("❯ Building Windows 11 Enterprise image...", vec![BootMark::Building]),
            ("❯ Creating a 30G growable disk image in qcow2 format...", vec![BootMark::Building]),
            ("❯ Booting Windows using QEMU v9.1.0...", vec![BootMark::Booting]),
            (r#"BdsDxe: starting Boot0004 "Windows Boot Manager" from HD(1,GPT,...)"#, vec![BootMark::LoginWait]),
            ("❯ Windows started successfully, visit http://localhost:8006/", vec![BootMark::WindowsStarted]),
            (r"Running C:\OEM\Install.bat", vec![BootMark::SetupScript("install.bat".to_owned())]),
            ("powershell -File setup.ps1", vec![BootMark::SetupScript("setup.ps1".to_owned())]),
            ("on-logon.ps1 started", vec![BootMark::SetupScript("on-logon.ps1".to_owned())]),
            ("Installing Python 3.10...", dependency("Python", false)),
            ("Python installed", dependency("Python", true)),
            ("Python is not installed", dependency("Python", false)),
            ("Installation complete: GIMP installation complete", dependency("GIMP", true)),
            ("Visual Studio Code is already installed.", dependency("VS Code", true)),
            ("installing digital clock", vec![]),
            ("git clone https://example.org", vec![]),
        ] {
            assert_eq!(marks(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_last_of_each_kind_is_kept_in_the_order_of_the_log() {
        let mut log: String = (0..5000).map(|i| format!("{i}K .... {}% 80.1M {}s\n", i % 101, i)).collect();
        log += "Extracting\nBooting Windows\nInstalling Git\n10K .. 7% 1M 9s\nGit installed\r\n";
        assert_eq!(
            marks(&log),
            [vec![BootMark::Extracting, BootMark::Booting], downloading(7.0, Some(9)), dependency("Git", true)]
                .concat()
        );
    }

    #[test]
    fn the_tail_is_short_and_has_no_control_characters() {
        let log = format!("{}\n\x1b[31mred\x1b[0m\r\n\x07\x1b]0;title\x07end\0\n", "ä".repeat(900));
        let tail = tail(&log);
        assert_eq!(tail.chars().count(), 500);
        assert!(tail.ends_with("red \nend"), "{tail:?}");
        assert!(!tail.contains('\x1b'));
    }

    #[test]
    fn the_filter_passes_every_kind_of_line() {
        let filter = Regex::new(MARKS).unwrap();
        for line in ["1K . 45% 8M 3s", "Extracting", "Adding x to image", "Building Windows", "Creating a", "Boot0004"]
        {
            assert!(filter.is_match(line), "{line}");
        }
        for line in
            ["Booting Windows", "Windows started successfully", "on-logon.ps1", "Python installed", "Installing"]
        {
            assert!(filter.is_match(line), "{line}");
        }
    }
}
