//! What the allocator keeps of the memory that a program has given back.

#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt has no safe interface"))]

/// Pieces of at least this many bytes are mapped, each by itself.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 128 << 10;

/// Has large pieces of memory go back to the kernel when they are freed, for a program that holds
/// one large file after the other.
///
/// The C library of GNU does so at first, but with each large piece that is freed it takes larger
/// ones, up to 32 MiB, from its heap, where small ones that live on keep the room of large ones that
/// do not (mallopt(3), `M_MMAP_THRESHOLD`). Other C libraries are left as they are.
pub fn return_large_pieces() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a parameter of the allocator is set under the allocator's own lock; no memory is
    // touched, and whatever was allocated before stays as it is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
}

#[cfg(test)]
mod tests {
    /// Memory of this process that is not a file's, in KiB.
    fn anonymous_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Large pieces come and go, the largest first, and behind each one a smaller one stays.
    #[test]
    #[cfg(target_env = "gnu")]
    fn freed_pieces_are_the_kernels_again() {
        super::return_large_pieces();
        let before = anonymous_kib();
        let mut small = Vec::new();
        for n in (1..=24_usize).rev() {
            let large = std::hint::black_box(vec![1_u8; n << 20]);
            small.push(std::hint::black_box(vec![large[n]; 100_000]));
        }
        let after = anonymous_kib();
        // Other tests of this program allocate at the same time, but not so much.
        assert!(after < before + (8 << 10), "{before} {after} KiB, {} small ones", small.len());
    }
}
