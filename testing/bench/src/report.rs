//! What was measured, and what it may be at most or must be at least.

use serde_json::{Value, json};

/// All figures.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    limit: Option<Limit>,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Most(most) => value <= most,
            Self::Least(least) => value >= least,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Most(most) => format!("<= {most}"),
            Self::Least(least) => format!(">= {least}"),
        }
    }
}

impl Report {
    pub(crate) const fn new(quick: bool) -> Self {
        Self {
            quick,
            figures: Vec::new(),
        }
    }

    /// Adds a figure that nothing is expected of.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name,
            value,
            unit,
            limit: None,
        });
    }

    /// Adds a figure with what is expected of it.
    pub(crate) fn hold(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        limit: Limit,
    ) {
        self.figures.push(Figure {
            name,
            value,
            unit,
            limit: Some(limit),
        });
    }

    /// Whether every limit holds.
    pub(crate) fn holds(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:<62}{:>12} {:<10}{:<10}{}\n", "", "", "", "limit", "");
        for figure in &self.figures {
            let limit = figure.limit.map(Limit::shown).unwrap_or_default();
            let verdict = match figure.limit {
                None => "",
                Some(_) if figure.holds() => "holds",
                Some(_) => "MISSED",
            };
            table.push_str(&format!(
                "{:<62}{:>12} {:<10}{limit:<10}{verdict}\n",
                figure.name,
                figure.shown(),
                figure.unit
            ));
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                let limit = figure.limit.map(Limit::shown);
                json!({
                    "name": figure.name, "value": figure.value, "unit": figure.unit,
                    "limit": limit, "holds": figure.holds(),
                })
            })
            .collect();
        json!({ "quick": self.quick, "holds": self.holds(), "figures": figures })
    }
}

impl Figure {
    fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| limit.holds(self.value))
    }

    fn shown(&self) -> String {
        if self.value.fract() == 0.0 || self.value >= 1000.0 {
            format!("{:.0}", self.value)
        } else {
            format!("{:.2}", self.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_limit_makes_the_report_fail() {
        let mut report = Report::new(false);
        report.add("free", 9.0, "");
        report.hold("most", 1.0, "", Limit::Most(1.0));
        report.hold("least", 1.0, "", Limit::Least(0.5));
        assert!(report.holds());
        report.hold("missed", 0.4, "", Limit::Least(0.5));
        assert!(!report.holds());
        assert!(report.table().contains("MISSED"));
        assert_eq!(report.json()["holds"], false);
    }
}
