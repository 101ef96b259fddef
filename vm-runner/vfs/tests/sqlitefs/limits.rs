//! Limits, and changing them.

use vm_abi::Errno;
use vm_vfs::sqlitefs::{SqliteFs, SqliteFsOptions};
use vm_vfs::{Allocation, FileSystem, NodeKind, SetAttr, XattrSet};

use crate::{check_clean, create, name, options};

#[test]
fn every_name_counts_as_an_inode_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let fs = SqliteFs::open(SqliteFsOptions { max_inodes: 4, ..options(folder.path()) }).unwrap();
    let root = fs.root();
    let file = create(&*root, "a", NodeKind::Regular).unwrap();
    root.link(name("b"), &file).unwrap();
    create(&*root, "c", NodeKind::Fifo).unwrap();
    let error = create(&*root, "d", NodeKind::Directory).err().unwrap();
    assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("sqlitefs inodes")));
    assert_eq!(root.link(name("d"), &file).unwrap_err(), Errno::ENOSPC);
    fs.sync().unwrap();
    root.unlink(name("b")).unwrap();
    root.unlink(name("c")).unwrap();
    assert_eq!(fs.statfs().unwrap().free_inodes, 2);
    root.unlink(name("a")).unwrap();
    assert_eq!(fs.statfs().unwrap().free_inodes, 2, "the open file still counts");
    drop(file);
    assert_eq!(fs.statfs().unwrap().free_inodes, 3);
    check_clean(&fs);
}

#[test]
fn content_link_targets_and_attributes_are_charged_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SqliteFsOptions { max_bytes: 10_000, max_inodes: 100, ..options(folder.path()) };
    let fs = SqliteFs::open(limits.clone()).unwrap();
    let root = fs.root();
    let file = create(&*root, "f", NodeKind::Regular).unwrap();
    assert_eq!(file.write_at(0, &[1; 20_000]).unwrap(), 8192);
    let error = file.append(b"x").unwrap_err();
    assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("sqlitefs bytes")));
    assert_eq!(file.write_at(0, b"overwriting needs no space").unwrap(), 26);
    assert_eq!(file.allocate(0, 9000, Allocation::Extend).unwrap_err(), Errno::ENOSPC);
    assert_eq!(create(&*root, "l", NodeKind::Symlink(&[b'x'; 2000])).err().unwrap(), Errno::ENOSPC);
    create(&*root, "l", NodeKind::Symlink(&[b'x'; 1000])).unwrap();
    assert_eq!(file.set_xattr(b"user.a", &[0; 1000], XattrSet::Any).unwrap_err(), Errno::ENOSPC);
    file.set_xattr(b"user.a", &[0; 100], XattrSet::Any).unwrap();
    check_clean(&fs);
    let used = fs.statfs().unwrap();
    drop((root, file));
    fs.close().unwrap();

    let fs = SqliteFs::open(limits).unwrap();
    assert_eq!(fs.statfs().unwrap(), used, "what is used is known after opening");
    let root = fs.root();
    root.lookup(name("f")).unwrap().set_attr(&SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    assert_eq!(fs.statfs().unwrap().free_bytes, used.free_bytes + 8192);
    for text in ["f", "l"] {
        root.unlink(name(text)).unwrap();
    }
    let free = fs.statfs().unwrap();
    assert_eq!((free.free_bytes, free.free_inodes), (10_000, 99));
    check_clean(&fs);
}

#[test]
fn limits_change_while_files_are_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SqliteFsOptions { max_bytes: 8192, max_inodes: 2, ..options(folder.path()) };
    let fs = SqliteFs::open(limits).unwrap();
    let root = fs.root();
    let file = create(&*root, "a", NodeKind::Regular).unwrap();
    assert_eq!(file.write_at(0, &[1; 9000]).unwrap(), 8192);
    fs.set_limits(1 << 20, 3);
    assert_eq!(file.append(&[1; 9000]).unwrap().written, 9000);
    create(&*root, "b", NodeKind::Regular).unwrap();
    fs.set_limits(4096, 1);
    let statfs = fs.statfs().unwrap();
    assert_eq!((statfs.free_bytes, statfs.free_inodes, statfs.total_bytes), (0, 0, 4096));
    assert_eq!(file.append(&[1; 9000]).unwrap().written, 3288, "what was paid for stays usable");
    assert_eq!(file.append(b"x").unwrap_err(), Errno::ENOSPC);
    root.unlink(name("b")).unwrap();
    assert_eq!(create(&*root, "b", NodeKind::Regular).err().unwrap(), Errno::ENOSPC);
    check_clean(&fs);
}
