//! Ten hours of one guest in virtual time: how far sound and picture part, as a figure and as a graph.
//!
//! `drift [--hours 10] [--graph FILE.svg]` prints one line of JSON. Everything between the packets and OBS is real (clock
//! recovery, jitter buffer, Opus, resampler); the guest's clocks and the network are made up, and worse than usual: the
//! computer's clock 200 ppm fast, the sound card's 200 ppm slow, 30 ms of jitter for sound and 60 for pictures, 2 % loss, a
//! network that stands still for two seconds every 25 minutes, a clock that is set three times, and a path that becomes
//! 80 ms longer after five hours.

#[path = "../tests/common/mod.rs"]
mod common;

use common::show::{Conditions, Second, live};
use std::fmt::Write;
use std::io;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut hours, mut graph) = (10.0_f64, None);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--hours", Some(value)) => hours = value.parse().map_err(io::Error::other)?,
            ("--graph", Some(file)) => graph = Some(file),
            _ => return Err(io::Error::other("usage: drift [--hours 10] [--graph FILE.svg]")),
        }
    }
    let seconds = (hours.clamp(0.01, 100.0) * 3_600.0) as u64;
    let conditions = Conditions {
        seconds,
        wall_ppm: 200,
        card_ppm: -200,
        sound_jitter_ms: 30,
        picture_jitter_ms: 60,
        loss_percent: 2,
        stall_every_s: 1_500,
        clock_set: &[(7_200, 3_600), (14_400, -2), (25_200, -7_200)],
        longer_path: Some((18_000, 80)),
        ..Conditions::default()
    };
    let mut seen = Vec::new();
    live(conditions, |second| seen.push(second));
    if std::env::var_os("DRIFT_VERBOSE").is_some() {
        for second in seen.iter().filter(|second| second.second > 5 && second.apart_ms.abs() > 20.0) {
            eprintln!("{second:?}");
        }
    }
    if let Some(file) = graph {
        std::fs::write(file, draw(&seen, seconds))?;
    }
    println!("{}", summary(&seen, seconds));
    Ok(())
}

fn summary(seen: &[Second], seconds: u64) -> String {
    let mut apart: Vec<f64> =
        seen.iter().filter(|second| second.second > 5).map(|second| second.apart_ms.abs()).collect();
    apart.sort_by(f64::total_cmp);
    let at = |share: f64| apart.get((apart.len() as f64 * share) as usize).or(apart.last()).copied();
    let tenth = |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.1}"));
    // The last ten minutes, over which single moments do not count: what ten hours of drift have left.
    let mut last: Vec<f64> =
        seen.iter().filter(|s| s.second + 600 > seconds).map(|second| second.apart_ms).collect();
    last.sort_by(f64::total_cmp);
    let over = apart.iter().filter(|apart| **apart > 20.0).count();
    format!(
        r#"{{"seconds":{seconds},"heard":{},"worst_ms":{},"p99_ms":{},"p50_ms":{},"over_20_ms":{over},"end_ms":{}}}"#,
        seen.len(),
        tenth(apart.last().copied()),
        tenth(at(0.99)),
        tenth(at(0.5)),
        tenth(last.get(last.len() / 2).copied()),
    )
}

/// Picture minus sound over time, the range and the median of each minute; below, from microphone to OBS.
fn draw(seen: &[Second], seconds: u64) -> String {
    let x = |second: f64| LEFT + second / seconds as f64 * (WIDTH - LEFT - 20.0);
    let apart_y = |ms: f64| 170.0 - ms.clamp(-40.0, 40.0) * 3.0;
    let delay_y = |ms: f64| 460.0 - ms.clamp(0.0, 300.0) * 0.45;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="520" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="24" font-size="15">Picture minus sound over {:.0} h: clocks ±200 ppm, jitter, 2 % loss, stalls, clock set at 2, 4 and 7 h, path +80 ms at 5 h</text>
"##,
        seconds as f64 / 3_600.0
    );
    let mut line = |y: f64, label: String, colour: &str| {
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{}" y2="{y:.1}" stroke="{colour}"/><text x="{}" y="{:.1}" text-anchor="end">{label}</text>"##,
            WIDTH - 20.0,
            LEFT - 6.0,
            y + 4.0
        );
    };
    for ms in [-40_i32, -20, 0, 20, 40] {
        let colour = if ms.abs() == 20 { "#d33" } else { "#ccc" };
        line(apart_y(f64::from(ms)), format!("{ms} ms"), colour);
    }
    for ms in [0, 100, 200, 300] {
        line(delay_y(f64::from(ms)), format!("{ms} ms"), "#ccc");
    }
    let _ = writeln!(svg, r##"<text x="{LEFT}" y="318">From microphone to OBS</text>"##);
    for hour in 0..=(seconds / 3_600) {
        let at = x(hour as f64 * 3_600.0);
        let _ = writeln!(svg, r##"<text x="{at:.1}" y="490" text-anchor="middle">{hour} h</text>"##);
    }
    let (mut medians, mut delays) = (String::new(), String::new());
    for minute in seen.chunk_by(|a, b| a.second / 60 == b.second / 60) {
        let mut apart: Vec<f64> = minute.iter().map(|second| second.apart_ms).collect();
        apart.sort_by(f64::total_cmp);
        let at = x(minute[0].second as f64);
        let (low, high) = (apart[0], apart[apart.len() - 1]);
        let _ = writeln!(
            svg,
            r##"<line x1="{at:.1}" y1="{:.1}" x2="{at:.1}" y2="{:.1}" stroke="#9bd" stroke-width="1.5"/>"##,
            apart_y(low),
            apart_y(high) - 0.5
        );
        let _ = write!(medians, "{at:.1},{:.1} ", apart_y(apart[apart.len() / 2]));
        let delay = minute.iter().map(|second| second.heard_after_ms).fold(0.0, f64::max);
        let _ = write!(delays, "{at:.1},{:.1} ", delay_y(delay));
    }
    for points in [medians, delays] {
        let _ =
            writeln!(svg, r##"<polyline points="{points}" fill="none" stroke="#046" stroke-width="1"/>"##);
    }
    svg + "</svg>\n"
}

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 60.0;
