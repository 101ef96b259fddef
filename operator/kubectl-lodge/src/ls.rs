//! `kubectl lodge ls`: what is in a directory of a workspace, or what a file is. Wakes nothing.

use vm_api::{DirEntry, FileStat, FileType, ListResponse, route};

use crate::args::{ClusterArgs, Format};
use crate::error::Error;
use crate::gateway::Ask;
use crate::place::RemotePath;
use crate::remote::Remote;
use crate::table::{self, Table};
use crate::terminal::Terminal;

/// How deep --recursive goes.
const DEEP: u32 = vm_api::file::MAX_LIST_DEPTH;

const EXAMPLES: &str = "\
Examples:
  # The home directory
  kubectl lodge ls ada

  # Another directory, with hidden files
  kubectl lodge ls ada:/work -a

  # Everything below it, without some
  kubectl lodge ls ada:/work -R --exclude node_modules --exclude .git

  # For programs
  kubectl lodge ls ada:/work -o json
  kubectl lodge ls ada:/work -R -o name

A workspace that sleeps is not woken.";

/// List files of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// Workspace and path; a relative path begins in the home directory
    #[arg(value_name = "NAME[:PATH]")]
    pub(crate) place: RemotePath,
    /// With what is hidden: names that begin with a dot
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// With what is in the directories, and in those, and so on
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Leave out names, or paths with a slash, that match; * and ? as in a shell, ** for any directories (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Lists.
pub(crate) async fn run(
    args: LsArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let LsArgs { place, all, recursive, exclude, output } = args;
    let (remote, path) = Remote::at(&place, &cluster_args).await?;
    let stat: FileStat = remote.document(Ask::get(remote.route.stat(&path)), terminal).await?;
    let mut list = if matches!(stat.file_type, FileType::Directory | FileType::Symlink) {
        match entries(&remote, &path, recursive, &exclude, terminal).await {
            // A link to a file.
            Err(error) if error.is(vm_api::ProblemCode::NotADirectory) => alone(stat),
            list => list?,
        }
    } else {
        alone(stat)
    };
    if !all {
        list.entries.retain(|entry| !is_hidden(&entry.name));
    }
    let mut table = Table::new(&["MODE", "SIZE", "MODIFIED", "NAME"], &["OWNER", "LINKS", "INODE"]);
    for DirEntry { name, stat } in &list.entries {
        let FileStat { file_type, size, mode, uid, gid, links, inode, modified, target, .. } = stat;
        let shown = target.as_ref().map_or_else(|| name.clone(), |target| format!("{name} -> {target}"));
        let cells = vec![
            symbolic(*file_type, mode),
            table::bytes(*size),
            modified.split('.').next().unwrap_or(modified).trim_end_matches('Z').replace('T', " "),
            shown,
            format!("{uid}:{gid}"),
            links.to_string(),
            inode.to_string(),
        ];
        table.add(name, cells);
    }
    table.print(&list, output, "empty", terminal)?;
    Ok(0)
}

/// A list of one.
fn alone(stat: FileStat) -> ListResponse {
    let name = stat.path.clone();
    ListResponse { path: name.clone(), entries: vec![DirEntry { name, stat }], truncated: false, next: None }
}

/// All entries, page by page.
async fn entries(
    remote: &Remote,
    path: &str,
    recursive: bool,
    exclude: &[String],
    terminal: &mut Terminal,
) -> Result<ListResponse, Error> {
    let mut route = remote.route.list(path, if recursive { DEEP } else { 1 });
    for pattern in exclude {
        route.push_str(&format!("&exclude={}", encode(pattern)));
    }
    let mut all: Option<ListResponse> = None;
    let mut after = String::new();
    loop {
        let page: ListResponse = remote.document(Ask::get(format!("{route}{after}")), terminal).await?;
        let next = page.next.clone().filter(|_| page.truncated);
        match &mut all {
            Some(all) => all.entries.extend(page.entries),
            None => all = Some(ListResponse { truncated: false, next: None, ..page }),
        }
        match (next, &mut all) {
            (Some(next), _) => after = format!("&after={}", encode(&next)),
            (None, Some(_)) => break,
            (None, None) => {}
        }
    }
    all.ok_or_else(|| Error::Answer("no list".to_owned()))
}

/// Percent-encodes a value of a query.
fn encode(text: &str) -> String {
    route::encode_guest_path(text.as_bytes()).replace('+', "%2B").replace('=', "%3D")
}

fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

/// Type and permission bits as `ls -l` writes them.
fn symbolic(file_type: FileType, mode: &str) -> String {
    let kind = match file_type {
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
    };
    let Ok(bits) = u32::from_str_radix(mode, 8) else { return format!("{kind}{mode}") };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let three = bits >> shift;
        text.push(if three & 4 == 0 { '-' } else { 'r' });
        text.push(if three & 2 == 0 { '-' } else { 'w' });
        text.push(match (three & 1 != 0, bits & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        for (kind, mode, expected) in [
            (FileType::File, "0644", "-rw-r--r--"),
            (FileType::Directory, "1777", "drwxrwxrwt"),
            (FileType::File, "4755", "-rwsr-xr-x"),
            (FileType::Symlink, "0777", "lrwxrwxrwx"),
        ] {
            assert_eq!(symbolic(kind, mode), expected);
        }
    }

    #[test]
    fn a_hidden_directory_hides_what_is_in_it() {
        assert!(is_hidden(".git/config") && is_hidden("a/.b") && !is_hidden("a/b.c"));
        assert_eq!(encode("a b/*&=+"), "a%20b/%2A%26%3D%2B");
    }
}
