//! Where guests stand on the canvas.

use wire::obs::ObsLayout;

/// A rectangle on the canvas, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// How many guests a layout holds.
pub(super) fn capacity(layout: ObsLayout, slots: usize) -> usize {
    match layout {
        ObsLayout::Source | ObsLayout::Solo => 1,
        ObsLayout::SideBySide => 2,
        ObsLayout::Grid => slots,
    }
}

/// A new scene's places, in reading order, each in the canvas's own proportions. One guest has all of it.
pub(super) fn places(count: usize, (width, height): (f64, f64)) -> Vec<Place> {
    if count <= 1 {
        return vec![Place { x: 0.0, y: 0.0, width, height }];
    }
    let columns = (count as f64).sqrt().ceil() as usize;
    let rows = count.div_ceil(columns);
    let gap = width * GAP;
    let across = (width - gap * (columns + 1) as f64) / columns as f64;
    let down = (height - gap * (rows + 1) as f64) / rows as f64;
    let cell = across.min(down * width / height);
    let tall = cell * height / width;
    let top = (height - tall * rows as f64 - gap * (rows - 1) as f64) / 2.0;
    (0..count)
        .map(|n| {
            let (row, column) = (n / columns, n % columns);
            // The last row may be short: it stands in the middle.
            let in_row = columns.min(count - row * columns) as f64;
            let left = (width - cell * in_row - gap * (in_row - 1.0)) / 2.0;
            let (x, y) = (left + column as f64 * (cell + gap), top + row as f64 * (tall + gap));
            Place { x, y, width: cell, height: tall }
        })
        .collect()
}

/// One more guest in a scene that shows something already: a quarter in a corner, each in the next.
pub(super) fn corner(taken: usize, (width, height): (f64, f64)) -> Place {
    let (right, down) = [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)][taken % CORNERS];
    let (half, tall, gap) = (width / 2.0, height / 2.0, width * GAP);
    let (w, h) = (half - 2.0 * gap, (half - 2.0 * gap) * height / width);
    Place { x: right * half + gap, y: down * tall + (tall - h) / 2.0, width: w, height: h }
}

pub(super) const CORNERS: usize = 4;
/// Of the canvas's width.
const GAP: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_stands_on_another_or_off_the_canvas() {
        for canvas in [(1920.0, 1080.0), (640.0, 360.0), (1080.0, 1920.0), (1000.0, 1000.0)] {
            for count in 1..=16 {
                check(&places(count, canvas), count, canvas);
            }
            let corners: Vec<Place> = (0..CORNERS).map(|taken| corner(taken, canvas)).collect();
            check(&corners, 4, canvas);
        }
    }

    fn check(places: &[Place], count: usize, (width, height): (f64, f64)) {
        assert_eq!(places.len(), count);
        let off = |p: &Place| {
            p.x < -0.01 || p.y < -0.01 || p.x + p.width > width + 0.01 || p.y + p.height > height + 0.01
        };
        let apart = |a: &Place, b: &Place| {
            a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y
        };
        for (n, place) in places.iter().enumerate() {
            assert!(!off(place) && place.width > width / 8.0, "{count}: {place:?} on {width} × {height}");
            assert!((place.width / place.height - width / height).abs() < 0.001);
            assert!(places[..n].iter().all(|other| apart(other, place)), "{count}: {places:?}");
        }
    }
}
