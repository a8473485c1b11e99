//! Work on many things at once, whose results come in the order of the things.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

/// Things that a thread has in hand or before it: what bounds the memory of all.
const AHEAD: usize = 2;

/// Where a thread is given things, and where what came of them is.
type Thread<I, T> = (SyncSender<I>, Receiver<(I, T)>);

/// Lets `n_threads` threads do `work` on the things, in turn, and hands each thing with its result
/// to `done`, in their order. The first error of the things or of `done` ends it.
///
/// # Panics
///
/// As `work` does.
pub(super) fn in_order<I: Send, T: Send, E>(
    n_threads: usize,
    mut things: impl Iterator<Item = Result<I, E>>,
    work: impl Fn(&I) -> T + Sync,
    mut done: impl FnMut(I, T) -> Result<(), E>,
) -> Result<(), E> {
    let n_threads = n_threads.max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let start = |_| {
            let (give, given) = sync_channel::<I>(AHEAD);
            let (send, results) = channel();
            scope.spawn(move || {
                for thing in given {
                    let result = work(&thing);
                    // Nobody waits for it any more: there was an error.
                    if send.send((thing, result)).is_err() {
                        break;
                    }
                }
            });
            (give, results)
        };
        let threads: Vec<Thread<I, T>> = (0..n_threads).map(start).collect();
        let (mut n_given, mut n_done, mut is_end) = (0, 0, false);
        loop {
            while !is_end && n_given - n_done < AHEAD * n_threads {
                match things.next().transpose()? {
                    // A thread that takes nothing more has panicked, which its results tell.
                    Some(thing) => {
                        let _ = threads[n_given % n_threads].0.send(thing);
                        n_given += 1;
                    }
                    None => is_end = true,
                }
            }
            if n_done == n_given {
                return Ok(());
            }
            // Without a result the thread has panicked, and so will the scope.
            let Ok((thing, result)) = threads[n_done % n_threads].1.recv() else { return Ok(()) };
            n_done += 1;
            done(thing, result)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_never_far_ahead() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        for (n_threads, n) in [(1, 0), (1, 5), (2, 1), (3, 100)] {
            let n_taken = AtomicUsize::new(0);
            let things = (0..n).map(|i| {
                n_taken.fetch_add(1, Ordering::SeqCst);
                Ok::<usize, ()>(i)
            });
            let mut seen = Vec::new();
            let work = |i: &usize| {
                // The later ones are quicker.
                std::thread::sleep(std::time::Duration::from_micros(((7 - i % 7) * 50) as u64));
                i * 2
            };
            let done = |i, twice| {
                assert!(n_taken.load(Ordering::SeqCst) <= seen.len() + AHEAD * n_threads);
                seen.push((i, twice));
                Ok(())
            };
            assert_eq!(in_order(n_threads, things, work, done), Ok(()));
            assert_eq!(seen, (0..n).map(|i| (i, i * 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let things = (0..100).map(|i| if i == 50 { Err("thing") } else { Ok(i) });
        let mut last = 0;
        let ended = in_order(
            2,
            things,
            |i| *i,
            |i, _| {
                last = i;
                Ok(())
            },
        );
        assert_eq!(ended, Err("thing"));
        assert!(last < 50);
        let ended =
            in_order(2, (0..100).map(Ok), |i| *i, |i, _| if i == 7 { Err("done") } else { Ok(()) });
        assert_eq!(ended, Err("done"));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_not_swallowed() {
        let _ = in_order(2, (0..9).map(Ok::<_, ()>), |i| assert!(*i != 4), |_, ()| Ok(()));
    }
}
