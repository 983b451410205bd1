//! The chart: for each engine its two means as bars on a logarithmic scale, as SVG.

use std::fmt::Write as _;

/// An engine's bars.
pub(crate) struct Bars {
    /// The engine.
    pub(crate) name: &'static str,
    /// Ratios to native: compute, loops.
    pub(crate) values: [Option<f64>; 2],
}

const LABEL_WIDTH: f64 = 130.0;
const PLOT_WIDTH: f64 = 560.0;
const ROW_HEIGHT: f64 = 40.0;
const TOP: f64 = 56.0;
const BAR_HEIGHT: f64 = 14.0;
const COLOURS: [&str; 2] = ["#3b6fb6", "#e08a3c"];
const LEGEND: [&str; 2] = ["compute", "loops over memory"];
const TICKS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Draws the chart. Bars begin at 0.5.
pub(crate) fn draw(engines: &[Bars]) -> String {
    let most = engines.iter().flat_map(|bars| bars.values).flatten().fold(2.0, f64::max) * 1.3;
    let x = |value: f64| LABEL_WIDTH + PLOT_WIDTH * (value.max(0.5) / 0.5).ln() / (most / 0.5).ln();
    let height = TOP + ROW_HEIGHT * engines.len() as f64 + 10.0;
    let width = LABEL_WIDTH + PLOT_WIDTH + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\" fill=\"#222\">Time relative to native code (clang -O2); less is faster</text>\n"
    );
    for (at, name) in LEGEND.iter().enumerate() {
        let left = 430.0 + 100.0 * at as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"20\" fill=\"#222\">{name}</text>",
            COLOURS[at],
            left + 16.0
        );
    }
    for tick in TICKS.into_iter().filter(|tick| *tick < most) {
        let at = x(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{tick}</text>",
            TOP - 8.0,
            height - 8.0,
            TOP - 12.0
        );
    }
    for (row, bars) in engines.iter().enumerate() {
        draw_engine(&mut svg, TOP + ROW_HEIGHT * row as f64, bars, &x);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_engine(svg: &mut String, top: f64, bars: &Bars, x: &impl Fn(f64) -> f64) {
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222\">{}</text>",
        LABEL_WIDTH - 8.0,
        top + 18.0,
        bars.name
    );
    for (at, value) in bars.values.iter().enumerate() {
        let y = top + BAR_HEIGHT * at as f64;
        let Some(value) = *value else { continue };
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        let _ = writeln!(
            svg,
            "<rect x=\"{LABEL_WIDTH}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"10\" fill=\"#444\">{value:.digits$}</text>",
            x(value) - LABEL_WIDTH,
            BAR_HEIGHT - 2.0,
            COLOURS[at],
            x(value) + 4.0,
            y + 10.0
        );
    }
}
