//! Our server: started in a folder of its own, joined over its real signaling.

use crate::camera::Sizes;
use crate::connection::{Connection, Remote, media_socket};
use crate::dtls_client::Identity;
use crate::ice_client::{Credentials, IceClient, Role};
use crate::load::Room;
use crate::publisher::{MID_ID, Publisher};
use crate::socket_io::SocketIo;
use crate::subscriber::Subscriber;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The process; ends with this value, and its folder with it.
pub struct Server {
    child: Child,
    folder: PathBuf,
    control: SocketAddr,
    token: String,
}

/// Who somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    Publisher,
    /// Of everything there is.
    Subscriber,
}

/// The way into one room, for people one by one.
pub struct Lobby<'a> {
    server: &'a Server,
    room: &'a str,
    identity: Identity,
    next_publisher: u32,
}

/// Somebody in a room, with a connection for media; whoever is dropped is gone without a word.
pub struct Visitor {
    signaling: SocketIo,
    media: Media,
}

enum Media {
    Sent(Box<Publisher>),
    Received { _subscriber: Box<Subscriber> },
}

impl Lobby<'_> {
    pub fn join(&mut self, guest: Guest) -> Result<Visitor> {
        let role = if guest == Guest::Publisher { "guest" } else { "viewer" };
        let (mut signaling, joined) = self.server.join(self.room, role)?;
        let media = match guest {
            Guest::Publisher => {
                self.next_publisher += 1;
                Media::Sent(Box::new(publish(&mut signaling, &self.identity, self.next_publisher)?))
            }
            Guest::Subscriber => {
                let subscriber = subscribe(&mut signaling, &self.identity, &joined)?;
                Media::Received { _subscriber: Box::new(subscriber) }
            }
        };
        Ok(Visitor { signaling, media })
    }
}

impl Visitor {
    pub fn leave(mut self) -> Result<()> {
        self.signaling.ask("leave-room", Value::Null).map(drop)
    }

    /// A few pictures, from who shows any; and a sign of life.
    pub fn show(&mut self) -> Result<()> {
        if let Media::Sent(publisher) = &mut self.media {
            for _ in 0..PICTURES {
                publisher.send_moment(Sizes::Equal)?;
            }
            publisher.look_after(Sizes::Equal)?;
        }
        self.signaling.keep_alive()
    }
}

impl Server {
    /// How long the server waits for somebody who vanished.
    pub const GRACE: Duration = Duration::from_secs(1);

    /// Starts `greenroomd` on ports of the system's choice, with limits raised for a large room. There is no media
    /// worker: what is measured is forwarding. `gather`: packets may wait for each other when it is busy, as is the default.
    pub fn start(program: &Path, gather: bool) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("greenroom-forward-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let path = |name: &str| json!(folder.join(name));
        let config = format!(
            "[listen]\ncontrol = \"127.0.0.1:0\"\nlan = \"127.0.0.1:0\"\n\
             [media]\nport = 0\nannounced = [\"127.0.0.1\"]\nmax_incoming_bitrate = 100000000\ngather = {gather}\n\
             [rooms]\nmax_peers = 500\ngrace_secs = {}\n[storage]\ndata_dir = {}\n\
             [obs]\nmedia_worker = {}\nplugin = {}\nsocket = {}\n\
             [limits]\nconnections = 20000\nevents_per_second = 1000000\nevent_burst = 1000000\n\
             bytes_per_second = 1000000000\nbyte_burst = 1000000000\n",
            Self::GRACE.as_secs(),
            path("data"),
            path("none"),
            path("none.so"),
            path("obs.sock")
        );
        let file = folder.join("config.toml");
        fs::write(&file, config)?;
        let mut child = Command::new(program)
            .args(["--print-access", "--config"])
            .arg(&file)
            .envs([("HOME", &folder), ("XDG_RUNTIME_DIR", &folder)])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no output")?;
        let mut server =
            Self { child, folder, control: SocketAddr::from(([127, 0, 0, 1], 0)), token: String::new() };
        for line in BufReader::new(stdout).lines() {
            let Ok(access) = serde_json::from_str::<Value>(&line?) else { continue };
            let url = text(&access, "/control")?;
            server.control = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
            server.token = text(&access, "/token")?;
            return Ok(server);
        }
        bail!("greenroomd ended: {}", fs::read_to_string(server.folder.join("log")).unwrap_or_default())
    }

    pub fn control(&self) -> SocketAddr {
        self.control
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A room in which everybody is live.
    pub fn open_room(&self, room: &str) -> Result<()> {
        let body = json!({ "roomId": room, "title": room }).to_string();
        let mut stream = TcpStream::connect(self.control)?;
        write!(
            stream,
            "POST /api/rooms HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.control,
            self.token,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            return Ok(());
        }
        bail!("cannot open a room: {answer}")
    }

    pub fn lobby<'a>(&'a self, room: &'a str) -> Result<Lobby<'a>> {
        Ok(Lobby { server: self, room, identity: Identity::generate()?, next_publisher: 0 })
    }

    fn join(&self, room: &str, role: &str) -> Result<(SocketIo, Value)> {
        let mut signaling = SocketIo::connect(self.control)?;
        let request = json!({ "roomId": room, "token": self.token, "displayName": role, "role": role });
        let joined = signaling.ask("join-room", request)?;
        if joined["state"] != "live" {
            bail!("joined, but not live: {joined}");
        }
        Ok((signaling, joined))
    }

    /// Fills a room: publishers first, then subscribers who consume all of them.
    pub fn fill(&self, room: &str, publishers: usize, subscribers: usize) -> Result<Room> {
        let identity = Identity::generate()?;
        let mut sessions = Vec::new();
        let mut sending = Vec::new();
        for number in 0..publishers {
            let (mut signaling, _) = self.join(room, "guest")?;
            sending.push(publish(&mut signaling, &identity, number as u32)?);
            sessions.push(signaling);
        }
        let mut receiving = Vec::new();
        for _ in 0..subscribers {
            let (mut signaling, joined) = self.join(room, "viewer")?;
            receiving.push(subscribe(&mut signaling, &identity, &joined)?);
            sessions.push(signaling);
        }
        let care = move || sessions.iter_mut().try_for_each(SocketIo::keep_alive);
        Ok(Room { publishers: sending, subscribers: receiving, care: Box::new(care) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn publish(signaling: &mut SocketIo, identity: &Identity, number: u32) -> Result<Publisher> {
    let (transport, connection) = connect(signaling, identity, "send")?;
    let ssrc = 0x1000_0000 + number;
    let codec = json!({ "mimeType": "video/VP8", "payloadType": 96, "clockRate": 90_000, "rtcpFeedback": FEEDBACK.map(|(kind, parameter)| json!({ "type": kind, "parameter": parameter })) });
    let rtx = json!({ "mimeType": "video/rtx", "payloadType": 97, "clockRate": 90_000, "parameters": { "apt": 96 } });
    signaling.ask(
        "produce",
        json!({
            "transportId": transport, "kind": "video", "appData": {},
            "rtpParameters": {
                "mid": "0",
                "codecs": [codec, rtx],
                "headerExtensions": [
                    { "uri": rtp::ext::MID, "id": MID_ID },
                    { "uri": rtp::ext::TRANSPORT_CC, "id": TRANSPORT_CC_ID },
                ],
                "encodings": [{ "ssrc": ssrc, "rtx": { "ssrc": ssrc + 0x1000_0000 } }],
                "rtcp": { "cname": format!("publisher-{number}"), "reducedSize": true },
            },
        }),
    )?;
    Ok(Publisher::new(connection, ssrc, 96, Some(TRANSPORT_CC_ID)))
}

fn subscribe(signaling: &mut SocketIo, identity: &Identity, joined: &Value) -> Result<Subscriber> {
    let (transport, connection) = connect(signaling, identity, "recv")?;
    let capabilities = video_of(&joined["routerRtpCapabilities"]);
    let (mut payload_type, mut transport_cc_id) = (0, None);
    for producer in joined["producers"].as_array().into_iter().flatten() {
        let consumer = signaling.ask(
            "consume",
            json!({
                "producerId": producer["producerId"], "transportId": transport,
                "rtpCapabilities": capabilities, "paused": false,
            }),
        )?;
        let parameters = &consumer["rtpParameters"];
        payload_type = parameters["codecs"][0]["payloadType"].as_u64().unwrap_or_default() as u8;
        let extensions = parameters["headerExtensions"].as_array();
        let found = extensions.into_iter().flatten().find(|e| e["uri"] == rtp::ext::TRANSPORT_CC);
        transport_cc_id = found.and_then(|extension| extension["id"].as_u64()).map(|id| id as u8);
    }
    Ok(Subscriber::new(connection, payload_type, transport_cc_id))
}

/// A transport with ICE and DTLS up.
pub(crate) fn connect(
    signaling: &mut SocketIo,
    identity: &Identity,
    direction: &str,
) -> Result<(Value, Connection)> {
    let options = signaling.ask("create-webrtc-transport", json!({ "direction": direction }))?;
    let candidate = &options["iceCandidates"][0];
    let fingerprints = options["dtlsParameters"]["fingerprints"].as_array();
    let fingerprint = fingerprints.into_iter().flatten().find(|f| f["algorithm"] == "sha-256");
    let remote = Remote {
        address: SocketAddr::new(
            text(candidate, "/ip")?.parse()?,
            u16::try_from(candidate["port"].as_u64().context("no port")?)?,
        ),
        credentials: Credentials {
            fragment: text(&options, "/iceParameters/usernameFragment")?,
            password: text(&options, "/iceParameters/password")?,
        },
        fingerprint: text(fingerprint.context("no SHA-256 fingerprint")?, "/value")?,
    };
    let dtls = json!({ "role": "client", "fingerprints": [{ "algorithm": "sha-256", "value": identity.fingerprint() }] });
    signaling.ask("connect-transport", json!({ "transportId": options["id"], "dtlsParameters": dtls }))?;
    let socket = media_socket(remote.address.ip())?;
    let ice = IceClient::new(Role::Controlling, &Credentials::random(), &remote.credentials);
    let connection = Connection::establish(socket, identity, ice, &remote)?;
    Ok((options["id"].clone(), connection))
}

/// What a browser with VP8 says it can receive, in the router's numbers.
fn video_of(capabilities: &Value) -> Value {
    let all = |key: &str| capabilities[key].as_array().cloned().unwrap_or_default();
    let vp8 = all("codecs").iter().find(|c| c["mimeType"] == "video/VP8").cloned().unwrap_or_default();
    let apt = vp8["preferredPayloadType"].clone();
    let codecs: Vec<Value> =
        all("codecs").into_iter().filter(|c| *c == vp8 || c["parameters"]["apt"] == apt).collect();
    let extensions: Vec<Value> =
        all("headerExtensions").into_iter().filter(|extension| extension["kind"] == "video").collect();
    json!({ "codecs": codecs, "headerExtensions": extensions })
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no {pointer} in {value}"))?.to_owned())
}

const PICTURES: usize = 20;
pub(crate) const TRANSPORT_CC_ID: u8 = 5;
pub(crate) const FEEDBACK: [(&str, &str); 5] =
    [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("goog-remb", ""), ("transport-cc", "")];
