//! A producer's RTP parameters, checked and turned into what the packet path looks up.

use super::codec::{Codec, Description, apt, is_red, is_rtx};
use super::{Extension, ExtensionIds, router_capabilities};
use crate::error::Error;
use crate::layering::uses_dependency;
use crate::producer::video_codec;
use serde_json::{Map, Value};
use wire::ortc::{
    ConsumerType, MediaKind, RtpCapabilities, RtpCodecCapability, RtpCodecParameters, RtpEncodingParameters,
    RtpHeaderExtensionParameters, RtpParameters,
};

/// Everything known of a producer before its first packet.
#[derive(Clone, Debug)]
pub struct Produced {
    pub kind: MediaKind,
    pub consumer_type: ConsumerType,
    pub codec: Codec,
    /// The codec as the producer describes it.
    pub parameters: RtpCodecParameters,
    /// The producer's payload type for RTX, if it has one.
    pub rtx_payload_type: Option<u8>,
    /// The producer's payload type for redundant audio, if it has one.
    pub red_payload_type: Option<u8>,
    pub mid: Option<String>,
    /// The producer's ids.
    pub extensions: ExtensionIds,
    pub encodings: Vec<Encoding>,
    /// As announced; each encoding of simulcast is one.
    pub spatial_layers: u8,
    pub cname: Option<String>,
    pub supports: Feedback,
    /// In the router's numbers: what consumers' parameters are cut from.
    pub consumable: RtpParameters,
}

/// One simulcast layer, or the only stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub rid: Option<String>,
}

/// Which RTCP feedback the producer listens to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub remb: bool,
    pub transport_cc: bool,
}

/// Checks `parameters` and maps them to the router's.
pub fn produce(kind: MediaKind, parameters: RtpParameters) -> Result<Produced, Error> {
    check_bounds(&parameters)?;
    let capabilities = router_capabilities();
    let media = parameters
        .codecs
        .iter()
        .find(|c| !is_rtx(&c.mime_type) && !is_red(&c.mime_type))
        .ok_or_else(|| Error::invalid("rtpParameters.codecs need a media codec"))?;
    let capability = find_capability(&capabilities, media, kind)?;
    let codec =
        Codec::from_mime(&media.mime_type).ok_or_else(|| Error::UnsupportedCodec(media.mime_type.clone()))?;
    let rtx_payload_type = parameters
        .codecs
        .iter()
        .find(|c| is_rtx(&c.mime_type) && apt(&c.parameters) == Some(media.payload_type))
        .map(|c| c.payload_type);
    let red = red_of(&parameters, media);
    let extensions = extension_ids(&parameters.header_extensions)?;
    let encodings = encodings(&parameters, kind, extensions)?;
    let (spatial, temporal) = layers(&parameters.encodings).unwrap_or((1, 1));
    let consumer_type = match (encodings.len(), codec) {
        (2.., _) => ConsumerType::Simulcast,
        (_, Codec::Vp9 | Codec::Av1) if (spatial, temporal) != (1, 1) => ConsumerType::Svc,
        // In mediasoup's terms: simulcast of one encoding with temporal layers.
        (_, Codec::Vp8 | Codec::H264) if (spatial, temporal) != (1, 1) => ConsumerType::Simulcast,
        _ => ConsumerType::Simple,
    };
    let spatial_layers = if encodings.len() > 1 { encodings.len() as u8 } else { spatial };
    let has = |name: &str, parameter: &str| {
        media.rtcp_feedback.iter().any(|f| f.kind == name && f.parameter == parameter)
    };
    let supports = Feedback {
        nack: has("nack", ""),
        pli: has("nack", "pli"),
        fir: has("ccm", "fir"),
        remb: has("goog-remb", ""),
        transport_cc: has("transport-cc", "") && extensions.get(Extension::TransportCc).is_some(),
    };
    Ok(Produced {
        kind,
        consumer_type,
        codec,
        parameters: media.clone(),
        rtx_payload_type,
        red_payload_type: red.map(|c| c.payload_type),
        mid: parameters.mid.clone(),
        extensions,
        spatial_layers,
        cname: parameters.rtcp.cname.clone().filter(|c| !c.is_empty()),
        supports,
        consumable: consumable(kind, codec, &capabilities, capability, media, &parameters),
        encodings,
    })
}

fn find_capability<'c>(
    capabilities: &'c RtpCapabilities,
    media: &RtpCodecParameters,
    kind: MediaKind,
) -> Result<&'c RtpCodecCapability, Error> {
    let prefix = if kind == MediaKind::Audio { "audio/" } else { "video/" };
    if !media.mime_type.get(..6).is_some_and(|p| p.eq_ignore_ascii_case(prefix)) {
        return Err(Error::invalid(format!("{} is not a codec of that kind", media.mime_type)));
    }
    let wanted = describe(media);
    capabilities
        .codecs
        .iter()
        .find(|c| !is_rtx(&c.mime_type) && describe_capability(c).matches(&wanted))
        .ok_or_else(|| Error::UnsupportedCodec(media.mime_type.clone()))
}

pub(super) fn describe(codec: &RtpCodecParameters) -> Description<'_> {
    Description {
        mime_type: &codec.mime_type,
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: &codec.parameters,
    }
}

pub(super) fn describe_capability(codec: &RtpCodecCapability) -> Description<'_> {
    Description {
        mime_type: &codec.mime_type,
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: &codec.parameters,
    }
}

fn extension_ids(listed: &[RtpHeaderExtensionParameters]) -> Result<ExtensionIds, Error> {
    let mut ids = ExtensionIds::default();
    let mut taken = [false; 256];
    for extension in listed {
        if extension.encrypt {
            return Err(Error::invalid("encrypted header extensions are not supported"));
        }
        if extension.id == 0 || std::mem::replace(&mut taken[usize::from(extension.id)], true) {
            return Err(Error::invalid("header extension ids must be from 1 to 255, each used once"));
        }
        if let Some(known) = Extension::from_uri(&extension.uri) {
            ids.set(known, extension.id);
        }
    }
    Ok(ids)
}

fn encodings(parameters: &RtpParameters, kind: MediaKind, ids: ExtensionIds) -> Result<Vec<Encoding>, Error> {
    let mut seen = Vec::new();
    let mut encodings = Vec::new();
    for encoding in &parameters.encodings {
        let ssrcs = [encoding.ssrc, encoding.rtx.as_ref().map(|r| r.ssrc)];
        for ssrc in ssrcs.into_iter().flatten() {
            if ssrc == 0 || seen.contains(&ssrc) {
                return Err(Error::invalid("SSRCs must differ from each other and from 0"));
            }
            seen.push(ssrc);
        }
        if encoding.ssrc.is_none() && encoding.rid.is_none() && parameters.encodings.len() > 1 {
            return Err(Error::invalid("several encodings need an ssrc or a rid each"));
        }
        let rid = encoding.rid.clone();
        if rid.is_some() && encodings.iter().any(|e: &Encoding| e.rid == rid) {
            return Err(Error::invalid("rids must differ"));
        }
        encodings.push(Encoding { ssrc: encoding.ssrc, rtx_ssrc: ssrcs[1], rid });
    }
    if kind == MediaKind::Audio && encodings.len() > 1 {
        return Err(Error::invalid("audio has one encoding"));
    }
    let learns = encodings.iter().any(|e| e.ssrc.is_none());
    if learns && ids.get(Extension::Mid).is_none() && ids.get(Extension::Rid).is_none() {
        return Err(Error::invalid("encodings without ssrc need the mid or rid header extension"));
    }
    Ok(encodings)
}

/// The same in the router's numbers (mediasoup's "consumable" parameters).
fn consumable(
    kind: MediaKind,
    codec: Codec,
    capabilities: &RtpCapabilities,
    capability: &RtpCodecCapability,
    media: &RtpCodecParameters,
    parameters: &RtpParameters,
) -> RtpParameters {
    let payload_type = capability.preferred_payload_type.unwrap_or_default();
    let mut codecs = vec![RtpCodecParameters {
        mime_type: capability.mime_type.clone(),
        payload_type,
        clock_rate: capability.clock_rate,
        channels: capability.channels,
        parameters: media.parameters.clone(),
        rtcp_feedback: capability.rtcp_feedback.clone(),
    }];
    let rtx =
        capabilities.codecs.iter().find(|c| is_rtx(&c.mime_type) && apt(&c.parameters) == Some(payload_type));
    codecs.extend(rtx.map(|c| RtpCodecParameters {
        mime_type: c.mime_type.clone(),
        payload_type: c.preferred_payload_type.unwrap_or_default(),
        clock_rate: c.clock_rate,
        channels: None,
        parameters: c.parameters.clone(),
        rtcp_feedback: c.rtcp_feedback.clone(),
    }));
    if red_of(parameters, media).is_some() {
        codecs.push(RtpCodecParameters {
            mime_type: "audio/red".into(),
            payload_type: RED_PAYLOAD_TYPE,
            clock_rate: capability.clock_rate,
            channels: capability.channels,
            parameters: Map::new(),
            rtcp_feedback: Vec::new(),
        });
    }
    let header_extensions = Extension::ALL
        .into_iter()
        .filter(|e| e.kinds().contains(&kind) && e.is_forwarded(kind))
        .filter(|e| *e != Extension::DependencyDescriptor || tells_dependencies(codec))
        .map(|e| RtpHeaderExtensionParameters {
            uri: e.uri().into(),
            id: e.router_id(),
            encrypt: false,
            parameters: Map::new(),
        })
        .collect();
    RtpParameters {
        mid: None,
        codecs,
        header_extensions,
        encodings: parameters.encodings.clone(),
        rtcp: parameters.rtcp.clone(),
        msid: parameters.msid.clone(),
    }
}

/// The redundant form of `media`, if the producer sends one.
fn red_of<'p>(parameters: &'p RtpParameters, media: &RtpCodecParameters) -> Option<&'p RtpCodecParameters> {
    let wraps = |c: &&RtpCodecParameters| {
        is_red(&c.mime_type) && (c.clock_rate, c.channels) == (media.clock_rate, media.channels)
    };
    parameters.codecs.iter().find(wraps)
}

/// Other codecs tell enough in their payloads.
fn tells_dependencies(codec: Codec) -> bool {
    video_codec(codec).is_some_and(uses_dependency)
}

/// Spatial and temporal layers of the first encoding that names a scalability mode.
pub(super) fn layers(encodings: &[RtpEncodingParameters]) -> Option<(u8, u8)> {
    encodings.iter().find_map(|e| e.scalability_mode.as_deref()).map(parse_layers)
}

/// `L3T2`, `S2T3`, `L3T3_KEY`: (spatial, temporal); anything else is one of each.
fn parse_layers(mode: &str) -> (u8, u8) {
    let parse = || {
        let (spatial, rest) = mode.strip_prefix(['L', 'S'])?.split_once('T')?;
        let temporal = rest.split_once('_').map_or(rest, |(digits, _)| digits);
        Some((spatial.parse().ok()?, temporal.parse().ok()?))
    };
    parse().filter(|(s, t)| (1..=8).contains(s) && (1..=8).contains(t)).unwrap_or((1, 1))
}

/// Counts, ranges, and no text that could break out of the SDP other clients make of it.
fn check_bounds(parameters: &RtpParameters) -> Result<(), Error> {
    limit("codecs", parameters.codecs.len(), MAX_CODECS)?;
    limit("header extensions", parameters.header_extensions.len(), MAX_EXTENSIONS)?;
    limit("encodings", parameters.encodings.len(), MAX_ENCODINGS)?;
    if parameters.encodings.is_empty() {
        return Err(Error::invalid("rtpParameters.encodings must not be empty"));
    }
    let mut payload_types = [false; 128];
    for codec in &parameters.codecs {
        check_codec(codec)?;
        // Larger ones are no payload types; 64–95 would look like RTCP (RFC 5761 §4).
        let slot = payload_types
            .get_mut(usize::from(codec.payload_type))
            .filter(|_| !(64..96).contains(&codec.payload_type));
        match slot {
            Some(taken) if !*taken => *taken = true,
            _ => {
                return Err(Error::invalid(
                    "payload types must be from 0 to 63 or 96 to 127, each used once",
                ));
            }
        }
    }
    for extension in &parameters.header_extensions {
        check_text("header extension uri", &extension.uri, 256)?;
    }
    for encoding in &parameters.encodings {
        check_encoding(encoding)?;
    }
    check_name("mid", parameters.mid.as_deref(), MAX_NAME)?;
    check_name("cname", parameters.rtcp.cname.as_deref().filter(|c| !c.is_empty()), 255)?;
    if let Some(msid) = &parameters.msid {
        check_text("msid", msid, 256)?;
    }
    Ok(())
}

fn check_codec(codec: &RtpCodecParameters) -> Result<(), Error> {
    check_text("mimeType", &codec.mime_type, 64)?;
    limit("codec parameters", codec.parameters.len(), 32)?;
    limit("rtcpFeedback entries", codec.rtcp_feedback.len(), 32)?;
    for (name, value) in &codec.parameters {
        check_text("codec parameter", name, 64)?;
        match value {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => check_text("codec parameter", text, 512)?,
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
            _ => return Err(Error::invalid("codec parameters are numbers, strings or booleans")),
        }
    }
    for feedback in &codec.rtcp_feedback {
        check_text("rtcpFeedback", &feedback.kind, 64)?;
        if !feedback.parameter.is_empty() {
            check_text("rtcpFeedback", &feedback.parameter, 64)?;
        }
    }
    Ok(())
}

fn check_encoding(encoding: &RtpEncodingParameters) -> Result<(), Error> {
    check_name("rid", encoding.rid.as_deref(), MAX_NAME)?;
    check_name("scalabilityMode", encoding.scalability_mode.as_deref(), 32)?;
    let is_sane = |n: Option<f64>| n.is_none_or(|n| n.is_finite() && n >= 0.0);
    if !is_sane(encoding.max_bitrate) || !is_sane(encoding.scale_resolution_down_by) {
        return Err(Error::invalid("maxBitrate and scaleResolutionDownBy must not be negative"));
    }
    Ok(())
}

fn limit(what: &'static str, count: usize, max: usize) -> Result<(), Error> {
    if count <= max { Ok(()) } else { Err(Error::Limit(what)) }
}

fn check_name(what: &str, name: Option<&str>, max: usize) -> Result<(), Error> {
    match name {
        Some(name) if name.is_empty() || name.len() > max || !name.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(Error::invalid(format!("{what} must be 1 to {max} printable characters")))
        }
        _ => Ok(()),
    }
}

fn check_text(what: &str, text: &str, max: usize) -> Result<(), Error> {
    let is_fine =
        !text.is_empty() && text.len() <= max && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if is_fine {
        Ok(())
    } else {
        Err(Error::invalid(format!("{what} must be 1 to {max} printable characters")))
    }
}

const MAX_CODECS: usize = 32;
const MAX_EXTENSIONS: usize = 32;
/// The router's. It is not among its capabilities: `mediasoup-client` would offer it to the browser without the parameter
/// that names what it wraps; Chromium 156 then leaves it out of its answer, and hears nothing.
pub(super) const RED_PAYLOAD_TYPE: u8 = 109;
const MAX_ENCODINGS: usize = crate::layers::MAX_SPATIAL;
/// The longest element of a one-byte header extension (RFC 8285 §4.2); browsers use one to three characters.
const MAX_NAME: usize = 16;
