//! Pictures of the dashboards: what Grafana would show of a real Prometheus, drawn as SVG where Grafana would put it.
//!
//! Panels are evaluated by the same expressions over the time that the picture shows; titles, legends, units, thresholds and
//! places are the dashboard's own. What a panel type or an option is not known here fails, so that no picture shows less.

mod canvas;
mod chart;
mod panel;
mod units;

use serde_json::Value;

use crate::prometheus::Prometheus;
use canvas::{Canvas, Place};
pub use panel::Span;

/// Points of a column and of a row of the dashboard's grid.
const COLUMN: f64 = 50.0;
const ROW: f64 = 30.0;
/// Between two panels, and above all of them.
const GAP: f64 = 6.0;
const HEAD: f64 = 44.0;

/// The picture of `dashboard` over `span`, with `note` beside its title. `chosen` puts variables into expressions.
///
/// # Panics
/// When Prometheus refuses an expression, or the dashboard has what cannot be drawn here.
#[must_use]
pub fn draw(
    dashboard: &Value,
    prometheus: &Prometheus,
    span: Span,
    note: &str,
    chosen: impl Fn(&str) -> String,
) -> String {
    let panels = dashboard["panels"].as_array().unwrap();
    let bottom = panels.iter().map(|panel| side(panel, "y") + side(panel, "h")).fold(0.0, f64::max);
    let mut canvas = Canvas::new(24.0 * COLUMN, HEAD + bottom * ROW + GAP);
    let title = dashboard["title"].as_str().unwrap();
    canvas.text(Place::new(GAP, 0.0, 12.0 * COLUMN, HEAD), title, canvas::Style::heading());
    canvas.text(Place::new(12.0 * COLUMN, 0.0, 12.0 * COLUMN - GAP, HEAD), note, canvas::Style::note());
    for panel in panels {
        let place = Place::new(
            side(panel, "x") * COLUMN + GAP / 2.0,
            HEAD + side(panel, "y") * ROW + GAP / 2.0,
            side(panel, "w") * COLUMN - GAP,
            side(panel, "h") * ROW - GAP,
        );
        panel::draw(&mut canvas, place, panel, prometheus, span, &chosen);
    }
    canvas.finish()
}

fn side(panel: &Value, name: &str) -> f64 {
    panel["gridPos"][name].as_f64().unwrap()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree::root;

    #[test]
    fn every_panel_of_the_dashboards_is_of_a_kind_and_unit_that_can_be_drawn() {
        for name in ["building", "fleet"] {
            let dashboard = fs::read(root().join(format!("deploy/grafana/{name}.json"))).unwrap();
            let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
            for panel in dashboard["panels"].as_array().unwrap() {
                let kind = panel["type"].as_str().unwrap();
                assert!(["row", "stat", "table", "timeseries"].contains(&kind), "{panel:#}");
                if kind != "row" {
                    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or("none");
                    assert!(!units::written(1.0, unit).is_empty());
                }
            }
        }
    }
}
