//! The files below `/etc`, and what else a program expects to find on a machine (wasm-abi.md, section 4).

use vm_kernel::Accounts;

/// Where commands are linked; compiled into some programs.
pub(crate) const COMMANDS: &str = "/opt/agentos/bin";

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/opt/agentos/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories that exist everywhere, with their modes.
pub(crate) const DIRECTORIES: &[(&str, u32)] = &[
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/media", 0o755),
    ("/mnt", 0o755),
    ("/opt/agentos/bin", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/srv", 0o755),
    ("/tmp", 0o1777),
    ("/usr/lib", 0o755),
    ("/usr/local/bin", 0o755),
    ("/usr/local/etc", 0o755),
    ("/usr/local/lib", 0o755),
    ("/usr/local/sbin", 0o755),
    ("/usr/local/share", 0o755),
    ("/usr/sbin", 0o755),
    ("/usr/share", 0o755),
    ("/var/cache", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o1777),
];

/// Links that exist everywhere. All commands stand in one folder, under each of its usual names.
pub(crate) const LINKS: &[(&str, &str)] = &[
    ("/bin", "usr/bin"),
    ("/sbin", "usr/sbin"),
    ("/lib", "usr/lib"),
    ("/usr/bin", "../opt/agentos/bin"),
    ("/usr/tmp", "../var/tmp"),
    ("/var/run", "../run"),
    ("/etc/mtab", "../proc/self/mounts"),
];

/// Files that are the same in every VM.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("/etc/gitconfig", GITCONFIG),
    ("/etc/os-release", OS_RELEASE),
    ("/etc/profile", PROFILE),
    ("/etc/resolv.conf", ""),
    ("/etc/services", SERVICES),
    ("/etc/shells", "/bin/sh\n/bin/bash\n"),
];

/// git cannot fork its maintenance into the background, and workspaces belong to one user.
const GITCONFIG: &str = "\
[gc]
\tauto = 0
[init]
\tdefaultBranch = main
[maintenance]
\tauto = false
[safe]
\tdirectory = *
";

const OS_RELEASE: &str = concat!(
    "NAME=\"Lodge\"\nID=lodge\nVERSION_ID=\"",
    env!("CARGO_PKG_VERSION"),
    "\"\nPRETTY_NAME=\"Lodge ",
    env!("CARGO_PKG_VERSION"),
    "\"\nHOME_URL=\"https://lodge.dev\"\n"
);

const PROFILE: &str = "\
export PATH=/usr/local/sbin:/usr/local/bin:/opt/agentos/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LANG=C.UTF-8
umask 022
";

const SERVICES: &str = "\
ftp 21/tcp
ssh 22/tcp
domain 53/tcp
domain 53/udp
http 80/tcp
https 443/tcp
git 9418/tcp
";

/// Files that tell about the workspace.
pub(crate) fn workspace_files(hostname: &str, accounts: &Accounts) -> Vec<(&'static str, String)> {
    let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    vec![
        ("/etc/hostname", format!("{hostname}\n")),
        ("/etc/hosts", format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost {hostname}\n")),
        ("/etc/passwd", lines(accounts.users.iter().map(vm_kernel::Account::to_line).collect())),
        ("/etc/group", lines(accounts.groups.iter().map(vm_kernel::Group::to_line).collect())),
    ]
}

/// Variables that every command gets, unless something else sets them.
pub(crate) fn environment(has_git: bool) -> Vec<(&'static str, &'static str)> {
    let mut environment = vec![("PATH", PATH), ("LANG", "C.UTF-8"), ("TERM", "dumb"), ("TMPDIR", "/tmp")];
    if has_git {
        // What git looks for elsewhere; its compiled-in folders do not exist.
        environment.extend([
            ("GIT_CONFIG_SYSTEM", "/etc/gitconfig"),
            ("GIT_EXEC_PATH", COMMANDS),
            ("GIT_TEMPLATE_DIR", ""),
        ]);
    }
    environment
}
