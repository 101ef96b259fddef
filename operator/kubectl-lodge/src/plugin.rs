//! Credential plugins of the kubeconfig (`users[].user.exec`), as client.authentication.k8s.io/v1 describes them. Run once
//! per command, so that what takes a second or asks for a password does so once.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;

/// What a plugin prints.
#[derive(Deserialize)]
struct ExecCredential {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Replaces a plugin by the credential that it gives.
pub(crate) fn resolve(auth: &mut AuthInfo, is_terminal: bool) -> Result<(), Error> {
    // Fixed credentials come first, as in kubectl.
    if auth.token.is_some() || auth.token_file.is_some() || auth.client_certificate_data.is_some() {
        auth.exec = None;
        return Ok(());
    }
    let Some(exec) = auth.exec.take() else { return Ok(()) };
    let Credential { token, client_certificate_data, client_key_data } = run(&exec, is_terminal)?;
    auth.token = token.map(Into::into);
    if let (Some(certificate), Some(key)) = (client_certificate_data, client_key_data) {
        // Plugins print PEM, kubeconfigs hold it in base64.
        auth.client_certificate_data = Some(STANDARD.encode(certificate));
        auth.client_key_data = Some(STANDARD.encode(key).into());
    }
    Ok(())
}

fn run(exec: &ExecConfig, is_terminal: bool) -> Result<Credential, Error> {
    let program = exec.command.clone().unwrap_or_default();
    let failed = |what: String| {
        let hint = exec.install_hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Error::Plugin { command: program.clone(), what, hint }
    };
    let is_interactive = match exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::IfAvailable) | None => is_terminal,
        Some(ExecInteractiveMode::Always) if is_terminal => true,
        Some(ExecInteractiveMode::Always) => {
            return Err(failed("needs a terminal, and standard input is none".to_owned()));
        }
    };
    let output = command(exec, &program, is_interactive)
        .output()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed with {}", output.status)));
    }
    let credential: ExecCredential = serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("did not print an ExecCredential: {error}")))?;
    if credential.kind.as_deref() != Some("ExecCredential") {
        return Err(failed("did not print an ExecCredential".to_owned()));
    }
    if credential.api_version != exec.api_version {
        let wanted = exec.api_version.as_deref().unwrap_or("none");
        return Err(failed(format!("answered with another apiVersion than {wanted}")));
    }
    credential.status.ok_or_else(|| failed("printed no credential".to_owned()))
}

fn command(exec: &ExecConfig, program: &str, is_interactive: bool) -> Command {
    let mut command = Command::new(program);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let mut spec = json!({"interactive": is_interactive});
    if exec.provide_cluster_info {
        spec["cluster"] = serde_json::to_value(&exec.cluster).unwrap_or_default();
    }
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const VERSION: &str = "client.authentication.k8s.io/v1";

    fn plugin(script: &str) -> ExecConfig {
        ExecConfig {
            api_version: Some(VERSION.to_owned()),
            command: Some("sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            install_hint: Some("brew install it".to_owned()),
            ..ExecConfig::default()
        }
    }

    fn prints(status: &str) -> String {
        format!(r#"echo '{{"apiVersion":"{VERSION}","kind":"ExecCredential","status":{status}}}'"#)
    }

    #[test]
    fn a_token_of_a_plugin_takes_its_place() {
        let mut auth = AuthInfo { exec: Some(plugin(&prints(r#"{"token":"t-1"}"#))), ..AuthInfo::default() };
        resolve(&mut auth, false).unwrap();
        let shown = serde_json::to_value(&auth).unwrap();
        assert_eq!(shown["token"], "t-1");
        assert!(auth.exec.is_none());
    }

    #[test]
    fn a_certificate_of_a_plugin_takes_its_place() {
        let status = r#"{"clientCertificateData":"CERT","clientKeyData":"KEY"}"#;
        let mut auth = AuthInfo { exec: Some(plugin(&prints(status))), ..AuthInfo::default() };
        resolve(&mut auth, false).unwrap();
        assert_eq!(auth.client_certificate_data.as_deref(), Some("Q0VSVA=="));
    }

    #[test]
    fn a_plugin_is_told_what_kubectl_tells_it() {
        let mut exec = plugin(
            r#"test "$MINE" = 1 && echo "$KUBERNETES_EXEC_INFO" | sed 's/"spec":.*/"status":{"token":"ok"}}/'"#,
        );
        exec.env = Some(vec![HashMap::from([
            ("name".to_owned(), "MINE".to_owned()),
            ("value".to_owned(), "1".to_owned()),
        ])]);
        assert_eq!(
            run(&exec, false).map(|credential| credential.token).ok().flatten().as_deref(),
            Some("ok")
        );
    }

    #[test]
    fn a_plugin_that_fails_is_named_with_the_way_to_install_it() {
        for (script, what) in [
            ("exit 3", "failed with exit status: 3"),
            ("echo hello", "did not print an ExecCredential"),
            (r#"echo '{"apiVersion":"v0","kind":"ExecCredential","status":{}}'"#, "another apiVersion"),
            (&prints("null"), "printed no credential"),
        ] {
            let error = run(&plugin(script), false).err().unwrap().to_string();
            assert!(error.contains(what) && error.ends_with("brew install it"), "{error}");
        }
        let missing = ExecConfig { command: Some("/does/not/exist".to_owned()), ..plugin("") };
        assert!(run(&missing, false).err().unwrap().to_string().contains("cannot be started"));
    }

    #[test]
    fn a_plugin_that_needs_a_terminal_is_not_run_without_one() {
        let exec = ExecConfig { interactive_mode: Some(ExecInteractiveMode::Always), ..plugin("exit 0") };
        assert!(run(&exec, false).err().unwrap().to_string().contains("needs a terminal"));
    }

    #[test]
    fn a_fixed_token_wins_over_a_plugin() {
        let mut auth = AuthInfo {
            exec: Some(plugin("exit 1")),
            token: Some("fixed".to_owned().into()),
            ..AuthInfo::default()
        };
        resolve(&mut auth, false).unwrap();
    }
}
