//! The dependency descriptor: a header extension that tells a forwarder, without a look at the payload, which frames a
//! receiver of some layers needs (RTP Payload Format for AV1, appendix A).
//!
//! A sender describes its pattern once, with each key frame, as a [`Structure`] of frame templates; every packet then
//! names a template and what differs from it.

use crate::bytes::BitReader;

/// A sender's pattern. About 3 kB; one per stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    template_id_offset: u8,
    template_count: u8,
    target_count: u8,
    chain_count: u8,
    templates: [Template; MAX_TEMPLATES],
    targets: [Target; MAX_TARGETS],
    /// Width and height of each spatial layer, if told.
    sizes: [(u16, u16); MAX_SPATIAL],
    size_count: u8,
}

/// A way to decode the stream: the frames up to a spatial and a temporal layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub spatial: u8,
    pub temporal: u8,
    /// The chain of frames none of which it can do without, if there are chains.
    pub chain: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    links: Links,
}

/// What a frame is for whom, and what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Links {
    /// Two bits for each decode target, the first lowest.
    indications: u64,
    references: References,
    /// Back to the last frame of each chain; 0: the chain begins here.
    chains: [u8; MAX_CHAINS],
}

/// Distances, in frame numbers, to the frames this one refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    distances: [u16; MAX_REFERENCES],
    len: u8,
}

impl References {
    fn push(&mut self, distance: u16) -> Option<()> {
        *self.distances.get_mut(usize::from(self.len))? = distance;
        self.len += 1;
        Some(())
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.distances.iter().take(usize::from(self.len)).copied()
    }
}

/// What a frame means for a decode target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    NotPresent,
    /// Nothing of this target refers to it.
    Discardable,
    /// Whoever can decode it can decode the target from here on.
    Switch,
    Required,
}

/// One packet's descriptor, with everything its template says filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub start_of_frame: bool,
    pub end_of_frame: bool,
    pub frame_number: u16,
    pub spatial: u8,
    pub temporal: u8,
    links: Links,
    /// Bit n: target n is being sent. Told only where it changes.
    pub active_targets: Option<u32>,
    pub has_structure: bool,
    target_count: u8,
    /// Behind the flags, where the structure ends.
    structure_end: u16,
    /// The frame's own definitions: first bit and the one past the last.
    definitions: (u16, u16),
    flags: u8,
}

impl Descriptor {
    /// Reads a descriptor against the structure told before; a new structure it brings is put into `structure`.
    /// `None`: malformed, or of a structure that is not known.
    pub fn parse(data: &[u8], structure: &mut Option<Box<Structure>>) -> Option<Self> {
        if let Some(read) = Self::attached_structure(data)? {
            match structure.as_deref_mut() {
                Some(known) => *known = read,
                None => *structure = Some(Box::new(read)),
            }
        }
        Self::parse_again(data, structure.as_deref()?)
    }

    /// Whether a descriptor comes with a structure.
    pub fn brings_structure(data: &[u8]) -> bool {
        data.get(MANDATORY_LEN).is_some_and(|octet| octet >> 3 & HAS_STRUCTURE != 0)
    }

    /// The structure that comes with a descriptor, if it brings one; `None`: malformed.
    fn attached_structure(data: &[u8]) -> Option<Option<Structure>> {
        if !Self::brings_structure(data) {
            return Some(None);
        }
        let mut bits = BitReader::new(data);
        bits.bits(FLAGS_END)?;
        Structure::read(&mut bits).map(Some)
    }

    /// Reads a descriptor against its own structure, or that one if it brings none; nothing is remembered.
    pub fn parse_again(data: &[u8], structure: &Structure) -> Option<Self> {
        let mut bits = BitReader::new(data);
        let (start_of_frame, end_of_frame) = (bits.bit()?, bits.bit()?);
        let template_id = bits.bits(6)? as u8;
        let frame_number = bits.bits(16)? as u16;
        let flags = if data.len() > MANDATORY_LEN { bits.bits(5)? as u8 } else { 0 };
        let attached = if flags & HAS_STRUCTURE != 0 { Some(Structure::read(&mut bits)?) } else { None };
        let structure = attached.as_ref().unwrap_or(structure);
        let structure_end = bits.position();
        let mut active_targets = (flags & HAS_STRUCTURE != 0).then(|| structure.all_targets());
        if flags & HAS_ACTIVE_TARGETS != 0 {
            active_targets = Some(bits.bits(structure.target_count.into())?);
        }
        let definitions_start = bits.position();
        let index = template_id.wrapping_sub(structure.template_id_offset) & 0x3f;
        let template = structure.templates().get(usize::from(index))?;
        let links = template.links.customised(&mut bits, flags, structure)?;
        Some(Self {
            start_of_frame,
            end_of_frame,
            frame_number,
            spatial: template.spatial,
            temporal: template.temporal,
            links,
            active_targets,
            has_structure: flags & HAS_STRUCTURE != 0,
            target_count: structure.target_count,
            structure_end: structure_end as u16,
            definitions: (definitions_start as u16, bits.position() as u16),
            flags,
        })
    }

    /// What this frame is for that decode target.
    pub fn indication(&self, target: u8) -> Indication {
        match self.links.indications.checked_shr(u32::from(target) * 2).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// How many frames back the chain's last frame is; 0: it begins here.
    pub fn chain_distance(&self, chain: u8) -> u8 {
        self.links.chains.get(usize::from(chain)).copied().unwrap_or(0)
    }

    pub fn references(&self) -> &References {
        &self.links.references
    }

    /// Writes the descriptor of the same frame with `active` for its active decode targets; `None` if it would be longer
    /// than an extension element can be. `data` is what this was parsed from.
    pub fn write_with_active_targets(&self, data: &[u8], active: u32, out: &mut [u8; 255]) -> Option<usize> {
        out.fill(0);
        let mut writer = BitWriter { out, bit: 0 };
        writer.copy(data, 0, MANDATORY_LEN * 8)?;
        writer.bits(u32::from(self.flags | HAS_ACTIVE_TARGETS), 5)?;
        if self.has_structure {
            writer.copy(data, FLAGS_END as usize, self.structure_end.into())?;
        }
        writer.bits(active, self.target_count.into())?;
        writer.copy(data, self.definitions.0.into(), self.definitions.1.into())?;
        Some(writer.bit.div_ceil(8))
    }

    /// The descriptor's frame number with `number` in its place.
    pub fn set_frame_number(data: &mut [u8], number: u16) {
        if let Some(field) = data.get_mut(1..3) {
            field.copy_from_slice(&number.to_be_bytes());
        }
    }
}

impl Structure {
    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let mut structure = Self {
            template_id_offset: bits.bits(6)? as u8,
            template_count: 0,
            target_count: bits.bits(5)? as u8 + 1,
            chain_count: 0,
            templates: [Template::default(); MAX_TEMPLATES],
            targets: [Target::default(); MAX_TARGETS],
            sizes: [(0, 0); MAX_SPATIAL],
            size_count: 0,
        };
        let top_spatial = structure.read_layers(bits)?;
        structure.read_indications_and_references(bits)?;
        structure.read_chains(bits)?;
        structure.find_target_layers();
        let has_sizes = bits.bit()?;
        if has_sizes {
            structure.size_count = top_spatial + 1;
            for size in &mut structure.sizes[..=usize::from(top_spatial)] {
                *size = ((bits.bits(16)?) as u16, (bits.bits(16)?) as u16);
            }
        }
        Some(structure)
    }

    /// Answers the highest spatial layer.
    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Option<u8> {
        const SAME: u32 = 0;
        const NEXT_TEMPORAL: u32 = 1;
        const NEXT_SPATIAL: u32 = 2;
        let (mut spatial, mut temporal) = (0u8, 0u8);
        loop {
            let template = self.templates.get_mut(usize::from(self.template_count))?;
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count += 1;
            match bits.bits(2)? {
                SAME => {}
                NEXT_TEMPORAL => temporal += 1,
                NEXT_SPATIAL => (spatial, temporal) = (spatial + 1, 0),
                _ => return Some(spatial),
            }
            if temporal >= MAX_TEMPORAL || usize::from(spatial) >= MAX_SPATIAL {
                return None;
            }
        }
    }

    fn read_indications_and_references(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        for template in &mut self.templates[..usize::from(self.template_count)] {
            template.links.indications = read_indications(bits, self.target_count)?;
        }
        for template in &mut self.templates[..usize::from(self.template_count)] {
            while bits.bit()? {
                template.links.references.push(bits.bits(4)? as u16 + 1)?;
            }
        }
        Some(())
    }

    fn read_chains(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let count = bits.below(u32::from(self.target_count) + 1)?;
        if count == 0 {
            return Some(());
        }
        if count as usize > MAX_CHAINS {
            return None;
        }
        self.chain_count = count as u8;
        for target in &mut self.targets[..usize::from(self.target_count)] {
            target.chain = Some(bits.below(count)? as u8);
        }
        for template in &mut self.templates[..usize::from(self.template_count)] {
            for chain in &mut template.links.chains[..count as usize] {
                *chain = bits.bits(4)? as u8;
            }
        }
        Some(())
    }

    /// A decode target has the layers of the highest frames in it.
    fn find_target_layers(&mut self) {
        let templates = &self.templates[..usize::from(self.template_count)];
        for (n, target) in self.targets[..usize::from(self.target_count)].iter_mut().enumerate() {
            for template in templates.iter().filter(|t| t.links.indications >> (2 * n) & 3 != 0) {
                target.spatial = target.spatial.max(template.spatial);
                target.temporal = target.temporal.max(template.temporal);
            }
        }
    }

    fn templates(&self) -> &[Template] {
        &self.templates[..usize::from(self.template_count)]
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets[..usize::from(self.target_count)]
    }

    pub fn chain_count(&self) -> u8 {
        self.chain_count
    }

    /// Width and height by spatial layer; empty if not told.
    pub fn sizes(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let told = self.sizes.iter().take(self.size_count.into());
        told.map(|(width, height)| (u32::from(*width) + 1, u32::from(*height) + 1))
    }

    /// Every decode target, as a mask.
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.target_count))
    }
}

impl Links {
    /// A template's links with what the frame says differently.
    fn customised(mut self, bits: &mut BitReader<'_>, flags: u8, structure: &Structure) -> Option<Self> {
        if flags & CUSTOM_INDICATIONS != 0 {
            self.indications = read_indications(bits, structure.target_count)?;
        }
        if flags & CUSTOM_REFERENCES != 0 {
            self.references = References::default();
            loop {
                match bits.bits(2)? {
                    0 => break,
                    nibbles => self.references.push(bits.bits(nibbles * 4)? as u16 + 1)?,
                }
            }
        }
        if flags & CUSTOM_CHAINS != 0 {
            for chain in &mut self.chains[..usize::from(structure.chain_count)] {
                *chain = bits.bits(8)? as u8;
            }
        }
        Some(self)
    }
}

fn read_indications(bits: &mut BitReader<'_>, targets: u8) -> Option<u64> {
    (0..u32::from(targets)).try_fold(0, |all, n| Some(all | u64::from(bits.bits(2)?) << (2 * n)))
}

/// Writes most significant bit first into zeroed octets.
struct BitWriter<'b> {
    out: &'b mut [u8],
    bit: usize,
}

impl BitWriter<'_> {
    fn push(&mut self, set: bool) -> Option<()> {
        *self.out.get_mut(self.bit / 8)? |= u8::from(set) << (7 - self.bit % 8);
        self.bit += 1;
        Some(())
    }

    fn bits(&mut self, value: u32, len: u32) -> Option<()> {
        (0..len).rev().try_for_each(|n| self.push(value >> n & 1 == 1))
    }

    /// The bits of `from` between two places.
    fn copy(&mut self, from: &[u8], start: usize, end: usize) -> Option<()> {
        (start..end).try_for_each(|at| self.push(from.get(at / 8)? >> (7 - at % 8) & 1 == 1))
    }
}

/// What every descriptor has; a longer one goes on with flags.
const MANDATORY_LEN: usize = 3;
const FLAGS_END: u32 = MANDATORY_LEN as u32 * 8 + 5;
const HAS_STRUCTURE: u8 = 0x10;
const HAS_ACTIVE_TARGETS: u8 = 0x08;
const CUSTOM_INDICATIONS: u8 = 0x04;
const CUSTOM_REFERENCES: u8 = 0x02;
const CUSTOM_CHAINS: u8 = 0x01;
/// A template id has six bits, a target count five.
const MAX_TEMPLATES: usize = 64;
const MAX_TARGETS: usize = 32;
/// One for each spatial layer is what encoders make.
const MAX_CHAINS: usize = 8;
/// AV1 frames refer to at most seven others.
const MAX_REFERENCES: usize = 7;
/// AV1 has four spatial and eight temporal layers.
const MAX_SPATIAL: usize = 4;
const MAX_TEMPORAL: u8 = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::prng::Prng;

    /// Writes descriptors bit by bit.
    pub(crate) fn pack(bits: &str) -> Vec<u8> {
        let digits: Vec<u8> = bits.bytes().filter(|c| *c != b' ').map(|c| c - b'0').collect();
        digits
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |out, (i, bit)| out | bit << (7 - i)))
            .collect()
    }

    /// Two spatial layers of two temporal layers: templates 0 key, 1 S0T0, 2 S0T1, 3 S1 key, 4 S1T0, 5 S1T1; targets
    /// S0T0, S0T1, S1T0, S1T1; two chains.
    fn l2t2() -> String {
        let layers = "00 01 10 00 01 11";
        let indications = "10101010 10101010 00010001 00001010 00001010 00000001";
        // None; 4 back; 2 back; 1 back; 4 and 1 back; 2 and 1 back.
        let references = "0 100110 100010 100000 10011100000 10001100000";
        let chains = "10 0 0 1 1";
        let chain_distances = "00000000 01000011 00100001 00010001 00010001 00110010";
        let sizes = "1 0000001010000000 0000000101100111 0000010011111111 0000001011001111";
        format!("000101 00011 {layers} {indications} {references} {chains} {chain_distances} {sizes}")
    }

    fn first() -> Vec<u8> {
        pack(&format!("10 000101 0000000000000111 10000 {}", l2t2()))
    }

    #[test]
    fn a_structure_is_read_and_templates_fill_in_what_later_descriptors_leave_out() {
        let mut structure = None;
        assert_eq!(Descriptor::parse(&[0x85, 0, 7], &mut structure), None, "no structure yet");
        let key = Descriptor::parse(&first(), &mut structure).unwrap();
        assert!(key.start_of_frame && !key.end_of_frame && key.has_structure);
        assert_eq!((key.frame_number, key.spatial, key.temporal), (7, 0, 0));
        assert_eq!(key.active_targets, Some(0b1111));
        let known = structure.as_ref().unwrap();
        let target = |spatial, temporal, chain| Target { spatial, temporal, chain: Some(chain) };
        assert_eq!(known.targets(), [target(0, 0, 0), target(0, 1, 0), target(1, 0, 1), target(1, 1, 1)]);
        assert_eq!(known.sizes().collect::<Vec<_>>(), [(641, 360), (1280, 720)]);

        // Template 2: S0T1.
        let upper = Descriptor::parse(&[0xc7, 1, 2], &mut structure).unwrap();
        assert!(upper.start_of_frame && upper.end_of_frame && !upper.has_structure);
        assert_eq!((upper.frame_number, upper.spatial, upper.temporal), (0x102, 0, 1));
        assert_eq!(upper.references().iter().collect::<Vec<_>>(), [2]);
        assert_eq!(upper.indication(0), Indication::NotPresent);
        assert_eq!(upper.indication(1), Indication::Discardable);
        assert_eq!((upper.chain_distance(0), upper.chain_distance(1)), (2, 1));
        assert_eq!(upper.active_targets, None);
        assert_eq!(Descriptor::parse(&[0xc4, 1, 2], &mut structure), None, "an unknown template");
    }

    #[test]
    fn a_frame_may_differ_from_its_template() {
        let mut structure = None;
        Descriptor::parse(&first(), &mut structure).unwrap();
        let custom =
            pack("11 000110 0000000000001001 01111 0011 11010010 01 0011 10 00000111 00 00000101 00001001");
        let frame = Descriptor::parse(&custom, &mut structure).unwrap();
        assert_eq!(frame.active_targets, Some(0b0011));
        assert_eq!(frame.indication(0), Indication::Required);
        assert_eq!(frame.indication(1), Indication::Discardable);
        assert_eq!(frame.indication(3), Indication::Switch);
        assert_eq!(frame.references().iter().collect::<Vec<_>>(), [4, 8]);
        assert_eq!((frame.chain_distance(0), frame.chain_distance(1)), (5, 9));
        for len in 4..custom.len() {
            assert_eq!(Descriptor::parse(&custom[..len], &mut structure), None, "{len}");
        }
    }

    #[test]
    fn the_active_targets_can_be_rewritten_in_every_form() {
        let mut structure = None;
        let key = first();
        Descriptor::parse(&key, &mut structure).unwrap();
        let custom =
            pack("11 000110 0000000000001001 01111 0011 11010010 01 0011 10 00000111 00 00000101 00001001");
        for data in [key, vec![0xc7, 1, 2], custom] {
            let before = Descriptor::parse(&data, &mut structure).unwrap();
            let mut out = [0; 255];
            let len = before.write_with_active_targets(&data, 0b0101, &mut out).unwrap();
            let mut again = structure.clone();
            let after = Descriptor::parse(&out[..len], &mut again).unwrap();
            assert_eq!(after.active_targets, Some(0b0101));
            assert_eq!(again, structure);
            assert_eq!((after.links, after.frame_number), (before.links, before.frame_number));
            assert_eq!((after.start_of_frame, after.spatial), (before.start_of_frame, before.spatial));
        }
    }

    #[test]
    fn noise_never_panics_and_never_shows_more_than_it_says() {
        let mut random = Prng(11);
        let mut structure = None;
        let mut read = 0;
        for _ in 0..200_000 {
            let mut data = if random.chance(50) { first() } else { random.bytes(80) };
            for _ in 0..random.below(4) {
                let at = random.below(data.len().max(1) as u64) as usize;
                if let Some(octet) = data.get_mut(at) {
                    *octet = random.next() as u8;
                }
            }
            data.truncate(random.below(data.len() as u64 + 30) as usize);
            let Some(descriptor) = Descriptor::parse(&data, &mut structure) else { continue };
            read += 1;
            let known = structure.as_ref().unwrap();
            assert!(known.targets().len() <= 32 && known.templates().len() <= 64);
            let mut out = [0; 255];
            if let Some(len) = descriptor.write_with_active_targets(&data, random.next() as u32, &mut out) {
                assert!(Descriptor::parse(&out[..len], &mut structure.clone()).is_some());
            }
            let _ = (descriptor.indication(255), descriptor.chain_distance(255));
        }
        assert!(read > 10_000, "{read}");
    }
}
