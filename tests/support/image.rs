//! The image that the Dockerfile makes, without a registry, and containers of it.
//!
//! Stay on the machine, so that the next run has them: the images `gatewatch-test*`.

use std::path::Path;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::program;
use crate::lab::command::{command, finish, finish_within, output};
use crate::lab::{Lab, Result, skip};

/// How long the base may take to be made of Debian's packages, and the image of the base.
const BUILD_WITHIN: Duration = Duration::from_secs(300);
/// The release that the Dockerfile names: the binary was linked with the library of this machine.
const RELEASE: &str = "bookworm";
/// Stands in for `debian:bookworm-slim`; made once on a machine, since it takes half a minute.
const BASE: &str = "gatewatch-test-base:bookworm";
/// Stands in for the stage that compiles.
const BINARY: &str = "gatewatch-test-binary";
/// The image itself.
pub const IMAGE: &str = "gatewatch-test";

/// The image, built of this tree's Dockerfile and the binary that Cargo built for tests.
#[derive(Debug)]
pub struct Image(());

impl Image {
    /// Builds it once in this process; `None`, and a word on standard error, where it cannot be had and need not be.
    #[expect(clippy::panic, reason = "only tests call it")]
    pub async fn for_test() -> Option<&'static Self> {
        static BUILT: OnceCell<Option<Image>> = OnceCell::const_new();
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        if !release.contains(&format!("VERSION_CODENAME={RELEASE}")) {
            skip(&format!("no image: the binary was built on another system than {RELEASE}"));
            return None;
        }
        if !Lab::engine_for_test().await {
            return None;
        }
        let built = BUILT.get_or_init(async || match build().await {
            Ok(()) => Some(Self(())),
            Err(why) => panic!("the image: {why}"),
        });
        built.await.as_ref()
    }

    /// Runs `gatewatch` with `args` on the volume and to its end; what it printed.
    pub async fn once(&self, volume: &str, args: &[&str]) -> String {
        let volume = format!("{volume}:/var/lib/gatewatch");
        let args = ["run", "--rm", "--network", "none", "-v", &volume, IMAGE].into_iter().chain(args.iter().copied());
        output("docker", args).await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Writes `bytes` into `file` of the volume, as the user of the image and for nobody else.
    pub async fn write(&self, volume: &str, file: &str, bytes: &[u8]) {
        let volume = format!("{volume}:/var/lib/gatewatch");
        let write = format!("umask 077; cat > /var/lib/gatewatch/{file}");
        let mut docker = command("docker");
        docker.args([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "-v",
            &volume,
            "--entrypoint",
            "sh",
            IMAGE,
            "-c",
            &write,
        ]);
        finish(docker, bytes).await.unwrap_or_else(|why| panic!("{why}"));
    }
}

async fn images(name: &str) -> Result<String> {
    output("docker", ["images", "--quiet", name]).await
}

async fn build() -> Result<()> {
    if images(BASE).await?.is_empty() {
        let dir = tempfile::tempdir()?;
        let tar = dir.path().join("base.tar");
        let mut make = command("mmdebstrap");
        make.args(["--quiet", "--variant=apt", RELEASE]).arg(&tar);
        finish_within(BUILD_WITHIN, make, b"").await?;
        output("docker", ["import".as_ref(), tar.as_os_str(), BASE.as_ref()]).await?;
    }
    let before = images(IMAGE).await?;
    let binary = images(BINARY).await?;
    import_binary().await?;
    build_on_base(IMAGE, &["--build-arg", &format!("BINARY={BINARY}"), "."], b"").await?;
    for (old, name) in [(before, IMAGE), (binary, BINARY)] {
        if !old.is_empty() && images(name).await? != old {
            // One of another test run may still be in use.
            let _ = output("docker", ["rmi", &old]).await;
        }
    }
    Ok(())
}

/// `docker build` with `args`, of a Dockerfile that begins on the base; `input` is its standard input.
pub async fn build_on_base(tag: &str, args: &[&str], input: &[u8]) -> Result<()> {
    // Debian's own, which has BuildKit built in: only BuildKit leaves out a stage that nothing is taken from.
    let debian = Path::new("/usr/bin/docker");
    let mut docker = command(if debian.exists() { "/usr/bin/docker" } else { "docker" });
    docker.env("DOCKER_BUILDKIT", "1").args(["build", "--quiet", "--tag", tag]);
    docker.args(["--build-arg", &format!("BASE={BASE}")]).args(args);
    finish_within(BUILD_WITHIN, docker, input).await.map(|_| ())
}

/// An image that has nothing but the binary, where the compiling stage puts it.
async fn import_binary() -> Result<()> {
    let stripped = tempfile::NamedTempFile::new()?;
    output("strip", ["-o".as_ref(), stripped.path().as_os_str(), program().as_os_str()]).await?;
    import_alone(BINARY, stripped.path(), Path::new("src/target/release/gatewatch")).await
}

/// Makes the image `tag`, which has nothing but `program`, at `place`.
pub async fn import_alone(tag: &str, program: &Path, place: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (root, tar) = (dir.path().join("root"), dir.path().join("image.tar"));
    let file = root.join(place);
    std::fs::create_dir_all(file.parent().ok_or("a file has a folder")?)?;
    std::fs::copy(program, &file)?;
    let pack = ["-cf".as_ref(), tar.as_os_str(), "-C".as_ref(), root.as_os_str(), ".".as_ref()];
    output("tar", pack).await?;
    output("docker", ["import".as_ref(), tar.as_os_str(), tag.as_ref()]).await?;
    Ok(())
}

/// Whether there is an image `tag`.
pub async fn is_there(tag: &str) -> Result<bool> {
    Ok(!images(tag).await?.is_empty())
}

/// A container, as hardened as OPERATIONS.md says, with a volume of its own; both go with the value.
#[derive(Debug)]
pub struct Container {
    /// Its name, and that of its volume.
    pub name: String,
}

impl Container {
    /// Reserves a name; nothing runs yet.
    pub fn new() -> Self {
        Self { name: format!("gatewatch-test-{}-{:08x}", std::process::id(), rand::random::<u32>()) }
    }

    /// Starts `serve` on this machine's network with `config` as its configuration, and no system call that is not in the
    /// file `seccomp`.
    pub async fn start(&self, config: &Path, seccomp: &Path) {
        let seccomp = format!("seccomp={}", seccomp.display());
        let config = format!("{}:/etc/gatewatch/gatewatch.toml:ro", config.display());
        let volume = format!("{}:/var/lib/gatewatch", self.name);
        let hardened = [
            "--init",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            &seccomp,
        ];
        let place = ["--network", "host", "-v", &volume, "-v", &config, "--name", &self.name, IMAGE];
        let args = ["run", "--detach"].into_iter().chain(hardened).chain(place);
        output("docker", args).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// What a program in it prints.
    pub async fn exec(&self, args: &[&str]) -> Result<String> {
        output("docker", ["exec", &self.name].into_iter().chain(args.iter().copied())).await
    }

    /// What Docker says of it, in the words of a Go template.
    pub async fn inspect(&self, template: &str) -> String {
        let said = output("docker", ["inspect", "--format", template, &self.name]).await;
        said.unwrap_or_else(|why| panic!("{why}"))
    }

    /// What it logged.
    pub async fn log(&self) -> String {
        let mut docker = command("sh");
        docker.args(["-c", "exec docker logs \"$0\" 2>&1", &self.name]);
        finish(docker, b"").await.unwrap_or_else(|why| why.to_string())
    }

    /// `docker stop`, with more time than a stop takes.
    pub async fn stop(&self) {
        output("docker", ["stop", "--time", "20", &self.name]).await.unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A name that nothing has is no failure.
        for args in [&["rm", "--force", "--volumes"][..], &["volume", "rm", "--force"]] {
            let _ = command("docker").into_std().args(args).arg(&self.name).output();
        }
    }
}
