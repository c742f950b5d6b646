//! Ctrl-C and SIGTERM end the measuring between two starts, so that what was
//! made for it is taken away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::BenchError;

#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the two signals from here on.
    pub(crate) fn watch() -> Result<Self, BenchError> {
        let interrupt = Self(Arc::default());
        let flag = Arc::clone(&interrupt.0);
        // Registered before this returns; a thread of its own waits.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Signals)?;
        let (mut interrupted, mut terminated) = {
            let _entered = runtime.enter();
            let register =
                || -> io::Result<_> { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) };
            register().map_err(BenchError::Signals)?
        };
        std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
                flag.store(true, Ordering::Relaxed);
            });
        });
        Ok(interrupt)
    }

    pub(crate) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}
