//! The card that stands in for a guest who is away: dark, with a name.

use crate::font;
use crate::reader::Picture;
use frame_ipc::{Matrix, PixelFormat, Rotation};

/// Pixels of the last card, kept for the next.
#[derive(Default)]
pub struct Card {
    luma: Vec<u8>,
    chroma: Vec<u8>,
    drawn: Option<(String, u32, u32)>,
}

impl Card {
    /// A card of that size; its timestamp is for the caller to set.
    pub fn draw(&mut self, title: &str, width: u32, height: u32) -> Picture<'_> {
        if self.drawn.as_ref().is_none_or(|(text, w, h)| (text.as_str(), *w, *h) != (title, width, height)) {
            self.paint(title, width as usize, height as usize);
            self.drawn = Some((title.to_owned(), width, height));
        }
        let half = width.div_ceil(2);
        Picture {
            format: PixelFormat::I420,
            width,
            height,
            planes: [(&self.luma, width), (&self.chroma, half), (&self.chroma, half)],
            full_range: false,
            matrix: Matrix::Bt709,
            rotation: Rotation::None,
            timestamp_ns: 0,
        }
    }

    fn paint(&mut self, title: &str, width: usize, height: usize) {
        self.luma.clear();
        self.luma.resize(width * height, GROUND);
        self.chroma.clear();
        self.chroma.resize(width.div_ceil(2) * height.div_ceil(2), GREY);

        let glyphs: Vec<_> = title.chars().take(LONGEST).filter_map(font::glyph).collect();
        let cells = (glyphs.len() * (font::WIDTH + 1)).saturating_sub(1).max(1);
        // The name fills at most four fifths of the width and a seventh of the height.
        let dot = (width * 4 / 5 / cells).min(height / 7 / font::HEIGHT).max(1);
        let left = width.saturating_sub(cells * dot) / 2;
        let top = height.saturating_sub(font::HEIGHT * dot) / 2;
        for (i, glyph) in glyphs.iter().enumerate() {
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let x = left + (i * (font::WIDTH + 1) + column) * dot;
                    self.fill(width, (x, top + row * dot), (dot, dot), INK);
                }
            }
        }
        // A line beneath: a card even if no letter of the name can be drawn.
        let line = (width / 6).max(2);
        let below = top + font::HEIGHT * dot + 3 * dot;
        self.fill(width, ((width - line.min(width)) / 2, below), (line, dot.div_ceil(2)), FAINT);
    }

    /// What lies outside is not painted.
    fn fill(&mut self, width: usize, (x, y): (usize, usize), (w, h): (usize, usize), value: u8) {
        for row in self.luma.chunks_exact_mut(width).skip(y).take(h) {
            row.iter_mut().skip(x).take(w).for_each(|pixel| *pixel = value);
        }
    }
}

pub const DEFAULT_SIZE: (u32, u32) = (1280, 720);
const LONGEST: usize = 32;
/// Limited range: 16 is black, 235 white, 128 without colour.
const GROUND: u8 = 30;
const FAINT: u8 = 90;
const INK: u8 = 210;
const GREY: u8 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_the_name_in_its_middle() {
        let mut card = Card::default();
        let picture = card.draw("Ada", 640, 360);
        let (luma, stride) = picture.planes[0];
        assert_eq!((luma.len(), stride), (640 * 360, 640));
        assert_eq!(picture.planes[2].0.len(), 320 * 180);
        let ink: Vec<_> =
            luma.iter().enumerate().filter(|(_, p)| **p == INK).map(|(i, _)| (i % 640, i / 640)).collect();
        let middle = |of: fn(&(usize, usize)) -> usize| {
            (ink.iter().map(of).min().unwrap() + ink.iter().map(of).max().unwrap()) / 2
        };
        assert!(middle(|p| p.0).abs_diff(320) < 8 && middle(|p| p.1).abs_diff(180) < 8);
        assert_eq!(luma[0], GROUND);
    }

    #[test]
    fn no_name_and_no_size_is_too_odd() {
        let mut card = Card::default();
        for (title, width, height) in
            [("", 2, 2), ("語語", 3, 5), (&"W".repeat(300), 4096, 2304), ("Ada", 2, 4096)]
        {
            let picture = card.draw(title, width, height);
            assert_eq!(picture.planes[0].0.len(), (width * height) as usize);
        }
    }
}
