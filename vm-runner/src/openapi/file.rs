//! Operations: `files`.

use serde_json::{Value, json};
use vm_api::area::Area;
use vm_api::file::{MAX_LIST_DEPTH, MAX_LIST_ENTRIES};
use vm_api::{
    ArchiveResponse, AttributesRequest, BatchReadRequest, BatchReadResponse, BatchWriteRequest,
    BatchWriteResponse, CopyRequest, CopyResponse, FileChange, FileStat, FsckResponse, LinkRequest,
    ListResponse, MkdirRequest, MoveRequest, ProblemCode, file_archive,
};

use super::operation::Operation;

const TAG: &str = "files";
/// Problems of whatever walks a path.
const PATH_PROBLEMS: [ProblemCode; 8] = [
    ProblemCode::InvalidPath,
    ProblemCode::InvalidQuery,
    ProblemCode::PathNotFound,
    ProblemCode::NotADirectory,
    ProblemCode::PermissionDenied,
    ProblemCode::TooManySymlinks,
    ProblemCode::PathTooLong,
    ProblemCode::FileError,
];
/// Problems of whatever changes files.
const CHANGE_PROBLEMS: [ProblemCode; 4] = [
    ProblemCode::ReadOnlyFileSystem,
    ProblemCode::LimitStorage,
    ProblemCode::LimitInodes,
    ProblemCode::FileBusy,
];

fn stat() -> Value {
    json!({
        "path": "/home/agent/notes.txt", "type": "file", "size": 12, "mode": "0644", "uid": 1000, "gid": 1000,
        "links": 1, "inode": 42, "modified": "2026-11-22T16:00:00.5Z", "changed": "2026-11-22T16:00:00.5Z",
        "accessed": "2026-11-22T16:00:00.5Z", "etag": "\"2a-18a-18a-c\"",
    })
}

fn reading(area: Area, method: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::of(area, method, id, TAG, summary).problems(&PATH_PROBLEMS)
}

fn changing(area: Area, method: &'static str, id: &'static str, summary: &'static str) -> Operation {
    reading(area, method, id, summary).problems(&CHANGE_PROBLEMS)
}

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = of_one_file();
    operations.extend(of_paths());
    operations.extend(of_many());
    operations
}

fn of_one_file() -> Vec<Operation> {
    let read = |method, id, summary| {
        reading(Area::File, method, id, summary)
            .about(
                "Content, unless the query asks for `stat`, `list` or `watch`. Symbolic links are followed for content, \
                 lists and watches, and described by `stat`. Works while the workspace sleeps, but for `watch`. What the kernel \
                 makes up (`/proc`) is told as it is when it is read: whole, without a length, ranges or an entity tag.\n\nA watch \
                 is on a path: it tells what happens there, whatever is there, by guests and by this API. Writes that \
                 follow each other are told once. It goes on for 30 s without its client; a client that comes back \
                 within that time with `after` misses nothing, otherwise it is told `lost`.",
            )
            .switch("stat", "Answer the attributes.")
            .switch("list", "Answer the entries of a directory, sorted, a directory before what is in it.")
            .number("depth", u64::from(MAX_LIST_DEPTH), "Levels of a list; 1 if absent.")
            .number("limit", MAX_LIST_ENTRIES as u64, "Most entries of a list.")
            .query(
                "exclude",
                "Patterns of what a list leaves out, between commas: of names, or with a slash of whole paths (`**` for any number of names).",
            )
            .switch("watch", "Answer what happens, as server-sent events.")
            .switch("recursive", "Watch everything below, not only the entries.")
            .query("after", "Of a list: what the page before gave as `next`. Of a watch: the number of the last message.")
            .header("Last-Event-ID", "Of a watch: as `after`.")
            .header("Range", "One range of bytes; several are answered with everything.")
            .header("If-Range", "Answer the range only if the file has this entity tag, else everything.")
            .conditional()
            .answers(304, "The file has the entity tag of `If-None-Match`.")
            .problems(&[
                ProblemCode::IsADirectory,
                ProblemCode::UnsupportedFileType,
                ProblemCode::RangeNotSatisfiable,
                ProblemCode::LimitWatches,
            ])
    };
    let get = read("GET", "readFile", "Content, attributes, entries or changes.")
        .bytes(200, "application/octet-stream", "Content, with `ETag` and `Last-Modified`; attributes; entries; changes.")
        .json::<FileStat>(200, "", stat())
        .alternative::<ListResponse>(200, json!({
            "path": "/home/agent", "truncated": false, "entries": [{"name": "notes.txt", "path": "/home/agent/notes.txt",
            "type": "file", "size": 12, "mode": "0644", "uid": 1000, "gid": 1000, "links": 1, "inode": 42,
            "modified": "2026-11-22T16:00:00.5Z", "changed": "2026-11-22T16:00:00.5Z", "accessed": "2026-11-22T16:00:00.5Z"}],
        }))
        .events::<FileChange>("", json!({"type": "created", "path": "/home/agent/notes.txt", "fileType": "file"}))
        .bytes(206, "application/octet-stream", "The range.");
    let head = read("HEAD", "headFile", "As GET, without a body.").answers(200, "The headers of a GET.");
    let put = changing(Area::File, "PUT", "writeFile", "Write a file: all of it at once, or a part in place.")
        .about("The whole content replaces what is there when its last byte has come: a reader sees the old content or the \
            new one, and an interrupted upload leaves nothing. `append` and `offset` write in place instead. Permission \
            bits stay; symbolic links are followed. What is answered is durable.")
        .switch("parents", "Make missing directories.")
        .query("mode", "Permission bits in octal; those of the file that is there, or 0644, if absent.")
        .switch("append", "Write at the end.")
        .number("offset", i64::MAX as u64, "Write from this byte on.")
        .conditional()
        .takes_bytes("application/octet-stream")
        .json::<FileStat>(200, "The file was there, and has this content now.", stat())
        .json::<FileStat>(201, "The file is new.", stat())
        .problems(&[ProblemCode::IsADirectory, ProblemCode::UnsupportedFileType]);
    let patch = changing(Area::File, "PATCH", "setAttributes", "Set size, owner, permission bits and times.")
        .conditional()
        .takes::<AttributesRequest>(json!({"mode": "0755", "modified": "2026-11-22T16:00:00Z"}))
        .json::<FileStat>(200, "The file.", stat());
    let delete =
        changing(Area::File, "DELETE", "deleteFile", "Delete a file, an empty directory, or a tree.")
            .switch("recursive", "Delete a directory with everything in it.")
            .conditional()
            .answers(204, "It is gone.")
            .problems(&[ProblemCode::DirectoryNotEmpty]);
    vec![get, head, put, patch, delete]
}

fn of_paths() -> Vec<Operation> {
    let mkdir = changing(Area::Mkdir, "POST", "makeDirectory", "Make a directory.")
        .takes::<MkdirRequest>(json!({"path": "/home/agent/a/b", "parents": true, "mode": "0750"}))
        .json::<FileStat>(201, "It is new.", stat())
        .json::<FileStat>(200, "It was there (`parents`).", stat())
        .problems(&[ProblemCode::PathExists]);
    let rename = changing(Area::Move, "POST", "moveFile", "Move a file or a tree within a file system.")
        .takes::<MoveRequest>(json!({"from": "/home/agent/a", "to": "/home/agent/b", "overwrite": true}))
        .json::<FileStat>(200, "It is there.", stat())
        .problems(&[ProblemCode::PathExists, ProblemCode::CrossDevice, ProblemCode::DirectoryNotEmpty]);
    let copy = changing(Area::Copy, "POST", "copyFile", "Copy a file or a tree, also between file systems.")
        .takes::<CopyRequest>(json!({"from": "/home/agent/a", "to": "/scratch/a", "parents": true}))
        .json::<CopyResponse>(201, "The copy is there.", json!({"stat": stat(), "entries": 3, "bytes": 1024}))
        .problems(&[ProblemCode::PathExists]);
    let link = changing(Area::Link, "POST", "makeLink", "Make a symbolic or a hard link.")
        .takes::<LinkRequest>(json!({"path": "/home/agent/latest", "target": "releases/7"}))
        .json::<FileStat>(201, "The link is there.", stat())
        .problems(&[ProblemCode::PathExists, ProblemCode::CrossDevice]);
    let fsck =
        Operation::of(Area::Fsck, "POST", "checkFiles", TAG, "Check the kept files; reads everything.")
            .json::<FsckResponse>(
                200,
                "What is wrong, or nothing.",
                json!({"problems": [], "inodes": 120, "bytes": 4096}),
            )
            .problems(&[ProblemCode::StorageEphemeral]);
    vec![mkdir, rename, copy, link, fsck]
}

fn of_many() -> Vec<Operation> {
    let batch_read = Operation::of(Area::BatchRead, "POST", "batchRead", TAG, "Read many small files.")
        .about("Each file has a result of its own, in the order of the request. Works while the workspace sleeps.")
        .takes::<BatchReadRequest>(json!({"files": [{"path": "/home/agent/notes.txt"}]}))
        .json::<BatchReadResponse>(200, "The results.", json!({"results": [{
            "path": "/home/agent/notes.txt", "stat": stat(), "content": "remember me\n",
        }]}))
        .problems(&[ProblemCode::LimitBuffers]);
    let batch_write = Operation::of(Area::BatchWrite, "POST", "batchWrite", TAG, "Write many small files.")
        .about("Each file has a result of its own, in the order of the request: a batch is not a transaction. What is told \
            as written is durable.")
        .takes::<BatchWriteRequest>(json!({"parents": true, "files": [
            {"path": "/home/agent/notes.txt", "content": "remember me\n", "ifNoneMatch": "*"},
        ]}))
        .json::<BatchWriteResponse>(200, "The results.", json!({"failed": 0, "results": [{
            "path": "/home/agent/notes.txt", "created": true, "stat": stat(),
        }]}))
        .problems(&[ProblemCode::LimitBuffers]);
    let archive_out = reading(Area::Archive, "GET", "readArchive", "A tree as a tar archive.")
        .about("Symbolic and hard links, modes and times to the nanosecond are kept (pax headers). Sockets and \
            what is in `/proc` and `/dev` are left out, unless it is one of their files that is asked for; a file that cannot be read breaks the transfer. Works while the workspace sleeps.")
        .query("path", "The tree, or one file.")
        .query("exclude", "As for lists.")
        .bytes(200, file_archive::MEDIA_TYPE, "The archive.");
    let archive_in = changing(Area::Archive, "PUT", "writeArchive", "Extract a tar archive into a directory.")
        .about("ustar, pax and GNU formats, uncompressed. Files are replaced, directories kept. Absolute names, `..` and \
            entries behind symbolic links are refused. Entries before one that fails are in place; the problem names it.")
        .query("path", "The directory.")
        .switch("parents", "Make it and missing directories above it.")
        .takes_bytes(file_archive::MEDIA_TYPE)
        .json::<ArchiveResponse>(200, "What it brought.", json!({
            "files": 12, "directories": 3, "links": 1, "pipes": 0, "bytes": 4096,
        }))
        .problems(&[ProblemCode::InvalidArchive, ProblemCode::IsADirectory]);
    vec![batch_read, batch_write, archive_out, archive_in]
}
