//! The container's image, made of this machine's own files: there is no registry. About 20 MB, built once in a second.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Result;
use super::command::{self, output};

/// What the poll, the lab and a person who looks around need in the container, beside python.
const PROGRAMS: [&str; 18] = [
    "sh", "cat", "date", "df", "env", "find", "grep", "head", "kill", "ls", "pgrep", "pkill", "ps", "sleep", "stat",
    "tail", "timeout", "wc",
];
/// The benchmark process.
const RUN_PY: &str = include_str!("run.py");
/// Says which files of its library a python needs for [`RUN_PY`]: whatever it has loaded after the same imports.
const LOADED: &str = "
import encodings.ascii, encodings.latin_1, encodings.utf_8, os, signal, sys, sysconfig, time
print(os.path.realpath(sys.executable))
print(sys.exec_prefix + '/lib/python%d.%d/lib-dynload' % sys.version_info[:2])
library = tuple(sysconfig.get_path(name) + '/' for name in ('stdlib', 'platstdlib'))
for module in list(sys.modules.values()):
    for name in ('__file__', '__cached__'):
        path = getattr(module, name, None)
        if path and path.startswith(library) and os.path.exists(path):
            print(path)
";
/// Folders that Debian has as links into `/usr`; the image has the same ones.
const LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// The image's name; its tag is the hash of its content.
const NAME: &str = "gatewatch-lab";

/// The image's tag, built if this machine has none with the same content. Called under the start lock.
pub async fn ensure(root: &Path) -> Result<String> {
    let files = Files::of_this_machine().await?;
    let tag = format!("{NAME}:{}", &files.hash()?[..16]);
    let kept = output("docker", ["images", "--format", "{{.Repository}}:{{.Tag}}", NAME]).await?;
    if kept.lines().any(|line| line == tag) {
        return Ok(tag);
    }
    let stage = tempfile::tempdir_in(root)?;
    let tar = stage.path().join("image.tar");
    let image = stage.path().join("image");
    files.stage(&image).await?;
    let paths = [tar.as_os_str(), "-C".as_ref(), image.as_os_str(), ".".as_ref()];
    output("tar", ["--owner=0".as_ref(), "--group=0".as_ref(), "-cf".as_ref()].into_iter().chain(paths)).await?;
    let change = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    output("docker", ["import".as_ref(), "-c".as_ref(), change.as_ref(), tar.as_os_str(), tag.as_ref()]).await?;
    for old in kept.lines() {
        // An older one may still be in use by a container that somebody kept.
        let _ = output("docker", ["rmi", old]).await;
    }
    Ok(tag)
}

/// What goes into the image.
struct Files {
    /// Existing files, at the path that they have here, their folder's links resolved.
    copied: BTreeSet<PathBuf>,
    /// The python binary.
    python: PathBuf,
    /// Python says so on every start if it lacks this folder.
    dynload: PathBuf,
}

impl Files {
    async fn of_this_machine() -> Result<Self> {
        let debian = Path::new("/usr/bin/python3");
        let python3 = if debian.exists() { debian.to_owned() } else { "python3".into() };
        let mut command = command::command(python3.to_str().unwrap_or("python3"));
        command.args(["-c", LOADED]);
        let printed = command::finish(command, b"").await?;
        let mut lines = printed.lines().map(PathBuf::from);
        let (python, dynload) = lines.next().zip(lines.next()).ok_or("python3 prints nothing")?;
        let mut copied: Vec<PathBuf> = lines.collect();
        copied.push(python.clone());
        for program in PROGRAMS {
            copied.push(command::find(program).ok_or_else(|| format!("{program} is missing"))?);
        }
        let linked = copied.iter().filter(|file| file.extension().is_none_or(|end| end != "py" && end != "pyc"));
        let args: Vec<PathBuf> = linked.cloned().collect();
        copied.extend(libraries(&output("ldd", args).await?));
        let copied = copied.iter().map(|file| resolved(file)).collect::<Result<_>>()?;
        Ok(Self { copied, python, dynload })
    }

    fn hash(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in &self.copied {
            hash.update(file.as_os_str().as_encoded_bytes());
            hash.update(Sha256::digest(fs::read(file)?));
        }
        hash.update(RUN_PY);
        hash.update(include_str!("image.rs"));
        Ok(hex::encode(hash.finalize()))
    }

    /// Lays the image out under `image`.
    async fn stage(&self, image: &Path) -> Result<()> {
        for dir in ["client", "dev", "etc", "lab", "proc", "run", "storage", "sys", "tmp", "usr/bin", "usr/lib"] {
            fs::create_dir_all(image.join(dir))?;
        }
        for link in LINKS {
            if let Ok(target) = fs::read_link(Path::new("/").join(link)) {
                fs::create_dir_all(image.join(target.strip_prefix("/").unwrap_or(&target)))?;
                symlink(target, image.join(link))?;
            }
        }
        let mut copy = command::command("cp");
        copy.args(["-pL", "--parents", "-t"]).arg(image).args(&self.copied);
        // With `--parents` it looks for the folders of absolute paths from where it stands.
        copy.current_dir("/");
        command::finish(copy, b"").await?;
        fs::create_dir_all(image.join(self.dynload.strip_prefix("/")?))?;
        for name in ["python", "python3"] {
            symlink(&self.python, image.join("usr/bin").join(name))?;
        }
        fs::write(image.join("client/run.py"), RUN_PY)?;
        Ok(())
    }
}

/// The paths that `ldd` names: `libc.so.6 => /lib/libc.so.6 (0x..)` or `/lib64/ld-linux.so.2 (0x..)`.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let named = ldd.lines().filter(|line| line.starts_with([' ', '\t']));
    let paths = named.filter_map(|line| line.split_ascii_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

/// `file` with the links in its folder resolved, its own name kept: that is where the image's `/lib` link leads to.
fn resolved(file: &Path) -> Result<PathBuf> {
    let (dir, name) = file.parent().zip(file.file_name()).ok_or("not a file's path")?;
    Ok(dir.canonicalize()?.join(name))
}
