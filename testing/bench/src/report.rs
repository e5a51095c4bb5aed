//! What was measured: a row for each figure, beside a probe of what it stands on and what it has to reach.

use std::time::Duration;

use serde_json::{Value, json};

/// All rows.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    machine: Value,
    rows: Vec<Row>,
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    figure: Option<f64>,
    unit: &'static str,
    raw: Option<Raw>,
    goal: Option<Goal>,
    cost: Option<Cost>,
    /// Why there is no figure, or what it is about.
    note: Option<String>,
}

/// The same without Seaworthy, taken in the same run of the benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// What was done.
    pub(crate) what: &'static str,
    /// In the unit of the figure.
    pub(crate) figure: f64,
    /// Figure through raw.
    pub(crate) ratio: f64,
}

impl Raw {
    /// A probe and the ratio of `ours` to it.
    pub(crate) fn of(what: &'static str, ours: f64, figure: f64) -> Self {
        Self {
            what,
            figure,
            ratio: ours / figure,
        }
    }
}

/// What a step costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Computing time of the whole process, on all cores.
    pub(crate) cpu: Duration,
    /// Bytes on their way to the device.
    pub(crate) bytes: Option<f64>,
    /// Syncs of the device.
    pub(crate) syncs: Option<f64>,
}

/// What has to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The figure is at most this.
    Most(f64),
    /// The figure is at least this.
    Least(f64),
    /// The ratio is at most this.
    RatioMost(f64),
    /// The ratio is at least this.
    RatioLeast(f64),
}

impl Goal {
    fn shown(self) -> String {
        match self {
            Self::Most(most) => format!("<= {most}"),
            Self::Least(least) => format!(">= {least}"),
            Self::RatioMost(most) => format!("ratio <= {most}"),
            Self::RatioLeast(least) => format!("ratio >= {least}"),
        }
    }
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            figure: Some(figure),
            unit,
            raw: None,
            goal: None,
            cost: None,
            note: None,
        }
    }

    /// A row that could not be measured here.
    pub(crate) fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            figure: None,
            unit: "",
            raw: None,
            goal: None,
            cost: None,
            note: Some(why.into()),
        }
    }

    pub(crate) fn beside(mut self, raw: Raw) -> Self {
        self.raw = Some(raw);
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn costs(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn holds(&self) -> bool {
        let (figure, ratio) = (self.figure, self.raw.as_ref().map(|raw| raw.ratio));
        let holds = |value: Option<f64>, test: &dyn Fn(f64) -> bool| value.is_none_or(test);
        match self.goal {
            None => true,
            Some(Goal::Most(most)) => holds(figure, &|value| value <= most),
            Some(Goal::Least(least)) => holds(figure, &|value| value >= least),
            Some(Goal::RatioMost(most)) => holds(ratio, &|value| value <= most),
            Some(Goal::RatioLeast(least)) => holds(ratio, &|value| value >= least),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.figure, self.goal) {
            (None, _) => "skipped",
            (Some(_), None) => "",
            (Some(_), Some(_)) if self.holds() => "holds",
            (Some(_), Some(_)) => "MISSED",
        }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "figure": self.figure,
            "unit": self.unit,
            "raw": self.raw.as_ref().map(|raw| json!({ "what": raw.what, "figure": raw.figure })),
            "ratio": self.raw.as_ref().map(|raw| raw.ratio),
            "goal": self.goal.map(Goal::shown),
            "holds": self.figure.map(|_figure| self.holds()),
            "cpu_us_a_step": self.cost.map(|cost| micros(cost.cpu)),
            "device_bytes_a_step": self.cost.and_then(|cost| cost.bytes),
            "device_syncs_a_step": self.cost.and_then(|cost| cost.syncs),
            "note": self.note,
        })
    }
}

impl Report {
    pub(crate) const fn new(quick: bool, machine: Value) -> Self {
        Self {
            quick,
            machine,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether every goal is reached.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<66}{:>11} {:<6}{:>11}{:>7}  {:<14}{:<9}{:>8}{:>8}{:>7}\n",
            "", "ours", "", "raw", "ratio", "goal", "", "CPU us", "bytes", "syncs"
        );
        for row in &self.rows {
            let raw = row.raw.as_ref();
            let cost = row.cost;
            table.push_str(
                format!(
                    "{:<66}{:>11} {:<6}{:>11}{:>7}  {:<14}{:<9}{:>8}{:>8}{:>7}",
                    row.what,
                    row.figure.map(shown).unwrap_or_default(),
                    row.unit,
                    raw.map(|raw| shown(raw.figure)).unwrap_or_default(),
                    raw.map(|raw| format!("{:.2}", raw.ratio))
                        .unwrap_or_default(),
                    row.goal.map(Goal::shown).unwrap_or_default(),
                    row.verdict(),
                    cost.map(|cost| format!("{:.0}", micros(cost.cpu)))
                        .unwrap_or_default(),
                    cost.and_then(|cost| cost.bytes)
                        .map(|bytes| format!("{bytes:.0}"))
                        .unwrap_or_default(),
                    cost.and_then(|cost| cost.syncs)
                        .map(|syncs| format!("{syncs:.3}"))
                        .unwrap_or_default(),
                )
                .trim_end(),
            );
            table.push('\n');
            let notes = [
                raw.map(|raw| format!("raw: {}", raw.what)),
                row.note.clone(),
            ];
            for note in notes.into_iter().flatten() {
                table.push_str(&format!("    {note}\n"));
            }
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "quick": self.quick,
            "machine": self.machine,
            "holds": self.holds(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_goal_makes_the_report_fail() {
        let mut report = Report::new(false, Value::Null);
        report.add(Row::new("free", 9.0, ""));
        report.add(Row::new("most", 1.0, "").goal(Goal::Most(1.0)));
        report.add(Row::skipped("absent", "there is no server"));
        let raw = Raw::of("the same by hand", 4.0, 5.0);
        report.add(
            Row::new("ratio", 4.0, "/s")
                .beside(raw.clone())
                .goal(Goal::RatioLeast(0.8)),
        );
        assert!(report.holds());
        report.add(
            Row::new("missed", 4.0, "/s")
                .beside(raw)
                .goal(Goal::RatioLeast(0.9)),
        );
        assert!(!report.holds());
        assert!(report.table().contains("MISSED"));
        assert_eq!(report.json()["holds"], false);
    }
}
