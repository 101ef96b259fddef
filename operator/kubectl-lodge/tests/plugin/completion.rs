//! Completion as somebody has it who presses a key: the real bash, zsh and fish, each with the script that `completion` prints
//! for it, and each with kubectl's own, which asks `kubectl_complete-lodge`. A shell that is not installed here is passed over;
//! `e2e/test` installs all of them.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::answer::{Answer, document};
use super::support::pty::Pty;
use super::support::world::{Call, World};

/// What somebody types, and what must be shown when they have pressed the key: the end of the line, or something to choose.
const LINES: [(&str, &[&str]); 9] = [
    ("lodge exec --tim", &["--timeout"]),
    ("lodge cro", &["cron "]),
    ("lodge ps ada -o ", &["json", "yaml", "wide", "name"]),
    ("lodge exec ad", &["ada"]),
    ("lodge exec -n team-b ", &["bob"]),
    ("lodge -n team-", &["team-a", "team-b"]),
    ("lodge cat ad", &["ada:"]),
    ("lodge cat ada:/work/n", &["notes.txt", "night/"]),
    ("lodge cp ./loc", &["local.txt"]),
];

/// A cluster with two workspaces and a few files in one of them.
async fn world() -> World {
    let world = World::answering(files).await;
    let names = |kind: &str, names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        json!({"kind": format!("{kind}List"), "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
    };
    let workspaces = |namespace| format!("/apis/lodge.dev/v1alpha1/namespaces/{namespace}/workspaces");
    world.put(&workspaces("team-a"), names("PartialObjectMetadata", &["ada"]));
    world.put(&workspaces("team-b"), names("PartialObjectMetadata", &["bob"]));
    world.put("/api/v1/namespaces", names("PartialObjectMetadata", &["team-a", "team-b"]));
    world
}

fn files(call: Call) -> Answer {
    assert_eq!(call.seen.line(), "GET files/work?list&depth=1");
    let entry = |name: &str, file_type: &str| {
        json!({"name": name, "path": format!("/work/{name}"), "type": file_type, "size": 0, "mode": "0644", "uid": 0, "gid": 0,
               "links": 1, "inode": 1, "modified": "2026-03-01T00:00:00Z",
               "accessed": "2026-03-01T00:00:00Z", "changed": "2026-03-01T00:00:00Z"})
    };
    let entries = [
        entry("notes.txt", "file"),
        entry("night", "directory"),
        entry(".hidden", "file"),
        entry("n\u{7}bell", "file"),
    ];
    document(200, &json!({"path": "/work", "entries": entries, "truncated": false}))
}

/// A folder of programs for the PATH, and to be in.
struct Installation {
    world: World,
    kubectl: Option<PathBuf>,
}

impl Installation {
    async fn new() -> Self {
        let world = world().await;
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-lodge"));
        symlink(plugin, world.home.path().join("kubectl-lodge")).unwrap();
        let script = Command::new(plugin).args(["completion", "kubectl"]).output().unwrap().stdout;
        let completer = world.home.path().join("kubectl_complete-lodge");
        std::fs::write(&completer, script).unwrap();
        std::fs::set_permissions(&completer, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(world.home.path().join("local.txt"), "").unwrap();
        // That of the project, before one that is on the machine.
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/bin/kubectl");
        let kubectl = if ours.exists() { Some(ours) } else { find("kubectl") };
        if let Some(kubectl) = &kubectl {
            symlink(kubectl.canonicalize().unwrap(), world.home.path().join("kubectl")).unwrap();
        }
        Self { world, kubectl }
    }

    fn command(&self, program: &Path) -> Command {
        let home = self.world.home.path();
        // A shell wants the terminal for itself.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program);
        let path = std::env::var("PATH").unwrap();
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", home.display()))
            .env("HOME", home)
            .env("TERM", "xterm")
            .env("PS1", "$ ")
            .env("KUBECONFIG", self.world.kubeconfig())
            .current_dir(home);
        command
    }

    /// Types each line into a shell, with the key, and checks what is shown.
    async fn check(&self, shell: &Shell, scripts: &str, program: &str) {
        let Some(path) = find(shell.name) else { return };
        let mut pty = Pty::start_program(self.command(&path).args(shell.arguments));
        pty.keys(format!("{}; {scripts}; echo re''ady\r", shell.setting).as_bytes());
        pty.shows("ready").await;
        for (number, (line, shown)) in LINES.into_iter().enumerate() {
            let mark = pty.mark();
            pty.keys(line.replacen("lodge", program, 1).as_bytes());
            pty.shows_after(mark, line.split(' ').rfind(|word| !word.is_empty()).unwrap()).await;
            let mark = pty.mark();
            // Bash lists what there is to choose from when the key is pressed again.
            pty.keys(if shell.name == "bash" && shown.len() > 1 { b"\t\t" } else { b"\t" });
            for word in shown {
                let rest = word.strip_prefix(line.rsplit([' ', '/', ':']).next().unwrap()).unwrap_or(word);
                let wanted = if shown.len() == 1 { rest } else { word };
                pty.shows_after(mark, wanted).await;
            }
            pty.keys(format!("\x15echo li''ne {number}\r").as_bytes());
            pty.shows(&format!("line {number}")).await;
        }
        assert!(!pty.text().contains("hidden") && !pty.text().contains("bell"), "{}", pty.text());
    }
}

/// How a shell is begun without anybody's configuration.
struct Shell {
    name: &'static str,
    arguments: &'static [&'static str],
    setting: &'static str,
    kubectl: &'static str,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        arguments: &["--norc", "--noprofile", "-i"],
        setting: "bind 'set enable-bracketed-paste off'",
        kubectl: "source /usr/share/bash-completion/bash_completion; source <(kubectl completion bash)",
    },
    Shell {
        name: "zsh",
        arguments: &["-f", "-i"],
        setting: "PS1='$ '; autoload -U compinit; compinit -u",
        kubectl: "source <(kubectl completion zsh)",
    },
    Shell {
        name: "fish",
        arguments: &["--no-config", "-i"],
        setting: "set fish_greeting",
        kubectl: "kubectl completion fish | source",
    },
];

/// A program on the PATH.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
}

async fn check(name: &str) {
    let installation = Installation::new().await;
    let shell = SHELLS.iter().find(|shell| shell.name == name).unwrap();
    let script = match name {
        "fish" => "kubectl-lodge completion fish | source".to_owned(),
        _ => format!("source <(kubectl-lodge completion {name})"),
    };
    installation.check(shell, &script, "kubectl-lodge").await;
    let has_library = name != "bash" || Path::new("/usr/share/bash-completion/bash_completion").exists();
    if installation.kubectl.is_some() && has_library {
        installation.check(shell, shell.kubectl, "kubectl lodge").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_the_plugin_and_kubectl_lodge() {
    check("bash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zsh_completes_the_plugin_and_kubectl_lodge() {
    check("zsh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fish_completes_the_plugin_and_kubectl_lodge() {
    check("fish").await;
}
