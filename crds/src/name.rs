//! Names: parsed once, then carried by type.
//!
//! What a name may look like follows Kubernetes: DNS labels for what ends up in URLs and labels, DNS subdomains for
//! references to objects of others, C identifiers for environment variables. Neighbours: `text` makes the types;
//! [`crate::label`] puts names into labels. Knows nothing about what is behind a name.

use crate::text::text;

text! {
    /// The name of a Workspace: a DNS label, because it becomes part of URLs, labels and host names.
    WorkspaceName: "workspace name", max 63,
    rule "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    else "use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    if is_dns_label
}

text! {
    /// The name of a Session: a DNS label.
    SessionName: "session name", max 63,
    rule "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    else "use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    if is_dns_label
}

text! {
    /// The name of an item in a list of a spec (a sandbox, a toolkit, a tool, an MCP server): a DNS label.
    ItemName: "name", max 63,
    rule "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    else "use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    if is_dns_label
}

text! {
    /// The name of an object that isn't ours, such as a Secret: a DNS subdomain.
    ObjectName: "object name", max 253,
    rule "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    else "use at most 253 lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit",
    if |name| name.split('.').all(is_made_of_label_characters)
}

text! {
    /// A key in a Secret or a ConfigMap.
    DataKey: "key of a Secret or ConfigMap", max 253,
    rule "self.matches(r'^[-._a-zA-Z0-9]+$')",
    else "use letters, digits, '-', '_' and '.'",
    if |key| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

text! {
    /// The name of an environment variable: a C identifier.
    EnvName: "name of an environment variable", max 128,
    rule "self.matches(r'^[A-Za-z_][A-Za-z0-9_]*$')",
    else "use letters, digits and '_', not beginning with a digit",
    if |name| !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

text! {
    /// The name of the user inside the VM.
    UserName: "user name", max 32,
    rule "self.matches(r'^[a-z_][-a-z0-9_]*$') && self != 'root'",
    else "use at most 32 lower-case letters, digits, '_' and '-', beginning with a letter or '_'; root is not allowed",
    if |name| name != "root"
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

text! {
    /// The id of a prompt, chosen by who writes it.
    PromptId: "prompt id", max 63,
    rule "self.matches(r'^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$')",
    else "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    if |id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) && has_solid_ends(id)
}

text! {
    /// An absolute URL with the scheme http or https.
    HttpUrl: "URL", max 2048,
    rule "self.matches(r'^https?://[^/?#[:space:]]+[^[:space:]]*$')",
    else "write an absolute URL that begins with https:// or http:// and has a host",
    if is_http_url
}

fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_made_of_label_characters(name)
}

/// A part of a DNS subdomain as Kubernetes sees it, which may be longer than DNS would have it.
fn is_made_of_label_characters(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && has_solid_ends(part)
}

fn has_solid_ends(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.starts_with(['/', '?', '#'])
            && !rest.is_empty()
            && !rest.contains([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_name_is_a_dns_label() {
        assert_eq!(WorkspaceName::new("ada-2").unwrap(), "ada-2");
        for wrong in ["", "-ada", "ada-", "Ada", "a.b", "ä", &"a".repeat(64)] {
            assert!(WorkspaceName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_object_name_may_have_parts_but_none_of_them_empty() {
        assert!(ObjectName::new("registry.keys-1").is_ok());
        for wrong in [".a", "a..b", "a.-b", "a."] {
            assert!(ObjectName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_user_is_never_root() {
        assert!(UserName::new("_agent-1").is_ok());
        assert!(UserName::new("root").is_err());
        assert!(UserName::new("1agent").is_err());
    }

    #[test]
    fn an_error_names_the_text_and_the_way_out_and_cuts_long_text() {
        let error = EnvName::new(format!("1{}", "x".repeat(5000))).unwrap_err().to_string();
        assert!(
            error.len() < 300 && error.contains("is no name of an environment variable: use letters"),
            "{error}"
        );
    }

    #[test]
    fn a_url_needs_a_scheme_and_a_host() {
        assert!(HttpUrl::new("https://example.com:8443/a?b#c").is_ok());
        for wrong in ["example.com", "ftp://x", "https://", "https:///path", "http://a b"] {
            assert!(HttpUrl::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
