//! One container's resolver: where a query's answer comes from.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::ADDRESS;
use crate::limits::{ASKING, TURN, UNANSWERED};
use crate::local;
use crate::names::Names;
use crate::policy::AnswerPolicy;
use crate::query::{Query, Received, Transport};
use crate::upstream::{Connector, MAX_UPSTREAMS, Namespace, Upstream, ask};

/// What is decided for a container when it starts. What changes later can be
/// set ([`Resolver::set_upstreams`], [`Resolver::set_answers`],
/// [`Resolver::set_internal`]).
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order in which they are asked.
    pub upstreams: Vec<Upstream>,
    /// Whether no network of the container leads outside: servers are not asked
    /// from the host's namespace then.
    pub internal: bool,
    /// Whether the container's `resolv.conf` had an option `ndots` from its user
    /// or the host. Addresses of names without a dot are not asked of servers
    /// then: the client goes on to its search domains.
    pub ndots_set: bool,
    pub answers: AnswerPolicy,
    /// How long one server has to answer: [`SERVER_TIMEOUT`](crate::SERVER_TIMEOUT).
    pub timeout: Duration,
}

/// Answers the queries of one container, over UDP and TCP alike.
///
/// It needs a runtime of tokio with time and I/O enabled. It is not `Send`: all
/// of it runs where it was made.
pub struct Resolver<N, C> {
    names: N,
    connector: C,
    upstreams: RefCell<Rc<[Upstream]>>,
    internal: Cell<bool>,
    ndots_set: bool,
    answers: RefCell<AnswerPolicy>,
    timeout: Duration,
    unanswered: Semaphore,
    asking: Semaphore,
    /// For one datagram from upstream, of any size.
    buffer: RefCell<Box<[u8]>>,
}

impl<N, C> fmt::Debug for Resolver<N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("upstreams", &self.upstreams)
            .field("internal", &self.internal)
            .field("ndots_set", &self.ndots_set)
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

/// What there is to do for one query.
pub(crate) enum Step<'r> {
    /// The answer is this, or none is due.
    Answer(Option<Vec<u8>>),
    Ask(Waiting<'r>),
}

/// A query to be asked upstream, and its place among those.
pub(crate) struct Waiting<'r> {
    query: Query,
    _place: SemaphorePermit<'r>,
}

impl<N: Names, C: Connector> Resolver<N, C> {
    pub fn new(names: N, connector: C, settings: Settings) -> Self {
        let Settings { upstreams, internal, ndots_set, answers, timeout } = settings;
        let resolver = Self {
            names,
            connector,
            upstreams: RefCell::default(),
            internal: Cell::new(internal),
            ndots_set,
            answers: RefCell::new(answers),
            timeout,
            unanswered: Semaphore::new(UNANSWERED),
            asking: Semaphore::new(ASKING),
            buffer: RefCell::new(vec![0; u16::MAX.into()].into()),
        };
        resolver.set_upstreams(upstreams);
        resolver
    }

    /// Takes the first [`MAX_UPSTREAMS`] that are not this resolver itself, which
    /// is at [`ADDRESS`] in the container. Queries under way keep to the old ones.
    pub fn set_upstreams(&self, mut upstreams: Vec<Upstream>) {
        let itself = IpAddr::from(ADDRESS);
        upstreams.retain(|server| server.namespace == Namespace::Host || server.address.ip().to_canonical() != itself);
        upstreams.truncate(MAX_UPSTREAMS);
        *self.upstreams.borrow_mut() = upstreams.into();
    }

    /// See [`Settings::internal`]: it changes as networks come and go.
    pub fn set_internal(&self, internal: bool) {
        self.internal.set(internal);
    }

    /// See [`Settings::answers`]: it changes as networks come and go.
    pub fn set_answers(&self, answers: AnswerPolicy) {
        self.answers.replace(answers);
    }

    /// The answer to one message, in no more octets than the client takes by this
    /// transport. `None` if no answer is due: the message is none, or an answer.
    ///
    /// Whatever fails is an answer: `FORMERR` and `NOTIMP` for what is no question,
    /// `REFUSED` beyond [`UNANSWERED`], `SERVFAIL` if no server answers.
    pub async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.receive(message, transport) {
            Step::Answer(answer) => answer,
            Step::Ask(waiting) => self.ask(waiting).await,
        }
    }

    /// What can be answered without waiting is.
    pub(crate) fn receive(&self, message: &[u8], transport: Transport) -> Step<'_> {
        let query = match Query::receive(message, transport) {
            Received::Query(query) => query,
            Received::Refused(refusal) => return Step::Answer(Some(refusal)),
            Received::Ignored => return Step::Answer(None),
        };
        if let Some(reply) = local::answer(&self.names, &query) {
            return Step::Answer(query.encode(reply));
        }
        let code = match self.unanswered.try_acquire() {
            _ if !self.may_ask(&query) => ResponseCode::NoError,
            Ok(place) => return Step::Ask(Waiting { query, _place: place }),
            Err(_) => ResponseCode::Refused,
        };
        Step::Answer(query.encode(query.reply(code)))
    }

    fn may_ask(&self, query: &Query) -> bool {
        let wanted = query.question.query_type();
        let is_dotless = query.question.name().iter().count() <= 1;
        let is_searched = matches!(wanted, RecordType::A | RecordType::AAAA) && is_dotless && self.ndots_set;
        self.answers.borrow().asks_for(wanted) && !is_searched
    }

    pub(crate) async fn ask(&self, waiting: Waiting<'_>) -> Option<Vec<u8>> {
        let query = &waiting.query;
        let reply = match timeout(TURN, self.asking.acquire()).await {
            Ok(Ok(_turn)) => self.ask_upstreams(query).await,
            _ => query.reply(ResponseCode::Refused),
        };
        query.encode(reply)
    }

    async fn ask_upstreams(&self, query: &Query) -> Message {
        let upstreams = Rc::clone(&self.upstreams.borrow());
        for &server in upstreams.iter() {
            if self.internal.get() && server.namespace == Namespace::Host {
                continue;
            }
            match ask(&self.connector, server, query, self.timeout, &self.buffer).await {
                // The next one may know better.
                Ok(answer) if matches!(answer.response_code, ResponseCode::ServFail | ResponseCode::Refused) => {
                    tracing::debug!(server = %server.address, code = %answer.response_code, "server failed");
                }
                Ok(mut answer) => {
                    self.answers.borrow().apply(&mut answer);
                    return query.relay(answer);
                }
                Err(error) => tracing::debug!(%error, server = %server.address, "server did not answer"),
            }
        }
        query.reply(ResponseCode::ServFail)
    }
}
