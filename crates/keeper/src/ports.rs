//! The host's ports that lead to the container: held from before it starts, and
//! served where no rule of the firewall leads there.

use std::cell::RefCell;

use casemate_model::{ErrorClass, Failure, Publication};
use casemate_net::Held;
use tokio::task::JoinHandle;

#[derive(Debug, Default)]
pub(crate) struct Ports {
    served: RefCell<Vec<(Publication, JoinHandle<()>)>>,
}

impl Ports {
    /// Holds these instead of those before; what stays is not let go of.
    pub(crate) async fn set(&self, wanted: &[Publication]) -> Result<(), Failure> {
        let (stay, go): (Vec<_>, Vec<_>) = self.served.take().into_iter().partition(|(held, _)| wanted.contains(held));
        for (_, task) in go {
            task.abort();
            // Its sockets are closed then, and the same ports may lead elsewhere.
            let _ = task.await;
        }
        let is_new = |publication: &&Publication| !stay.iter().any(|(held, _)| held == *publication);
        let new: Vec<Publication> = wanted.iter().filter(is_new).copied().collect();
        self.served.borrow_mut().extend(stay);
        for publication in new {
            let held = Held::bind(&[publication]).map_err(|error| in_the_way(&error))?;
            let task = tokio::task::spawn_local(held.serve());
            self.served.borrow_mut().push((publication, task));
        }
        Ok(())
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for (_, task) in self.served.take() {
            task.abort();
        }
    }
}

/// In Docker's words.
fn in_the_way(error: &casemate_net::BindError) -> Failure {
    let failure = Failure::from_error(error);
    Failure {
        class: ErrorClass::Internal,
        message: format!("driver failed programming external connectivity: {}", failure.message),
        ..failure
    }
}
