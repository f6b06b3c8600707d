//! Golden tests: what an unmodified mediasoup-client 3.24.1 in Chromium sent, and what mediasoup 3.27.1 answered.

use super::consume::{Placement, consume};
use super::produce::{Produced, produce};
use super::*;
use crate::error::Error;
use wire::ortc::{ConsumerType, RtpParameters};

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

const OPUS: &str = include_str!("golden/produce-opus.json");
const SIMULCAST: &str = include_str!("golden/produce-vp8-simulcast.json");
const VP8: &str = include_str!("golden/produce-vp8.json");

fn device() -> RtpCapabilities {
    parse(include_str!("golden/device-capabilities.json"))
}

/// Chromium's H.264, as it names it.
fn h264() -> RtpParameters {
    let mut parameters: RtpParameters = parse(VP8);
    parameters.codecs[0].mime_type = "video/H264".into();
    parameters.codecs[0].payload_type = 108;
    parameters.codecs[0].parameters = object(
        json!({ "level-asymmetry-allowed": 1, "packetization-mode": 1, "profile-level-id": "42e01f" }),
    );
    parameters.codecs[1].payload_type = 109;
    parameters.codecs[1].parameters = object(json!({ "apt": 108 }));
    parameters
}

fn video(json: &str) -> Produced {
    produce(MediaKind::Video, parse(json)).unwrap()
}

fn check_consumer(produced: &Produced, expected: &str, consumer_type: ConsumerType) {
    let expected: RtpParameters = parse(expected);
    let ssrc = expected.encodings[0].ssrc.unwrap();
    let place = Placement {
        mid: expected.mid.clone().unwrap(),
        ssrc,
        rtx_ssrc: ssrc + 1,
        cname: expected.rtcp.cname.clone().unwrap(),
    };
    let (consumed, mut parameters) = consume(produced, &device(), place).unwrap();
    // mediasoup copies the message; ours is from another producer than the recorded consumer's.
    parameters.msid = expected.msid.clone();
    assert_eq!(parameters, expected);
    assert_eq!(consumed.consumer_type, consumer_type);
}

#[test]
fn the_router_announces_what_mediasoup_does_except_what_it_does_not_carry() {
    let mut expected: RtpCapabilities = parse(include_str!("golden/router-capabilities.json"));
    expected.header_extensions.retain(|e| Extension::from_uri(&e.uri).is_some());
    for extension in &mut expected.header_extensions {
        if extension.uri == rtp::ext::DEPENDENCY_DESCRIPTOR {
            // mediasoup keeps it to itself; receivers of some layers have use for it.
            extension.direction = Some("sendrecv".into());
        }
    }
    let mut ours = router_capabilities();
    // The recording is of a router that was made without AV1.
    ours.codecs.retain(|c| !matches!(c.preferred_payload_type, Some(107 | 108)));
    // mediasoup does not know it; without it nobody knows the colours of a browser's VP8.
    ours.header_extensions.retain(|e| e.uri != rtp::ext::COLOR_SPACE);
    assert_eq!(ours.codecs, expected.codecs);
    assert_eq!(ours.header_extensions, expected.header_extensions);
}

#[test]
fn consumers_get_what_mediasoup_would_give() {
    let opus = produce(MediaKind::Audio, parse(OPUS)).unwrap();
    check_consumer(&opus, include_str!("golden/consume-opus.json"), ConsumerType::Simple);
    let simulcast = include_str!("golden/consume-vp8-simulcast.json");
    check_consumer(&video(SIMULCAST), simulcast, ConsumerType::Simulcast);
    let h264 = produce(MediaKind::Video, h264()).unwrap();
    check_consumer(&h264, include_str!("golden/consume-h264.json"), ConsumerType::Simple);
}

#[test]
fn a_producers_own_numbers_are_kept() {
    let opus = produce(MediaKind::Audio, parse(OPUS)).unwrap();
    assert_eq!(opus.parameters.payload_type, 111);
    assert_eq!(opus.extensions.get(Extension::Mid), Some(4));
    assert_eq!(opus.extensions.get(Extension::AudioLevel), Some(1));
    assert!(opus.supports.transport_cc && !opus.supports.nack);
    let simulcast = video(SIMULCAST);
    assert_eq!(simulcast.rtx_payload_type, Some(97));
    assert_eq!(simulcast.extensions.get(Extension::RepairedRid), Some(11));
    let rids: Vec<_> = simulcast.encodings.iter().map(|e| e.rid.as_deref().unwrap()).collect();
    assert_eq!(rids, ["r0", "r1", "r2"]);
    assert_eq!(simulcast.cname, None, "an empty cname is none");
    assert!(simulcast.supports.nack && simulcast.supports.pli && simulcast.supports.remb);
    let single = video(VP8);
    assert_eq!(single.encodings[0].rtx_ssrc, Some(3525168694));
}

#[test]
fn a_device_without_the_codec_cannot_consume_and_one_without_rtx_can() {
    let place = || Placement { mid: "0".into(), ssrc: 1, rtx_ssrc: 2, cname: "c".into() };
    let mut device = device();
    device.codecs.retain(|c| c.preferred_payload_type != Some(102));
    let (consumed, parameters) = consume(&video(VP8), &device, place()).unwrap();
    assert_eq!(consumed.rtx, None);
    assert_eq!(parameters.encodings[0].rtx, None);
    device.codecs.retain(|c| c.mime_type != "video/VP8");
    assert_eq!(consume(&video(VP8), &device, place()).unwrap_err(), Error::CannotConsume);
    assert_eq!(consume(&video(VP8), &RtpCapabilities::default(), place()).unwrap_err(), Error::CannotConsume);
}

#[test]
fn without_transport_wide_feedback_a_device_reports_remb() {
    let mut device = device();
    device.header_extensions.retain(|e| e.preferred_id != 5);
    let place = Placement { mid: "0".into(), ssrc: 1, rtx_ssrc: 2, cname: "c".into() };
    let (_, parameters) = consume(&video(VP8), &device, place).unwrap();
    let feedback: Vec<_> = parameters.codecs[0].rtcp_feedback.iter().map(|f| f.kind.as_str()).collect();
    assert!(feedback.contains(&"goog-remb") && !feedback.contains(&"transport-cc"));
}

#[test]
fn a_device_that_names_no_transport_wide_feedback_gets_no_numbers() {
    let mut device = device();
    device.codecs.iter_mut().for_each(|c| c.rtcp_feedback.retain(|f| f.kind != "transport-cc"));
    let place = Placement { mid: "0".into(), ssrc: 1, rtx_ssrc: 2, cname: "c".into() };
    let (consumed, parameters) = consume(&video(VP8), &device, place).unwrap();
    assert_eq!(consumed.extensions.get(Extension::TransportCc), None);
    assert!(parameters.header_extensions.iter().all(|e| e.uri != rtp::ext::TRANSPORT_CC));
    assert!(parameters.codecs[0].rtcp_feedback.iter().any(|f| f.kind == "goog-remb"));
}

#[test]
fn bad_parameters_are_refused_with_the_reason() {
    type Spoil = fn(&mut RtpParameters);
    let invalid: &[(&str, Spoil)] = &[
        ("no codec", |p| p.codecs.clear()),
        ("only rtx", |p| drop(p.codecs.remove(0))),
        ("no encoding", |p| p.encodings.clear()),
        ("payload type of RTCP", |p| p.codecs[0].payload_type = 72),
        ("payload type out of range", |p| p.codecs[0].payload_type = 128),
        ("payload type twice", |p| p.codecs[1].payload_type = 96),
        ("extension id 0", |p| p.header_extensions[0].id = 0),
        ("extension id twice", |p| p.header_extensions[0].id = p.header_extensions[1].id),
        ("encrypted extension", |p| p.header_extensions[0].encrypt = true),
        ("ssrc 0", |p| p.encodings[0].ssrc = Some(0)),
        ("ssrc twice", |p| p.encodings[0].ssrc = Some(3525168694)),
        ("mid with a line break", |p| p.mid = Some("0\r\na=x".into())),
        ("long mid", |p| p.mid = Some("m".repeat(17))),
        ("cname with a line break", |p| p.rtcp.cname = Some("a\nb".into())),
        ("msid with a line break", |p| p.msid = Some("a\nb".into())),
        ("parameter with a line break", |p| {
            p.codecs[0].parameters.insert("x".into(), json!("1\r\na=y"));
        }),
        ("nested parameter", |p| {
            p.codecs[0].parameters.insert("x".into(), json!([1]));
        }),
        ("bitrate below zero", |p| p.encodings[0].max_bitrate = Some(-1.0)),
        ("no ssrc and nothing to learn it by", |p| {
            p.encodings[0].ssrc = None;
            p.header_extensions.clear();
        }),
        ("two encodings that nothing tells apart", |p| {
            p.encodings = vec![Default::default(), Default::default()];
        }),
        ("audio codec as video", |p| p.codecs[0].mime_type = "audio/opus".into()),
    ];
    for (name, spoil) in invalid {
        let mut parameters: RtpParameters = parse(VP8);
        spoil(&mut parameters);
        let refused = produce(MediaKind::Video, parameters);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{name}: {refused:?}");
    }
    let unsupported: &[(&str, Spoil)] = &[
        ("H.265", |p| p.codecs[0].mime_type = "video/H265".into()),
        ("another clock", |p| p.codecs[0].clock_rate = 48_000),
        ("VP9 profile 2", |p| {
            p.codecs[0].mime_type = "video/VP9".into();
            p.codecs[0].parameters.insert("profile-id".into(), json!(2));
        }),
        ("H.264 without packetization mode", |p| {
            p.codecs[0].mime_type = "video/H264".into();
            p.codecs[0].parameters.insert("profile-level-id".into(), json!("42e01f"));
        }),
    ];
    for (name, spoil) in unsupported {
        let mut parameters: RtpParameters = parse(VP8);
        spoil(&mut parameters);
        let refused = produce(MediaKind::Video, parameters);
        assert!(matches!(refused, Err(Error::UnsupportedCodec(_))), "{name}: {refused:?}");
    }
    for spoil in [
        |p: &mut RtpParameters| p.encodings = vec![Default::default(); 17],
        |p: &mut RtpParameters| p.codecs = vec![p.codecs[0].clone(); 33],
        |p: &mut RtpParameters| p.header_extensions = vec![p.header_extensions[0].clone(); 33],
    ] {
        let mut parameters: RtpParameters = parse(VP8);
        spoil(&mut parameters);
        assert!(matches!(produce(MediaKind::Video, parameters), Err(Error::Limit(_))));
    }
}
