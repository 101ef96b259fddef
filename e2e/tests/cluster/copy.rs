//! Large files through the gateway, both ways.

use anyhow::{Context, Result};
use e2e::{checksum, cluster::Cluster, namespace::Namespace, noise::Noise};
use std::time::Instant;

/// MiB that are copied: `LODGE_COPY_MIB`, or as many as `make test` has the time for.
fn mebibytes() -> u64 {
    std::env::var("LODGE_COPY_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(128)
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_large_file_is_copied_in_and_out_unharmed() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "copy")?;
    namespace.ready_workspace("ada", "")?;
    let here = tempfile::tempdir()?;
    let (source, back) = (here.path().join("source"), here.path().join("back"));
    Noise::new(mebibytes()).write(&source, mebibytes())?;
    let sum = checksum::of_file(&source)?;
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let began = Instant::now();
    namespace.lodge(&["cp", "--quiet", &path(&source), "ada:large"])?.success().context("cp in")?;
    let into = began.elapsed();
    let inside = namespace.exec("ada", &["sha256sum", "large"])?.success()?;
    assert!(inside.starts_with(&sum), "inside it has another checksum: {inside} instead of {sum}");
    let began = Instant::now();
    namespace.lodge(&["cp", "--quiet", "ada:large", &path(&back)])?.success().context("cp out")?;
    report(into.as_secs_f64(), began.elapsed().as_secs_f64());
    assert_eq!(checksum::of_file(&back)?, sum);
    Ok(())
}

fn report(into: f64, out: f64) {
    let mebibytes = mebibytes();
    println!("{mebibytes} MiB in within {into:.1} s, out within {out:.1} s");
}
