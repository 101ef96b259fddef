//! Looking for damage in a database of files.
//!
//! SQLite's own check looks at the pages; this one at what they say: every entry names an inode, every inode is found
//! from the root by as many names as it says or is an orphan, directories hang where they say, content fits its size
//! and what was charged for it, and the counters are the sums.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, Row};
use vm_abi::FileType;

use super::attributes::XATTR_OVERHEAD_BYTES;
use super::chunk::CHUNK_BYTES;
use super::content::whole_pages;
use super::database::{self, Counters, natural};
use super::open_error::OpenError;
use super::schema::{ROOT_INO, chunk_place};

/// How many problems are told; of the others only the number.
const MAX_PROBLEMS: usize = 100;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckOptions {
    /// Whether SQLite checks its pages too, which reads all of the database.
    pub pages: bool,
}

impl Default for FsckOptions {
    fn default() -> Self {
        Self { pages: true }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// What is wrong, in words; empty if nothing is.
    pub problems: Vec<String>,
    /// How many inodes there are.
    pub inodes: u64,
    /// How many names there are.
    pub names: u64,
    /// How much content, link targets and attributes take.
    pub bytes: u64,
    /// How many files without a name wait to be removed.
    pub orphans: u64,
}

impl FsckReport {
    pub(super) fn of_problem(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks for damage in a database file that nobody has open. The file is left as it is.
///
/// # Errors
/// If it cannot be opened; what is wrong inside is in the report.
pub fn check_file(path: &Path, options: FsckOptions) -> Result<FsckReport, OpenError> {
    Ok(check(&database::open_to_check(path)?, options))
}

/// Looks for damage. Nothing is written meanwhile.
pub(super) fn check(connection: &Connection, options: FsckOptions) -> FsckReport {
    let mut check = Check { connection, report: FsckReport::default(), untold: 0, inodes: HashMap::new() };
    let found = (|| {
        if options.pages {
            check.pages()?;
        }
        check.inodes()?;
        check.entries()?;
        check.tree();
        check.contents()?;
        check.xattrs()?;
        check.orphans()?;
        check.counters()
    })();
    if let Err(error) = found {
        check.problem(format!("the database cannot be read: {error}"));
    }
    let Check { mut report, untold, .. } = check;
    if untold > 0 {
        report.problems.push(format!("and {untold} more"));
    }
    report
}

struct Check<'a> {
    connection: &'a Connection,
    report: FsckReport,
    untold: u64,
    inodes: HashMap<u64, Found>,
}

/// What is known of an inode so far.
struct Found {
    file_type: FileType,
    nlink: u64,
    size: u64,
    content_bytes: u64,
    xattr_bytes: u64,
    /// Directories say where they hang.
    parent: Option<u64>,
    place_name: Option<Vec<u8>>,
    names: u64,
    entries: u64,
    subdirectories: u64,
    is_connected: bool,
}

impl Check<'_> {
    fn problem(&mut self, problem: String) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(problem);
        } else {
            self.untold += 1;
        }
    }

    fn each(
        &mut self,
        sql: &str,
        mut look: impl FnMut(&mut Self, &Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            look(self, row)?;
        }
        Ok(())
    }

    fn pages(&mut self) -> rusqlite::Result<()> {
        self.each("PRAGMA integrity_check(100)", |check, row| {
            let line: String = row.get(0)?;
            if line != "ok" {
                check.problem(format!("pages: {line}"));
            }
            Ok(())
        })
    }

    fn inodes(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT ino, kind, nlink, size, content_bytes, xattr_bytes, parent, name, target,
                   atime_nsec, mtime_nsec, ctime_nsec, mode FROM inode";
        self.each(sql, |check, row| {
            let ino = natural(row, 0)?;
            let Some(file_type) = FileType::from_mode_bits(natural(row, 1)? as u32) else {
                check.problem(format!("inode {ino} has no valid type"));
                return Ok(());
            };
            let target: Option<Vec<u8>> = row.get(8)?;
            let found = Found {
                file_type,
                nlink: natural(row, 2)?,
                size: natural(row, 3)?,
                content_bytes: natural(row, 4)?,
                xattr_bytes: natural(row, 5)?,
                parent: row.get::<_, Option<i64>>(6)?.map(|parent| parent as u64),
                place_name: row.get(7)?,
                names: 0,
                entries: 0,
                subdirectories: 0,
                is_connected: false,
            };
            for at in 9..12 {
                if natural(row, at)? >= 1_000_000_000 {
                    check.problem(format!("inode {ino} has an invalid time"));
                }
            }
            if natural(row, 12)? > 0o7777 {
                check.problem(format!("inode {ino} has an invalid mode"));
            }
            let target_bytes = target.as_ref().map_or(0, |target| target.len() as u64);
            if target.is_some() != file_type.is_symlink() || (target.is_some() && target_bytes != found.size)
            {
                check.problem(format!("inode {ino} has a wrong link target"));
            }
            if found.nlink > 0 {
                check.report.bytes += target_bytes + found.content_bytes + found.xattr_bytes;
            }
            check.report.inodes += 1;
            check.inodes.insert(ino, found);
            Ok(())
        })
    }

    fn entries(&mut self) -> rusqlite::Result<()> {
        self.each("SELECT parent, name, ino, kind FROM dirent", |check, row| {
            let (parent, name, ino) = (natural(row, 0)?, row.get_ref(1)?.as_blob()?, natural(row, 2)?);
            let shown = format!("{} in inode {parent}", name.escape_ascii());
            check.report.names += 1;
            let Some(found) = check.inodes.get_mut(&ino) else {
                check.problem(format!("entry {shown} names inode {ino}, which is missing"));
                return Ok(());
            };
            found.names += 1;
            let is_directory = found.file_type.is_directory();
            let is_wrong_type = u64::from(found.file_type.mode_bits()) != natural(row, 3)?;
            let is_misplaced =
                is_directory && (found.parent != Some(parent) || found.place_name.as_deref() != Some(name));
            if is_wrong_type {
                check.problem(format!("entry {shown} has another type than inode {ino}"));
            }
            if is_misplaced {
                check.problem(format!("directory {ino} does not know that it is {shown}"));
            }
            match check.inodes.get_mut(&parent) {
                Some(directory) if directory.file_type.is_directory() => {
                    directory.entries += 1;
                    directory.subdirectories += u64::from(is_directory);
                }
                Some(_) | None => check.problem(format!("entry {shown} is in no directory")),
            }
            Ok(())
        })
    }

    /// Names, and the way to the root.
    fn tree(&mut self) {
        // A database that was just made has nothing yet.
        let has_root = self.inodes.get(&ROOT_INO).is_some_and(|root| root.file_type.is_directory());
        if !has_root && (!self.inodes.is_empty() || self.report.names > 0) {
            self.problem("the root directory is missing".to_owned());
        }
        let mut problems = Vec::new();
        for (&ino, found) in &self.inodes {
            let Found { file_type, nlink, size, names, entries, subdirectories, .. } = *found;
            let is_root = ino == ROOT_INO;
            if nlink == 0 {
                if names > 0 || entries > 0 {
                    problems
                        .push(format!("inode {ino} has no link, but {names} names and {entries} entries"));
                }
                continue;
            }
            if !file_type.is_directory() {
                if names != nlink {
                    problems.push(format!("inode {ino} has {names} names, not {nlink}"));
                }
                continue;
            }
            if names != u64::from(!is_root) {
                problems.push(format!("directory {ino} has {names} names"));
            }
            if nlink != 2 + subdirectories {
                problems.push(format!(
                    "directory {ino} has {subdirectories} directories in it, but {nlink} links"
                ));
            }
            if size != entries {
                problems.push(format!("directory {ino} has {entries} entries, not {size}"));
            }
        }
        problems.sort();
        for problem in problems {
            self.problem(problem);
        }
        self.connect();
    }

    /// Whether every directory leads up to the root; files are found by their entries.
    fn connect(&mut self) {
        let directories: Vec<u64> = {
            let is_directory = |(ino, found): (&u64, &Found)| {
                (found.file_type.is_directory() && found.nlink > 0).then_some(*ino)
            };
            self.inodes.iter().filter_map(is_directory).collect()
        };
        if let Some(root) = self.inodes.get_mut(&ROOT_INO) {
            root.is_connected = true;
        }
        for start in directories {
            let mut way = Vec::new();
            let mut at = start;
            let is_connected = loop {
                let Some(found) = self.inodes.get(&at).filter(|found| found.file_type.is_directory()) else {
                    break false;
                };
                if found.is_connected {
                    break true;
                }
                way.push(at);
                match found.parent {
                    // As long as all directories: it went round.
                    Some(parent) if way.len() <= self.inodes.len() => at = parent,
                    Some(_) | None => break false,
                }
            };
            if is_connected {
                for ino in way {
                    if let Some(found) = self.inodes.get_mut(&ino) {
                        found.is_connected = true;
                    }
                }
            } else {
                self.problem(format!("directory {start} is not below the root"));
            }
        }
    }

    fn contents(&mut self) -> rusqlite::Result<()> {
        let mut charges: HashMap<u64, u64> = HashMap::new();
        let sql =
            "SELECT id, CASE typeof(data) WHEN 'blob' THEN length(data) WHEN 'integer' THEN data ELSE -1 END
                   FROM chunk";
        self.each(sql, |check, row| {
            let (ino, index) = chunk_place(row.get(0)?);
            let len: i64 = row.get(1)?;
            let Some(found) = check.inodes.get(&ino).filter(|found| found.file_type.is_regular()) else {
                check.problem(format!("chunk {index} of inode {ino}, which is no file"));
                return Ok(());
            };
            let size = found.size;
            let Some(len) = u64::try_from(len).ok().filter(|len| (1..=CHUNK_BYTES).contains(len)) else {
                check.problem(format!("chunk {index} of inode {ino} has no valid length"));
                return Ok(());
            };
            if found.nlink > 0 && u64::from(index) * CHUNK_BYTES + len > size {
                check.problem(format!("chunk {index} of inode {ino} reaches beyond its size {size}"));
            }
            *charges.entry(ino).or_default() += whole_pages(len as usize);
            Ok(())
        })?;
        self.compare_charges(&charges, "content", |found| found.content_bytes);
        Ok(())
    }

    fn xattrs(&mut self) -> rusqlite::Result<()> {
        let mut charges: HashMap<u64, u64> = HashMap::new();
        self.each("SELECT ino, length(name) + length(value) FROM xattr", |check, row| {
            let ino = natural(row, 0)?;
            if !check.inodes.contains_key(&ino) {
                check.problem(format!("an extended attribute of inode {ino}, which is missing"));
            }
            *charges.entry(ino).or_default() += natural(row, 1)? + XATTR_OVERHEAD_BYTES;
            Ok(())
        })?;
        self.compare_charges(&charges, "extended attributes", |found| found.xattr_bytes);
        Ok(())
    }

    fn compare_charges(&mut self, charges: &HashMap<u64, u64>, what: &str, noted: fn(&Found) -> u64) {
        let mut problems = Vec::new();
        // An orphan may be removed in part.
        for (ino, found) in self.inodes.iter().filter(|(_, found)| found.nlink > 0) {
            let charge = charges.get(ino).copied().unwrap_or(0);
            if charge != noted(found) {
                problems.push(format!("{what} of inode {ino} take {charge} bytes, not {}", noted(found)));
            }
        }
        problems.sort();
        for problem in problems {
            self.problem(problem);
        }
    }

    fn orphans(&mut self) -> rusqlite::Result<()> {
        let mut orphans = std::collections::HashSet::new();
        self.each("SELECT ino FROM orphan", |check, row| {
            let ino = natural(row, 0)?;
            check.report.orphans += 1;
            orphans.insert(ino);
            match check.inodes.get(&ino) {
                Some(found) if found.nlink == 0 => {}
                Some(_) => check.problem(format!("inode {ino} is among the orphans, but has a name")),
                None => check.problem(format!("inode {ino} is among the orphans, but missing")),
            }
            Ok(())
        })?;
        let lost =
            |(ino, found): (&u64, &Found)| (found.nlink == 0 && !orphans.contains(ino)).then_some(*ino);
        let lost: Vec<u64> = self.inodes.iter().filter_map(lost).collect();
        for ino in lost {
            self.problem(format!("inode {ino} has no name and is not among the orphans"));
        }
        Ok(())
    }

    fn counters(&mut self) -> rusqlite::Result<()> {
        let named = self.inodes.values().filter(|found| found.nlink > 0);
        let used_inodes =
            named.map(|found| if found.file_type.is_directory() { 1 } else { found.nlink }).sum();
        let sums = Counters { used_bytes: self.report.bytes, used_inodes };
        let noted = self.connection.query_row("SELECT used_bytes, used_inodes FROM meta", [], |row| {
            Ok(Counters { used_bytes: natural(row, 0)?, used_inodes: natural(row, 1)? })
        })?;
        if noted != sums {
            self.problem(format!(
                "the counters say {} bytes and {} inodes, but there are {} and {}",
                noted.used_bytes, noted.used_inodes, sums.used_bytes, sums.used_inodes
            ));
        }
        Ok(())
    }
}
