//! Children at work on files, from their start to their end.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};

use casemate_launch::Child;
use casemate_model::Signal;
use tokio::sync::watch;

use crate::fd;

/// All that are at work for one container.
#[derive(Debug, Default)]
pub(crate) struct Workers(RefCell<Vec<Weak<Work>>>);

/// A child that somebody waits for. Dropped, the child is killed if it has not
/// ended.
#[derive(Debug)]
pub(super) struct Worker(Rc<Work>);

#[derive(Debug)]
struct Work {
    child: RefCell<Child>,
    ended: watch::Sender<bool>,
}

impl Workers {
    /// Reaps the child when it ends.
    pub(super) fn watch(&self, child: Child) -> io::Result<Worker> {
        let pidfd = fd::watch(child.pidfd().try_clone_to_owned()?)?;
        let work = Rc::new(Work { child: RefCell::new(child), ended: watch::channel(false).0 });
        let mut workers = self.0.borrow_mut();
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Rc::downgrade(&work));
        let reaped = Rc::clone(&work);
        tokio::task::spawn_local(async move {
            while let Ok(mut guard) = pidfd.readable().await {
                match reaped.child.borrow_mut().try_wait() {
                    Ok(None) => guard.clear_ready(),
                    Ok(Some(status)) => {
                        if status.code() != 0 {
                            tracing::debug!(code = status.code(), "work on files ended early");
                        }
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot wait for work on files");
                        break;
                    }
                }
            }
            reaped.ended.send_replace(true);
        });
        Ok(Worker(work))
    }

    /// Kills all and waits for their end.
    pub(crate) async fn end(&self) {
        let workers: Vec<Rc<Work>> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        for work in &workers {
            work.kill();
        }
        for work in workers {
            // The sender is `work`.
            let _ = work.ended.subscribe().wait_for(|ended| *ended).await;
        }
    }
}

impl Work {
    fn kill(&self) {
        if *self.ended.borrow() {
            return;
        }
        if let Err(error) = self.child.borrow().signal(Signal::KILL) {
            tracing::error!(%error, "cannot end work on files");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill();
    }
}
