//! The RTP header of a forwarded packet, made anew for each consumer.

use crate::ortc::consume::Consumed;
use crate::ortc::{Extension, ExtensionIds};
use rtp::ext::{AbsSendTime, ExtensionWriter};
use rtp::packet::{FIXED_HEADER, FixedHeader, Packet};

/// Extension values that mean the same on both sides of the router; found once per packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed<'a> {
    values: [Option<&'a [u8]>; PASSED.len()],
    has_values: bool,
    /// Passed on, too, but often rewritten for each consumer.
    pub dependency: Option<&'a [u8]>,
}

/// Passed on as they are. The others are made anew for each consumer.
const PASSED: [Extension; 6] = [
    Extension::AudioLevel,
    Extension::VideoOrientation,
    Extension::TransmissionOffset,
    Extension::AbsCaptureTime,
    Extension::PlayoutDelay,
    Extension::ColorSpace,
];

impl<'a> Passed<'a> {
    pub fn read(packet: &Packet<'a>, ids: &ExtensionIds) -> Self {
        let mut passed = Self::default();
        let dependency = ids.get(Extension::DependencyDescriptor);
        for element in packet.extensions() {
            if dependency == Some(element.id) {
                passed.dependency = Some(element.data);
                continue;
            }
            for (slot, extension) in passed.values.iter_mut().zip(PASSED) {
                // Longer ones are not what they say, and would make every receiver's header grow.
                if ids.get(extension) == Some(element.id) && element.data.len() <= 16 {
                    *slot = Some(element.data);
                    passed.has_values = true;
                }
            }
        }
        passed
    }
}

/// Values of this very sending.
pub struct Fresh {
    pub send_time: AbsSendTime,
    pub transport_sequence: u16,
}

/// The header of a packet that brings no extensions of its own, which most packets of pictures are: written once, and
/// then only its numbers change.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    bytes: [u8; TEMPLATE],
    len: u8,
    /// Where the values of a sending go; 0: nowhere.
    send_time_at: u8,
    transport_sequence_at: u8,
}

impl Template {
    /// `None` if there is too much in it, or what the short form of elements cannot say (RFC 8285 §4.2).
    pub fn new(agreed: &Consumed) -> Option<Self> {
        let mut bytes = [0; TEMPLATE];
        let (mut send_time_at, mut transport_sequence_at) = (0, 0);
        let mut at = FIXED_HEADER + BLOCK_HEADER;
        let mut push = |extension, len: usize| {
            let id = agreed.extensions.get(extension)?;
            let begin = at + 1;
            at = begin + len;
            let fits = id <= 14 && (1..=16).contains(&len);
            Some(if fits { begin } else { usize::MAX })
        };
        let mid = push(Extension::Mid, agreed.mid.len());
        let send_time = push(Extension::AbsSendTime, 3);
        let transport_sequence = push(Extension::TransportCc, 2);
        for (begin, slot) in
            [(send_time, &mut send_time_at), (transport_sequence, &mut transport_sequence_at)]
        {
            *slot = u8::try_from(begin.unwrap_or(0)).ok()?;
        }
        if mid == Some(usize::MAX) {
            return None;
        }
        let mut writer = ExtensionWriter::new(bytes.get_mut(FIXED_HEADER..)?);
        let later = Fresh { send_time: AbsSendTime::from_ns(0), transport_sequence: 0 };
        write_own(&mut writer, agreed, &later)?;
        let len = FIXED_HEADER + writer.finish().ok()?;
        Some(Self { bytes, len: len as u8, send_time_at, transport_sequence_at })
    }

    pub fn is_numbered(&self) -> bool {
        self.transport_sequence_at > 0
    }

    fn fill<'b>(
        &self,
        out: &'b mut [u8; TEMPLATE],
        fixed: FixedHeader,
        fresh: &Fresh,
    ) -> Option<&'b mut [u8]> {
        *out = self.bytes;
        let len = usize::from(self.len);
        out[..FIXED_HEADER].copy_from_slice(&fixed.to_bytes(len > FIXED_HEADER));
        if self.send_time_at > 0 {
            let at = usize::from(self.send_time_at);
            out.get_mut(at..at + 3)?.copy_from_slice(&fresh.send_time.to_bytes());
        }
        if self.transport_sequence_at > 0 {
            let at = usize::from(self.transport_sequence_at);
            out.get_mut(at..at + 2)?.copy_from_slice(&fresh.transport_sequence.to_be_bytes());
        }
        out.get_mut(..len)
    }
}

/// What every header of the consumer's carries.
fn write_own(writer: &mut ExtensionWriter<'_>, agreed: &Consumed, fresh: &Fresh) -> Option<()> {
    if let Some(id) = agreed.extensions.get(Extension::Mid) {
        writer.push(id, agreed.mid.as_bytes()).ok()?;
    }
    if let Some(id) = agreed.extensions.get(Extension::AbsSendTime) {
        writer.push(id, &fresh.send_time.to_bytes()).ok()?;
    }
    if let Some(id) = agreed.extensions.get(Extension::TransportCc) {
        writer.push(id, &fresh.transport_sequence.to_be_bytes()).ok()?;
    }
    Some(())
}

/// Room for a whole RTP header: three sizes, so that nobody clears more than is used.
pub struct HeaderBuffer {
    quick: [u8; TEMPLATE],
    short: Option<[u8; MAX_HEADER]>,
    long: Option<[u8; MAX_LONG_HEADER]>,
}

impl HeaderBuffer {
    pub fn new() -> Self {
        Self { quick: [0; TEMPLATE], short: None, long: None }
    }

    /// Writes the header, extensions included. `dependency` is the packet's dependency descriptor as this consumer is to
    /// see it.
    pub fn write(
        &mut self,
        fixed: FixedHeader,
        (template, agreed): (Option<&Template>, &Consumed),
        passed: &Passed<'_>,
        dependency: Option<&[u8]>,
        fresh: &Fresh,
    ) -> Option<&mut [u8]> {
        if let Some(template) = template
            && !passed.has_values
            && dependency.is_none()
        {
            return template.fill(&mut self.quick, fixed, fresh);
        }
        let bytes: &mut [u8] = match dependency {
            Some(value) if value.len() > 16 => self.long.insert([0; MAX_LONG_HEADER]),
            _ => self.short.insert([0; MAX_HEADER]),
        };
        let mut writer = ExtensionWriter::new(&mut bytes[FIXED_HEADER..]);
        write_own(&mut writer, agreed, fresh)?;
        for (value, extension) in passed.values.iter().zip(PASSED) {
            if let (Some(value), Some(id)) = (value, agreed.extensions.get(extension)) {
                writer.push(id, value).ok()?;
            }
        }
        if let (Some(value), Some(id)) = (dependency, agreed.extensions.get(Extension::DependencyDescriptor))
        {
            writer.push(id, value).ok()?;
        }
        let block = writer.finish().ok()?;
        bytes[..FIXED_HEADER].copy_from_slice(&fixed.to_bytes(block > 0));
        bytes.get_mut(..FIXED_HEADER + block)
    }

    /// A header for nothing but padding (RFC 3550 §5.1).
    pub fn write_padding(
        &mut self,
        fixed: FixedHeader,
        consumer: (Option<&Template>, &Consumed),
        fresh: &Fresh,
    ) -> Option<&[u8]> {
        let header = self.write(fixed, consumer, &Passed::default(), None, fresh)?;
        header[0] |= 0x20;
        Some(header)
    }
}

const BLOCK_HEADER: usize = 4;
/// A MID of our own making, and both values of a sending.
const TEMPLATE: usize = 48;
/// Fixed header and every extension in two-byte form while it is written.
const MAX_HEADER: usize = FIXED_HEADER + 166;
/// With a dependency descriptor that brings its structure.
const MAX_LONG_HEADER: usize = MAX_HEADER + 240;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ortc::codec::Codec;
    use wire::ortc::ConsumerType;

    fn agreed(mid: &str, ids: &[(Extension, u8)]) -> Consumed {
        let mut extensions = ExtensionIds::default();
        ids.iter().for_each(|(extension, id)| extensions.set(*extension, *id));
        Consumed {
            consumer_type: ConsumerType::Simple,
            codec: Codec::Vp8,
            payload_type: 96,
            rtx: None,
            red: None,
            ssrc: 7,
            extensions,
            clock_rate: 90_000,
            mid: mid.into(),
            cname: "guest".into(),
        }
    }

    #[test]
    fn a_template_says_what_would_have_been_written_out() {
        let fixed = || FixedHeader {
            marker: true,
            payload_type: 97,
            sequence_number: 0xABCD,
            timestamp: 0x0102_0304,
            ssrc: 0x0506_0708,
        };
        let fresh = Fresh { send_time: AbsSendTime::from_ns(1_234_567_890), transport_sequence: 0xBEEF };
        let all = [(Extension::Mid, 1), (Extension::AbsSendTime, 4), (Extension::TransportCc, 5)];
        for chosen in 0..8 {
            let ids: Vec<_> =
                all.into_iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, id)| id).collect();
            for mid in ["0", "12", "4095", "a mid of 16 octs"] {
                let agreed = agreed(mid, &ids);
                let template = Template::new(&agreed).unwrap();
                assert_eq!(template.is_numbered(), agreed.extensions.get(Extension::TransportCc).is_some());
                let (mut quick, mut whole) = (HeaderBuffer::new(), HeaderBuffer::new());
                let none = Passed::default();
                let filled = quick.write(fixed(), (Some(&template), &agreed), &none, None, &fresh).unwrap();
                let written = whole.write(fixed(), (None, &agreed), &none, None, &fresh).unwrap();
                assert_eq!(filled, written, "{ids:?}, mid {mid:?}");
            }
        }
    }

    #[test]
    fn what_the_short_form_cannot_say_is_written_out() {
        for (mid, id) in [("0", 15), ("", 1), ("seventeen octets!", 1)] {
            assert!(Template::new(&agreed(mid, &[(Extension::Mid, id)])).is_none(), "{mid:?} as {id}");
        }
        assert!(Template::new(&agreed("0", &[(Extension::TransportCc, 15)])).is_none());
    }
}
