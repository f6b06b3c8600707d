//! Janus and its VideoRoom, for comparison: started in a folder of its own, joined over its WebSocket API.

use crate::connection::{Connection, Remote, media_socket};
use crate::dtls_client::Identity;
use crate::ice_client::{Credentials, IceClient, Role};
use crate::load::Room;
use crate::publisher::{MID_ID, Publisher};
use crate::subscriber::Subscriber;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// The process; ends with this value, and its folder with it.
pub struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
    address: IpAddr,
}

/// Whether the Debian package is here.
pub fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
}

impl Server {
    /// Its ICE library ignores loopback addresses, so it is given this machine's own.
    pub fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("greenroom-janus-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let address = own_address()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let library = fs::read_dir("/usr/lib")?
            .filter_map(|entry| Some(entry.ok()?.path().join("janus")))
            .find(|path| path.exists())
            .context("no folder of Janus's plugins")?;
        fs::write(
            folder.join("janus.jcfg"),
            format!(
                "general: {{ configs_folder = {folder:?} plugins_folder = {:?} transports_folder = {:?} \
                 events_folder = {folder:?} loggers_folder = {folder:?} debug_level = 2 session_timeout = 0 }}\n\
                 certificates: {{ rsa_private_key = false }}\n\
                 media: {{ rtp_port_range = \"25000-29999\" }}\n\
                 nat: {{ ice_enforce_list = \"{address}\" }}\n\
                 transports: {{ disable = \"libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so\" }}\n",
                library.join("plugins"),
                library.join("transports"),
            ),
        )?;
        fs::write(
            folder.join("janus.transport.websockets.jcfg"),
            format!("general: {{ ws = true ws_port = {port} ws_ip = \"127.0.0.1\" }}\n"),
        )?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(PROGRAM)
            .arg("-F")
            .arg(&folder)
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        let server = Self { child, folder, port, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                bail!("Janus does not listen: {}", fs::read_to_string(server.folder.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fills a room: publishers first, then subscribers to all of them, each over one connection.
    pub fn fill(&self, room: u64, publishers: usize, subscribers: usize) -> Result<Room> {
        let identity = Identity::generate()?;
        let mut api = Api::connect(self.port)?;
        let create = json!({
            "request": "create", "room": room, "publishers": publishers.max(1), "bitrate": 0,
            "videocodec": "vp8", "fir_freq": 0,
        });
        let handle = api.attach()?;
        api.plugin(handle, create, None)?;
        let mut sending = Vec::new();
        let mut feeds = Vec::new();
        for number in 0..publishers {
            let handle = api.attach()?;
            let joined =
                api.plugin(handle, json!({ "request": "join", "ptype": "publisher", "room": room }), None)?;
            feeds.push(joined.pointer("/plugindata/data/id").context("no feed id")?.clone());
            let ssrc = 0x1000_0000 + number as u32;
            let (local, socket) = (Credentials::random(), media_socket(self.address)?);
            let offer = json!({ "type": "offer", "sdp": self.offer(&identity, &local, &socket, ssrc) });
            let answer = api.plugin(
                handle,
                json!({ "request": "publish", "audio": false, "video": true }),
                Some(offer),
            )?;
            let remote = remote_of(sdp(&answer)?)?;
            let connection = Connection::establish(
                socket,
                &identity,
                IceClient::new(Role::Controlling, &local, &remote.credentials),
                &remote,
            )
            .context("publishing to Janus")?;
            let transport_cc_id = extension_id(sdp(&answer)?, rtp::ext::TRANSPORT_CC);
            sending.push(Publisher::new(connection, ssrc, 96, transport_cc_id));
        }
        // A feed can be subscribed to only once its path is up on Janus's side as well.
        std::thread::sleep(Duration::from_secs(1));
        let mut receiving = Vec::new();
        for _ in 0..subscribers {
            let handle = api.attach()?;
            let streams: Vec<Value> = feeds.iter().map(|feed| json!({ "feed": feed })).collect();
            let join = json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": streams });
            let attached = api.plugin(handle, join, None)?;
            let offer = sdp(&attached)?;
            let (local, socket) = (Credentials::random(), media_socket(self.address)?);
            let answer = json!({ "type": "answer", "sdp": self.answer(&identity, &local, &socket, offer) });
            api.plugin(handle, json!({ "request": "start" }), Some(answer))?;
            // Who offers is the controlling side (RFC 8445 §6.1.1).
            let remote = remote_of(offer)?;
            let ice = IceClient::new(Role::Controlled, &local, &remote.credentials);
            let connection =
                Connection::establish(socket, &identity, ice, &remote).context("subscribing at Janus")?;
            let payload_type = media_line(offer).and_then(|line| line.split(' ').nth(3)?.parse().ok());
            receiving.push(Subscriber::new(
                connection,
                payload_type.context("no payload type")?,
                extension_id(offer, rtp::ext::TRANSPORT_CC),
            ));
        }
        Ok(Room { publishers: sending, subscribers: receiving, care: Box::new(move || api.keep_alive()) })
    }

    fn offer(&self, identity: &Identity, local: &Credentials, socket: &UdpSocket, ssrc: u32) -> String {
        let head = self.head(identity, local, &["0"]);
        let candidate = self.candidate(socket);
        let (mid, transport_cc) = (rtp::ext::MID, rtp::ext::TRANSPORT_CC);
        format!(
            "{head}m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n{candidate}a=sendonly\r\n\
             a=rtcp-mux\r\na=rtcp-rsize\r\na=extmap:{MID_ID} {mid}\r\n\
             a=extmap:{TRANSPORT_CC_ID} {transport_cc}\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
             a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 goog-remb\r\n\
             a=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=ssrc-group:FID {ssrc} {rtx}\r\na=ssrc:{ssrc} cname:load\r\na=ssrc:{rtx} cname:load\r\n",
            rtx = ssrc + 0x1000_0000
        )
    }

    /// Accepts every m-section of the offer with its own numbers.
    fn answer(&self, identity: &Identity, local: &Credentials, socket: &UdpSocket, offer: &str) -> String {
        let sections: Vec<&str> = offer.split("\r\nm=").skip(1).collect();
        let attribute = |section: &str, name: &str| -> Vec<String> {
            let prefix = format!("a={name}:");
            section.lines().filter(|line| line.starts_with(&prefix)).map(str::to_owned).collect()
        };
        let mids: Vec<String> = sections
            .iter()
            .filter_map(|section| {
                Some(attribute(section, "mid").first()?.trim_start_matches("a=mid:").to_owned())
            })
            .collect();
        let mids: Vec<&str> = mids.iter().map(String::as_str).collect();
        let candidate = self.candidate(socket);
        let mut answer = self.head(identity, local, &mids);
        for section in sections {
            let line = section.lines().next().unwrap_or_default();
            answer += &format!(
                "m={line}\r\nc=IN IP4 0.0.0.0\r\n{candidate}a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
            );
            for name in ["mid", "extmap", "rtpmap", "rtcp-fb", "fmtp"] {
                for line in attribute(section, name) {
                    answer += &format!("{line}\r\n");
                }
            }
        }
        answer
    }

    fn candidate(&self, socket: &UdpSocket) -> String {
        let port = socket.local_addr().map_or(0, |own| own.port());
        format!("a=candidate:1 1 udp 2130706431 {} {port} typ host\r\n", self.address)
    }

    /// Session lines with the attributes of the one transport.
    fn head(&self, identity: &Identity, local: &Credentials, mids: &[&str]) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:{}\r\n\
             a=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:active\r\n",
            self.address,
            mids.join(" "),
            local.fragment,
            local.password,
            identity.fingerprint()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The Janus API: one session over one WebSocket.
struct Api {
    socket: WebSocket<TcpStream>,
    session: u64,
    transaction: u64,
}

impl Api {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!("ws://127.0.0.1:{port}/").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", "janus-protocol".parse()?);
        let (socket, _) =
            tungstenite::client(request, stream).map_err(|e| anyhow::anyhow!("no WebSocket: {e}"))?;
        let mut api = Self { socket, session: 0, transaction: 0 };
        api.session = id_of(&api.ask(json!({ "janus": "create" }))?)?;
        Ok(api)
    }

    fn attach(&mut self) -> Result<u64> {
        let session = self.session;
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom", "session_id": session });
        id_of(&self.ask(attach)?)
    }

    fn plugin(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Result<Value> {
        let mut message =
            json!({ "janus": "message", "session_id": self.session, "handle_id": handle, "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let answer = self.ask(message)?;
        match answer.pointer("/plugindata/data/error") {
            Some(error) => bail!("Janus: {error}"),
            None => Ok(answer),
        }
    }

    /// Sends a request; its answer, not the ack that it was heard.
    fn ask(&mut self, mut request: Value) -> Result<Value> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        request["transaction"] = json!(transaction);
        self.socket.send(Message::text(request.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Message::Text(text) = self.socket.read()? else { continue };
            let message: Value = serde_json::from_str(&text)?;
            if message["transaction"] == transaction.as_str() && message["janus"] != "ack" {
                if message["janus"] == "error" {
                    bail!("Janus: {message}");
                }
                return Ok(message);
            }
        }
        bail!("Janus is silent")
    }

    fn keep_alive(&mut self) -> Result<()> {
        self.socket.get_ref().set_nonblocking(true)?;
        while self.socket.read().is_ok() {}
        self.socket.get_ref().set_nonblocking(false)?;
        Ok(())
    }
}

fn id_of(answer: &Value) -> Result<u64> {
    answer.pointer("/data/id").and_then(Value::as_u64).with_context(|| format!("no id in {answer}"))
}

fn sdp(message: &Value) -> Result<&str> {
    let found = message.pointer("/jsep/sdp").and_then(Value::as_str);
    found.with_context(|| format!("no SDP in {message}"))
}

fn remote_of(sdp: &str) -> Result<Remote> {
    let value = |name: &str| {
        let found = sdp.lines().find_map(|line| line.strip_prefix(name));
        found.map(str::trim).with_context(|| format!("no {name} in {sdp}"))
    };
    let candidate: Vec<&str> = value("a=candidate:")?.split(' ').collect();
    let (Some(ip), Some(port)) = (candidate.get(4), candidate.get(5)) else { bail!("no candidate") };
    let fingerprint = value("a=fingerprint:")?;
    let (_, fingerprint) = fingerprint.split_once(' ').context("no fingerprint")?;
    Ok(Remote {
        address: SocketAddr::new(ip.parse()?, port.parse()?),
        credentials: Credentials {
            fragment: value("a=ice-ufrag:")?.to_owned(),
            password: value("a=ice-pwd:")?.to_owned(),
        },
        fingerprint: fingerprint.to_owned(),
    })
}

fn media_line(sdp: &str) -> Option<&str> {
    sdp.lines().find(|line| line.starts_with("m=video"))
}

fn extension_id(sdp: &str, uri: &str) -> Option<u8> {
    sdp.lines().find_map(|line| {
        let (id, found) = line.strip_prefix("a=extmap:")?.split_once(' ')?;
        (found.trim() == uri).then(|| id.split('/').next()?.parse().ok())?
    })
}

/// The address other machines would use; nothing is sent to find it out.
fn own_address() -> Result<IpAddr> {
    let probe = UdpSocket::bind("0.0.0.0:0")?;
    probe.connect("192.0.2.1:9").context("Janus needs an address besides loopback")?;
    Ok(probe.local_addr()?.ip())
}

const PROGRAM: &str = "/usr/bin/janus";
const TRANSPORT_CC_ID: u8 = 5;
const PATIENCE: Duration = Duration::from_secs(15);
