//! What a program's environment holds.

use vm_abi::{Credentials, Gid, Uid};
use vm_kernel::syscall::{self, Fd, SpawnRequest};
use vm_kernel::{Account, Accounts, Command};

use crate::machine::{Machine, print, request, wait};

fn machine() -> Machine {
    let ada = Account {
        name: "ada".into(),
        uid: Uid(1000),
        gid: Gid(1000),
        full_name: String::new(),
        home: "/home/ada".into(),
        shell: "/bin/sh".into(),
    };
    let machine = Machine::with(|builder| {
        builder.accounts(Accounts::with_root().with_user(ada)).environment_variable("TERM", "dumb")
    });
    machine.program("env", |ctx| async move {
        for entry in &*ctx.envp() {
            print(&ctx, Fd::STDOUT, &format!("{}\n", String::from_utf8_lossy(entry))).await;
        }
        0
    });
    machine
}

fn sorted(output: &str) -> Vec<&str> {
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(start_paused = true)]
async fn a_command_has_what_its_user_and_the_machine_give_it() {
    let machine = machine();
    let ada = Credentials::new(Uid(1000), Gid(1000));
    let output =
        machine.run(Command::new("env").credentials(ada).cwd("/work").env("A", "1").env("A", "2")).await;
    assert_eq!(
        sorted(&output.stdout),
        [
            "A=2",
            "HOME=/home/ada",
            "LOGNAME=ada",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PWD=/work",
            "SHELL=/bin/sh",
            "TERM=dumb",
            "TMPDIR=/tmp",
            "USER=ada",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_command_sets_is_not_overridden() {
    let machine = machine();
    let output = machine.run(Command::new("env").env("TERM", "vt100").env("HOME", "/")).await;
    let lines = sorted(&output.stdout);
    assert!(lines.contains(&"TERM=vt100") && lines.contains(&"HOME=/"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_childs_environment_is_what_it_was_given_and_what_it_cannot_do_without() {
    let machine = machine();
    let output = machine
        .expect(|ctx| async move {
            let envp = vec![b"ONLY=this".to_vec(), b"PWD=/wrong".to_vec()];
            let child = SpawnRequest { envp, ..request(&ctx, &["env"]) };
            let child = syscall::process::spawn(&ctx, child).await.unwrap();
            wait(&ctx, child).await;
        })
        .await;
    let lines = sorted(&output);
    assert!(
        lines.contains(&"ONLY=this") && lines.contains(&"PWD=/") && lines.contains(&"USER=root"),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.starts_with("TERM")), "{lines:?}");
}
