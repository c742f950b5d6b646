//! A container that is started again, by another keeper.

use std::rc::Rc;

use casemate_model::{Container, ExitStatus};

use crate::bed::{Bed, both_modes};

both_modes![what_it_wrote_is_there_again, after_a_keeper_that_was_killed];

async fn what_it_wrote_is_there_again(bed: Rc<Bed>) {
    let first = "echo one > /kept; mkdir /new; chmod 751 /new; echo added >> /etc/hosts; echo x > /dev/shm/x; exit 3";
    let (_, exited) = bed.run(&bed.container(first)).await.unwrap();
    assert_eq!(exited.status, ExitStatus::Code(3));
    let state = bed.state();
    assert_eq!((state.status.as_str(), state.exit_code, state.pid), ("exited", Some(3), None));

    let second =
        bed.container("cat /kept /etc/hosts; stat -c %a /new; ls /dev/shm; touch /kept 2>/dev/null || echo no");
    let hosts = "127.0.0.1\tanother\n".to_owned();
    let etc = casemate_model::EtcFiles { hosts, ..second.etc.clone() };
    let second = Container { etc, read_only: true, ..second };
    let (output, _) = bed.run(&second).await.unwrap();
    assert_eq!(output, "one\n127.0.0.1\tanother\n751\nno\n");
    // A command that cannot be started is no end of it.
    let mut missing = bed.container("");
    missing.init.args = vec!["/no/such/command".to_owned()];
    assert_eq!(bed.run(&missing).await.unwrap_err().class.exit_code(), 127);
    let (output, _) = bed.run(&bed.container("cat /kept")).await.unwrap();
    assert_eq!(output, "one\n");
}

/// With what its container had synced.
async fn after_a_keeper_that_was_killed(bed: Rc<Bed>) {
    let running = bed.running(&bed.container("echo one > /kept; sync; echo ready; sleep 1000"), "ready").await;
    running.kill_keeper();
    let running = bed.running(&bed.container("echo two >> /kept; sync; echo ready; sleep 1000"), "ready").await;
    running.client.pause().await.unwrap();
    running.kill_keeper();
    let (output, _) = bed.run(&bed.container("cat /kept; rm /kept; ls /kept 2>/dev/null; echo end")).await.unwrap();
    assert_eq!(output, "one\ntwo\nend\n");
}
