//! Which packets of one layered stream a receiver gets, and where that may change without its noticing more than a
//! change of quality.
//!
//! Down in time at any picture, up in time where a picture says that the layer begins anew there (VP8's Y, VP9's U).
//! Down in space at any picture whose lower layers were sent, up in space at key pictures. With the dependency descriptor
//! both follow from the sender's own word: a switch indication, on a chain that was sent unbroken.

use super::Incoming;
use crate::layering::Layering;
use crate::layers::Layers;
use rtp::codec::{vp8, vp9};
use rtp::dependency::{Descriptor, Indication, Structure, Target};

/// What is chosen from one packet on.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    from: u64,
    layers: Layers,
    /// With the dependency descriptor: the decode target.
    target: u8,
}

#[derive(Debug, Default)]
#[repr(C)]
pub struct Selection {
    /// The picture the newest packet belongs to.
    timestamp: Option<u32>,
    /// The newest first: packets that come late, or are sent again, are judged as of their place in the stream.
    choices: [Choice; MAX_CHOICES],
    /// VP9: the last picture said that higher temporal layers begin anew behind it.
    may_rise: bool,
    /// Lower spatial layers were left out since the last key picture: there is no way down but another one.
    skips_lower: bool,
    /// VP9, within a key picture: the highest spatial layer that came.
    top_of_key: Option<u8>,
    frames: Frames,
    /// Decode targets that the sender says it sends.
    active: u32,
    /// The frame from which on others are sent on.
    changed_at: Option<u16>,
}

/// Which frames were sent on, by frame number, and which chains are whole.
#[derive(Debug, Default)]
struct Frames {
    newest: Option<u16>,
    /// Bit n: the frame n before the newest.
    sent: u128,
    /// Bit n: a frame of chain n was left out since the chain began.
    broken: u32,
}

impl Selection {
    /// From this packet on, everything up to `layers`.
    pub fn begin(&mut self, sequence: u64, layers: Layers) {
        *self = Self::default();
        self.choices = [Choice { from: sequence, layers, target: 0 }; MAX_CHOICES];
    }

    pub fn layers(&self) -> Layers {
        self.choices[0].layers
    }

    pub fn skips_lower(&self) -> bool {
        self.skips_lower
    }

    /// Looks at the newest packet of the stream, and changes the choice if it may change here.
    pub fn consider(&mut self, packet: &Incoming<'_>, wish: Layers) {
        let begins_picture = self.timestamp.replace(packet.timestamp) != Some(packet.timestamp);
        match &packet.described.layering {
            Layering::Plain => {}
            Layering::Vp8(descriptor) if begins_picture => self.consider_vp8(packet, descriptor, wish),
            Layering::Vp8(_) => {}
            Layering::Vp9(descriptor) => {
                if begins_picture {
                    self.consider_vp9(packet, descriptor, wish);
                }
                self.top_of_key = self.top_of_key.map(|top| top.max(descriptor.sid()));
                self.skips_lower |= is_skipped(descriptor, self.choices[0].layers);
            }
            Layering::Dependency(descriptor) => {
                if let Some(structure) = packet.structure {
                    self.consider_dependency(packet, descriptor, structure, wish);
                }
            }
        }
    }

    fn consider_vp8(&mut self, packet: &Incoming<'_>, descriptor: &vp8::Descriptor, wish: Layers) {
        let now = self.layers().temporal;
        let temporal = match descriptor.tid {
            _ if packet.described.starts_picture_alone => wish.temporal,
            _ if wish.temporal < now => wish.temporal,
            // One at a time: a picture that leans on layer 0 alone says nothing of the layers between.
            Some(tid) if wish.temporal > now && tid == now + 1 && descriptor.layer_sync => tid,
            _ => now,
        };
        self.choose(packet.sequence, Layers { temporal, ..self.layers() }, 0);
    }

    fn consider_vp9(&mut self, packet: &Incoming<'_>, descriptor: &vp9::Descriptor, wish: Layers) {
        let mut layers = self.layers();
        let top_of_key = self.top_of_key.take();
        if packet.described.starts_picture_alone {
            layers = wish;
            self.skips_lower = false;
            self.top_of_key = Some(0);
        } else {
            // What the key picture did not have cannot begin before the next.
            layers.spatial = layers.spatial.min(top_of_key.unwrap_or(u8::MAX));
            if wish.spatial < layers.spatial && !self.skips_lower {
                layers.spatial = wish.spatial;
            }
            if wish.temporal < layers.temporal || self.may_rise {
                layers.temporal = wish.temporal;
            }
        }
        let is_taken = descriptor.tid() <= layers.temporal;
        self.may_rise = is_taken && descriptor.layers.is_some_and(|l| l.switching_up);
        self.choose(packet.sequence, layers, 0);
    }

    fn consider_dependency(
        &mut self,
        packet: &Incoming<'_>,
        descriptor: &Descriptor,
        structure: &Structure,
        wish: Layers,
    ) {
        self.active = match descriptor.active_targets {
            Some(active) => active,
            None if self.active == 0 => structure.all_targets(),
            None => self.active,
        };
        if self.frames.newest != Some(descriptor.frame_number) {
            let now = self.choices[0].target;
            let wanted = best_target(structure, self.active, wish);
            let is_key = packet.described.starts_picture_alone && descriptor.has_structure;
            self.frames.follow_chains(descriptor, structure);
            let may_switch = descriptor.indication(wanted) == Indication::Switch
                && self.frames.is_chain_whole(structure.targets().get(usize::from(wanted)));
            if is_key || self.frames.newest.is_none() {
                self.skips_lower = false;
                self.choose_target(packet.sequence, structure, wanted);
            } else if wanted != now && may_switch {
                self.choose_target(packet.sequence, structure, wanted);
                self.changed_at = Some(descriptor.frame_number);
            }
        }
        let is_taken = descriptor.indication(self.choices[0].target) != Indication::NotPresent;
        let Layers { spatial, temporal } = self.layers();
        self.skips_lower |= !is_taken && descriptor.spatial < spatial && descriptor.temporal <= temporal;
        self.frames.note(descriptor.frame_number, is_taken);
    }

    fn choose_target(&mut self, sequence: u64, structure: &Structure, target: u8) {
        let found = structure.targets().get(usize::from(target)).copied().unwrap_or_default();
        self.choose(sequence, Layers::new(found.spatial, found.temporal), target);
    }

    fn choose(&mut self, from: u64, layers: Layers, target: u8) {
        if (self.choices[0].layers, self.choices[0].target) != (layers, target) {
            self.choices.rotate_right(1);
            self.choices[0] = Choice { from, layers, target };
        }
    }

    fn at(&self, sequence: u64) -> &Choice {
        let found = self.choices.iter().find(|choice| choice.from <= sequence);
        found.unwrap_or(&self.choices[MAX_CHOICES - 1])
    }

    /// Whether the packet is one the receiver gets.
    pub fn wants(&self, packet: &Incoming<'_>) -> bool {
        let choice = self.at(packet.sequence);
        match &packet.described.layering {
            Layering::Plain => true,
            Layering::Vp8(descriptor) => descriptor.tid.is_none_or(|tid| tid <= choice.layers.temporal),
            Layering::Vp9(descriptor) => {
                descriptor.tid() <= choice.layers.temporal
                    && descriptor.sid() <= choice.layers.spatial
                    && !is_skipped(descriptor, choice.layers)
            }
            Layering::Dependency(descriptor) => {
                packet.structure.is_none() || descriptor.indication(choice.target) != Indication::NotPresent
            }
        }
    }

    /// Whether the packet is the last of its picture for this receiver.
    pub fn ends_picture(&self, packet: &Incoming<'_>) -> bool {
        let spatial = self.at(packet.sequence).layers.spatial;
        packet.marker
            || match &packet.described.layering {
                Layering::Plain | Layering::Vp8(_) => false,
                Layering::Vp9(descriptor) => descriptor.end_of_layer_frame && descriptor.sid() == spatial,
                Layering::Dependency(descriptor) => {
                    descriptor.end_of_frame && descriptor.spatial == spatial && packet.structure.is_some()
                }
            }
    }

    /// The decode targets to announce with this packet; `None`: what it says itself is right, or it says nothing.
    pub fn targets_to_tell(&self, packet: &Incoming<'_>) -> Option<u32> {
        let Layering::Dependency(descriptor) = &packet.described.layering else { return None };
        let layers = self.at(packet.sequence).layers;
        let structure = packet.structure?;
        let is_change = self.changed_at == Some(descriptor.frame_number);
        let told = descriptor.active_targets.or(is_change.then_some(self.active))?;
        let sent = (0..).zip(structure.targets()).fold(0, |mask, (n, target)| {
            let is_sent = target.spatial <= layers.spatial && target.temporal <= layers.temporal;
            mask | u32::from(is_sent) << n
        });
        // A decoder has to have something: an empty mask would be a lie.
        let right = if told & sent != 0 { told & sent } else { told };
        (descriptor.active_targets != Some(right)).then_some(right)
    }
}

impl Frames {
    fn note(&mut self, number: u16, is_sent: bool) {
        let Some(newest) = self.newest else {
            (self.newest, self.sent) = (Some(number), u128::from(is_sent));
            return;
        };
        let ahead = number.wrapping_sub(newest);
        if ahead == 0 || ahead >= 0x8000 {
            let back = u32::from(newest.wrapping_sub(number));
            self.sent |= u128::from(is_sent).checked_shl(back).unwrap_or(0);
            return;
        }
        self.sent = self.sent.checked_shl(ahead.into()).unwrap_or(0) | u128::from(is_sent);
        self.newest = Some(number);
    }

    /// A frame says of each chain where its last frame was. A chain without it is broken until it begins anew.
    fn follow_chains(&mut self, descriptor: &Descriptor, structure: &Structure) {
        for chain in 0..structure.chain_count() {
            let distance = descriptor.chain_distance(chain);
            if distance == 0 {
                self.broken &= !(1 << chain);
            } else if !self.was_sent(descriptor.frame_number.wrapping_sub(distance.into())) {
                self.broken |= 1 << chain;
            }
        }
    }

    fn was_sent(&self, number: u16) -> bool {
        let back = self.newest.map(|newest| newest.wrapping_sub(number));
        back.is_some_and(|back| back < 128 && self.sent >> back & 1 == 1)
    }

    /// Without chains, the indication must do.
    fn is_chain_whole(&self, target: Option<&Target>) -> bool {
        target.and_then(|target| target.chain).is_none_or(|chain| self.broken >> chain & 1 == 0)
    }
}

/// The best decode target within `wish` that is being sent; the least one if none is.
fn best_target(structure: &Structure, active: u32, wish: Layers) -> u8 {
    let targets = || (0u8..).zip(structure.targets()).filter(|(n, _)| active >> n & 1 == 1);
    let within = |target: &Target| target.spatial <= wish.spatial && target.temporal <= wish.temporal;
    let quality = |(_, target): &(u8, &Target)| (target.spatial, target.temporal);
    let best = targets().filter(|(_, target)| within(target)).max_by_key(quality);
    best.or_else(|| targets().min_by_key(quality)).map_or(0, |(n, _)| n)
}

/// A lower layer that the one chosen does without, as between the key pictures of L3T3_KEY.
fn is_skipped(descriptor: &vp9::Descriptor, chosen: Layers) -> bool {
    // A stream of simulcast has no spatial layers to choose from.
    chosen.spatial != u8::MAX && descriptor.sid() < chosen.spatial && descriptor.not_for_upper_layers
}

/// As many changes as a second of retransmissions can reach back over.
const MAX_CHOICES: usize = 4;
