//! Listing and deleting trees, large ones too, and limits that are named.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use vm_api::{ListResponse, MountConfig, MountSource, TmpfsMount};

use crate::runner::Runner;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_large_tree_is_listed_whole_and_in_pages() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let script = "i=0; while [ $i -lt 50 ]; do mkdir -p t/$i; j=0; while [ $j -lt 100 ]; do : > t/$i/$j; j=$((j+1)); done; i=$((i+1)); done";
    assert_eq!(workspace.sh(script).await.exit_code, Some(0));
    let whole = workspace.routes.list("/home/agent/t", 2);
    let list: ListResponse = runner.get(&whole).await.json();
    assert_eq!((list.entries.len(), list.truncated), (5050, false));
    let expected: Vec<_> = list.entries.into_iter().map(|entry| entry.name).collect();
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page: ListResponse = runner.get(&format!("{whole}&limit=333{after}")).await.json();
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(names, expected);
    let filtered = format!("{whole}&exclude=1*,9,2/**");
    let list: ListResponse = runner.get(&filtered).await.json();
    let is_listed = |name: &str| list.entries.iter().any(|entry| entry.name == name);
    assert!(is_listed("2") && is_listed("3/33"));
    for name in ["1", "3/19", "9", "3/9", "2/33"] {
        assert!(!is_listed(name), "{name}");
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn deleting_a_tree_takes_time_for_each_file_only() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let tar = |count: u32| {
        let mut archive = Vec::new();
        for number in 0..count {
            let mut header = tar::Header::new_ustar();
            header.set_path(format!("f{number}")).unwrap();
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            archive.extend_from_slice(header.as_bytes());
        }
        archive
    };
    let mut times = Vec::new();
    for count in [10_000, 100_000] {
        let path = format!("{}&parents", workspace.routes.archive("/home/agent/many"));
        assert_eq!(runner.send(Method::PUT, &path, tar(count)).await.status, StatusCode::OK);
        let started = Instant::now();
        assert_eq!(workspace.delete("/home/agent/many", "?recursive").await.status, StatusCode::NO_CONTENT);
        times.push(started.elapsed());
    }
    assert!(times[1] < times[0] * 40 + Duration::from_millis(200), "{times:?}");
    assert_eq!(workspace.sh("ls -A").await.stdout, "");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_deep_tree_is_deleted_and_links_in_it_lead_nowhere() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let script = "mkdir keep && echo x > keep/f && mkdir t && cd t && ln -s ../keep link && \
                  i=0; while [ $i -lt 200 ]; do mkdir 0123456789abcdef && cd 0123456789abcdef || exit 1; : > f; i=$((i+1)); done";
    assert_eq!(workspace.sh(script).await.exit_code, Some(0));
    assert_eq!(workspace.delete("/home/agent/t", "?recursive").await.status, StatusCode::NO_CONTENT);
    assert_eq!(workspace.sh("ls; cat keep/f").await.stdout, "keep\nx\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_is_full_is_named_by_its_own_limit() {
    let runner = Runner::start().await;
    let workspace = runner
        .workspace_with("a", |config| {
            config.storage.size_bytes = 4 << 20;
            config.limits.inodes = 200;
            let tmpfs = |size_bytes| MountSource::Tmpfs(TmpfsMount { size_bytes });
            let mount = |path: &str, source| MountConfig { path: path.to_owned(), read_only: false, source };
            config.mounts = vec![mount("/scratch", tmpfs(64 << 10)), mount("/scratch2/", tmpfs(64 << 10))];
        })
        .await;
    workspace.sh("ln -s /scratch2 way").await;
    for (path, limit) in [
        ("/scratch/big", "spec.mounts[0].tmpfs.size"),
        ("/home/agent/way/big", "spec.mounts[1].tmpfs.size"),
        ("/home/agent/big", "spec.storage.size"),
    ] {
        let chunked = format!("{}?append", workspace.routes.file(path));
        let problem = runner.send(Method::PUT, &chunked, vec![0; 4 << 20]).await.problem();
        assert_eq!((problem.code.as_str(), problem.status), ("limit-storage", 507), "{problem:?}");
        assert_eq!(problem.limit.as_deref(), Some(limit), "{problem:?}");
        assert_eq!(problem.errno.as_deref(), Some("ENOSPC"));
        workspace.sh(&format!("rm -f {path}")).await;
    }
    let script = "i=0; while [ $i -lt 300 ]; do : > n$i || break; i=$((i+1)); done 2>/dev/null";
    workspace.sh(script).await;
    let problem = workspace.put("/home/agent/one-more", "x").await.problem();
    assert_eq!(
        (problem.code.as_str(), problem.limit.as_deref()),
        ("limit-inodes", Some("spec.limits.storageInodes")),
        "{problem:?}"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn permissions_are_those_of_the_workspaces_user() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    for (method, path, errno) in [
        (Method::PUT, "/etc/passwd", "EACCES"),
        (Method::DELETE, "/etc/passwd", "EACCES"),
        (Method::PUT, "/nowhere/f", "ENOENT"),
        (Method::PUT, "/etc", "EISDIR"),
        (Method::PUT, "/etc/passwd/x", "ENOTDIR"),
        (Method::DELETE, "/", "EBUSY"),
        (Method::DELETE, "/home/agent/.", "EINVAL"),
        (Method::GET, "/home", "EISDIR"),
    ] {
        let problem = runner.send(method.clone(), &workspace.routes.file(path), "x").await.problem();
        assert_eq!(problem.errno.as_deref(), Some(errno), "{method} {path}: {problem:?}");
        assert_eq!(problem.path.as_deref(), Some(path), "{problem:?}");
    }
    workspace.sh("ln -s loop loop").await;
    let problem = workspace.get("/home/agent/loop").await.problem();
    assert_eq!((problem.code.as_str(), problem.errno.as_deref()), ("too-many-symlinks", Some("ELOOP")));
    let problem = workspace.get(&format!("/{}", "x".repeat(256))).await.problem();
    assert_eq!((problem.code.as_str(), problem.errno.as_deref()), ("path-too-long", Some("ENAMETOOLONG")));
}
