//! The container image on a real Docker Engine: it runs with nothing to write to but its data, serves, and stops in time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use crate::lab::Lab;
use crate::support::{Container, Image, Sse, eventually, free_port, plain, seccomp_profile, walk};

/// How long a container may take for what it does at once on a quiet machine.
const SOON: Duration = Duration::from_secs(30);
/// The paths below which every container may write: kernel's own, and gone with it.
const KERNELS: [&str; 2] = ["/dev", "/proc"];

/// A gateway in a container that watches a simulated VM, and the real one of a lab.
struct Served {
    container: Container,
    port: u16,
    admin: u16,
    key: String,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start(image: &Image, lab: &Lab) -> Self {
        let (dir, container) = (tempfile::tempdir().expect("a folder"), Container::new());
        let (port, admin) = (free_port(), free_port());
        let keys = "/var/lib/gatewatch/keys.toml";
        let new = ["key", "new", "--name", "test", "--scopes", "admin", "--keys-file", keys];
        let key = image.once(&container.name, &new).await.trim().to_owned();
        let mut config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[tls]\nmode = \"off\"\n\
             [auth]\nkeys_file = \"{keys}\"\n\n[[vm]]\nname = \"simulated\"\ntransport = \"simulated\"\n"
        );
        for (file, from) in [("identity", &lab.identity), ("known_hosts", &lab.known_hosts)] {
            image.write(&container.name, file, &fs::read(from).expect("a file of the lab")).await;
        }
        let inside = |config: String, file: &Path, name: &str| {
            config.replace(&file.display().to_string(), &format!("/var/lib/gatewatch/{name}"))
        };
        let vm = inside(lab.vm_toml("real"), &lab.identity, "identity");
        config.push_str(&inside(vm, &lab.known_hosts, "known_hosts"));
        let file = dir.path().join("gatewatch.toml");
        fs::write(&file, config).expect("written");
        let seccomp = dir.path().join("seccomp.json");
        let profile = seccomp_profile().await.unwrap_or_else(|why| panic!("{why}"));
        fs::write(&seccomp, profile.to_string()).expect("written");
        container.start(&file, &seccomp).await;
        let served = Self { container, port, admin, key, _dir: dir };
        served.becomes_ready().await;
        served
    }

    async fn becomes_ready(&self) {
        let began = Instant::now();
        while self.ask("/readyz").await.is_none_or(|(status, _)| status != 200) {
            assert!(began.elapsed() < SOON, "it does not get ready:\n{}", self.container.log().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Status and body of a GET on the administration listener; `None` if nobody answers.
    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let answer = plain().get(format!("http://127.0.0.1:{}{path}", self.admin)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn vm(&self, name: &str) -> Option<Value> {
        let request = plain().get(format!("http://127.0.0.1:{}/api/vms", self.port)).bearer_auth(&self.key);
        let vms: Value = request.send().await.ok()?.json().await.ok()?;
        vms.as_array()?.iter().find(|vm| vm["name"] == name).cloned()
    }

    async fn stream(&self) -> Sse {
        let url = format!("http://127.0.0.1:{}/api/benchmark-sse?interval=1", self.port);
        Sse::new(plain().get(url).bearer_auth(&self.key).send().await.expect("an answer"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_serves_and_watches_over_ssh_writing_to_its_data_alone_and_asking_the_kernel_for_what_the_unit_allows()
 {
    let Some(image) = Image::for_test().await else { return };
    let Some(lab) = Lab::for_test().await else { return };
    let served = Served::start(image, &lab).await;
    let container = &served.container;

    let mut stream = served.stream().await;
    stream.until(SOON, |frame| frame.event == "status" && frame.text("vm") == "simulated").await;
    eventually(SOON, || async { served.vm("real").await.is_some_and(|vm| vm["status"] == "online") }).await;
    let (_, metrics) = served.ask("/metrics").await.expect("metrics");
    assert!(metrics.lines().any(|line| line.starts_with("gatewatch_")), "{metrics}");
    eventually(SOON, || async { container.inspect("{{.State.Health.Status}}").await == "healthy" }).await;

    // As the user it runs as, and by what the kernel says of each path, whatever its mode.
    let list = "find / -path /proc -prune -o -writable ! -type l -print -o -type d ! -readable -prune";
    let writable = container.exec(&list.split(' ').collect::<Vec<_>>()).await.expect("a list");
    let within = |path: &str, folder: &str| Path::new(path).starts_with(folder);
    let ours: Vec<&str> = writable.lines().filter(|path| !KERNELS.iter().any(|own| within(path, own))).collect();
    assert!(ours.iter().all(|path| within(path, "/var/lib/gatewatch")), "{ours:#?}");
    assert!(ours.contains(&"/var/lib/gatewatch/journal.db"), "{ours:#?}");

    let own = "grep -l '^Name:.gatewatch$' /proc/[0-9]*/status | head -n 1 | xargs cat";
    let status = container.exec(&["sh", "-c", own]).await.expect("the status of the process");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(field("Name:"), Some("gatewatch"), "{status}");
    assert_eq!(field("Uid:"), Some("10001\t10001\t10001\t10001"), "{status}");
    assert_eq!((field("CapEff:"), field("NoNewPrivs:")), (Some("0000000000000000"), Some("1")), "{status}");

    let began = Instant::now();
    container.stop().await;
    let took = began.elapsed();
    assert_eq!(container.inspect("{{.State.ExitCode}}").await, "0", "{}", container.log().await);
    assert!(took < Duration::from_secs(15), "killed at 20 s it would not have ended by itself: {took:?}");
    while stream.next().await.is_some() {}
    assert!(stream.retry().is_some(), "its streams were ended with a word");
}

/// The tests spare the compiling stage, so nothing else would tell that a file is missing there.
#[test]
fn every_file_that_the_code_takes_in_is_in_the_context_of_the_build() {
    let ignore = fs::read_to_string(".dockerignore").expect(".dockerignore");
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let taken = Regex::new(r#"include_(?:str|bytes)!\("([^"]+)"\)"#).expect("a regex");
    let (mut files, mut outside) = (Vec::new(), 0);
    walk(Path::new("src"), &mut files);
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("/tests")) {
        let code = fs::read_to_string(file).expect("a source file");
        for found in taken.captures_iter(&code) {
            let path = file.with_file_name(&found[1]).canonicalize().expect("a file that is there");
            let path = path.strip_prefix(std::env::current_dir().expect("a folder")).expect("a file of the repository");
            assert!(kept.iter().any(|kept| path.starts_with(kept)), "{} is not in the context", path.display());
            outside += usize::from(!path.starts_with("src"));
        }
    }
    assert!(outside > 0, "docs/openapi.json is one");
}
