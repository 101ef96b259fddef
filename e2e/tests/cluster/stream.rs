//! Bytes of any value, in streams and WebSockets through the gateway: unharmed, and resumed where they broke.

use anyhow::{Context, Result, bail};
use base64::Engine;
use e2e::{
    checksum,
    cluster::Cluster,
    gateway::{Door, GatewayClient, Identity, whole},
    namespace::Namespace,
    noise::Noise,
    stream::{ShellSocket, Shown},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use vm_api::{OutputMessage, route::Workspace, sse};

/// Everything that a stream of output says.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    exit_code: Option<u8>,
    /// Id of the last message.
    last: Option<String>,
}

/// Reads a stream of output until its end, or until `enough` bytes are there.
async fn read_output(
    client: &mut GatewayClient,
    (method, path): (&str, &str),
    body: String,
    enough: usize,
) -> Result<Output> {
    let request = client.request(method, path).header("accept", "text/event-stream");
    let response = client.open(request, whole(body)).await?;
    let status = response.status();
    let (mut body, mut decoder, mut output) =
        (response.into_body(), sse::Decoder::default(), Output::default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&data));
        }
        for message in decoder.push(&data)? {
            output.last = message.id.or(output.last);
            match serde_json::from_str(&message.data)? {
                OutputMessage::Stdout(data) => output.stdout.extend_from_slice(data.as_bytes()),
                OutputMessage::Exited(exit) => output.exit_code = exit.exit_code,
                OutputMessage::Lost { bytes } => bail!("{bytes} bytes were lost"),
                _ => {}
            }
        }
        if output.stdout.len() >= enough {
            break;
        }
    }
    Ok(output)
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_binary_stream_arrives_unharmed() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "binary")?;
    namespace.ready_workspace("ada", "")?;
    let (door, noise) = (Door::find(&cluster)?, Noise::new(5).bytes(3_000_001));
    let route = Workspace::at_gateway(&namespace.name, "ada");
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = door.client(&Identity::Administrator).await?;
        let put = client.send("PUT", &route.file("/home/agent/noise"), noise.clone()).await?;
        assert!(put.status.is_success(), "{}", put.text());
        let got = client.send("GET", &route.file("/home/agent/noise"), "").await?;
        assert_eq!(checksum::of_bytes(&got.body), checksum::of_bytes(&noise), "a file");
        let request = json!({"argv": ["cat", "noise"]}).to_string();
        let streamed = read_output(&mut client, ("POST", &route.exec()), request, usize::MAX).await?;
        assert_eq!(streamed.exit_code, Some(0));
        assert_eq!(checksum::of_bytes(&streamed.stdout), checksum::of_bytes(&noise), "a command's output");
        anyhow::Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn standard_input_of_any_size_comes_back_and_a_broken_stream_goes_on_where_it_broke() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "stdin")?;
    namespace.ready_workspace("ada", "")?;
    let (door, noise) = (Door::find(&cluster)?, Noise::new(6).bytes(400_000));
    let route = Workspace::at_gateway(&namespace.name, "ada");
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = door.client(&Identity::Administrator).await?;
        let request = json!({"argv": ["cat"], "stdin": "pipe"}).to_string();
        let started = client.send("POST", &route.processes(), request).await?;
        let pid = started.json()?["pid"].as_i64().with_context(|| started.text())?;
        let stdin = format!("{}?close", route.process(i32::try_from(pid)?, "stdin"));
        let written = client.send("POST", &stdin, noise.clone()).await?;
        assert_eq!(written.json()?["bytes"], noise.len(), "{}", written.text());
        let output = route.process(i32::try_from(pid)?, "output");
        let first = read_output(&mut client, ("GET", &output), String::new(), 100_000).await?;
        // The connection is given up in the middle, as when a train enters a tunnel.
        let mut other = door.client(&Identity::Administrator).await?;
        let after = format!("{output}?after={}", first.last.context("messages have ids")?);
        let rest = read_output(&mut other, ("GET", &after), String::new(), usize::MAX).await?;
        let all = [first.stdout, rest.stdout].concat();
        assert_eq!((all.len(), rest.exit_code), (noise.len(), Some(0)));
        assert_eq!(checksum::of_bytes(&all), checksum::of_bytes(&noise));
        anyhow::Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_web_socket_carries_every_byte_both_ways() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "socket")?;
    namespace.ready_workspace("ada", "")?;
    let door = Door::find(&cluster)?;
    let route = Workspace::at_gateway(&namespace.name, "ada");
    // A terminal makes \n into \r\n; everything else passes it as it is.
    let noise: Vec<u8> = Noise::new(7).bytes(150_000).into_iter().filter(|byte| *byte != b'\n').collect();
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = door.client(&Identity::Administrator).await?;
        client.send("PUT", &route.file("/home/agent/noise"), noise.clone()).await?;
        let shell = json!({"argv": ["sh", "-c", "head -n 1 | od -An -c; cat noise"]});
        let started = client.send("POST", &route.shells(), shell.to_string()).await?;
        let id = started.json()?["id"].as_str().with_context(|| started.text())?.to_owned();
        let (shown, exit) = attach(&door, &route, &id, b"gr\xc3\xbc\xc3\x9fe\n").await?;
        assert_eq!(exit, Some(0));
        let typed = String::from_utf8_lossy(&shown[..shown.len() - noise.len()]).into_owned();
        assert!(typed.contains("303 274 303 237"), "what was typed arrived as bytes: {typed}");
        let end = &shown[shown.len() - noise.len()..];
        assert_eq!(checksum::of_bytes(end), checksum::of_bytes(&noise));
        anyhow::Ok(())
    })
}

/// Attaches to a shell, types, and reads until it ends: what was shown, and the exit code.
async fn attach(door: &Door, route: &Workspace, id: &str, keys: &[u8]) -> Result<(Vec<u8>, Option<u8>)> {
    let mut shell = ShellSocket::attach(door, &Identity::Administrator, route, id, 0).await?;
    shell.type_keys(keys).await?;
    let mut shown = Vec::new();
    loop {
        match shell.next().await? {
            Shown::Bytes(bytes) => shown.extend_from_slice(&bytes),
            Shown::Exited(exit) => return Ok((shown, exit.exit_code)),
            Shown::Closed(code) => {
                bail!("closed before the shell ended, with {code:?}: {} bytes", shown.len())
            }
        }
    }
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn many_files_travel_as_an_archive_and_in_batches() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "batch")?;
    namespace.ready_workspace("ada", "")?;
    let door = Door::find(&cluster)?;
    let route = Workspace::at_gateway(&namespace.name, "ada");
    let engine = base64::engine::general_purpose::STANDARD;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = door.client(&Identity::Administrator).await?;
        let noise = Noise::new(8).bytes(1000);
        let files: Vec<Value> = (0..50)
            .map(|n| json!({"path": format!("/home/agent/d/{n}"), "contentBase64": engine.encode(&noise)}))
            .collect();
        let written = client
            .send("POST", &route.batch_write(), json!({"files": files, "parents": true}).to_string())
            .await?;
        assert!(written.status.is_success(), "{}", written.text());
        let archive = client.send("GET", &route.archive("/home/agent/d"), "").await?;
        assert!(archive.status.is_success(), "{}", archive.text());
        assert!(
            archive.body.len() > 50 * 1000 && archive.body.windows(5).any(|w| w == b"ustar"),
            "a tar archive"
        );
        let paths: Vec<Value> = (0..50).map(|n| json!({"path": format!("/home/agent/d/{n}")})).collect();
        let read = client.send("POST", &route.batch_read(), json!({"files": paths}).to_string()).await?;
        let read = read.json()?;
        let results = read["results"].as_array().context("results")?;
        assert_eq!(results.len(), 50, "{read}");
        assert!(results.iter().all(|file| file["contentBase64"] == engine.encode(&noise)), "{}", results[0]);
        anyhow::Ok(())
    })
}
