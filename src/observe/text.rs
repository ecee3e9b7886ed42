//! Prometheus's text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS_US, Distribution};

/// A document that is being written. Samples of a metric stand together, behind its description.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
}

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
}

impl Text {
    /// Begins a metric. `about`: one line.
    pub(crate) fn metric(&mut self, name: &'static str, kind: Kind, about: &str) -> Metric<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.out, "# HELP {name} {about}\n# TYPE {name} {kind}");
        Metric { text: self, name }
    }

    /// A metric with one sample and no labels.
    pub(crate) fn one(&mut self, name: &'static str, kind: Kind, about: &str, value: impl Display) {
        self.metric(name, kind, about).sample(&[], value);
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}

/// A metric whose samples are being written.
pub(crate) struct Metric<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Metric<'_> {
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// Sums the distributions.
    pub(crate) fn distribution(
        &mut self,
        labels: &[(&str, &str)],
        of: impl IntoIterator<Item = Distribution>,
    ) -> &mut Self {
        let mut all = Distribution::default();
        for one in of {
            for (to, from) in all.counts.iter_mut().zip(one.counts) {
                *to += from;
            }
            all.sum_us += one.sum_us;
        }
        let mut below = 0;
        for (count, bound) in all.counts.iter().zip(BOUNDS_US) {
            below += count;
            let bound = (bound as f64 / 1e6).to_string();
            self.line("_bucket", labels, Some(&bound), below);
        }
        let all_counts: u64 = all.counts.iter().sum();
        self.line("_bucket", labels, Some("+Inf"), all_counts);
        self.line("_sum", labels, None, all.sum_us as f64 / 1e6);
        self.line("_count", labels, None, all_counts);
        self
    }

    fn line(&mut self, end: &str, labels: &[(&str, &str)], le: Option<&str>, value: impl Display) {
        let out = &mut self.text.out;
        out.push_str(self.name);
        out.push_str(end);
        let all = labels.iter().copied().chain(le.map(|le| ("le", le)));
        let mut separator = '{';
        for (name, value) in all {
            out.push(separator);
            separator = ',';
            out.push_str(name);
            out.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        if separator == ',' {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Histogram;
    use std::time::Duration;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let mut text = Text::default();
        text.metric("a_total", Kind::Counter, "About a.")
            .sample(&[("name", "a\"b\\c\nd")], 1)
            .sample(&[("name", "x"), ("other", "y")], 2);
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(300));
        histogram.record(Duration::from_secs(100));
        text.metric("b_seconds", Kind::Histogram, "About b.")
            .distribution(&[], [histogram.read()]);
        let text = text.finish();
        for line in [
            "# HELP a_total About a.",
            "# TYPE a_total counter",
            "a_total{name=\"a\\\"b\\\\c\\nd\"} 1",
            "a_total{name=\"x\",other=\"y\"} 2",
            "b_seconds_bucket{le=\"0.00025\"} 0",
            "b_seconds_bucket{le=\"0.0005\"} 1",
            "b_seconds_bucket{le=\"10\"} 1",
            "b_seconds_bucket{le=\"+Inf\"} 2",
            "b_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
