//! Where guests come in: this machine's own address, and the local network's when the streamer opened it.

use crate::certificate;
use crate::store::Store;
use crate::worker;
use signaling::{LanConfig, LanError, Server};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;
use tokio::sync::{Mutex, watch};
use wire::dashboard::LanView;
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

/// Opens and closes the door to the local network; remembers how it stood.
pub struct Doors {
    lan_listen: SocketAddr,
    announced: Vec<IpAddr>,
    data_dir: PathBuf,
    store: Store,
    addresses: watch::Sender<Addresses>,
    /// Weak: the server holds its backend, which holds this.
    server: OnceLock<Weak<Server>>,
    /// Held while the door moves: changes happen one after the other, and what is remembered is how it stands.
    moving: Mutex<()>,
}

impl Doors {
    pub fn new(
        lan_listen: SocketAddr,
        announced: Vec<IpAddr>,
        data_dir: PathBuf,
        store: Store,
    ) -> (Arc<Self>, watch::Receiver<Addresses>) {
        let (addresses, seen) = watch::channel(Addresses::default());
        let (server, moving) = (OnceLock::new(), Mutex::new(()));
        (Arc::new(Self { lan_listen, announced, data_dir, store, addresses, server, moving }), seen)
    }

    /// The control listener is open: from now on the other can be. Opens it if it was open when the engine last ended.
    pub async fn attach(&self, server: &Arc<Server>) {
        let control = server.control_addr();
        let _ = self.server.set(Arc::downgrade(server));
        self.addresses.send_modify(|addresses| addresses.control = Some(control));
        match self.store.read_setting(LAN_ACCESS).await {
            Ok(Some(value)) if value == ON => {
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
        let _moving = self.moving.lock().await;
        let server = self
            .server
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| Failure::new(Code::Busy, "Greenroom is still starting."))?;
        let asked = if on { Some(self.lan_config().await?) } else { None };
        match server.set_lan(asked).await {
            Ok(open) => {
                let addresses = open.map(|at| self.reachable(at.port())).unwrap_or_default();
                let problem = (on && addresses.is_empty()).then(|| {
                    "This computer is on no network: connect it, then turn this on again.".to_owned()
                });
                self.show(LanView { on: open.is_some(), addresses, problem });
            }
            Err(LanError::Closing) => return Err(Failure::new(Code::ServerClosing, "Greenroom is closing.")),
            Err(error) => {
                self.show(LanView { on: false, addresses: Vec::new(), problem: Some(error.to_string()) });
                return Err(Failure::new(Code::Internal, error.to_string()));
            }
        }
        let value = if on { ON } else { OFF };
        self.store.write_setting(LAN_ACCESS, value.to_owned()).await.map_err(|error| {
            tracing::error!(%error, "cannot keep whether LAN access is on");
            Failure::new(
                Code::Internal,
                format!("It works now, but will be forgotten at the next start: {error}."),
            )
        })
    }

    async fn lan_config(&self) -> Result<LanConfig, Failure> {
        let (data_dir, ips) = (self.data_dir.clone(), self.ips());
        let made = tokio::task::spawn_blocking(move || {
            certificate::load_or_make(&data_dir, &ips, SystemTime::now())
        })
        .await;
        let made =
            made.map_err(|error| error.to_string()).and_then(|made| made.map_err(|error| error.to_string()));
        let made = made
            .map_err(|error| Failure::new(Code::Internal, format!("LAN access is not possible: {error}.")))?;
        Ok(LanConfig { listen: self.lan_listen, cert_pem: made.certificate_pem, key_pem: made.key_pem })
    }

    fn show(&self, lan: LanView) {
        self.addresses.send_modify(|addresses| addresses.lan = lan);
    }

    fn ips(&self) -> Vec<IpAddr> {
        match self.lan_listen.ip() {
            any if any.is_unspecified() && self.announced.is_empty() => worker::lan_addresses(),
            any if any.is_unspecified() => self.announced.clone(),
            one => vec![one],
        }
    }

    fn reachable(&self, port: u16) -> Vec<String> {
        self.ips().into_iter().map(|ip| format!("https://{}", SocketAddr::new(ip, port))).collect()
    }
}

const LAN_ACCESS: &str = "lan-access";
const ON: &str = "on";
const OFF: &str = "off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_points_to_the_widest_open_door() {
        let room = RoomId::parse("show").unwrap();
        let mut addresses =
            Addresses { control: Some(SocketAddr::from(([127, 0, 0, 1], 3002))), lan: LanView::default() };
        assert_eq!(addresses.invite_url(&room, "TOKEN"), "http://localhost:3002/join/show#TOKEN");
        addresses.lan = LanView { on: true, addresses: vec!["https://192.0.2.7:3443".into()], problem: None };
        assert_eq!(addresses.invite_url(&room, "TOKEN"), "https://192.0.2.7:3443/join/show#TOKEN");
    }
}
