//! What libbpf prints, kept for the error message instead of being printed.
//!
//! libbpf has one print function per process. It is set once; the text of a load is kept per
//! thread, bounded, and taken by whoever made the load.

use std::cell::RefCell;
use std::sync::Once;

use libbpf_rs::{PrintLevel, set_print};

/// A verifier log can be megabytes; its end says what was wrong.
const LOG_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs gives a `String`")]
fn keep(_level: PrintLevel, message: String) {
    LOG.with_borrow_mut(|log| {
        log.push_str(&message);
        if log.len() > LOG_BYTES_MAX {
            let mut cut = log.len() - LOG_BYTES_MAX / 2;
            while !log.is_char_boundary(cut) {
                cut += 1;
            }
            log.drain(..cut);
        }
    });
}

/// Runs `action` and returns what libbpf had to say during it.
pub(crate) fn capture<T>(action: impl FnOnce() -> T) -> (T, String) {
    static SET: Once = Once::new();
    SET.call_once(|| {
        set_print(Some((PrintLevel::Warn, keep)));
    });
    LOG.with_borrow_mut(String::clear);
    let result = action();
    (result, LOG.with_borrow_mut(std::mem::take))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_end() {
        let ((), log) = capture(|| {
            for _ in 0..LOG_BYTES_MAX {
                keep(PrintLevel::Warn, "é-".into());
            }
            keep(PrintLevel::Warn, "the end".into());
        });
        assert!(log.len() <= LOG_BYTES_MAX);
        assert!(log.ends_with("the end"));
    }
}
