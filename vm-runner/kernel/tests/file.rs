//! Open files: offsets, appending, attributes, directories.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use vm_abi::{Errno, FileType, Gid, Mode, OpenFlags, Timespec, Uid, Whence};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, Allocation, DirFd, Fd, FileKind, SetTime, SyncScope, XattrSet};

use crate::machine::{Machine, open, print, read, read_to_end};

const BOTH: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);
const NEW: OpenFlags = BOTH.union(OpenFlags::CREATE);

#[tokio::test(start_paused = true)]
async fn reading_and_writing_move_the_offset() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW).await.unwrap();
            print(&ctx, fd, "hello world").await;
            assert_eq!(syscall::file::tell(&ctx, fd), Ok(11));
            assert_eq!(syscall::file::seek(&ctx, fd, -5, Whence::End), Ok(6));
            assert_eq!(read(&ctx, fd, 99).await.unwrap(), "world");
            assert_eq!(syscall::file::seek(&ctx, fd, -11, Whence::Current), Ok(0));
            assert_eq!(syscall::file::seek(&ctx, fd, -1, Whence::Current), Err(Errno::EINVAL));
            assert_eq!(syscall::file::seek(&ctx, fd, i64::MAX, Whence::End), Err(Errno::EINVAL));
            assert_eq!(syscall::file::seek(&ctx, fd, 20, Whence::Start), Ok(20));
            print(&ctx, fd, "!").await;
            assert_eq!(syscall::file::stat(&ctx, fd).unwrap().size, 21);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn positioned_calls_leave_the_offset_alone() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW).await.unwrap();
            assert_eq!(syscall::file::pwrite(&ctx, fd, b"abc", 2), Ok(3));
            let mut buffer = [9; 8];
            assert_eq!(syscall::file::pread(&ctx, fd, &mut buffer, 0), Ok(5));
            assert_eq!(&buffer[..5], b"\0\0abc");
            assert_eq!(syscall::file::tell(&ctx, fd), Ok(0));
            assert_eq!(syscall::file::pread(&ctx, fd, &mut buffer, u64::MAX), Ok(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn several_buffers_are_one_transfer() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW | OpenFlags::APPEND).await.unwrap();
            let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
            assert_eq!(syscall::file::writev(&ctx, fd, &parts).await, Ok(5));
            syscall::file::seek(&ctx, fd, 0, Whence::Start).unwrap();
            let (mut one, mut two) = ([0; 3], [0; 3]);
            let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            assert_eq!(syscall::file::readv(&ctx, fd, &mut parts).await, Ok(5));
            assert_eq!((&one, &two[..2]), (b"abc", &b"de"[..]));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn appending_goes_to_the_end_whoever_wrote_before() {
    let machine = Machine::new();
    machine
        .expect(|ctx| async move {
            let append = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND;
            let one = open(&ctx, "/work/log", append).await.unwrap();
            let other = open(&ctx, "/work/log", append).await.unwrap();
            print(&ctx, one, "1").await;
            print(&ctx, other, "2").await;
            syscall::file::seek(&ctx, one, 0, Whence::Start).unwrap();
            print(&ctx, one, "3").await;
            assert_eq!(syscall::file::tell(&ctx, one), Ok(3));
        })
        .await;
    assert_eq!(machine.read_file("/work/log"), "123");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_used_only_as_it_was_opened() {
    let machine = Machine::new();
    machine.write_file("/work/f", "x", 0o644);
    machine
        .expect(|ctx| async move {
            let reader = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            assert_eq!(syscall::file::write(&ctx, reader, b"y").await, Err(Errno::EBADF));
            assert_eq!(syscall::file::truncate(&ctx, reader, 0), Err(Errno::EINVAL));
            let extend = Allocation::Extend;
            assert_eq!(syscall::file::allocate(&ctx, reader, 0, 9, extend), Err(Errno::EBADF));
            let writer = open(&ctx, "/work/f", OpenFlags::WRITE).await.unwrap();
            assert_eq!(read(&ctx, writer, 1).await, Err(Errno::EBADF));
            assert_eq!(syscall::file::allocate(&ctx, writer, 0, 0, extend), Err(Errno::EINVAL));
            assert_eq!(syscall::file::allocate(&ctx, writer, 0, 9, extend), Ok(()));
            assert_eq!(syscall::file::truncate(&ctx, writer, 4), Ok(()));
            assert_eq!(syscall::file::stat(&ctx, reader).unwrap().size, 4);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_file_lives_while_it_is_open() {
    let machine = Machine::new();
    machine.write_file("/work/f", "still here", 0o644);
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            syscall::path::unlink(&ctx, DirFd::Cwd, b"/work/f").unwrap();
            assert_eq!(read_to_end(&ctx, fd).await, "still here");
            assert_eq!(syscall::file::stat(&ctx, fd).unwrap().nlink, 0);
            let again = open(&ctx, &format!("/dev/fd/{}", fd.raw()), OpenFlags::READ).await.unwrap();
            assert_eq!(read_to_end(&ctx, again).await, "still here");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn attributes_change_through_the_fd() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW).await.unwrap();
            syscall::file::chmod(&ctx, fd, Mode::new(0o640)).unwrap();
            syscall::file::chown(&ctx, fd, Some(Uid(7)), Some(Gid(8))).unwrap();
            let time = Timespec::from_secs(12);
            syscall::file::set_times(&ctx, fd, Some(SetTime::At(time)), None).unwrap();
            let stat = syscall::file::stat(&ctx, fd).unwrap();
            assert_eq!((stat.permissions(), stat.uid, stat.gid), (Mode::new(0o640), Uid(7), Gid(8)));
            assert_eq!((stat.atime, stat.mtime), (time, Timespec::from_secs(1_000_000)));
            syscall::process::set_euid(&ctx, Uid(9)).unwrap();
            assert_eq!(syscall::file::chmod(&ctx, fd, Mode::new(0o600)), Err(Errno::EPERM));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn extended_attributes_belong_to_the_file() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW).await.unwrap();
            syscall::file::set_xattr(&ctx, fd, b"user.a", b"1", XattrSet::Create).unwrap();
            let again = syscall::file::set_xattr(&ctx, fd, b"user.a", b"2", XattrSet::Create);
            assert_eq!(again, Err(Errno::EEXIST));
            let follow = syscall::Follow::Yes;
            let value = syscall::path::get_xattr(&ctx, DirFd::Cwd, b"/work/f", follow, b"user.a");
            assert_eq!(value, Ok(b"1".to_vec()));
            assert_eq!(syscall::file::list_xattr(&ctx, fd), Ok(vec![b"user.a".to_vec()]));
            syscall::file::remove_xattr(&ctx, fd, b"user.a").unwrap();
            assert_eq!(syscall::file::get_xattr(&ctx, fd, b"user.a"), Err(Errno::ENODATA));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn syncing_is_for_what_is_stored() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", NEW | OpenFlags::SYNC).await.unwrap();
            print(&ctx, fd, "x").await;
            assert_eq!(syscall::file::sync(&ctx, fd, SyncScope::DataOnly), Ok(()));
            let (reader, _) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            assert_eq!(syscall::file::sync(&ctx, reader, SyncScope::Everything), Err(Errno::EINVAL));
        })
        .await;
}

fn names(ctx: &ProcessContext, fd: Fd, cookie: u64, at_most: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), cookie);
    syscall::file::read_dir(ctx, fd, cookie, &mut |record| {
        if names.len() == at_most {
            return ControlFlow::Break(());
        }
        assert_ne!(record.ino, 0);
        names.push(String::from_utf8(record.name.to_vec()).unwrap());
        next = record.next_cookie;
        ControlFlow::Continue(())
    })
    .unwrap();
    (names, next)
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_read_piece_by_piece_while_entries_go() {
    let machine = Machine::new();
    for n in 0..50 {
        machine.write_file(&format!("/work/f{n}"), "", 0o644);
    }
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work", OpenFlags::READ | OpenFlags::DIRECTORY).await.unwrap();
            assert_eq!(syscall::file::kind(&ctx, fd), Ok(FileKind::Directory));
            let (mut cookie, mut removed) = (0, 0);
            loop {
                let (part, next) = names(&ctx, fd, cookie, 7);
                if part.is_empty() {
                    break;
                }
                for name in part.iter().filter(|name| !name.starts_with('.')) {
                    syscall::path::unlink(&ctx, DirFd::Fd(fd), name.as_bytes()).unwrap();
                    removed += 1;
                }
                cookie = next;
            }
            assert_eq!(removed, 50);
            assert_eq!(names(&ctx, fd, 0, 99).0, [".", ".."]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_no_file() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work", OpenFlags::READ).await.unwrap();
            assert_eq!(read(&ctx, fd, 1).await, Err(Errno::EISDIR));
            assert_eq!(open(&ctx, "/work", OpenFlags::WRITE).await, Err(Errno::EISDIR));
            let mut none = |_: syscall::DirRecord<'_>| ControlFlow::Continue(());
            assert_eq!(syscall::file::read_dir(&ctx, Fd::STDIN, 0, &mut none), Err(Errno::ENOTDIR));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_entries_tell_the_same_numbers_as_stat() {
    Machine::new()
        .expect(|ctx| async move {
            open(&ctx, "/work/f", NEW).await.unwrap();
            let fd = open(&ctx, "/work", OpenFlags::READ).await.unwrap();
            let mut records = Vec::new();
            syscall::file::read_dir(&ctx, fd, 0, &mut |record| {
                records.push((record.name.to_vec(), record.ino, record.file_type));
                ControlFlow::Continue(())
            })
            .unwrap();
            let ino = |path: &[u8]| {
                syscall::path::stat(&ctx, DirFd::Fd(fd), path, syscall::Follow::No).unwrap().ino
            };
            assert_eq!(
                records,
                [
                    (b".".to_vec(), ino(b"."), FileType::Directory),
                    (b"..".to_vec(), ino(b".."), FileType::Directory),
                    (b"f".to_vec(), ino(b"f"), FileType::Regular),
                ]
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_nameless_file_can_be_given_a_name() {
    let machine = Machine::new();
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work", OpenFlags::WRITE | OpenFlags::TMPFILE).await.unwrap();
            print(&ctx, fd, "named at last").await;
            syscall::path::link_fd(&ctx, fd, DirFd::Cwd, b"/work/name").unwrap();
        })
        .await;
    assert_eq!(machine.read_file("/work/name"), "named at last");
}
