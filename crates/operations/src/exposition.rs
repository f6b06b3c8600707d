//! Writes metrics as Prometheus reads them: the text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. Nothing is registered and nothing kept: the text is made
//! from figures that somebody has anyway, when it is asked for.

use std::fmt::{Display, Write};

/// What an answer with such a text says of itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in the making: families one after the other, each with its samples.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// What kind of metric a family is. Counters only grow, and start anew with what counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One distribution. `counts` has one more than `bounds`: what was above the last.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// Upper bounds, inclusive, rising.
    pub bounds: &'a [f64],
    pub counts: &'a [u64],
    pub sum: f64,
}

/// A label's name, which is ours, and its value, which may be anything.
pub type Label<'a> = (&'static str, &'a str);

impl Exposition {
    /// Begins a family. All its samples follow before the next one begins.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        push(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind_name}\n"));
        Family { text: &mut self.text, name }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    pub fn finish(self) -> String {
        self.text
    }
}

/// A family that has begun.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    pub fn histogram(&mut self, labels: &[Label<'_>], histogram: Histogram<'_>) -> &mut Self {
        let mut below = 0;
        let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(histogram.counts) {
            below += count;
            self.line("_bucket", labels, Some(("le", &bound)), below);
        }
        self.line("_sum", labels, None, histogram.sum);
        self.line("_count", labels, None, below);
        self
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], last: Option<Label<'_>>, value: impl Display) {
        push(self.text, format_args!("{}{suffix}", self.name));
        for (at, (label, value)) in labels.iter().copied().chain(last).enumerate() {
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            push(self.text, format_args!("{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' }));
        }
        let brace = if labels.is_empty() && last.is_none() { "" } else { "}" };
        push(self.text, format_args!("{brace} {value}\n"));
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_as_the_format_says() {
        let mut page = Exposition::default();
        page.single("a_seconds", Kind::Gauge, "One\nwith a \\ in it.", 0.25);
        page.family("b_total", Kind::Counter, "Two.")
            .sample(&[("room", "a \"quoted\" \\ name\nof two lines"), ("kind", "x")], 3)
            .sample(&[("room", ""), ("kind", "y")], u64::MAX);
        let histogram = Histogram { bounds: &[0.005, 1.0], counts: &[2, 0, 1], sum: 3.5 };
        page.family("c_seconds", Kind::Histogram, "Three.").histogram(&[("event", "join-room")], histogram);
        assert_eq!(
            page.finish(),
            concat!(
                "# HELP a_seconds One\\nwith a \\\\ in it.\n# TYPE a_seconds gauge\na_seconds 0.25\n",
                "# HELP b_total Two.\n# TYPE b_total counter\n",
                "b_total{room=\"a \\\"quoted\\\" \\\\ name\\nof two lines\",kind=\"x\"} 3\n",
                "b_total{room=\"\",kind=\"y\"} 18446744073709551615\n",
                "# HELP c_seconds Three.\n# TYPE c_seconds histogram\n",
                "c_seconds_bucket{event=\"join-room\",le=\"0.005\"} 2\n",
                "c_seconds_bucket{event=\"join-room\",le=\"1\"} 2\n",
                "c_seconds_bucket{event=\"join-room\",le=\"+Inf\"} 3\n",
                "c_seconds_sum{event=\"join-room\"} 3.5\nc_seconds_count{event=\"join-room\"} 3\n",
            )
        );
    }
}
