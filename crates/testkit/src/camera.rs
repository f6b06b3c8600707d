//! Packet sizes as a camera makes them: recorded frames, cut as libwebrtc cuts them.

/// What a publisher sends at each of its moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Single packets of 1,100 octets, evenly in time: 2 Mbit/s. The hardest to batch in time, the easiest in size.
    Equal,
    /// Frames of [`FRAMES`], 30 a second, each a burst of packets that differ by at most one octet.
    Camera,
}

impl Sizes {
    /// Time between two moments of one publisher.
    pub fn interval_ns(self) -> u64 {
        match self {
            Self::Equal => 1_000_000_000 / PACKETS_PER_SECOND,
            Self::Camera => 1_000_000_000 / 30,
        }
    }

    /// Payload sizes of the packets of moment `n`.
    pub fn packets(self, n: u64) -> impl Iterator<Item = usize> {
        let frame = match self {
            Self::Equal => EQUAL,
            Self::Camera => FRAMES[(n % FRAMES.len() as u64) as usize],
        };
        split(frame)
    }
}

/// libwebrtc cuts a frame into as few packets as fit, as equal as can be, the larger ones last.
pub(crate) fn split(frame: usize) -> impl Iterator<Item = usize> {
    let count = frame.div_ceil(MAX_PAYLOAD).max(1);
    let larger = frame % count;
    (0..count).map(move |index| frame / count + usize::from(index >= count - larger))
}

pub const EQUAL: usize = 1_100;
pub const PACKETS_PER_SECOND: u64 = 227;
/// Of the 1,200 octets libwebrtc allows a packet, less its headers and the tag.
const MAX_PAYLOAD: usize = 1_160;

/// Ten seconds of VP8 (libvpx in real-time mode, 960 x 540, 30 frames a second, 2 Mbit/s) of a noisy picture that moves
/// and rests by turns; scaled to 2 Mbit/s
/// exactly, with a keyframe of the size libwebrtc's rate control would have allowed at the start.
#[rustfmt::skip]
const FRAMES: [usize; 300] = [
    30000, 1476, 1819, 2260, 2854, 3195, 3656, 4027, 4303, 4340, 4914, 4873, 4511, 4945, 4836,
    4785, 4856, 4643, 5018, 4970, 4947, 4956, 4449, 4996, 4573, 4982, 4727, 4882, 4995, 4704,
    4716, 5060, 4858, 4832, 4681, 4455, 4912, 4577, 4716, 4604, 4737, 4771, 4640, 4642, 4488,
    4769, 4777, 4785, 4500, 4632, 4760, 4809, 4866, 4550, 4720, 4577, 4585, 4193, 4584, 4102,
    7172, 4158, 10002, 7066, 7707, 7578, 6808, 7168, 7771, 7840, 7917, 7871, 7835, 8067, 7984,
    8256, 8466, 8155, 8235, 8454, 8574, 8784, 8091, 8745, 8637, 8144, 8554, 8236, 8457, 8242,
    8249, 8433, 8065, 8011, 8273, 8174, 8262, 8371, 8033, 7973, 8177, 8357, 8382, 8651, 8170,
    8263, 17473, 8207, 7953, 7736, 7779, 7604, 8395, 7683, 8345, 7936, 7887, 7568, 7913, 7943,
    7848, 7856, 8205, 7937, 7931, 7959, 7785, 8296, 8065, 8054, 7585, 7676, 7649, 7772, 7928,
    7738, 7574, 7605, 7622, 7626, 7872, 7719, 7658, 7460, 7961, 7745, 7651, 7825, 8181, 7709,
    7590, 8126, 7934, 7698, 7546, 8174, 7677, 8126, 8216, 8037, 8428, 7862, 7917, 8177, 7943,
    8059, 8309, 8240, 8354, 8342, 8640, 8371, 8225, 8455, 8610, 8573, 8606, 8701, 9181, 9264,
    9312, 9639, 9602, 9672, 9693, 9791, 10073, 10280, 10468, 10526, 10661, 10849, 11009, 11312, 11294,
    11363, 11880, 11825, 11945, 12156, 12441, 12424, 12493, 12468, 12646, 12834, 12936, 12822, 13101, 13008,
    13093, 18211, 9952, 9212, 8947, 9028, 8865, 8807, 8850, 8946, 9035, 8860, 8913, 8683, 8824,
    8979, 8796, 8813, 8790, 8830, 8907, 8828, 8882, 8882, 8757, 8763, 8611, 8740, 8971, 8807,
    13994, 10312, 9139, 8849, 8903, 8963, 8936, 8940, 8802, 9034, 9048, 8883, 9081, 9349, 9357,
    9694, 9824, 11648, 11970, 12549, 12028, 10942, 11237, 10847, 10817, 10817, 10973, 11025, 11104, 10341,
    10523, 10175, 10159, 10103, 10257, 10176, 10445, 9712, 10030, 10369, 9907, 10049, 10073, 9873, 10004,
    10282, 10379, 10101, 10139, 10586, 10208, 10367, 10231, 9812, 10033, 10348, 10136, 9869, 9983, 9657,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_frame_differ_by_one_octet_at_most() {
        for n in 0..300 {
            let sizes: Vec<usize> = Sizes::Camera.packets(n).collect();
            assert_eq!(sizes.iter().sum::<usize>(), FRAMES[n as usize]);
            assert!(sizes.is_sorted() && sizes[sizes.len() - 1] - sizes[0] <= 1, "{sizes:?}");
        }
        assert_eq!(Sizes::Equal.packets(5).collect::<Vec<_>>(), [1_100]);
    }

    #[test]
    fn both_kinds_are_two_megabits() {
        let rate = |sizes: Sizes| {
            let octets: usize = (0..300).flat_map(|n| sizes.packets(n)).sum();
            octets as f64 * 8.0 / (300.0 * sizes.interval_ns() as f64 / 1e9)
        };
        assert!((rate(Sizes::Equal) - 2e6).abs() < 1e4);
        assert!((rate(Sizes::Camera) - 2e6).abs() < 1e4);
    }
}
