//! Tokens that are no good, or not any more.

use anyhow::Result;
use e2e::{
    cluster::Cluster,
    gateway::{Door, Identity},
    namespace::Namespace,
    token::Signer,
    user::User,
};
use std::time::{Duration, Instant};

/// The status of a command that is asked for with a token.
fn status_with(door: &Door, namespace: &Namespace, token: &str) -> Result<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = door.client(&Identity::Token(token.to_owned())).await?;
        Ok(client.exec(&namespace.name, "ada", "true").await?.status.as_u16())
    })
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_revoked_token_is_refused_within_ten_seconds() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "revoked")?;
    namespace.ready_workspace("ada", "")?;
    let editor = User::create(&cluster, &namespace, "editor", Some("edit"))?;
    let door = Door::find(&cluster)?;
    assert_eq!(status_with(&door, &namespace, &editor.token)?, 200);
    cluster.kubectl(&["delete", "serviceaccount", "editor", "-n", &namespace.name])?.success()?;
    let revoked = Instant::now();
    while status_with(&door, &namespace, &editor.token)? != 401 {
        let since = revoked.elapsed();
        assert!(since <= Duration::from_secs(10), "still accepted {since:?} after it was revoked");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_permission_that_is_taken_away_is_gone_within_ten_seconds() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "unbound")?;
    namespace.ready_workspace("ada", "")?;
    let editor = User::create(&cluster, &namespace, "editor", Some("edit"))?;
    let door = Door::find(&cluster)?;
    assert_eq!(status_with(&door, &namespace, &editor.token)?, 200);
    cluster.kubectl(&["delete", "rolebinding", "editor", "-n", &namespace.name])?.success()?;
    let taken = Instant::now();
    while status_with(&door, &namespace, &editor.token)? != 403 {
        let since = taken.elapsed();
        assert!(since <= Duration::from_secs(10), "still allowed {since:?} after it was taken away");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn tokens_for_others_expired_ones_and_forged_ones_are_refused() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "tokens")?;
    namespace.ready_workspace("ada", "")?;
    let editor = User::create(&cluster, &namespace, "editor", Some("edit"))?;
    let door = Door::find(&cluster)?;
    let other = ["create", "token", "editor", "-n", &namespace.name, "--audience=https://elsewhere.example"];
    let other = cluster.kubectl(&other)?.success()?;
    let (ours, stranger) = (Signer::of_the_cluster(&cluster)?, Signer::stranger()?);
    // What differs from a good token is one thing only: the same signer's unchanged token is accepted.
    let resigned = ours.sign(&editor.token, |_| {})?;
    assert_eq!(status_with(&door, &namespace, &resigned)?, 200, "a token signed by the cluster's key");
    let seconds = |ago: i64| -> Result<i64> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(i64::try_from(now.as_secs())? - ago)
    };
    let (hour, minute) = (seconds(3600)?, seconds(60)?);
    let expired = ours.sign(&editor.token, |claims| {
        claims["iat"] = hour.into();
        claims["nbf"] = hour.into();
        claims["exp"] = minute.into();
    })?;
    let early = ours.sign(&editor.token, |claims| claims["nbf"] = (minute + 3600).into())?;
    let promoted = ours.sign(&editor.token, |claims| {
        claims["kubernetes.io"]["serviceaccount"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    })?;
    let forged = stranger.sign(&editor.token, |_| {})?;
    let tampered = format!("{}A", editor.token);
    for (what, token) in [
        ("for another audience", other.trim()),
        ("expired", &expired),
        ("not valid yet", &early),
        ("of a service account that was replaced", &promoted),
        ("signed by a stranger", &forged),
        ("with a longer signature", &tampered),
        ("empty", ""),
    ] {
        assert_eq!(status_with(&door, &namespace, token)?, 401, "a token {what}");
    }
    Ok(())
}
