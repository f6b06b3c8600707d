//! The card that stands in for a guest who is away: a colour with a name, or the streamer's own picture.

use crate::font;
use crate::reader::Picture;
use crate::settings::CardStyle;
use frame_ipc::{MAX_PIXELS, MAX_SIDE, Matrix, PixelFormat, Pixels, Rotation};

/// What is written on a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Large, in the middle.
    pub title: String,
    /// What is wrong and what to do, line by line; such a card shows no picture of the streamer's.
    pub note: &'static [&'static str],
}

/// A picture from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue and opacity of each pixel; as many as there are pixels.
    pub rgba: Vec<u8>,
}

/// Pixels of the last card, kept for the next.
#[derive(Default)]
pub struct Card {
    luma: Vec<u8>,
    chroma: [Vec<u8>; 2],
    drawn: Option<(Words, u32, u32)>,
    ground: Colour,
    image: Option<Image>,
}

/// Limited range: luma 16 is black, 235 white; chroma 128 is without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Colour {
    y: u8,
    u: u8,
    v: u8,
}

impl Default for Colour {
    fn default() -> Self {
        Self::of(CardStyle::default().ground)
    }
}

impl Colour {
    /// BT.709, in 1/65536.
    fn of([r, g, b]: [u8; 3]) -> Self {
        let [r, g, b] = [r, g, b].map(i32::from);
        let level = |offset: i32, sum: i32| (offset + ((sum + 32_768) >> 16)).clamp(16, 240) as u8;
        Self {
            y: level(16, 11_966 * r + 40_254 * g + 4_064 * b),
            u: level(128, -6_596 * r - 22_189 * g + 28_785 * b),
            v: level(128, 28_785 * r - 26_146 * g - 2_639 * b),
        }
    }
}

impl Card {
    /// `image` is shown instead of a name.
    pub fn set_style(&mut self, ground: [u8; 3], image: Option<Image>) {
        let fits =
            |image: &Image| image.rgba.len() / 4 >= image.width * image.height && !image.rgba.is_empty();
        self.ground = Colour::of(ground);
        self.image = image.filter(fits);
        self.drawn = None;
    }

    /// A card of that size; its timestamp is for the caller to set.
    pub fn draw(&mut self, words: &Words, width: u32, height: u32) -> Picture<'_> {
        if self.drawn.as_ref().is_none_or(|(drawn, w, h)| (drawn, *w, *h) != (words, width, height)) {
            self.paint(words, width as usize, height as usize);
            self.drawn = Some((words.clone(), width, height));
        }
        let half = width.div_ceil(2);
        Picture {
            format: PixelFormat::I420,
            width,
            height,
            planes: [
                (Pixels::Own(&self.luma), width),
                (Pixels::Own(&self.chroma[0]), half),
                (Pixels::Own(&self.chroma[1]), half),
            ],
            full_range: false,
            matrix: Matrix::Bt709,
            rotation: Rotation::None,
            timestamp_ns: 0,
        }
    }

    /// What the card's size is where no guest was before.
    pub fn own_size(&self) -> (u32, u32) {
        let Some(image) = &self.image else { return DEFAULT_SIZE };
        let (width, height) = (image.width as u32, image.height as u32);
        let fits = (2..=MAX_SIDE).contains(&width)
            && (2..=MAX_SIDE).contains(&height)
            && width * height <= MAX_PIXELS;
        if fits { (width, height) } else { DEFAULT_SIZE }
    }

    fn paint(&mut self, words: &Words, width: usize, height: usize) {
        self.luma.clear();
        self.luma.resize(width * height, self.ground.y);
        for (plane, value) in self.chroma.iter_mut().zip([self.ground.u, self.ground.v]) {
            plane.clear();
            plane.resize(width.div_ceil(2) * height.div_ceil(2), value);
        }
        match self.image.take_if(|_| words.note.is_empty()) {
            Some(image) => {
                self.paint_image(&image, width, height);
                self.image = Some(image);
            }
            None => self.paint_words(words, width, height),
        }
    }

    /// As large as it fits, in the middle.
    fn paint_image(&mut self, image: &Image, width: usize, height: usize) {
        let by_width = image.width * height >= image.height * width;
        let (w, h) = match by_width {
            true => (width, (image.height * width / image.width.max(1)).max(1)),
            false => ((image.width * height / image.height.max(1)).max(1), height),
        };
        let (left, top) = ((width - w) / 2, (height - h) / 2);
        let half = width.div_ceil(2);
        for row in 0..h {
            for column in 0..w {
                let at = (row * image.height / h * image.width + column * image.width / w) * 4;
                let Some(&[r, g, b, opacity]) = image.rgba.get(at..at + 4).and_then(|p| p.first_chunk::<4>())
                else {
                    continue;
                };
                let colour = Colour::of([r, g, b]);
                let (x, y) = (left + column, top + row);
                blend(&mut self.luma, y * width + x, colour.y, opacity);
                if x % 2 == 0 && y % 2 == 0 {
                    blend(&mut self.chroma[0], y / 2 * half + x / 2, colour.u, opacity);
                    blend(&mut self.chroma[1], y / 2 * half + x / 2, colour.v, opacity);
                }
            }
        }
    }

    fn paint_words(&mut self, words: &Words, width: usize, height: usize) {
        let (ink, faint) = if self.ground.y < MIDDLE { (INK, FAINT) } else { (DARK_INK, DARK_FAINT) };
        let title = Line::of(words.title.chars().take(LONGEST));
        // The name fills at most four fifths of the width and a seventh of the height.
        let dot = (width * 4 / 5 / title.cells).min(height / 7 / font::HEIGHT).max(1);
        let top = height.saturating_sub(font::HEIGHT * dot) / 2;
        self.paint_line(&title, width, top, dot, ink);
        // A line beneath: a card even if no letter of the name can be drawn.
        let line = (width / 6).max(2);
        let below = top + font::HEIGHT * dot + 3 * dot;
        self.fill(width, ((width - line.min(width)) / 2, below), (line, dot.div_ceil(2)), faint);

        let notes: Vec<_> = words.note.iter().map(|text| Line::of(text.chars())).collect();
        // All of them in the same size, that of the longest; smaller than the name.
        let longest = notes.iter().map(|note| note.cells).max().unwrap_or(1);
        let small = (width * 9 / 10 / longest).min(dot / 2).min(height / 18 / font::HEIGHT).max(1);
        for (i, note) in notes.iter().enumerate() {
            let top = below + (4 + i * (font::HEIGHT + 4)) * small + 2 * dot;
            self.paint_line(note, width, top, small, ink);
        }
    }

    /// In the middle of the width.
    fn paint_line(&mut self, line: &Line, width: usize, top: usize, dot: usize, ink: u8) {
        let left = width.saturating_sub(line.cells * dot) / 2;
        for (i, glyph) in line.glyphs.iter().enumerate() {
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let x = left + (i * (font::WIDTH + 1) + column) * dot;
                    self.fill(width, (x, top + row * dot), (dot, dot), ink);
                }
            }
        }
    }

    /// What lies outside is not painted.
    fn fill(&mut self, width: usize, (x, y): (usize, usize), (w, h): (usize, usize), value: u8) {
        for row in self.luma.chunks_exact_mut(width).skip(y).take(h) {
            row.iter_mut().skip(x).take(w).for_each(|pixel| *pixel = value);
        }
    }
}

/// A line of text in dots.
struct Line {
    glyphs: Vec<[u8; font::HEIGHT]>,
    /// Dots it is wide; at least one.
    cells: usize,
}

impl Line {
    fn of(text: impl Iterator<Item = char>) -> Self {
        let glyphs: Vec<_> = text.filter_map(font::glyph).collect();
        let cells = (glyphs.len() * (font::WIDTH + 1)).saturating_sub(1).max(1);
        Self { glyphs, cells }
    }
}

fn blend(plane: &mut [u8], at: usize, value: u8, opacity: u8) {
    if let Some(pixel) = plane.get_mut(at) {
        let (under, over, opacity) = (u32::from(*pixel), u32::from(value), u32::from(opacity));
        *pixel = ((over * opacity + under * (255 - opacity) + 127) / 255) as u8;
    }
}

const DEFAULT_SIZE: (u32, u32) = (1280, 720);
const LONGEST: usize = 32;
/// Grounds below this are written upon in white.
const MIDDLE: u8 = 126;
const FAINT: u8 = 90;
const INK: u8 = 210;
const DARK_FAINT: u8 = 90;
const DARK_INK: u8 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(title: &str) -> Words {
        Words { title: title.into(), note: &[] }
    }

    #[test]
    fn a_note_stands_below_the_name_and_fits_the_usual_sizes() {
        let note = &[
            "The plugin in OBS is older than Greenroom.",
            "Update the plugin in Greenroom, then restart OBS.",
        ];
        let words = Words { title: "Guest 1".into(), note };
        let image = Image { width: 2, height: 2, rgba: vec![255; 16] };
        for (width, height) in [(1280, 720), (640, 360), (1920, 1080), (720, 1280)] {
            let mut card = Card::default();
            card.set_style([30, 30, 30], Some(image.clone()));
            let (pixels, stride) = card.draw(&words, width, height).planes[0];
            let luma = pixels.to_vec();
            let rows: Vec<_> = luma.chunks(stride as usize).map(|row| row.contains(&INK)).collect();
            let lines = rows.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            // The dots of some letters are lines of their own.
            assert!(lines >= 3 && !rows[rows.len() - 1], "{lines} on {width}×{height}");
            let margin = luma.chunks(stride as usize).any(|row| row[0] == INK || row[row.len() - 1] == INK);
            assert!(!margin, "cut off at {width}×{height}");
        }
    }

    #[test]
    fn a_card_has_the_name_in_its_middle() {
        let mut card = Card::default();
        let picture = card.draw(&named("Ada"), 640, 360);
        let (luma, stride) = (picture.planes[0].0.to_vec(), picture.planes[0].1);
        assert_eq!((luma.len(), stride), (640 * 360, 640));
        assert_eq!(picture.planes[2].0.len(), 320 * 180);
        let ink: Vec<_> =
            luma.iter().enumerate().filter(|(_, p)| **p == INK).map(|(i, _)| (i % 640, i / 640)).collect();
        let middle = |of: fn(&(usize, usize)) -> usize| {
            (ink.iter().map(of).min().unwrap() + ink.iter().map(of).max().unwrap()) / 2
        };
        assert!(middle(|p| p.0).abs_diff(320) < 8 && middle(|p| p.1).abs_diff(180) < 8);
        assert_eq!(luma[0], 30);
    }

    #[test]
    fn colours_are_those_of_bt_709() {
        for (rgb, (y, u, v)) in [
            ([0, 0, 0], (16, 128, 128)),
            ([255, 255, 255], (235, 128, 128)),
            ([255, 0, 0], (63, 102, 240)),
            ([0, 255, 0], (173, 42, 26)),
            ([0, 0, 255], (32, 240, 118)),
        ] {
            assert_eq!(Colour::of(rgb), Colour { y, u, v }, "{rgb:?}");
        }
    }

    #[test]
    fn a_light_card_is_written_upon_in_black() {
        let mut card = Card::default();
        card.set_style([255, 255, 255], None);
        let picture = card.draw(&named("Ada"), 640, 360);
        assert_eq!(picture.planes[0].0.to_vec()[0], 235);
        assert!(picture.planes[0].0.to_vec().contains(&DARK_INK));
    }

    #[test]
    fn the_streamers_own_picture_is_shown_whole_in_the_middle() {
        let red = [255, 0, 0, 255].repeat(100 * 100);
        let mut card = Card::default();
        card.set_style([0, 0, 255], Some(Image { width: 100, height: 100, rgba: red }));
        assert_eq!(card.own_size(), (100, 100));
        let picture = card.draw(&named("Ada"), 640, 360);
        let (luma, chroma) = (picture.planes[0].0.to_vec(), picture.planes[1].0.to_vec());
        let at = |x: usize, y: usize| (luma[y * 640 + x], chroma[y / 2 * 320 + x / 2]);
        assert_eq!((at(0, 180), at(320, 180)), ((32, 240), (63, 102)));
        assert_eq!((at(142, 0), at(496, 359)), ((63, 102), (63, 102)));
        // Of a file that lies, nothing is believed.
        card.set_style([0, 0, 255], Some(Image { width: 1 << 20, height: 1 << 20, rgba: vec![0; 16] }));
        assert_eq!(card.draw(&named(""), 2, 2).planes[0].0.to_vec()[0], 32);
    }

    #[test]
    fn no_name_and_no_size_is_too_odd() {
        let mut card = Card::default();
        for (title, width, height) in
            [("", 2, 2), ("語語", 3, 5), (&"W".repeat(300), 4096, 2304), ("Ada", 2, 4096)]
        {
            let picture =
                card.draw(&Words { title: title.into(), note: &["Unsupported video"] }, width, height);
            assert_eq!(picture.planes[0].0.len(), (width * height) as usize);
        }
    }
}
