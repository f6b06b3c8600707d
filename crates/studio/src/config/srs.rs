//! An SRS (Simple Realtime Server) beside Greenroom, as configured, and the addresses it gives a room.

use super::{ConfigError, value};
use serde::Deserialize;
use wire::RoomId;
use wire::rest::{PlayUrls, PublishUrls};

/// `[srs]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSrs {
    pub rtmp: Option<String>,
    pub http: Option<String>,
    pub api: Option<String>,
}

/// Bases without a slash at their end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SrsConfig {
    /// `rtmp://host[:port]/app`.
    pub rtmp: Option<String>,
    /// Where its HTTP server has the app's streams: `http://host:8080/app`.
    pub http: Option<String>,
    /// `http://host:1985`.
    pub api: Option<String>,
}

impl SrsConfig {
    pub(super) fn from_raw(raw: RawSrs) -> Result<Self, ConfigError> {
        Ok(Self {
            rtmp: base(
                "srs.rtmp",
                raw.rtmp,
                &["rtmp://", "rtmps://"],
                "an address like \"rtmp://srs.example.com/live\"",
            )?,
            http: base("srs.http", raw.http, WEB, "an address like \"http://srs.example.com:8080/live\"")?,
            api: base("srs.api", raw.api, WEB, "an address like \"http://srs.example.com:1985\"")?,
        })
    }

    pub fn publish_urls(&self, room: &RoomId, stream_key: &str) -> PublishUrls {
        let app = self.app();
        PublishUrls {
            rtmp: self.rtmp.as_ref().map(|base| format!("{base}/{room}?key={stream_key}")),
            whip: self
                .api
                .as_ref()
                .map(|base| format!("{base}/rtc/v1/whip/?app={app}&stream={room}&key={stream_key}")),
            reason: (self.rtmp.is_none() && self.api.is_none()).then(|| NO_SERVER.to_owned()),
        }
    }

    pub fn play_urls(&self, room: &RoomId) -> PlayUrls {
        let at_http = |kind| self.http.as_ref().map(|base| format!("{base}/{room}.{kind}"));
        PlayUrls {
            rtmp: self.rtmp.as_ref().map(|base| format!("{base}/{room}")),
            flv: at_http("flv"),
            hls: at_http("m3u8"),
            webrtc: self.host().map(|host| format!("webrtc://{host}/{}/{room}", self.app())),
            reason: (*self == Self::default()).then(|| NO_SERVER.to_owned()),
        }
    }

    fn app(&self) -> &str {
        let path = self.rtmp.as_deref().and_then(|base| base.split("://").nth(1)?.split_once('/'));
        path.map_or("live", |(_, app)| app)
    }

    /// Of the media server, without a port.
    fn host(&self) -> Option<&str> {
        let base = self.api.as_deref().or(self.rtmp.as_deref())?;
        let authority = base.split("://").nth(1)?.split('/').next()?;
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Some(host),
            _ => Some(authority),
        }
    }
}

fn base(
    key: &'static str,
    text: Option<String>,
    schemes: &[&str],
    allowed: &'static str,
) -> Result<Option<String>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let plain = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@\"<>".contains(c))
    });
    if plain { Ok(Some(text.trim_end_matches('/').to_owned())) } else { Err(value(key, &text, allowed)) }
}

const WEB: &[&str] = &["http://", "https://"];
const NO_SERVER: &str = "Greenroom takes and gives sound and picture by WebRTC only: for these addresses, run an SRS and name it in the settings (`srs`).";

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> RoomId {
        RoomId::parse("show").unwrap()
    }

    #[test]
    fn an_srs_gives_every_address_and_only_those_to_publish_have_the_key() {
        let raw = RawSrs {
            rtmp: Some("rtmp://srs.example.com/studio/".into()),
            http: Some("http://srs.example.com:8080/studio".into()),
            api: Some("https://srs.example.com:1985".into()),
        };
        let srs = SrsConfig::from_raw(raw).unwrap();
        let publish = srs.publish_urls(&room(), "s3cret");
        assert_eq!(publish.rtmp.as_deref(), Some("rtmp://srs.example.com/studio/show?key=s3cret"));
        assert_eq!(
            publish.whip.as_deref(),
            Some("https://srs.example.com:1985/rtc/v1/whip/?app=studio&stream=show&key=s3cret")
        );
        let play = srs.play_urls(&room());
        assert_eq!(play.rtmp.as_deref(), Some("rtmp://srs.example.com/studio/show"));
        assert_eq!(play.flv.as_deref(), Some("http://srs.example.com:8080/studio/show.flv"));
        assert_eq!(play.hls.as_deref(), Some("http://srs.example.com:8080/studio/show.m3u8"));
        assert_eq!(play.webrtc.as_deref(), Some("webrtc://srs.example.com/studio/show"));
        assert_eq!((publish.reason, play.reason), (None, None));
    }

    #[test]
    fn without_a_server_there_is_a_reason_instead() {
        let srs = SrsConfig::default();
        let (publish, play) = (srs.publish_urls(&room(), "s3cret"), srs.play_urls(&room()));
        assert!(publish.rtmp.is_none() && publish.whip.is_none() && publish.reason.is_some());
        assert!(play.rtmp.is_none() && play.webrtc.is_none() && play.reason.is_some());
    }
}
