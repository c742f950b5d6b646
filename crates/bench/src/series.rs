//! Figures of one subject over all rounds, and what two of them make together.

use std::time::Duration;

/// Milliseconds, in the order of the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) samples: Vec<f64>,
}

impl Series {
    pub(crate) fn new(label: String) -> Self {
        Self { label, samples: Vec::new() }
    }

    pub(crate) fn push(&mut self, time: Duration) {
        self.samples.push(time.as_secs_f64() * 1000.0);
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.samples)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Summary {
    /// `None` of nothing.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, least, most })
    }
}

/// Two series of a comparison, by their places in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) of: usize,
    pub(crate) to: usize,
    /// What is strived for, in words; empty where nothing was said.
    pub(crate) aim: &'static str,
}

/// Series that were taken together.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) title: &'static str,
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<Ratio>,
}

impl Comparison {
    /// The ratio's two labels, and its value in each round.
    pub(crate) fn ratio(&self, ratio: Ratio) -> Option<(&str, &str, Vec<f64>)> {
        let (of, to) = (self.series.get(ratio.of)?, self.series.get(ratio.to)?);
        let pairs = of.samples.iter().zip(&to.samples).map(|(of, to)| of / to);
        Some((&of.label, &to.label, pairs.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Summary::of(&[4.0, 1.0]), Some(Summary { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let series = |label: &str, samples: &[f64]| Series { label: label.to_owned(), samples: samples.to_vec() };
        let comparison = Comparison {
            title: "",
            // A machine that is twice as slow in the second round.
            series: vec![series("a", &[10.0, 20.0]), series("b", &[5.0, 10.0])],
            ratios: vec![],
        };
        let ratio = Ratio { of: 0, to: 1, aim: "" };
        assert_eq!(comparison.ratio(ratio), Some(("a", "b", vec![2.0, 2.0])));
        assert_eq!(comparison.ratio(Ratio { to: 2, ..ratio }), None);
    }
}
