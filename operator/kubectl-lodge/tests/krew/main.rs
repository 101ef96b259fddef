//! What krew gets: an archive that is the same each time, and a manifest that krew's own rules would let pass
//! (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/) and that is true of the archive.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The fields that krew knows, and no others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    version: String,
    homepage: String,
    short_description: String,
    description: String,
    caveats: String,
    platforms: Vec<Platform>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    selector: Selector,
    uri: String,
    sha256: String,
    bin: String,
    files: Vec<Move>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    from: String,
    to: String,
}

/// The plugin; packing it takes seconds.
const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-lodge");
/// A program that is small.
const SMALL: &str = "/bin/true";

fn pack(program: &str, out: &Path, more: &[&str]) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("krew/pack"))
        .arg(program)
        .arg(out)
        .args(more)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env_remove("LODGE_RELEASES")
        .output()
        .unwrap()
}

/// Packs for this machine, and gives the archive.
fn packed(program: &str, out: &Path) -> PathBuf {
    let output = pack(program, out, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().into()
}

fn manifest(out: &Path) -> Plugin {
    serde_saphyr::from_str(&std::fs::read_to_string(out.join("lodge.yaml")).unwrap()).unwrap()
}

fn sum(path: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(path).unwrap());
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn the_manifest_is_one_of_krew_and_true_of_the_archives() {
    let folder = TempDir::new().unwrap();
    let archive = packed(SMALL, folder.path());
    let elsewhere = if archive.to_string_lossy().contains("arm64") { "darwin_amd64" } else { "darwin_arm64" };
    assert!(pack(SMALL, folder.path(), &[elsewhere]).status.success());
    let Plugin { api_version, kind, metadata, spec } = manifest(folder.path());
    assert_eq!(
        (api_version.as_str(), kind.as_str()),
        ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    );
    assert_eq!(metadata.name, "lodge", "that of the file, and of `kubectl lodge`");
    assert_eq!(spec.version, concat!("v", env!("CARGO_PKG_VERSION")));
    assert!(spec.homepage.starts_with("https://"));
    // As the index wants them.
    assert!(spec.short_description.len() <= 50 && !spec.short_description.ends_with('.'));
    assert!(!spec.description.is_empty() && spec.caveats.contains("kubectl_complete-lodge"));
    assert_eq!(spec.platforms.len(), 2);
    let mut selectors: Vec<_> =
        spec.platforms.iter().map(|platform| &platform.selector.match_labels).collect();
    selectors.dedup();
    assert_eq!(selectors.len(), 2, "a machine finds one platform");
    for Platform { selector, uri, sha256, bin, files } in &spec.platforms {
        let labels = &selector.match_labels;
        assert!(["linux", "darwin"].contains(&labels["os"].as_str()) && labels.len() == 2);
        assert!(["amd64", "arm64"].contains(&labels["arch"].as_str()));
        let name = format!("kubectl-lodge_{}_{}_{}.tar.gz", &spec.version[1..], labels["os"], labels["arch"]);
        assert_eq!(*uri, format!("https://lodge.dev/releases/{}/{name}", spec.version));
        assert_eq!(*sha256, sum(&folder.path().join(name)));
        assert!(files.iter().any(|file| file.from == *bin && file.to == "."));
    }
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    assert_eq!(sum(&packed(SMALL, one.path())), sum(&packed(SMALL, other.path())));
    let manifests = [&one, &other].map(|folder| std::fs::read(folder.path().join("lodge.yaml")).unwrap());
    assert_eq!(manifests[0], manifests[1]);
}

#[test]
fn what_krew_installs_from_the_archive_runs() {
    let folder = TempDir::new().unwrap();
    let archive = packed(PLUGIN, folder.path());
    let (unpacked, installed) = (folder.path().join("unpacked"), folder.path().join("installed"));
    for directory in [&unpacked, &installed] {
        std::fs::create_dir(directory).unwrap();
    }
    let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    let Platform { bin, files, .. } = manifest(folder.path()).spec.platforms.remove(0);
    for Move { from, to } in files {
        std::fs::rename(unpacked.join(&from), installed.join(to).join(&from)).unwrap();
    }
    assert_eq!(std::fs::read_dir(&unpacked).unwrap().count(), 0, "nothing is packed that is not installed");
    let mode = |name: &str| std::fs::metadata(installed.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["kubectl-lodge", "kubectl_complete-lodge", "LICENSE"].map(mode), [0o755, 0o755, 0o644]);
    // krew links the program by the plugin's name.
    let path = folder.path().join("bin");
    std::fs::create_dir(&path).unwrap();
    symlink(installed.join(bin), path.join("kubectl-lodge")).unwrap();
    let run = |program: PathBuf, arguments: &[&str]| {
        let all = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
        let output = Command::new(program).args(arguments).env("PATH", all).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = run(path.join("kubectl-lodge"), &["version"]);
    assert_eq!(version, concat!("kubectl-lodge ", env!("CARGO_PKG_VERSION"), "\n"));
    let offered = run(installed.join("kubectl_complete-lodge"), &["cron", ""]);
    assert!(offered.starts_with("list\t") && offered.ends_with(":4\n"), "{offered}");
}

#[test]
fn a_platform_that_krew_does_not_know_is_refused_with_those_it_knows() {
    let folder = TempDir::new().unwrap();
    let output = pack(SMALL, folder.path(), &["plan9_amd64"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("no platform plan9_amd64: linux_amd64"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
