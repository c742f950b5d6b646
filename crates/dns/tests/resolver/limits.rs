//! How much is held at a time.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use casemate_dns::{ASKING, Connector, Resolver, Settings, UNANSWERED, Upstream};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use crate::setup::{Table, ask, data, host, query, settings};

/// Never gets through, and counts those who try.
#[derive(Clone, Default)]
struct Nowhere(Rc<Cell<usize>>);

impl Connector for Nowhere {
    async fn udp(&self, _: Upstream) -> io::Result<UdpSocket> {
        self.0.set(self.0.get() + 1);
        pending().await
    }

    async fn tcp(&self, _: Upstream) -> io::Result<TcpStream> {
        pending().await
    }
}

/// Nothing here but waits, so the clock jumps from one end of them to the next.
#[tokio::test(start_paused = true)]
async fn queries_beyond_the_limits_wait_or_are_refused() {
    let upstreams = vec![host("192.0.2.1:53".parse().unwrap())];
    let settings = Settings { timeout: Duration::from_secs(30), ..settings(upstreams) };
    let connector = Nowhere::default();
    let resolver = Resolver::new(Table::of(&[("web", &["10.0.0.2"])]), connector.clone(), settings);
    let start = Instant::now();
    let asked = query("example.", RecordType::A);
    let mut waiting: FuturesUnordered<_> = (0..UNANSWERED).map(|_| ask(&resolver, &asked)).collect();
    // A task does only so much at a time.
    for _ in 0..UNANSWERED {
        assert!(waiting.next().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(connector.0.get(), ASKING);
    // At once.
    let refused = ask(&resolver, &asked).now_or_never().expect("no wait");
    assert_eq!(refused.response_code, ResponseCode::Refused);
    let local = ask(&resolver, &query("web.", RecordType::A)).now_or_never().expect("no wait");
    assert_eq!(data(&local), ["10.0.0.2"]);
    for count in 1..=UNANSWERED {
        let answered = waiting.next().await.expect("an answer for each");
        let (code, seconds) = match count <= UNANSWERED - ASKING {
            true => (ResponseCode::Refused, 4),
            false => (ResponseCode::ServFail, 30),
        };
        assert_eq!((answered.response_code, start.elapsed().as_secs()), (code, seconds));
    }
    // There is room again.
    tokio::task::yield_now().await;
    assert!(ask(&resolver, &asked).now_or_never().is_none());
    assert_eq!(connector.0.get(), ASKING + 1);
}
