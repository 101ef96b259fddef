//! Ranges of content that is kept in chunks of one length.

/// The part of a range that lies in one chunk.
pub(crate) struct Piece {
    /// Which chunk, counted from the start of the file.
    pub(crate) chunk: u64,
    /// Where in the chunk it starts.
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// How much of the range lies before it.
    pub(crate) done: usize,
}

/// The pieces of a range, in order. Its end fits into 64 bits.
pub(crate) fn pieces(offset: u64, len: usize, chunk_bytes: u64) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = at % chunk_bytes;
        let piece_len = (chunk_bytes - start).min((len - done) as u64) as usize;
        let piece = Piece { chunk: at / chunk_bytes, start: start as usize, len: piece_len, done };
        done += piece_len;
        Some(piece)
    })
}
