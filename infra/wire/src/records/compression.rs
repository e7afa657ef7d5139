//! Kafka's four codecs, each with a bound on what comes out (I11).

use super::BatchError;
use std::cell::Cell;
use std::io::{self, Read, Write};
use strandline_types::limits;
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(i16)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks, in Java's framing or bare.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878; from Produce 7 and Fetch 10 on (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// The codec in a batch's attributes.
    ///
    /// # Errors
    /// A number that Kafka does not use.
    pub const fn from_attributes(attributes: i16) -> Result<Self, BatchError> {
        match attributes & 0x07 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(BatchError::Codec(other)),
        }
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(super) const fn bits(self) -> i16 {
        self as i16
    }
}

/// Java's framing: this, two versions of four bytes, then blocks, each after its length.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
/// A Snappy copy of three bytes yields at most 64, so a block that claims more than this factor lies.
const SNAPPY_MAX_RATIO: usize = 22;

/// Opens compressed bytes for streaming. Reading reserves what the codec's window takes, not what the data claims.
pub(super) fn decoder<'a>(compression: Compression, data: &'a [u8], max_bytes: usize) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(data),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(data)),
        Compression::Lz4 if !is_whole_lz4_frame(data) => return Err(io::ErrorKind::InvalidData.into()),
        Compression::Lz4 => Box::new(Lz4Reader(lz4_flex::frame::FrameDecoder::new(data))),
        Compression::Zstd => Box::new(ZstdReader::new(data)),
        Compression::Snappy => Box::new(SnappyReader::new(data, max_bytes)),
    })
}

/// Decompresses into `output`, which is cleared first and never holds more than `max_bytes`.
///
/// # Errors
/// Damaged data, or more of it than `max_bytes`.
pub fn decompress(compression: Compression, data: &[u8], output: &mut Vec<u8>, max_bytes: usize) -> Result<(), BatchError> {
    output.clear();
    let damaged = |_| BatchError::Compression(compression.name());
    let mut decoder = decoder(compression, data, max_bytes).map_err(damaged)?.take(max_bytes as u64 + 1);
    let mut filled = 0;
    output.resize((data.len().saturating_mul(4)).clamp(4 << 10, 256 << 10).min(max_bytes.saturating_add(1)), 0);
    loop {
        if filled == output.len() {
            if filled > max_bytes {
                return Err(BatchError::Bomb { max: max_bytes });
            }
            output.resize(filled.saturating_mul(2).min(max_bytes + 1), 0);
        }
        match decoder.read(&mut output[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Err(BatchError::Bomb { max: max_bytes }),
            Err(error) => return Err(damaged(error)),
        }
    }
    output.truncate(filled);
    if filled > max_bytes { Err(BatchError::Bomb { max: max_bytes }) } else { Ok(()) }
}

/// Compresses `data` onto the end of `output`. `level` is the codec's own number, cut to what it has; None is the one that
/// costs least. Snappy and LZ4 have one level.
pub(super) fn compress(
    compression: Compression,
    level: Option<i32>,
    data: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let failed = |_| BatchError::Compression(compression.name());
    match compression {
        Compression::None => output.extend_from_slice(data),
        Compression::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok()).map(|level| level.min(9));
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(output, level);
            encoder.write_all(data).and_then(|()| encoder.finish().map(drop)).map_err(failed)?;
        }
        Compression::Lz4 => {
            // Java reads independent blocks only.
            let frame = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, output);
            encoder.write_all(data).map_err(failed)?;
            encoder.finish().map_err(|_| BatchError::Compression(compression.name()))?;
        }
        Compression::Zstd => {
            let compressed =
                zstd::bulk::compress(data, level.map_or(ZSTD_LEVEL, |level| level.min(ZSTD_LEVEL_MAX))).map_err(failed)?;
            output.extend_from_slice(&compressed);
        }
        Compression::Snappy => {
            output.extend_from_slice(XERIAL_MAGIC);
            output.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            let mut encoder = snap::raw::Encoder::new();
            for block in data.chunks(XERIAL_BLOCK_BYTES) {
                let compressed = encoder.compress_vec(block).map_err(|_| BatchError::Compression(compression.name()))?;
                output.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
                output.extend_from_slice(&compressed);
            }
        }
    }
    Ok(())
}

/// Frame descriptors of independent blocks without sizes and checksums, as Kafka's clients write them: flags, block size, and the
/// descriptor's own checksum; with the most bytes of a block.
const PLAIN_LZ4_DESCRIPTORS: [([u8; 3], usize); 4] = [
    ([0x60, 0x40, 0x82], 64 << 10),
    ([0x60, 0x50, 0xfb], 256 << 10),
    ([0x60, 0x60, 0x51], 1 << 20),
    ([0x60, 0x70, 0x73], 4 << 20),
];

thread_local! {
    /// What comes out of a small batch that is only looked at.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Decompresses into this thread's own buffer and looks at what came out there: no memory is taken, nothing is cleared and nothing is
/// copied on. Gives the data back for [`decoder`], of which it is a part only, where that does not do: another codec, a frame with
/// checksums of its own, more than [`limits::SCRATCH_BYTES`] or `max_bytes`, or damage.
pub(super) fn look<T>(compression: Compression, data: &[u8], max_bytes: usize, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    if compression != Compression::Lz4 {
        return None;
    }
    let mut scratch = SCRATCH.try_with(Cell::take).ok()?;
    if scratch.is_empty() {
        scratch.resize(limits::SCRATCH_BYTES, 0);
    }
    let length = plain_lz4(data, &mut scratch).filter(|length| *length <= max_bytes);
    let looked = length.map(|length| look(&scratch[..length]));
    let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    looked
}

/// Whether no more than so many bytes can come out of compressed records, where that is told without decompressing them: a plain LZ4 frame
/// has so many blocks of so many bytes at most. False for any other. As quick as the bound is small.
pub fn is_within(compression: Compression, data: &[u8], max_bytes: usize) -> bool {
    compression == Compression::Lz4 && plain_lz4_is_within(data, max_bytes).is_some()
}

fn plain_lz4_is_within(data: &[u8], max_bytes: usize) -> Option<()> {
    let mut frame = PlainLz4::open(data)?;
    let mut left = max_bytes;
    while frame.next()?.is_some() {
        left = left.checked_sub(frame.block_max)?;
    }
    Some(())
}

/// A plain frame, block after block.
struct PlainLz4<'a> {
    /// The most bytes that come out of a block.
    block_max: usize,
    rest: &'a [u8],
}

/// A block, and whether it was left as it is.
struct PlainLz4Block<'a> {
    bytes: &'a [u8],
    is_stored: bool,
}

impl<'a> PlainLz4<'a> {
    /// None if it is no such frame.
    fn open(data: &'a [u8]) -> Option<Self> {
        let (&[0x04, 0x22, 0x4d, 0x18, flags, size, checksum], rest) = data.split_first_chunk::<7>()? else { return None };
        let descriptor = [flags, size, checksum];
        let block_max = PLAIN_LZ4_DESCRIPTORS.iter().find(|(known, _)| *known == descriptor)?.1;
        Some(Self { block_max, rest })
    }

    /// The next block; nothing at the frame's end, which must be that of the data. None if the frame is damaged.
    fn next(&mut self) -> Option<Option<PlainLz4Block<'a>>> {
        let (size, after) = self.rest.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            return after.is_empty().then_some(None);
        }
        let (bytes, after) = after.split_at_checked((size & 0x7fff_ffff) as usize)?;
        // Readers refuse such a block, or take it for the end.
        if bytes.is_empty() || bytes.len() > self.block_max {
            return None;
        }
        self.rest = after;
        Some(Some(PlainLz4Block { bytes, is_stored: size & 0x8000_0000 != 0 }))
    }
}

/// Decompresses a whole plain frame; gives the bytes that came out. None if it is no such frame or there is not enough room.
fn plain_lz4(data: &[u8], output: &mut [u8]) -> Option<usize> {
    let mut frame = PlainLz4::open(data)?;
    let mut filled = 0_usize;
    while let Some(PlainLz4Block { bytes, is_stored }) = frame.next()? {
        let room = output.len().min(filled.saturating_add(frame.block_max));
        let target = output.get_mut(filled..room)?;
        if is_stored {
            target.get_mut(..bytes.len())?.copy_from_slice(bytes);
            filled += bytes.len();
        } else {
            // The decoder that reads the batch later: what it would refuse must not get in.
            let length = lz4_flex::block::decompress_into(bytes, target).ok()?;
            // Readers take a block of nothing for the end.
            if length == 0 {
                return None;
            }
            filled += length;
        }
    }
    Some(filled)
}

/// One frame, of which [`is_whole_lz4_frame`] has been seen.
struct Lz4Reader<'a>(lz4_flex::frame::FrameDecoder<&'a [u8]>);

impl Read for Lz4Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        // It says so at a block of which nothing comes out, too: what is behind that would be left out without a word.
        if count == 0 && !buffer.is_empty() && !self.0.get_ref().is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

/// Whether this is one frame of independent blocks with its end mark. Our decoder would be content with less, Kafka's
/// consumers would not: what they cannot read must not get in.
fn is_whole_lz4_frame(data: &[u8]) -> bool {
    let Some((&[0x04, 0x22, 0x4d, 0x18, flags, _], rest)) = data.split_first_chunk::<6>() else { return false };
    let has = |bit: u8| flags & bit != 0;
    let (independent, block_checksums, content_size, content_checksum, dictionary) =
        (has(0x20), has(0x10), has(0x08), has(0x04), has(0x01));
    let header_bytes = 1 + if content_size { 8 } else { 0 };
    let Some(mut rest) = rest.get(header_bytes..) else { return false };
    if !independent || dictionary {
        return false;
    }
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let block_bytes = (u32::from_le_bytes(*size) & 0x7fff_ffff) as usize;
        if block_bytes == 0 {
            return after.len() == if content_checksum { 4 } else { 0 };
        }
        let Some(next) = after.get(block_bytes + if block_checksums { 4 } else { 0 }..) else { return false };
        rest = next;
    }
    false
}

/// 1 costs 40 % less time than 3 for 3 % more bytes.
const ZSTD_LEVEL: i32 = 1;
/// Beyond it a compressor takes hundreds of megabytes (I11) for a few bytes less.
const ZSTD_LEVEL_MAX: i32 = 19;

thread_local! {
    /// Making a context costs as much as a small batch, so each thread keeps one.
    static ZSTD_CONTEXT: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// A context that grew beyond this, since a frame asked for a large window, is not kept.
const KEPT_CONTEXT_BYTES: usize = 4 << 20;

/// Zstandard frames, one after the other.
struct ZstdReader<'a> {
    /// Always there, until it is given back.
    context: Option<DCtx<'static>>,
    data: &'a [u8],
    frame_ended: bool,
}

impl<'a> ZstdReader<'a> {
    fn new(data: &'a [u8]) -> Self {
        let context = ZSTD_CONTEXT.take().unwrap_or_default();
        Self { context: Some(context), data, frame_ended: true }
    }
}

impl Read for ZstdReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(context) = &mut self.context else { return Ok(0) };
        let mut output = OutBuffer::around(buffer);
        while output.pos() == 0 && output.capacity() > 0 && !(self.frame_ended && self.data.is_empty()) {
            let mut input = InBuffer::around(self.data);
            let hint = context.decompress_stream(&mut output, &mut input).map_err(|_| io::ErrorKind::InvalidData)?;
            let taken = input.pos();
            self.data = &self.data[taken..];
            self.frame_ended = hint == 0;
            if !self.frame_ended && taken == 0 && output.pos() == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(output.pos())
    }
}

impl Drop for ZstdReader<'_> {
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take()
            && context.sizeof() <= KEPT_CONTEXT_BYTES
            && context.reset(ResetDirective::SessionOnly).is_ok()
        {
            // At the thread's end there is nowhere to keep it.
            let _ = ZSTD_CONTEXT.try_with(|kept| kept.set(Some(context)));
        }
    }
}

/// Snappy, block after block. A bare block is one block.
struct SnappyReader<'a> {
    blocks: Blocks<'a>,
    block: Vec<u8>,
    position: usize,
    bytes_left: usize,
}

enum Blocks<'a> {
    Framed(&'a [u8]),
    Bare(Option<&'a [u8]>),
}

impl<'a> SnappyReader<'a> {
    fn new(data: &'a [u8], max_bytes: usize) -> Self {
        let framed = data.len() >= XERIAL_HEADER_BYTES && data.starts_with(XERIAL_MAGIC);
        let blocks = if framed { Blocks::Framed(&data[XERIAL_HEADER_BYTES..]) } else { Blocks::Bare(Some(data)) };
        Self { blocks, block: Vec::new(), position: 0, bytes_left: max_bytes }
    }

    fn next_compressed(&mut self) -> io::Result<Option<&'a [u8]>> {
        match &mut self.blocks {
            Blocks::Bare(block) => Ok(block.take()),
            Blocks::Framed(rest) => {
                // Streams may be concatenated, each with its header.
                while rest.len() >= XERIAL_HEADER_BYTES && rest.starts_with(XERIAL_MAGIC) {
                    *rest = &rest[XERIAL_HEADER_BYTES..];
                }
                if rest.is_empty() {
                    return Ok(None);
                }
                let (length, after) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
                let length = u32::from_be_bytes(*length) as usize;
                let (block, after) = after.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
                *rest = after;
                Ok(Some(block))
            }
        }
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            let Some(compressed) = self.next_compressed()? else { return Ok(0) };
            let length = snap::raw::decompress_len(compressed).map_err(|_| io::ErrorKind::InvalidData)?;
            if length > compressed.len().saturating_mul(SNAPPY_MAX_RATIO) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if length > self.bytes_left {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes_left -= length;
            self.block.clear();
            self.block.resize(length, 0);
            let read = snap::raw::Decoder::new().decompress(compressed, &mut self.block);
            if !matches!(read, Ok(read) if read == length) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.position = 0;
        }
        let count = buffer.len().min(self.block.len() - self.position);
        buffer[..count].copy_from_slice(&self.block[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn compressed(compression: Compression, data: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        compress(compression, None, data, &mut output).unwrap();
        output
    }

    #[test]
    fn every_codec_comes_back() {
        for compression in ALL {
            for size in [0, 1, 100, 70_000, 300_000] {
                let data: Vec<u8> = (0..size).map(|index: u32| (index.wrapping_mul(index) >> 7) as u8).collect();
                let mut output = vec![9; 3];
                decompress(compression, &compressed(compression, &data), &mut output, 1 << 20).unwrap();
                assert_eq!(output, data, "{compression:?} {size}");
            }
        }
    }

    fn lz4_frame(info: lz4_flex::frame::FrameInfo, data: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_lz4_frames_of_all_block_sizes_are_looked_at_in_place() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
        let plain = FrameInfo::new().block_mode(BlockMode::Independent);
        let random: Vec<u8> = (0..90_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for data in [Vec::new(), b"one two ".repeat(20_000), random.clone()] {
                let frame = lz4_frame(plain.clone().block_size(size), &data);
                assert!(is_within(Compression::Lz4, &frame, data.len() + PLAIN_LZ4_DESCRIPTORS[3].1 - 1));
                assert!(data.is_empty() || !is_within(Compression::Lz4, &frame, data.len() - 1), "{size:?}");
                let see = |max| look(Compression::Lz4, &frame, max, |bytes| bytes == data);
                assert_eq!(see(data.len()), Some(true), "{size:?} {}", data.len());
                assert_eq!(see(data.len().saturating_sub(1)), (data.is_empty()).then_some(true), "a bound is kept");
                for end in 0..frame.len().min(40) {
                    assert_eq!(look(Compression::Lz4, &frame[..end], data.len(), |_| ()), None, "cut at {end}");
                }
                let longer = [&frame[..], &[0]].concat();
                assert!(!is_within(Compression::Lz4, &longer, 1 << 30));
                assert_eq!(look(Compression::Lz4, &longer, data.len(), |_| ()), None, "bytes behind the frame");
            }
        }
    }

    #[test]
    fn what_cannot_be_looked_at_in_place_is_left_to_the_decoder() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
        let data = b"one two three ".repeat(1_000);
        let info = || FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
        for info in [
            info().content_checksum(true),
            info().block_checksums(true),
            info().content_size(Some(data.len() as u64)),
            info().block_mode(BlockMode::Linked),
        ] {
            let frame = lz4_frame(info, &data);
            assert_eq!(look(Compression::Lz4, &frame, 1 << 20, |_| ()), None);
            assert!(!is_within(Compression::Lz4, &frame, 1 << 30));
        }
        let large = vec![7; limits::SCRATCH_BYTES + 1];
        assert_eq!(look(Compression::Lz4, &lz4_frame(info(), &large), 1 << 20, |_| ()), None);
        assert_eq!(look(Compression::Lz4, &lz4_frame(info(), &large[1..]), 1 << 20, <[u8]>::len), Some(limits::SCRATCH_BYTES));
        let mut damaged = lz4_frame(info(), &data);
        damaged[6] ^= 1;
        assert_eq!(look(Compression::Lz4, &damaged, 1 << 20, |_| ()), None, "the descriptor's checksum");
        assert_eq!(look(Compression::Zstd, &compressed(Compression::Zstd, &data), 1 << 20, |_| ()), None);
    }

    /// Blocks behind a descriptor of 64 KiB blocks, with an end mark.
    fn lz4_blocks(blocks: &[(u32, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
        for (flag, block) in blocks {
            frame.extend((block.len() as u32 | flag).to_le_bytes());
            frame.extend(*block);
        }
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn what_the_decoder_would_refuse_later_is_not_let_in() {
        const STORED: u32 = 0x8000_0000;
        let look_at = |frame: &[u8]| look(Compression::Lz4, frame, 1 << 20, <[u8]>::to_vec);
        assert_eq!(look_at(&lz4_blocks(&[(STORED, b"one"), (STORED, b"two")])), Some(b"onetwo".to_vec()));
        let empty = lz4_blocks(&[(STORED, b"one"), (STORED, b""), (STORED, b"two")]);
        // One literal and a match at offset 0; and 64 KiB of literals in a block that is longer than that.
        let nowhere = lz4_blocks(&[(0, &[0x11, b'a', 0, 0, 0x50, b'b', b'b', b'b', b'b', b'b'])]);
        let mut literals = vec![0xf0];
        literals.extend([255; 256]);
        literals.push((65_536 - 15 - 256 * 255) as u8);
        literals.extend([b'x'; 65_536]);
        assert!(!is_within(Compression::Lz4, &lz4_blocks(&[(0, &literals)]), 1 << 30), "a block may not be that long");
        // A block of which nothing comes out, in the middle and at the end, and in a frame that is not looked at in place.
        let nothing = lz4_blocks(&[(STORED, b"one"), (0, &[0]), (STORED, b"two")]);
        let nothing_more = lz4_blocks(&[(STORED, b"one"), (0, &[0])]);
        let info = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Independent).content_checksum(true);
        let mut checked = lz4_frame(info, b"one");
        let end = checked.len() - 8;
        checked.splice(end..end, [1, 0, 0, 0, 0]);
        let many = vec![(STORED, &b""[..]); 1_000];
        assert!(!is_within(Compression::Lz4, &lz4_blocks(&many), 999 << 16), "each counts, whatever is in it");
        for frame in [empty, nowhere, nothing, nothing_more, checked, lz4_blocks(&[(0, &literals)])] {
            assert_eq!(look_at(&frame), None);
            assert!(decompress(Compression::Lz4, &frame, &mut Vec::new(), 1 << 20).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_seen_in_place_is_what_the_decoder_gives(
            data in proptest::collection::vec(proptest::sample::select(vec![b'a', b'b', 0, 255]), 0..600),
            changes in proptest::collection::vec((7..400_usize, proptest::prelude::any::<u8>()), 0..4),
        ) {
            let mut frame = compressed(Compression::Lz4, &data);
            for (at, byte) in changes {
                let end = frame.len();
                frame[7 + at % (end - 7)] = byte;
            }
            if let Some(seen) = look(Compression::Lz4, &frame, 1 << 20, <[u8]>::to_vec) {
                let mut output = Vec::new();
                decompress(Compression::Lz4, &frame, &mut output, 1 << 20).unwrap();
                proptest::prop_assert_eq!(seen, output);
            }
        }
    }

    #[test]
    fn bare_snappy_is_read_too() {
        let data = b"strandline ".repeat(100);
        let bare = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        let mut output = Vec::new();
        decompress(Compression::Snappy, &bare, &mut output, 1 << 20).unwrap();
        assert_eq!(output, data);
    }

    #[test]
    fn output_ends_at_the_bound() {
        let data = vec![0; 1 << 20];
        for compression in ALL {
            let compressed = compressed(compression, &data);
            let mut output = Vec::new();
            assert_eq!(
                decompress(compression, &compressed, &mut output, (1 << 20) - 1),
                Err(BatchError::Bomb { max: (1 << 20) - 1 }),
                "{compression:?}"
            );
            assert!(output.capacity() <= 2 << 20);
            assert_eq!(decompress(compression, &compressed, &mut output, 1 << 20), Ok(()), "{compression:?}");
        }
    }

    #[test]
    fn a_lying_snappy_length_reserves_nothing() {
        let mut output = Vec::new();
        let lie = [0xff, 0xff, 0xff, 0x3f, 0, 0];
        assert_eq!(decompress(Compression::Snappy, &lie, &mut output, 128 << 20), Err(BatchError::Compression("snappy")));
        assert!(output.capacity() < 1 << 20);
    }

    #[test]
    fn damage_is_an_error() {
        let data = b"one two three four ".repeat(50);
        for compression in &ALL[1..] {
            let whole = compressed(*compression, &data);
            let mut output = Vec::new();
            for end in 0..whole.len() {
                let result = decompress(*compression, &whole[..end], &mut output, 1 << 20);
                assert!(result.is_err() || output != data, "{compression:?} cut at {end}");
            }
        }
    }
}
