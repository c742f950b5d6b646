//! Work in threads that goes at the pace of somebody outside, such as a client
//! that sends an archive or reads one.
//!
//! Such a thread may have to wait as long as its client likes, and the runtime has
//! a bounded number of threads (512) for all that blocks: starts, records, images.
//! So there are a few of these at most, and who comes after them waits without a
//! thread.

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// At once. More than a host's disks are served well by, and well below what the
/// runtime has.
pub const THREADS: usize = 64;

static CLIENTS: Threads = Threads::new(THREADS);

/// Returns when the work has a thread, which it keeps to its end.
pub async fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    CLIENTS.spawn(work).await
}

/// Some of the runtime's threads, for work of one kind.
#[derive(Debug)]
pub struct Threads(Semaphore);

impl Threads {
    pub const fn new(at_once: usize) -> Self {
        Self(Semaphore::const_new(at_once))
    }

    /// Returns when the work has a thread, which it keeps to its end.
    pub async fn spawn<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        // Nobody closes it.
        let permit = self.0.acquire().await.ok();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_that_wait_leave_a_thread_to_others() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(THREADS + 1).build().unwrap();
        let test = async {
            let begun = Arc::new(AtomicUsize::new(0));
            let (mut held, mut all) = (Vec::new(), Vec::new());
            for _ in 0..3 * THREADS {
                let (end, ended) = mpsc::channel::<()>();
                held.push(end);
                let begun = Arc::clone(&begun);
                all.push(tokio::spawn(async move {
                    let thread = spawn(move || {
                        begun.fetch_add(1, Ordering::SeqCst);
                        ended.recv().is_err()
                    });
                    thread.await.await.unwrap()
                }));
            }
            while CLIENTS.0.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(begun.load(Ordering::SeqCst) <= THREADS);
            // One that is given up while it waits takes nobody's place.
            all.pop().unwrap().abort();
            drop(held);
            for work in all {
                assert!(work.await.unwrap());
            }
            assert_eq!(begun.load(Ordering::SeqCst), 3 * THREADS - 1);
            assert_eq!(CLIENTS.0.available_permits(), THREADS);
        };
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("no thread is left") });
    }
}
