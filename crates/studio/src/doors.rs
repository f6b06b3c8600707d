//! Where guests come in: this machine's own address, and the local network's when the streamer opened it.

use crate::certificate::{self, Certificate, CertificateFiles, Shown};
use crate::store::Store;
use crate::watched::{self, Stamp};
use crate::worker;
use signaling::{LanConfig, LanError, Server};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, interval};
use wire::dashboard::{CertificateView, LanView};
use wire::{Code, Failure, RoomId};

/// What the stage knows of the listeners. *State* kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `None` until the control listener is open.
    pub control: Option<SocketAddr>,
    pub lan: LanView,
}

impl Addresses {
    /// An invite's link. The token is in the fragment, which browsers send to no server (RFC 3986 §3.5).
    pub fn invite_url(&self, room: &RoomId, token: &str) -> String {
        let base = match (self.lan.addresses.first().filter(|_| self.lan.on), self.control) {
            (Some(lan), _) => lan.clone(),
            (None, Some(control)) => format!("http://localhost:{}", control.port()),
            (None, None) => String::new(),
        };
        format!("{base}/join/{room}#{token}")
    }
}

/// What the doors are made of.
#[derive(Clone, Debug)]
pub struct DoorPlan {
    pub lan_listen: SocketAddr,
    pub announced: Vec<IpAddr>,
    /// Of the streamer's own; otherwise one is made.
    pub certificate: Option<CertificateFiles>,
    pub data_dir: PathBuf,
}

/// Opens and closes the door to the local network; remembers how it stood.
pub struct Doors {
    plan: DoorPlan,
    store: Store,
    addresses: watch::Sender<Addresses>,
    /// Weak: the server holds its backend, which holds this.
    server: OnceLock<Weak<Server>>,
    /// Held while the door moves: changes happen one after the other, and what is remembered is how it stands.
    moving: Mutex<Moving>,
}

/// What of the door is told to nobody.
#[derive(Default)]
struct Moving {
    /// The streamer wants it open, though it may not be possible just now.
    wanted: bool,
    /// The certificate's files when they were last read.
    seen: Stamp,
    looked_at: Option<Instant>,
    /// They changed, and could not be used then.
    is_in_doubt: bool,
}

/// How the door would look to guests.
struct Identity {
    certificate: Certificate,
    shown: Shown,
    names: Vec<String>,
}

impl Doors {
    pub fn new(plan: DoorPlan, store: Store) -> (Arc<Self>, watch::Receiver<Addresses>) {
        let (addresses, seen) = watch::channel(Addresses::default());
        let (server, moving) = (OnceLock::new(), Mutex::default());
        (Arc::new(Self { plan, store, addresses, server, moving }), seen)
    }

    /// The control listener is open: from now on the other can be. Opens it if it was open when the engine last ended.
    pub async fn attach(&self, server: &Arc<Server>) {
        let control = server.control_addr();
        let _ = self.server.set(Arc::downgrade(server));
        self.addresses.send_modify(|addresses| addresses.control = Some(control));
        match self.store.read_setting(LAN_ACCESS).await {
            Ok(Some(value)) if value == ON => {
                self.moving.lock().await.wanted = true;
                if let Err(error) = self.set_lan(true).await {
                    tracing::warn!(%error, "LAN access stays off");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot read whether LAN access was on"),
        }
    }

    /// What the streamer wants; kept only once it is so.
    pub async fn set_lan(&self, on: bool) -> Result<(), Failure> {
        let mut moving = self.moving.lock().await;
        let server = self.server().ok_or_else(|| Failure::new(Code::Busy, "Greenroom is still starting."))?;
        let lan = self.move_door(&server, &mut moving, on).await;
        let lan = lan.inspect_err(|failure| {
            self.show(LanView { problem: Some(failure.error.clone()), ..LanView::default() });
        })?;
        self.show(lan);
        moving.wanted = on;
        let value = if on { ON } else { OFF };
        self.store.write_setting(LAN_ACCESS, value.to_owned()).await.map_err(|error| {
            tracing::error!(%error, "cannot keep whether LAN access is on");
            Failure::new(
                Code::Internal,
                format!("It works now, but will be forgotten at the next start: {error}."),
            )
        })
    }

    /// Opens the door, or gives it another certificate, or closes it; says what it looks like then.
    async fn move_door(&self, server: &Server, moving: &mut Moving, on: bool) -> Result<LanView, Failure> {
        if !on {
            server.set_lan(None).await.map_err(lan_failure)?;
            return Ok(LanView::default());
        }
        // Before the files are read: what changes meanwhile is seen the next time.
        moving.seen = self.stamp();
        moving.looked_at = Some(Instant::now());
        let identity = self.identity().await;
        let identity = identity
            .map_err(|error| Failure::new(Code::Internal, format!("LAN access is not possible: {error}.")))?;
        let Identity { certificate, shown, names } = identity;
        let asked = LanConfig {
            listen: self.plan.lan_listen,
            cert_pem: certificate.certificate_pem,
            key_pem: certificate.key_pem,
        };
        let open = server.set_lan(Some(asked)).await.map_err(lan_failure)?;
        let addresses = open.map(|at| self.reachable(&names, at.port())).unwrap_or_default();
        let problem = if addresses.is_empty() {
            Some(NO_NETWORK.to_owned())
        } else {
            trouble(&shown, SystemTime::now())
        };
        Ok(LanView { on: open.is_some(), addresses, certificate: Some(view(&shown)), problem })
    }

    /// Follows the certificate's files while they are renewed, and ours as it grows old. Ends with the engine.
    pub async fn keep_certificate(doors: Weak<Self>) {
        let mut ticks = interval(watched::INTERVAL);
        loop {
            ticks.tick().await;
            let Some(doors) = doors.upgrade() else { return };
            doors.look_at_certificate().await;
        }
    }

    async fn look_at_certificate(&self) {
        let mut moving = self.moving.lock().await;
        let has_changed = self.stamp() != moving.seen;
        let is_due = moving.looked_at.is_some_and(|at| at.elapsed() >= DAY);
        if !moving.wanted || !(has_changed || is_due || moving.is_in_doubt) {
            return;
        }
        let Some(server) = self.server() else { return };
        match self.move_door(&server, &mut moving, true).await {
            Ok(lan) => {
                if has_changed {
                    tracing::info!("the certificate for guests was read again");
                }
                moving.is_in_doubt = false;
                self.show(lan);
            }
            // The certificate may be there already and its key not yet: look once more before saying so.
            Err(_) if has_changed => moving.is_in_doubt = true,
            Err(Failure { error, .. }) => {
                moving.is_in_doubt = false;
                tracing::warn!(%error, "the certificate's files cannot be used");
                let mut lan = self.addresses.borrow().lan.clone();
                let stays = if lan.on { " Guests are shown the old certificate." } else { "" };
                lan.problem = Some(error + stays);
                self.show(lan);
            }
        }
    }

    fn server(&self) -> Option<Arc<Server>> {
        self.server.get().and_then(Weak::upgrade)
    }

    fn stamp(&self) -> Stamp {
        self.plan.certificate.as_ref().map(CertificateFiles::stamp).unwrap_or_default()
    }

    async fn identity(&self) -> Result<Identity, String> {
        let (plan, ips) = (self.plan.clone(), self.ips());
        let made = tokio::task::spawn_blocking(move || match plan.certificate {
            Some(files) => {
                let (certificate, shown) = files.read().map_err(|error| error.to_string())?;
                let named = shown.names.iter().filter(|name| !name.contains('*')).cloned();
                let names = files.name.map_or_else(|| named.collect(), |name| vec![name]);
                Ok(Identity { certificate, shown, names })
            }
            None => {
                let certificate = certificate::load_or_make(&plan.data_dir, &ips, SystemTime::now())
                    .map_err(|error| error.to_string())?;
                let shown =
                    Shown::of(&certificate.certificate_pem).ok_or("what is kept is no certificate")?;
                Ok(Identity { certificate, shown, names: Vec::new() })
            }
        });
        made.await.map_err(|error| error.to_string())?
    }

    fn show(&self, lan: LanView) {
        self.addresses.send_modify(|addresses| addresses.lan = lan);
    }

    fn ips(&self) -> Vec<IpAddr> {
        match self.plan.lan_listen.ip() {
            any if any.is_unspecified() && self.plan.announced.is_empty() => worker::lan_addresses(),
            any if any.is_unspecified() => self.plan.announced.clone(),
            one => vec![one],
        }
    }

    /// By the names that the certificate is good for, or else by addresses.
    fn reachable(&self, names: &[String], port: u16) -> Vec<String> {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        if !names.is_empty() {
            return names.iter().map(|name| format!("https://{name}{port}")).collect();
        }
        let host = |ip: IpAddr| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        self.ips().into_iter().map(|ip| format!("https://{}{port}", host(ip))).collect()
    }
}

fn lan_failure(error: LanError) -> Failure {
    match error {
        LanError::Closing => Failure::new(Code::ServerClosing, "Greenroom is closing."),
        error => Failure::new(Code::Internal, error.to_string()),
    }
}

fn view(shown: &Shown) -> CertificateView {
    let expires = shown.expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    CertificateView {
        self_signed: shown.is_self_signed,
        expires_at: rooms::rfc3339(expires.as_millis() as u64),
    }
}

/// What the streamer should do about a certificate that works, or does not any more.
fn trouble(shown: &Shown, now: SystemTime) -> Option<String> {
    match shown.expires.duration_since(now) {
        Err(_) => Some("The certificate has expired: guests' browsers refuse it. Renew it; the new files are read by themselves.".to_owned()),
        Ok(left) if left < SOON => {
            let days = left.as_secs() / DAY.as_secs();
            Some(format!("The certificate expires in {days} days: see why it is not renewed."))
        }
        Ok(_) if shown.lacks_authority => Some(
            "The certificate comes without its authority's: some browsers warn about it. Name the full chain (`fullchain.pem`) as `listen.certificate`.".to_owned(),
        ),
        Ok(_) => None,
    }
}

const NO_NETWORK: &str = "This computer is on no network: connect it, then turn this on again.";
const DAY: Duration = Duration::from_secs(86_400);
/// Those that are good for 90 days are renewed when 30 are left, the shortest-lived ones when two are.
const SOON: Duration = Duration::from_secs(86_400 + 43_200);
const LAN_ACCESS: &str = "lan-access";
const ON: &str = "on";
const OFF: &str = "off";

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(name: Option<&str>, listen: &str) -> Arc<Doors> {
        let folder = std::env::temp_dir().join(format!("greenroom-doors-{}", std::process::id()));
        let plan = DoorPlan {
            lan_listen: listen.parse().unwrap(),
            announced: Vec::new(),
            certificate: Some(CertificateFiles {
                certificate: folder.join("chain.pem"),
                key: folder.join("key.pem"),
                name: name.map(str::to_owned),
            }),
            data_dir: folder.clone(),
        };
        std::fs::create_dir_all(&folder).unwrap();
        Doors::new(plan, Store::open(&folder).unwrap().store).0
    }

    #[tokio::test]
    async fn guests_are_sent_to_the_name_that_the_certificate_is_good_for() {
        let doors = doors(None, "192.0.2.7:3443");
        assert_eq!(doors.reachable(&[], 3443), ["https://192.0.2.7:3443"]);
        assert_eq!(doors.reachable(&["studio.example.com".into()], 443), ["https://studio.example.com"]);
        assert_eq!(doors.reachable(&["a.example".into()], 3443), ["https://a.example:3443"]);
    }

    #[test]
    fn an_old_certificate_is_told_of_in_time() {
        let now = SystemTime::now();
        let told = |days: u64, lacks_authority| {
            let expires = now + DAY * days as u32;
            let names = Vec::new();
            trouble(&Shown { names, expires, is_self_signed: false, lacks_authority }, now)
                .unwrap_or_default()
        };
        assert_eq!(told(30, false), "");
        assert!(told(30, true).contains("fullchain.pem"));
        assert!(told(1, true).contains("expires in 1 day"));
        assert!(told(0, false).contains("has expired") || told(0, false).contains("0 days"));
    }

    #[test]
    fn an_invite_points_to_the_widest_open_door() {
        let room = RoomId::parse("show").unwrap();
        let mut addresses =
            Addresses { control: Some(SocketAddr::from(([127, 0, 0, 1], 3002))), lan: LanView::default() };
        assert_eq!(addresses.invite_url(&room, "TOKEN"), "http://localhost:3002/join/show#TOKEN");
        addresses.lan =
            LanView { on: true, addresses: vec!["https://192.0.2.7:3443".into()], ..LanView::default() };
        assert_eq!(addresses.invite_url(&room, "TOKEN"), "https://192.0.2.7:3443/join/show#TOKEN");
    }
}
