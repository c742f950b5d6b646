//! The steps of a start, laid out in time.
//!
//! Each of the keeper's steps begins where the one before it ended, so that they
//! add up to the whole. What the agent measured in its own time lies within them.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use casemate_wire::Span;

/// The step during which the agent makes the container: its first own step
/// begins with this.
pub(crate) const GUEST_CREATE: &str = "guest create";

/// Times are in microseconds since the keeper was asked to create the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) span: Span,
    /// The name of the keeper's step that this one of the agent's is part of.
    pub(crate) within: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Timeline {
    origin: Instant,
    own: RefCell<Vec<Span>>,
    guest: RefCell<Vec<Span>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), own: RefCell::default(), guest: RefCell::default() }
    }

    /// The step of this name is over; it began when the last one was.
    pub(crate) fn step(&self, name: &str) {
        self.step_at(name, self.origin.elapsed());
    }

    fn step_at(&self, name: &str, end: Duration) {
        let mut own = self.own.borrow_mut();
        let start_us = own.last().map_or(0, end_of);
        let duration_us = micros(end).saturating_sub(start_us);
        own.push(Span { name: name.to_owned(), start_us, duration_us });
    }

    /// What the agent measured, counted from its first step.
    pub(crate) fn guest_steps(&self, steps: Vec<Span>) {
        self.guest.replace(steps);
    }

    /// The keeper's steps.
    pub(crate) fn own_steps(&self) -> Vec<Span> {
        self.own.borrow().clone()
    }

    /// All steps, each of the keeper's followed by those within it.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let own = self.own.borrow();
        let offset = own.iter().find(|span| span.name == GUEST_CREATE).map_or(0, |span| span.start_us);
        let guest = self.guest.borrow();
        let placed: Vec<(usize, Span)> = guest.iter().filter_map(|span| place(&own, offset, span)).collect();
        let mut steps = Vec::with_capacity(own.len() + placed.len());
        for (at, outer) in own.iter().enumerate() {
            steps.push(Step { span: outer.clone(), within: None });
            let inner = placed.iter().filter(|(outer, _)| *outer == at);
            steps.extend(inner.map(|(_, span)| Step { span: span.clone(), within: Some(outer.name.clone()) }));
        }
        steps
    }
}

/// The place of an agent's step within one of the keeper's: where its middle is.
/// The two sides' clocks run alike, but a message between them takes its time,
/// and a guest may say anything.
fn place(own: &[Span], offset: u64, span: &Span) -> Option<(usize, Span)> {
    let start = offset.saturating_add(span.start_us);
    let end = start.saturating_add(span.duration_us);
    let middle = start + (end - start) / 2;
    let at = own.iter().position(|outer| middle < end_of(outer)).or(own.len().checked_sub(1))?;
    let within = |time: u64| time.clamp(own[at].start_us, end_of(&own[at]));
    let (start_us, end_us) = (within(start), within(end));
    Some((at, Span { name: span.name.clone(), start_us, duration_us: end_us - start_us }))
}

fn end_of(span: &Span) -> u64 {
    span.start_us.saturating_add(span.duration_us)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, start_us: u64, duration_us: u64) -> Span {
        Span { name: name.to_owned(), start_us, duration_us }
    }

    fn timeline(guest: Vec<Span>) -> Timeline {
        let timeline = Timeline::new();
        for (name, end) in [("guest boot", 500), (GUEST_CREATE, 700), ("wait for client", 710), ("start", 1000)] {
            timeline.step_at(name, Duration::from_micros(end));
        }
        timeline.guest_steps(guest);
        timeline
    }

    #[test]
    fn the_keepers_steps_add_up_and_the_agents_lie_within_them() {
        // The last one ends after the keeper has the answer.
        let guest = vec![span("disks", 0, 120), span("create", 120, 80), span("start", 215, 290)];
        let steps = timeline(guest).steps();
        let lines: Vec<String> = steps
            .iter()
            .map(|Step { span, within }| {
                let within = within.as_deref().unwrap_or("-");
                format!("{} {}+{} {within}", span.name, span.start_us, span.duration_us)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "guest boot 0+500 -",
                "guest create 500+200 -",
                "disks 500+120 guest create",
                "create 620+80 guest create",
                "wait for client 700+10 -",
                "start 710+290 -",
                "start 715+285 start",
            ]
        );
        let own = steps.iter().filter(|step| step.within.is_none());
        assert_eq!(own.map(|step| step.span.duration_us).sum::<u64>(), 1000);
    }

    #[test]
    fn a_guest_may_say_anything() {
        for guest in [span("x", u64::MAX, u64::MAX), span("x", 0, u64::MAX), span("x", 1 << 63, 5), span("x", 0, 0)] {
            for Step { span, .. } in timeline(vec![guest]).steps() {
                assert!(end_of(&span) <= 1000, "{span:?}");
            }
        }
        let empty = Timeline::new();
        empty.guest_steps(vec![span("x", 0, 1)]);
        assert_eq!(empty.steps(), []);
    }
}
