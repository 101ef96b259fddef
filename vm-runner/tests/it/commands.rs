//! The commands that Lodge brings because the published packages have stubs only.

use crate::runner::Runner;

/// Runs a script in a fresh workspace and compares what it prints.
async fn prints(script: &str, expected: &str) {
    let runner = Runner::start().await;
    let done = runner.workspace("a").await.sh(script).await;
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn install_copies_with_a_mode_and_makes_folders() {
    // Recorded on Linux.
    prints(
        "echo x > f; install -m 750 f g; cat g; stat -c %a g; install -d a/b; test -d a/b && echo made; \
         install -D f c/d/e; cat c/d/e; install f a; ls a; install -m 644 -t a/b f g; ls a/b; stat -c %a a/b/g; \
         install nothing x 2>/dev/null; echo $?; install -v f q; install f g c/d; ls c/d; stat -c %a c/d/f",
        "x\n750\nmade\nx\nb\nf\nf\ng\n644\n1\n'f' -> 'q'\ne\nf\ng\n755\n",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn groups_tty_users_and_who_answer_as_on_linux() {
    // Recorded on Linux, for a user of one group, with no terminal and nobody logged in.
    prints(
        "test \"$(groups)\" = \"$(id -Gn)\" && echo same; tty; echo $?; tty -s; echo $?; users; echo $?; who; echo $?",
        "same\nnot a tty\n1\n1\n0\n0\n",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn uptime_tells_time_and_load() {
    prints(
        "uptime | grep -c ' up .* users,  load average: [0-9.]*, [0-9.]*, [0-9.]*$'; uptime -p | cut -c1-3; \
         uptime -s | grep -c '^20..-..-.. ..:..:..$'",
        "1\nup \n1\n",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn sync_reaches_the_disk_and_fails_for_what_is_not_there() {
    prints(
        "echo a > f; sync; echo $?; sync f; echo $?; sync -d f .; echo $?; sync nothing 2>/dev/null; echo $?; cat f; ls -A",
        "0\n0\n0\n1\na\nf\n",
    )
    .await;
}
