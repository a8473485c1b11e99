//! Reader of a BPF ring buffer.
//!
//! libbpf's own reader calls back per map, in the maps' order; two rings must be read in the order
//! of time, so this one lets its caller look at the next record of each ring before it takes one.
//! Layout and protocol: `kernel/bpf/ringbuf.c`. One page holds the consumer's position and is
//! writable, one the producer's and is not; the data follow, and then once more, so that no record
//! is ever split. Of this second copy only as much is mapped as a record can take: a mapped page
//! counts as the reader's memory, even if it is the same page again.
#![expect(unsafe_code, reason = "maps the ring of the kernel and shares its positions with it")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::record::RECORD_BYTES_MAX;

/// The record is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// The record was given up (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARD: u32 = 1 << 30;
/// Length and page offset in front of each record (`BPF_RINGBUF_HDR_SZ`).
const RECORD_HEADER_BYTES: usize = 8;
/// Bytes of the second copy of the data that are mapped: more than the largest record, which is
/// `RECORD_BYTES_MAX + RAW_PATH_BYTES_MAX` of `probes/record.h`.
const OVERLAP_BYTES: usize = 2 * RECORD_BYTES_MAX;

struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, bytes: usize, protection: i32, offset: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this
        // process.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { address, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the address and length are those of a mapping that this value alone owns.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

/// The reading end of one ring.
pub(crate) struct Ring {
    consumer: Mapping,
    producer: Mapping,
    page_bytes: usize,
    data_bytes: usize,
    /// Bytes of the second copy that are mapped.
    overlap_bytes: usize,
    /// The position of the next record: this reader is the only writer of the consumer's page.
    position: u64,
}

// SAFETY: the mappings belong to the value, not to a thread, and are reached only through it.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring `map`, whose data take `data_bytes`: a power of two and a multiple of the page
    /// size, as the kernel demands of such a map.
    pub(crate) fn open(map: BorrowedFd<'_>, data_bytes: usize) -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
            .map_err(io::Error::other)?;
        if !data_bytes.is_power_of_two() || !data_bytes.is_multiple_of(page_bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let consumer = Mapping::new(map, page_bytes, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let overlap_bytes = OVERLAP_BYTES.next_multiple_of(page_bytes).min(data_bytes);
        let mapped_bytes = page_bytes + data_bytes + overlap_bytes;
        let producer = Mapping::new(map, mapped_bytes, libc::PROT_READ, page_bytes)?;
        let mut ring =
            Self { consumer, producer, page_bytes, data_bytes, overlap_bytes, position: 0 };
        ring.position = ring.consumer_position().load(Ordering::Acquire);
        Ok(ring)
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the mapping is a page, so aligned, and lives as long as `self`; the kernel uses
        // it as a `long`.
        unsafe { AtomicU64::from_ptr(self.consumer.address.as_ptr().cast()) }
    }

    fn producer_position(&self) -> u64 {
        // SAFETY: as above. The page is read-only, and only loads are made.
        unsafe { AtomicU64::from_ptr(self.producer.address.as_ptr().cast()) }
            .load(Ordering::Acquire)
    }

    /// Size of the ring's data in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.data_bytes as u64
    }

    /// Bytes between the reader and the writers, headers included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.producer_position().saturating_sub(self.position)
    }

    /// The next whole record, if there is one. It stays in the ring until [`Self::advance`].
    pub(crate) fn peek(&mut self) -> Option<&[u8]> {
        while self.is_discarded() {
            self.advance();
        }
        self.look()
    }

    fn is_discarded(&self) -> bool {
        self.position < self.producer_position() && self.header() & (BUSY | DISCARD) == DISCARD
    }

    /// As [`Self::peek`], but does not look behind a record that was given up.
    pub(crate) fn look(&self) -> Option<&[u8]> {
        if self.position >= self.producer_position() {
            return None;
        }
        let header = self.header();
        if header & (BUSY | DISCARD) != 0 {
            return None;
        }
        let at = self.offset() + RECORD_HEADER_BYTES;
        // The probes send none that is larger; one that were would leave the mapping.
        let bytes = (header as usize).min(self.overlap_bytes - RECORD_HEADER_BYTES);
        // SAFETY: `at < data_bytes + 8` and `bytes <= overlap_bytes - 8`, and
        // `data_bytes + overlap_bytes` are mapped after the first page. The kernel does not write a committed record before
        // `advance` has given it back, which needs `&mut self` and so the end of this borrow.
        Some(unsafe {
            std::slice::from_raw_parts(
                self.producer.address.as_ptr().add(self.page_bytes + at),
                bytes,
            )
        })
    }

    /// As [`Self::peek`], but waits a moment for a record that is being written.
    ///
    /// A program writes a record in microseconds and cannot sleep; a finished record behind it
    /// would stay hidden otherwise.
    pub(crate) fn peek_committed(&mut self) -> Option<&[u8]> {
        // Looks before giving up: far more than a record takes, far less than a stall.
        const LOOKS_MAX: u32 = 10_000;
        for _ in 0..LOOKS_MAX {
            let begun = self.position < self.producer_position();
            if !begun || self.peek().is_some() {
                break;
            }
            std::hint::spin_loop();
        }
        self.peek()
    }

    /// Gives the record that `peek` showed back to the kernel.
    pub(crate) fn advance(&mut self) {
        if self.position >= self.producer_position() {
            return;
        }
        let bytes = (self.header() & !(BUSY | DISCARD)) as usize + RECORD_HEADER_BYTES;
        self.position += bytes.next_multiple_of(8) as u64;
        self.consumer_position().store(self.position, Ordering::Release);
    }

    fn offset(&self) -> usize {
        (self.position as usize) & (self.data_bytes - 1)
    }

    fn header(&self) -> u32 {
        // SAFETY: positions are multiples of 8 below `data_bytes`, so the word is mapped and
        // aligned.
        let word = unsafe {
            AtomicU32::from_ptr(
                self.producer.address.as_ptr().add(self.page_bytes + self.offset()).cast(),
            )
        };
        word.load(Ordering::Acquire)
    }
}

/// The word by which the reader tells the probes until when it comes by itself
/// (`reader_returns_ns` of `probes/record.h`).
pub(crate) struct Promise {
    word: Mapping,
}

// SAFETY: the mapping belongs to the value, not to a thread, and is reached only through it.
unsafe impl Send for Promise {}

impl Promise {
    /// Maps `map`, an array whose one value is the word.
    pub(crate) fn open(map: BorrowedFd<'_>) -> io::Result<Self> {
        let word = Mapping::new(map, size_of::<u64>(), libc::PROT_READ | libc::PROT_WRITE, 0)?;
        Ok(Self { word })
    }

    /// Promises to look at the rings once more after `time_ns` of the boot clock.
    pub(crate) fn set(&self, time_ns: u64) {
        // SAFETY: the mapping is a page, so aligned, and lives as long as `self`; the probes use it
        // as an `u64`.
        unsafe { AtomicU64::from_ptr(self.word.address.as_ptr().cast()) }
            .store(time_ns, Ordering::Relaxed);
    }
}

/// Waits until one of `maps` has records whose writer asked for a wake-up, or `timeout` ends.
pub(crate) fn wait(maps: [BorrowedFd<'_>; 2], timeout: std::time::Duration) -> io::Result<()> {
    let mut fds =
        maps.map(|map| libc::pollfd { fd: map.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY: the array holds two entries, the time is a value of this frame, no signal mask is
    // given.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const time, std::ptr::null()) };
    if n >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // A signal ends the wait; the caller looks at its own flags.
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

fn now(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure of this frame.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The boot clock in nanoseconds, which records are stamped with.
pub(crate) fn boot_ns() -> u64 {
    now(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds to add to the boot clock to have the real one.
pub(crate) fn boot_to_real_ns() -> u64 {
    // The boot clock is read on both sides of the real one; their middle belongs to it.
    let before = now(libc::CLOCK_BOOTTIME);
    let real = now(libc::CLOCK_REALTIME);
    let after = now(libc::CLOCK_BOOTTIME);
    real.saturating_sub(u64::midpoint(before, after))
}
