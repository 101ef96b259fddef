//! Pointers of a guest: buffers of vectored calls, arrays, blocks of strings.

#[path = "../../wasm/src/memory.rs"]
#[allow(dead_code, reason = "the driver uses what this does not")]
mod guest_memory;

use guest_memory::{Buffers, GuestMemory, strings};

/// The largest memory that is tried.
const MAX_MEMORY_BYTES: usize = 1 << 16;

/// Reads and writes a memory through pointers that a guest might give.
///
/// # Panics
/// If one leads out of the memory, or a write changes more than it says.
pub fn memory(data: &[u8]) {
    let mut rest = data;
    let calls: Vec<_> = (0..8).map(|_| (crate::take_u32(&mut rest), crate::take_u32(&mut rest))).collect();
    let mut bytes = rest[..rest.len().min(MAX_MEMORY_BYTES)].to_vec();
    for (pointer, len) in calls {
        read(&mut bytes, pointer, len);
        write(&mut bytes, pointer, len);
    }
    let pieces = strings(&bytes);
    assert!(pieces.iter().map(|piece| piece.len() + 1).sum::<usize>() <= bytes.len() + 1);
    assert!(pieces.iter().all(|piece| !piece.contains(&0)));
}

fn read(bytes: &mut [u8], pointer: u32, len: u32) {
    let size = bytes.len();
    let is_inside = pointer as usize + len as usize <= size;
    let memory = GuestMemory::new(bytes);
    assert_eq!(memory.check(pointer, len).is_ok(), is_inside);
    assert_eq!(memory.bytes(pointer, len).map(<[u8]>::len).ok(), is_inside.then_some(len as usize));
    if let Ok(values) = memory.u32_array(pointer, len) {
        assert!(values.len() == len as usize && pointer as usize + values.len() * 4 <= size);
        assert_eq!(values.first().copied(), if len > 0 { memory.u32(pointer).ok() } else { None });
    }
    match memory.buffers(pointer, len) {
        Ok(Buffers::One(range)) => {
            assert!(
                range.end <= size && memory.buffer(range.clone()).is_ok_and(|part| part.len() == range.len())
            );
        }
        Ok(Buffers::Many(ranges)) => {
            assert!(ranges.len() > 1 && ranges.len() <= len as usize);
            assert!(ranges.iter().all(|range| !range.is_empty() && range.end <= size));
            assert!(ranges.iter().all(|range| memory.buffer(range.clone()).is_ok()));
        }
        Err(_) => {}
    }
}

fn write(bytes: &mut [u8], pointer: u32, value: u32) {
    let before = bytes.to_vec();
    let mut memory = GuestMemory::new(bytes);
    let is_written = memory.put_u32(pointer, value).is_ok();
    let at = pointer as usize;
    assert_eq!(is_written, at + 4 <= before.len());
    for (index, (old, new)) in before.iter().zip(bytes.iter()).enumerate() {
        let is_target = is_written && (at..at + 4).contains(&index);
        assert!(is_target || old == new, "byte {index} changed");
    }
    if is_written {
        assert_eq!(GuestMemory::new(bytes).u32(pointer), Ok(value));
    }
}
