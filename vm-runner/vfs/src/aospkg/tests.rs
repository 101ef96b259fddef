//! Packages as the published packer writes them, whole and broken.

use super::{Agent, Command, IndexBody, ManPage, Manifest, ParseError, ProvidedFile, Provides, parse};

/// Writes packages as the published packer does; tests break them at will.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn varuint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.varuint(text.len() as u64).0.extend_from_slice(text.as_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.bytes(&[0]),
            Some(text) => self.bytes(&[1]).text(text),
        }
    }
}

/// What goes into an index.
pub(crate) struct Entry {
    pub(crate) path: &'static str,
    pub(crate) kind: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) target: Option<&'static str>,
}

pub(crate) const ROOT: Entry = directory("/");

pub(crate) const fn directory(path: &'static str) -> Entry {
    Entry { path, kind: 1, offset: 0, size: 0, mode: 0o40755, target: None }
}

pub(crate) const fn file(path: &'static str, offset: u64, size: u64, mode: u32) -> Entry {
    Entry { path, kind: 0, offset, size, mode: 0o100_000 | mode, target: None }
}

pub(crate) const fn link(path: &'static str, target: &'static str) -> Entry {
    Entry { path, kind: 2, offset: 99, size: 0, mode: 0o120_777, target: Some(target) }
}

pub(crate) fn package(commands: &[(&str, &str)], entries: &[Entry], content: &[u8]) -> Vec<u8> {
    assemble(&manifest(1, commands), &index(entries), content)
}

fn assemble(manifest: &[u8], index: &[u8], content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(&[0x89, 0x41, 0x4f, 0x53, 1, 0, 0, 0]);
    writer.bytes(&(manifest.len() as u32).to_le_bytes()).bytes(&(index.len() as u32).to_le_bytes());
    writer.bytes(manifest).bytes(index).bytes(content);
    writer.0
}

fn manifest(schema: u16, commands: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(&schema.to_le_bytes()).text("sample").text("1.2.3");
    if schema == 1 {
        writer.bytes(&[0]);
    }
    writer.bytes(&[0]).varuint(commands.len() as u64);
    for (command, entry) in commands {
        writer.text(command).text(entry);
    }
    writer.varuint(0);
    if schema == 1 {
        writer.bytes(&[0]);
    }
    writer.0
}

fn index(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(&[1, 0]).varuint(entries.len() as u64);
    for entry in entries {
        writer.text(entry.path).varuint(entry.kind);
        writer.bytes(&entry.offset.to_le_bytes()).bytes(&entry.size.to_le_bytes());
        writer.bytes(&entry.mode.to_le_bytes()).bytes(&1000_u32.to_le_bytes()).bytes(&1001_u32.to_le_bytes());
        writer.bytes(&1_700_000_000_i64.to_le_bytes()).optional_text(entry.target);
    }
    writer.0
}

fn sample() -> Vec<u8> {
    let entries =
        [ROOT, directory("/bin"), file("/bin/a", 0, 3, 0o755), link("/bin/b", "a"), file("/c", 1, 4, 0o644)];
    package(&[("a", "bin/a")], &entries, b"hello")
}

#[test]
fn a_package_is_read_back_as_it_was_written() {
    let bytes = sample();
    let package = parse(&bytes).unwrap();
    assert_eq!((package.manifest.name.as_str(), package.manifest.version.as_str()), ("sample", "1.2.3"));
    assert_eq!(package.manifest.commands, [Command { command: "a".into(), entry: "bin/a".into() }]);
    assert_eq!(&bytes[package.content.clone()], b"hello");
    let paths: Vec<_> = package.entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/bin", "/bin/a", "/bin/b", "/c"]);
    assert_eq!(package.entries[1].body, IndexBody::File(0..3));
    assert_eq!(package.entries[1].mode.bits(), 0o755);
    assert_eq!(package.entries[2].body, IndexBody::Symlink("a".into()));
    assert_eq!(package.entries[3].mtime, 1_700_000_000);
}

#[test]
fn a_full_manifest_is_decoded() {
    let mut writer = Writer::default();
    writer.bytes(&[1, 0]).text("agent").text("2.0.0");
    writer
        .bytes(&[1])
        .text("agent-acp")
        .bytes(&[1])
        .varuint(1)
        .text("SHELL")
        .text("/bin/sh")
        .varuint(1)
        .text("-x");
    writer
        .bytes(&[1])
        .varuint(1)
        .text("EDITOR")
        .text("vi")
        .varuint(1)
        .text("/share")
        .text("/usr/share/agent");
    writer.varuint(0).varuint(1).text("1").text("man/agent.1").bytes(&[1]).text("/dist/snapshot.js");
    let expected = Manifest {
        name: "agent".into(),
        version: "2.0.0".into(),
        agent: Some(Agent {
            acp_entrypoint: "agent-acp".into(),
            snapshot: true,
            env: vec![("SHELL".into(), "/bin/sh".into())],
            launch_args: vec!["-x".into()],
        }),
        provides: Some(Provides {
            env: vec![("EDITOR".into(), "vi".into())],
            files: vec![ProvidedFile { source: "/share".into(), target: "/usr/share/agent".into() }],
        }),
        commands: vec![],
        man_pages: vec![ManPage { section: "1".into(), page: "man/agent.1".into() }],
        snapshot_bundle_path: Some("/dist/snapshot.js".into()),
    };
    assert_eq!(parse(&assemble(&writer.0, &index(&[ROOT]), b"")).unwrap().manifest, expected);
}

#[test]
fn schema_2_of_the_manifest_has_no_agent() {
    let bytes = assemble(&manifest(2, &[("a", "bin/a")]), &index(&[ROOT]), b"");
    assert_eq!(parse(&bytes).unwrap().manifest.commands.len(), 1);
}

#[test]
fn unknown_versions_and_flags_are_refused() {
    let with = |at: usize, byte: u8| {
        let mut bytes = sample();
        bytes[at] = byte;
        parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0), ParseError::NotAPackage);
    assert_eq!(with(4, 2), ParseError::UnknownVersion { part: "header", version: 2 });
    assert_eq!(with(7, 1), ParseError::UnknownFlags(0x100));
    assert_eq!(with(16, 3), ParseError::UnknownVersion { part: "manifest", version: 3 });
    assert!(matches!(with(11, 0xff), ParseError::TooLong { part: "manifest", .. }));
    assert_eq!(parse(b"").unwrap_err(), ParseError::NotAPackage);
}

#[test]
fn entries_that_could_lead_astray_are_refused() {
    let refused = |entries: &[Entry]| match parse(&package(&[], entries, b"hello")).unwrap_err() {
        ParseError::BadEntry { path, what: _ } => path,
        other => panic!("{other}"),
    };
    assert_eq!(refused(&[ROOT, file("/../x", 0, 1, 0o644)]), "/../x");
    assert_eq!(refused(&[ROOT, file("x", 0, 1, 0o644)]), "x");
    assert_eq!(refused(&[ROOT, directory("/a/")]), "/a/");
    assert_eq!(refused(&[ROOT, directory("/a\0")]), "/a\0");
    assert_eq!(refused(&[ROOT, file("/x", 3, 3, 0o644)]), "/x");
    assert_eq!(refused(&[ROOT, file("/x", u64::MAX, 2, 0o644)]), "/x");
    assert_eq!(refused(&[ROOT, file("/x", 0, 1, 0o644), file("/x", 0, 1, 0o644)]), "/x");
    assert_eq!(refused(&[ROOT, directory("/b"), directory("/a")]), "/a");
    assert_eq!(refused(&[ROOT, file("/a/b", 0, 1, 0o644)]), "/a/b");
    assert_eq!(refused(&[ROOT, file("/a", 0, 1, 0o644), file("/a/b", 0, 1, 0o644)]), "/a/b");
    assert_eq!(refused(&[ROOT, link("/a", "")]), "/a");
    assert_eq!(refused(&[ROOT, Entry { mode: 0o644, ..file("/a", 0, 1, 0) }]), "/a");
    assert_eq!(refused(&[ROOT, Entry { kind: 7, ..file("/a", 0, 1, 0) }]), "/a");
    assert_eq!(refused(&[directory("/a")]), "/a");
}

#[test]
fn no_prefix_of_a_package_and_no_flipped_bit_makes_the_parser_panic() {
    let bytes = sample();
    for len in 0..bytes.len() - b"hello".len() {
        assert!(parse(&bytes[..len]).is_err(), "a prefix of {len} bytes");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let _ = parse(&flipped);
        }
    }
}
