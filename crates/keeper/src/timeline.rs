//! The steps of a start, laid out in time.

use std::cell::RefCell;
use std::time::Instant;

use casemate_wire::Span;

/// Spans counted from when the keeper was asked to create the container.
#[derive(Debug)]
pub(crate) struct Timeline {
    origin: Instant,
    spans: RefCell<Vec<Span>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), spans: RefCell::default() }
    }

    /// Records a step that began at `from` and is over.
    pub(crate) fn step(&self, name: &str, from: Instant) {
        self.spans.borrow_mut().push(Span {
            name: name.to_owned(),
            start_us: micros(from.duration_since(self.origin)),
            duration_us: micros(from.elapsed()),
        });
    }

    /// Takes over what the agent measured in its own time: its steps are laid
    /// from `from` on.
    pub(crate) fn guest_steps(&self, from: Instant, steps: Vec<Span>) {
        let offset = micros(from.duration_since(self.origin));
        self.spans.borrow_mut().extend(steps.into_iter().map(|span| Span {
            name: format!("guest: {}", span.name),
            start_us: offset.saturating_add(span.start_us),
            ..span
        }));
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
