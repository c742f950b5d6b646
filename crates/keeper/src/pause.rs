//! A container that stands still, and what of its keeper's work that changes.
//!
//! ```text
//!   running ──pause──▶ paused ──unpause──▶ running
//!                        └──(killed or stopped)──▶ running, to its end
//! ```

use std::rc::Rc;
use std::time::Duration;

use casemate_model::{ErrorClass, Failure, ProcessRef, Signal};
use casemate_record::file::Durability;

use crate::keeper::{Keeper, Prepared};

impl Keeper {
    pub(crate) async fn pause(&self) -> Result<(), Failure> {
        let _changing = self.changing().await;
        let prepared = self.running()?;
        if prepared.paused() {
            return Err(Failure::new(ErrorClass::Conflict, format!("container {} is already paused", self.id)));
        }
        prepared.backend.pause().await?;
        self.set_paused(&prepared, true);
        Ok(())
    }

    pub(crate) async fn unpause(&self) -> Result<(), Failure> {
        let _changing = self.changing().await;
        let prepared = self.running()?;
        if !prepared.paused() {
            return Err(Failure::new(ErrorClass::Conflict, format!("container {} is not paused", self.id)));
        }
        prepared.backend.unpause().await?;
        self.set_paused(&prepared, false);
        Ok(())
    }

    fn set_paused(&self, prepared: &Prepared, paused: bool) {
        prepared.state.borrow_mut().paused = paused;
        // The end may have been written down in the meantime: it stays.
        if !self.has_exited() {
            self.write_state(&prepared.state.borrow(), Durability::Ordered);
        }
    }

    /// Lets a container go on that somebody wants to see end.
    async fn let_end(&self) -> Result<(), Failure> {
        let _changing = self.changing().await;
        match self.running() {
            Ok(prepared) if prepared.paused() => {
                prepared.backend.unpause().await?;
                self.set_paused(&prepared, false);
                Ok(())
            }
            // It went on, or ended, in the meantime.
            _ => Ok(()),
        }
    }

    pub(crate) fn ready_for_exec(&self) -> Result<Rc<Prepared>, Failure> {
        let prepared = self.running()?;
        if prepared.paused() {
            return Err(Failure::new(
                ErrorClass::Conflict,
                format!("Container {} is paused, unpause the container before exec", self.id),
            ));
        }
        Ok(prepared)
    }

    /// A kill is for now; any other signal finds a paused container when it
    /// goes on.
    pub(crate) async fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), Failure> {
        let kills = signal == Signal::KILL && *process == ProcessRef::Init;
        if kills && self.running()?.paused() {
            self.let_end().await?;
        }
        self.running()?.backend.signal(process, signal).await
    }

    /// Signals the init, kills it after a while, returns when it ended.
    pub(crate) async fn stop(&self, signal: Signal, timeout: Option<Duration>) -> Result<(), Failure> {
        let prepared = self.running()?;
        prepared.backend.signal(&ProcessRef::Init, signal).await?;
        if prepared.paused() {
            self.let_end().await?;
        }
        if let Some(timeout) = timeout {
            if tokio::time::timeout(timeout, self.exited()).await.is_ok() {
                return Ok(());
            }
            prepared.backend.signal(&ProcessRef::Init, Signal::KILL).await?;
        }
        self.exited().await;
        Ok(())
    }
}
