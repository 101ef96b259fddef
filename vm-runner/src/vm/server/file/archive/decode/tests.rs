//! Archives as programs write them, and as nobody should.

use proptest::prelude::*;
use tar::EntryType;
use vm_abi::{DeviceNumber, Gid, Stat, Uid};

use super::super::encode;
use super::*;

fn stat(size: u64, mtime: Timespec) -> Stat {
    Stat {
        dev: 0,
        ino: 1,
        mode: 0o100_640,
        nlink: 1,
        uid: Uid(1000),
        gid: Gid(3_000_000),
        rdev: DeviceNumber::default(),
        size,
        blocks: 0,
        atime: mtime,
        mtime,
        ctime: mtime,
    }
}

/// Name, kind, link, content and time.
type Planned = (Vec<u8>, EntryType, Vec<u8>, Vec<u8>, Timespec);

fn archive(entries: &[Planned]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link, content, mtime) in entries {
        let stat = stat(content.len() as u64, *mtime);
        encode::header(
            &mut out,
            &encode::Entry { name, kind: *kind, stat: &stat, link, size: content.len() as u64 },
        );
        out.extend_from_slice(content);
        encode::pad(&mut out);
    }
    encode::end(&mut out);
    out
}

/// All entries with their content, however the archive is cut.
fn decode(archive: &[u8], chunk: usize) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut decoder = Decoder::default();
    let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
    for chunk in archive.chunks(chunk) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = decoder.next()? {
            match item {
                Item::Entry(entry) => entries.push((entry, Vec::new())),
                Item::Data(data) => entries.last_mut().unwrap().1.extend_from_slice(&data),
                Item::EntryEnd => {}
            }
        }
    }
    decoder.end()?;
    Ok(entries)
}

fn one(content: &[u8]) -> Vec<u8> {
    archive(&[(b"f".to_vec(), EntryType::Regular, Vec::new(), content.to_vec(), Timespec::from_secs(7))])
}

#[test]
fn what_is_encoded_is_decoded_however_it_is_cut() {
    let long = [&b"d/"[..], &[b'n'; 200], b"\xff\n=x"].concat();
    let entries = [
        (b"d/".to_vec(), EntryType::Directory, vec![], vec![], Timespec::from_secs(1)),
        (long.clone(), EntryType::Regular, vec![], vec![1; 1300], Timespec { sec: -1, nsec: 750_000_000 }),
        (b"d/l".to_vec(), EntryType::Symlink, long.clone(), vec![], Timespec { sec: 5, nsec: 6 }),
        (b"d/h".to_vec(), EntryType::Link, long.clone(), vec![], Timespec::from_secs(1)),
        (b"d/p".to_vec(), EntryType::Fifo, vec![], vec![], Timespec::from_secs(1)),
    ];
    let bytes = archive(&entries);
    let whole = decode(&bytes, bytes.len()).unwrap();
    let kinds: Vec<_> = whole.iter().map(|(entry, _)| entry.kind.clone()).collect();
    assert_eq!(
        kinds,
        [Kind::Directory, Kind::File, Kind::Symlink(long.clone()), Kind::HardLink(long.clone()), Kind::Fifo]
    );
    assert_eq!((&whole[1].0.name, whole[1].0.mtime, whole[1].1.len()), (&long, entries[1].4, 1300));
    assert_eq!((whole[1].0.mode, whole[1].0.uid, whole[1].0.gid), (0o640, 1000, 3_000_000));
    for chunk in [1, 7, 511, 512, 513] {
        assert_eq!(decode(&bytes, chunk).unwrap(), whole, "chunks of {chunk}");
    }
}

#[test]
fn what_is_no_archive_is_refused_with_the_reason() {
    let mut broken = one(b"x");
    broken[0] ^= 1;
    assert_eq!(decode(&broken, 512), Err(Error::Checksum(0)));
    let mut zipped = one(b"x");
    zipped[..2].copy_from_slice(b"\x1f\x8b");
    assert_eq!(decode(&zipped, 512), Err(Error::Compressed("gzip")));
    assert!(matches!(decode(&one(&[1; 600])[..1000], 512), Err(Error::Truncated(1000))));
    assert_eq!(decode(b"", 1), Err(Error::Truncated(0)));
    let sparse = archive(&[(b"s".to_vec(), EntryType::GNUSparse, vec![], vec![], Timespec::EPOCH)]);
    assert!(decode(&sparse, 512).unwrap_err().to_string().contains("without --sparse"));
    let volume = archive(&[(b"v".to_vec(), EntryType::new(b'V'), vec![], vec![], Timespec::EPOCH)]);
    assert_eq!(decode(&volume, 512), Err(Error::Kind { name: "v".to_owned(), kind: 'V' }));
}

#[test]
fn an_archive_without_its_last_blocks_is_complete_between_two_entries() {
    let bytes = one(b"x");
    let complete = bytes.len() - 1024;
    assert_eq!(decode(&bytes[..complete], 512).unwrap().len(), 1);
    // A pax header alone announces an entry that is missing.
    assert_eq!(decode(&bytes[..1024], 512), Err(Error::Truncated(1024)));
}

#[test]
fn an_empty_field_counts_as_zero() {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[0] = b'f';
    header.as_mut_bytes()[100..148].fill(0);
    header.set_size(0);
    header.set_cksum();
    let (entry, _) = decode(header.as_bytes(), 512).unwrap().remove(0);
    assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0, 0, 0, Timespec::EPOCH));
}

#[test]
fn a_time_before_1970_in_binary_is_read() {
    let mut bytes = one(b"x");
    let header = bytes.len() - 2048;
    bytes[header + 136..header + 140].fill(0xff);
    bytes[header + 140..header + 148].copy_from_slice(&(-3600_i64).to_be_bytes());
    let sum = checksum(&bytes[header..header + 512]);
    bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(decode(&bytes, 512).unwrap()[0].0.mtime, Timespec::from_secs(-3600));
}

#[test]
fn times_of_pax_headers_are_exact() {
    for (text, expected) in [
        ("1", Some((1, 0))),
        ("1.5", Some((1, 500_000_000))),
        ("1.0000000019", Some((1, 1))),
        ("-1.25", Some((-2, 750_000_000))),
        ("-0.25", Some((-1, 750_000_000))),
        ("x", None),
        ("1.x", None),
        ("", None),
    ] {
        assert_eq!(pax_time(text.as_bytes()).map(|time| (time.sec, time.nsec)), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_input_makes_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), at in 0_usize..2000, chunk in 1_usize..700) {
        let _ = decode(&bytes, chunk);
        let long = vec![b'n'; 150];
        let mut valid = archive(&[(long, EntryType::Regular, vec![], vec![1; 600], Timespec { sec: 1, nsec: 1 })]);
        for (index, byte) in bytes.iter().take(3).enumerate() {
            let place = (at + index * 37) % valid.len();
            valid[place] = *byte;
        }
        let _ = decode(&valid, chunk);
    }
}
