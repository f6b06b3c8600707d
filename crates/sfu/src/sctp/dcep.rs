//! The Data Channel Establishment Protocol (RFC 8832), as far as a server needs it whose clients agree on channels by
//! signaling: an OPEN is acknowledged where it does no harm, and changes nothing.

/// What a DCEP message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dcep {
    /// DATA_CHANNEL_OPEN; the channel's parameters are signaling's business.
    Open,
    /// DATA_CHANNEL_ACK: we open no channel, so nobody waits for it.
    Ack,
}

impl Dcep {
    /// `None`: unknown or malformed. The receiver closes such a channel (RFC 8832 §6).
    pub fn parse(message: &[u8]) -> Option<Self> {
        match *message.first()? {
            MESSAGE_ACK => Some(Self::Ack),
            MESSAGE_OPEN => {
                let header = message.get(..OPEN_HEADER)?;
                let number = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
                let is_known = matches!(header[1] & !UNORDERED, RELIABLE | RETRANSMITS | LIFETIME);
                let fits = message.len() == OPEN_HEADER + number(8) + number(10);
                (is_known && fits).then_some(Self::Open)
            }
            _ => None,
        }
    }
}

/// The whole of a DATA_CHANNEL_ACK (RFC 8832 §5.2).
pub const ACK: &[u8] = &[MESSAGE_ACK];

const MESSAGE_ACK: u8 = 0x02;
const MESSAGE_OPEN: u8 = 0x03;
const OPEN_HEADER: usize = 12;
const UNORDERED: u8 = 0x80;
const RELIABLE: u8 = 0x00;
const RETRANSMITS: u8 = 0x01;
const LIFETIME: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_are_told_from_nonsense() {
        let open = |channel_type: u8, label: &str, protocol: &str| {
            let mut bytes = vec![MESSAGE_OPEN, channel_type, 1, 0, 0, 0, 0, 0];
            bytes.extend((label.len() as u16).to_be_bytes());
            bytes.extend((protocol.len() as u16).to_be_bytes());
            bytes.extend(label.bytes().chain(protocol.bytes()));
            bytes
        };
        for channel_type in [0x00, 0x80, 0x01, 0x81, 0x02, 0x82] {
            assert_eq!(Dcep::parse(&open(channel_type, "chat", "")), Some(Dcep::Open));
        }
        assert_eq!(Dcep::parse(&open(0x03, "chat", "")), None);
        let good = open(0, "chat", "json");
        for len in 0..good.len() {
            assert_eq!(Dcep::parse(&good[..len]), None, "{len}");
        }
        assert_eq!(Dcep::parse(&[&good[..], &[0]].concat()), None);
        assert_eq!(Dcep::parse(ACK), Some(Dcep::Ack));
        assert_eq!(Dcep::parse(&[0x07]), None);
    }
}
