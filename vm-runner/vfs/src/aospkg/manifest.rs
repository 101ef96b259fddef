//! What a package says about itself.

use super::ParseError;
use super::bare::Reader;

/// The manifest of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Name, for example `coreutils`.
    pub name: String,
    /// Version, for example `0.3.4`.
    pub version: String,
    /// How to start the agent, if the package is one.
    pub agent: Option<Agent>,
    /// What the package gives the whole machine.
    pub provides: Option<Provides>,
    /// Its programs.
    pub commands: Vec<Command>,
    /// Its manual pages.
    pub man_pages: Vec<ManPage>,
    /// A JavaScript bundle for a pre-initialised heap, as an absolute path inside the package.
    pub snapshot_bundle_path: Option<String>,
}

/// A program that speaks the Agent Client Protocol on its standard streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The command.
    pub acp_entrypoint: String,
    /// Whether it wants a pre-initialised heap.
    pub snapshot: bool,
    /// Variables to start it with.
    pub env: Vec<(String, String)>,
    /// Arguments to start it with.
    pub launch_args: Vec<String>,
}

/// What a package gives the whole machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provides {
    /// Default variables; those that are set already win.
    pub env: Vec<(String, String)>,
    /// Files and directories to show elsewhere.
    pub files: Vec<ProvidedFile>,
}

/// A file or directory to show elsewhere, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedFile {
    /// Inside the package.
    pub source: String,
    /// In the machine.
    pub target: String,
}

/// A program of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The name it is called by.
    pub command: String,
    /// Its file, relative to the package's root.
    pub entry: String,
}

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManPage {
    /// The section.
    pub section: String,
    /// The page.
    pub page: String,
}

/// Schema 2 is schema 1 without agent and snapshot.
const SCHEMA_WITH_AGENT: u16 = 1;
const SCHEMA_WITHOUT_AGENT: u16 = 2;

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Manifest, ParseError> {
    let schema = reader.schema(&[SCHEMA_WITH_AGENT, SCHEMA_WITHOUT_AGENT])?;
    let has_agent = schema == SCHEMA_WITH_AGENT;
    let manifest = Manifest {
        name: reader.string()?,
        version: reader.string()?,
        agent: if has_agent { reader.optional(decode_agent)? } else { None },
        provides: reader.optional(decode_provides)?,
        commands: reader.list(|reader| Ok(Command { command: reader.string()?, entry: reader.string()? }))?,
        man_pages: reader.list(|reader| Ok(ManPage { section: reader.string()?, page: reader.string()? }))?,
        snapshot_bundle_path: if has_agent { reader.optional(Reader::string)? } else { None },
    };
    reader.finish()?;
    Ok(manifest)
}

fn decode_agent(reader: &mut Reader<'_>) -> Result<Agent, ParseError> {
    Ok(Agent {
        acp_entrypoint: reader.string()?,
        snapshot: reader.boolean()?,
        env: reader.map()?,
        launch_args: reader.list(Reader::string)?,
    })
}

fn decode_provides(reader: &mut Reader<'_>) -> Result<Provides, ParseError> {
    Ok(Provides {
        env: reader.map()?,
        files: reader
            .list(|reader| Ok(ProvidedFile { source: reader.string()?, target: reader.string()? }))?,
    })
}
