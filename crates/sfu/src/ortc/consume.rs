//! What one consumer gets of a producer: the cut between what is produced and what the device can receive.

use super::codec::{Codec, apt, is_red, is_rtx};
use super::produce::{Produced, describe, describe_capability, layers};
use super::{Extension, ExtensionIds};
use crate::error::Error;
use wire::ortc::{
    ConsumerType, RtcpParameters, RtpCapabilities, RtpCodecCapability, RtpCodecParameters,
    RtpEncodingParameters, RtpParameters, RtxParameters,
};

/// A consumer's side of the agreement. What each packet needs stands first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Consumed {
    pub ssrc: u32,
    pub payload_type: u8,
    /// Payload type of redundant audio, if both ends know it.
    pub red: Option<u8>,
    pub consumer_type: ConsumerType,
    pub codec: Codec,
    /// Payload type and SSRC of retransmissions, if the device takes them.
    pub rtx: Option<(u8, u32)>,
    pub extensions: ExtensionIds,
    pub clock_rate: u32,
    pub mid: Box<str>,
    pub cname: Box<str>,
}

/// What the consumer's transport adds.
pub struct Placement {
    pub mid: String,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    /// The CNAME of the producer's transport: equal for all that must be in lip sync (RFC 7022 §4.2).
    pub cname: String,
}

/// Whether and how a device with `capabilities` can receive `produced`. The parameters are for the device alone: nobody here keeps them.
pub fn consume(
    produced: &Produced,
    capabilities: &RtpCapabilities,
    place: Placement,
) -> Result<(Consumed, RtpParameters), Error> {
    if capabilities.codecs.len() > MAX_CAPABILITIES || capabilities.header_extensions.len() > MAX_CAPABILITIES
    {
        return Err(Error::Limit("capabilities"));
    }
    // As in mediasoup, sound is not retransmitted: Opus conceals and repairs by itself.
    let with_rtx = produced.kind == wire::ortc::MediaKind::Video;
    let mut codecs: Vec<RtpCodecParameters> = Vec::new();
    let mut repaired = None;
    for codec in &produced.consumable.codecs {
        if is_rtx(&codec.mime_type) && !with_rtx {
            continue;
        }
        let wanted = describe(codec);
        let matches = |c: &&RtpCodecCapability| {
            // RTX of this very codec, in the device's own numbers.
            describe_capability(c).matches(&wanted)
                && (!is_rtx(&c.mime_type) || apt(&c.parameters) == repaired)
        };
        let Some(matched) = capabilities.codecs.iter().find(matches) else { continue };
        if !is_rtx(&codec.mime_type) {
            repaired = matched.preferred_payload_type;
        }
        let mut codec = codec.clone();
        codec.rtcp_feedback = matched.rtcp_feedback.clone();
        codec.rtcp_feedback.retain(|f| KNOWN_FEEDBACK.contains(&(f.kind.as_str(), f.parameter.as_str())));
        if !with_rtx {
            codec.rtcp_feedback.retain(|f| f.kind != "nack" || !f.parameter.is_empty());
        }
        codecs.push(codec);
    }
    let is_media = |c: &&RtpCodecParameters| !is_rtx(&c.mime_type) && !is_red(&c.mime_type);
    let media = codecs.first().filter(is_media).ok_or(Error::CannotConsume)?;
    let (payload_type, clock_rate) = (media.payload_type, media.clock_rate);
    codecs.retain(|c| !is_rtx(&c.mime_type) || apt(&c.parameters) == Some(payload_type));
    let rtx_payload_type = codecs.iter().find(|c| is_rtx(&c.mime_type)).map(|c| c.payload_type);

    let red = codecs.iter().find(|c| is_red(&c.mime_type)).map(|c| c.payload_type);

    let mut extensions = ExtensionIds::default();
    let mut header_extensions = produced.consumable.header_extensions.clone();
    // By uri and id, not by kind: mediasoup-client lists the common ones as video only.
    header_extensions
        .retain(|e| capabilities.header_extensions.iter().any(|c| c.preferred_id == e.id && c.uri == e.uri));
    // Numbers that nobody reports on would look lost. Firefox names the extension for pictures, and never the feedback for sound.
    if !codecs.iter().any(|c| c.rtcp_feedback.iter().any(|f| f.kind == "transport-cc")) {
        header_extensions.retain(|e| e.uri != rtp::ext::TRANSPORT_CC);
    }
    for listed in &header_extensions {
        if let Some(extension) = Extension::from_uri(&listed.uri) {
            extensions.set(extension, listed.id);
        }
    }
    let has_transport_cc = extensions.get(Extension::TransportCc).is_some();
    let has_send_time = extensions.get(Extension::AbsSendTime).is_some();
    for codec in &mut codecs {
        codec.rtcp_feedback.retain(|f| match f.kind.as_str() {
            "transport-cc" => has_transport_cc,
            "goog-remb" => has_send_time && !has_transport_cc,
            _ => true,
        });
    }

    let rtx = rtx_payload_type.map(|payload_type| (payload_type, place.rtx_ssrc));
    let (mid, cname) = (place.mid.as_str().into(), place.cname.as_str().into());
    let parameters = RtpParameters {
        mid: Some(place.mid),
        codecs,
        header_extensions,
        encodings: vec![encoding(produced, place.ssrc, rtx)],
        rtcp: RtcpParameters { cname: Some(place.cname), reduced_size: Some(true) },
        msid: produced.consumable.msid.clone(),
    };
    let consumed = Consumed {
        consumer_type: produced.consumer_type,
        codec: produced.codec,
        payload_type,
        rtx,
        red,
        ssrc: place.ssrc,
        extensions,
        clock_rate,
        mid,
        cname,
    };
    Ok((consumed, parameters))
}

fn encoding(produced: &Produced, ssrc: u32, rtx: Option<(u8, u32)>) -> RtpEncodingParameters {
    let encodings = &produced.consumable.encodings;
    let mode = encodings.iter().find_map(|e| e.scalability_mode.clone());
    let scalability_mode = match (encodings.len(), layers(encodings)) {
        // Simulcast is presented as one stream with as many spatial layers.
        (count @ 2.., Some((_, temporal))) => Some(format!("L{count}T{temporal}")),
        _ => mode,
    };
    let max_bitrate = encodings.iter().filter_map(|e| e.max_bitrate).fold(0.0, f64::max);
    RtpEncodingParameters {
        ssrc: Some(ssrc),
        rtx: rtx.map(|(_, ssrc)| RtxParameters { ssrc }),
        scalability_mode,
        max_bitrate: (max_bitrate > 0.0).then_some(max_bitrate),
        ..RtpEncodingParameters::default()
    }
}

/// Feedback types that mean something here. A device's own words are not echoed into its parameters.
const KNOWN_FEEDBACK: [(&str, &str); 5] =
    [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("goog-remb", ""), ("transport-cc", "")];
const MAX_CAPABILITIES: usize = 256;
