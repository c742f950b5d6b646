//! Telling a stream's compression by its first bytes, never by what a name or
//! a media type claims, and undoing it.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Enough for the longest signature looked for (xz's).
pub const SIGNATURE: usize = 6;

/// A window of 128 MiB is what the zstd tool itself accepts without being
/// asked; a frame that wants more would only cost memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "no compression",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

impl Compression {
    /// Of a stream, by reading its beginning.
    pub(crate) fn of(stream: impl Read) -> io::Result<Self> {
        let mut start = Vec::with_capacity(SIGNATURE);
        stream.take(SIGNATURE as u64).read_to_end(&mut start)?;
        Ok(Self::detect(&start))
    }

    /// Of a stream that begins with these bytes, [`SIGNATURE`] or more unless it
    /// is shorter.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, which a zstd stream may begin with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

/// The start of a stream, looked at, and the stream as if it had not been.
type Peeked<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A stream's uncompressed content.
pub struct Decompressed<R: Read>(Decoder<R>);

enum Decoder<R: Read> {
    Plain(Peeked<R>),
    Gzip(Box<MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Peeked<R>>>),
}

impl<R: Read> std::fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Decoder::Plain(_) => "Decompressed(plain)",
            Decoder::Gzip(_) => "Decompressed(gzip)",
            Decoder::Zstd(_) => "Decompressed(zstd)",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    #[error("cannot read the beginning")]
    Read(#[from] io::Error),
    #[error("{0} is not a supported compression")]
    Unsupported(Compression),
}

/// Reads a stream's beginning and returns its uncompressed content.
pub fn decompress<R: Read>(mut stream: R) -> Result<(Compression, Decompressed<R>), DecompressError> {
    let mut start = Vec::with_capacity(SIGNATURE);
    stream.by_ref().take(SIGNATURE as u64).read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let peeked = BufReader::with_capacity(1 << 16, Cursor::new(start).chain(stream));
    let decompressed = match compression {
        Compression::None => Decoder::Plain(peeked),
        Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(peeked))),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(peeked)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Decoder::Zstd(Box::new(decoder))
        }
        Compression::Bzip2 | Compression::Xz => return Err(DecompressError::Unsupported(compression)),
    };
    Ok((compression, Decompressed(decompressed)))
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Decoder::Plain(reader) => reader.read(buffer),
            Decoder::Gzip(reader) => reader.read(buffer),
            Decoder::Zstd(reader) => reader.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_all(bytes: &[u8]) -> (Compression, Vec<u8>) {
        let (compression, mut reader) = decompress(bytes).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        (compression, out)
    }

    #[test]
    fn the_first_bytes_decide() {
        let text = b"not compressed at all".repeat(1000);
        assert_eq!(read_all(&text), (Compression::None, text.clone()));
        assert_eq!(read_all(b"ab"), (Compression::None, b"ab".to_vec()));
        assert_eq!(read_all(b""), (Compression::None, Vec::new()));

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let one = gzip.finish().unwrap();
        assert_eq!(read_all(&one), (Compression::Gzip, text.clone()));
        // Parallel compressors write several members.
        assert_eq!(read_all(&[one.clone(), one].concat()).1, text.repeat(2));

        let frame = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(read_all(&frame), (Compression::Zstd, text.clone()));
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &frame].concat();
        assert_eq!(read_all(&skippable), (Compression::Zstd, text));
    }

    #[test]
    fn what_cannot_be_undone_is_named() {
        for (bytes, name) in [(&b"BZh91AY"[..], "bzip2"), (b"\xfd7zXZ\0\0", "xz")] {
            let error = decompress(bytes).err().unwrap();
            assert_eq!(error.to_string(), format!("{name} is not a supported compression"));
        }
    }
}
