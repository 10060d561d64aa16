//! The chart for docs/performance.md: a bar a system, the spread of its rounds as a thin line. One file that
//! follows the reader's light or dark setting.

use std::fmt::Write as _;

use crate::results::Results;
use crate::systems::{BARE, Group, KNOWN, Load};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
/// Room for the figure after the longest bar.
const FIGURES: f64 = 70.0;
const TOP: f64 = 84.0;
const BAR: f64 = 18.0;
const STEP: f64 = 28.0;
const HEADING: f64 = 34.0;

const STYLE: &str = "
    .back { fill: #ffffff; stroke: #d8dee4 } .grid { stroke: #e6e9ed } .one { stroke: #8c959f; stroke-dasharray: 3 3 }
    text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2328 }
    .title { font-size: 17px; font-weight: 600 } .quiet { fill: #59636e } .heading { font-weight: 600; font-size: 12px; fill: #59636e }
    .ours text { font-weight: 600 } .figure { font-variant-numeric: tabular-nums }
    .plain .bar { fill: #afb8c1 } .ours .bar { fill: #0969da } .others .bar { fill: #c69026 } .spread { stroke: #1f2328; stroke-opacity: .55 }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117; stroke: #30363d } .grid { stroke: #21262d } .one { stroke: #7d8590 }
      text { fill: #e6edf3 } .quiet, .heading { fill: #9198a1 }
      .plain .bar { fill: #59636e } .ours .bar { fill: #4493f8 } .others .bar { fill: #9e6a03 } .spread { stroke: #e6edf3 }
    }";

/// An SVG.
pub(crate) fn draw(results: &Results) -> String {
    let groups = [
        (Group::PassesOn, "plain", "PASSES ON, DECIDES NOTHING"),
        (Group::Tollgate, "ours", "TOLLGATE: ALL CLAIMS, IDENTITY HEADERS, ASSERTION, METRICS, ACCESS LOG"),
        (Group::Others, "others", "OTHERS, EACH TOKEN VERIFIED EVERY TIME"),
    ];
    let rows = results.rows();
    let ratio = |name| results.ratio(name, Load::Many);
    let longest = rows.iter().filter_map(|(name, _)| Some(ratio(name)?.greatest)).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - FIGURES) / longest;
    let at = |value: f64| LABELS + value * scale;

    let mut bars = String::new();
    let mut y = TOP;
    for (group, class, heading) in groups {
        if !rows.iter().any(|(_, of)| *of == group) {
            continue;
        }
        let _ = writeln!(bars, r#"  <text class="heading" x="24" y="{:.0}">{heading}</text>"#, y + 14.0);
        y += HEADING - 8.0;
        let _ = writeln!(bars, r#"  <g class="{class}">"#);
        for (name, _) in rows.iter().filter(|(_, of)| *of == group) {
            let Some(spread) = ratio(name) else { continue };
            let (middle, base) = (y + BAR / 2.0, y + BAR / 2.0 + 4.5);
            let label = name.trim_start_matches("Tollgate, ");
            let _ = writeln!(
                bars,
                r#"    <text x="{:.0}" y="{base:.1}" text-anchor="end">{label}</text>
    <rect class="bar" x="{LABELS:.0}" y="{y:.0}" width="{:.1}" height="{BAR:.0}" rx="2"/>
    <line class="spread" x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/>
    <text class="figure" x="{:.1}" y="{base:.1}">{:.2}</text>"#,
                LABELS - 10.0,
                spread.median * scale,
                at(spread.least),
                at(spread.greatest),
                at(spread.greatest) + 8.0,
                spread.median,
            );
            y += STEP;
        }
        let _ = writeln!(bars, "  </g>");
        y += 10.0;
    }
    let bottom = y - 6.0;
    let mut grid = String::new();
    for whole in 1..=longest as u32 {
        let x = at(f64::from(whole));
        let class = if whole == 1 { "one" } else { "grid" };
        let _ = writeln!(
            grid,
            r#"  <line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{TOP:.0}" y2="{bottom:.0}"/>"#
        );
        let _ = writeln!(
            grid,
            r#"  <text class="quiet figure" x="{x:.1}" y="{:.0}" text-anchor="middle">{whole}</text>"#,
            bottom + 16.0
        );
    }
    let height = bottom + 78.0;
    let Results { date, rounds, cores, connections, .. } = results;
    let foot = sentence(results).unwrap_or_default();
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" width="{WIDTH:.0}" height="{height:.0}" role="img">
  <title>CPU time a request, beside nginx as a plain proxy</title>
  <desc>{foot}</desc>
  <style>{STYLE}
  </style>
  <rect class="back" x="0.5" y="0.5" width="{:.0}" height="{:.0}" rx="8"/>
  <text class="title" x="24" y="36">What a request costs: CPU time, nginx as a plain proxy = 1</text>
  <text class="quiet" x="24" y="58">Less is better. 10,000 tokens over 256 paths, one worker each, {connections} kept connections.</text>
{grid}{bars}  <text class="quiet" x="24" y="{:.0}">{foot}</text>
  <text class="quiet" x="24" y="{:.0}">Bars are medians, lines the spread of {rounds} rounds on {cores} cores, {date}.</text>
</svg>
"#,
        WIDTH - 1.0,
        height - 1.0,
        bottom + 42.0,
        bottom + 62.0,
    )
}

/// What a person would say of it.
fn sentence(results: &Results) -> Option<String> {
    let known = results.ratio_to(BARE, KNOWN, Load::Many.name())?.median;
    let beyond = results.beyond_bare(KNOWN, Load::Many)?.median;
    Some(format!(
        "A request whose token was seen before costs {known:.2} times what a bare pingora proxy takes: {beyond:.0} µs more."
    ))
}
