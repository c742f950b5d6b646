//! Process isolation: the container's init is a child of the keeper.

use std::rc::Rc;

use casemate_launch::{Cage, Place};
use casemate_model::{Container, ErrorClass, ExecId, Failure, Process};
use casemate_record::ContainerPaths;
use casemate_supervisor::{Supervisor, make_writable_layer};
use casemate_wire::{ExecStarted, HostPlace};
use rand::RngCore;

use crate::keeper::Purpose;
use crate::network::Network;
use crate::timeline::Timeline;

pub(crate) async fn create(
    container: Container,
    place: HostPlace,
    paths: &ContainerPaths,
    purpose: Purpose,
    timeline: &Timeline,
) -> Result<(Rc<Supervisor>, Network), Failure> {
    let HostPlace { lowers, upper, work, reaper, network } = place;
    let topmost = lowers.first().ok_or_else(|| Failure::new(ErrorClass::InvalidArgument, "the image has no layers"))?;
    make_writable_layer(&upper, &work, topmost)
        .map_err(|error| Failure::new(ErrorClass::Internal, format!("cannot make {}: {error}", upper.display())))?;
    let place = Place { dir: paths.run.clone(), lowers, upper, work, fresh: false, reaper, cgroup: paths.cgroup() };
    timeline.step("writable layer");
    let (network, namespace) = Network::of_process(&network).await?;
    timeline.step("network");
    let cage = match Cage::create(container, place) {
        Ok(cage) => cage.in_network(namespace),
        Err(error) => {
            network.unwire_all().await;
            return Err(Failure::from_error(&error));
        }
    };
    let supervisor = Supervisor::new(cage);
    if purpose == Purpose::Files
        && let Err(failure) = supervisor.open_files()
    {
        // The first failure is the one to tell.
        if let Err(failure) = supervisor.destroy().await {
            tracing::error!(error = failure.message, "not all was taken away");
        }
        return Err(failure);
    }
    Ok((Rc::new(supervisor), network))
}

pub(crate) async fn exec(supervisor: &Rc<Supervisor>, process: &Process) -> Result<ExecStarted, Failure> {
    let mut random = [0; 32];
    rand::rng().fill_bytes(&mut random);
    let id = ExecId::from_random(random);
    supervisor.exec(id, process).await
}
