//! One life of the engine: everything it is made of, started and ended in order.

use crate::clock::Clock;
use crate::config::Config;
use crate::doors::{DoorPlan, Doors};
use crate::host::watch_host;
use crate::logging;
use crate::memory;
use crate::monitoring::MonitorSwitch;
use crate::obs_control::ObsSteering;
use crate::obs_install::ObsInstall;
use crate::obs_watch::ObsWatch;
use crate::places;
use crate::provider_keys;
use crate::stage::{AlarmParts, Outside, Parts, SendLimits, Stage, StudioHandle};
use crate::store::{Opened, Store};
use crate::stun_servers;
use crate::support::Settings;
use crate::worker::{WorkerConfig, WorkerPool};
use anyhow::Context;
use operations::{Patience, Webhooks};
use outputs::obs::MediaHandle;
use rooms::{Limits, Now, OwnerToken, Rooms, Saved, Setup};
use signaling::{AllowedOrigins, Server, Tally};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::rest::Recovered;

/// A running engine; end it with [`Engine::shutdown`].
pub(crate) struct Engine {
    server: Arc<Server>,
    handle: StudioHandle,
    owner: OwnerToken,
    media: MediaHandle,
    workers: WorkerPool,
    store: Store,
    stage: JoinHandle<()>,
    webhooks: Webhooks,
}

impl Engine {
    /// Starts everything; the invite links work when this returns. Must be called on a tokio runtime.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&data_dir)).await?;
        let Opened { store, saved, secrets, was_cut } = opened?;
        let clock = Clock::start();
        let recovered = was_cut.then(|| recovered(&saved, clock.now()));
        let owner = OwnerToken::new(secrets.owner_token);
        let provider = config.auth.clone().map(provider_keys::keep).transpose()?;
        let setup = Setup {
            limits: Limits {
                rooms: config.max_rooms,
                peers_per_room: config.max_peers_per_room,
                producers_per_room: config.max_streams_per_room,
                producers_per_peer: config.per_peer.producers,
                consumers_per_peer: config.per_peer.consumers,
                data_producers_per_peer: config.per_peer.data_producers,
                data_consumers_per_peer: config.per_peer.data_consumers,
                transports_per_peer: config.per_peer.transports,
                idle: config.idle_rooms,
                grace: config.grace,
                ..Limits::default()
            },
            slot_count: config.slot_count,
            key: secrets.signing_key,
            owner: owner.clone(),
            provider: provider.as_ref().map(|keys| keys.borrow().provider.clone()),
            seed: rand::random(),
        };
        let rooms = Rooms::restore(setup, saved, clock.now());

        let forwarding = WorkerConfig {
            ports: config.media_ports.clone(),
            announced: config.announced.clone(),
            max_incoming_bitrate: config.max_incoming_bitrate,
            gather: config.gather,
        };
        let (workers, worker_events) = WorkerPool::start(&forwarding, config.workers)?;
        // Who announces addresses knows them.
        if config.announced.is_empty() {
            tokio::spawn(stun_servers::keep_told(stun_servers::hosts(&config.ice_servers), workers.clone()));
        }
        let (media, media_events) = start_media(&config, workers.clone());
        let (obs, obs_seen) = ObsWatch::start(ObsInstall::new(config.obs.plugin.clone()));
        let (steering, obs_control) =
            ObsSteering::start(store.clone(), config.slot_count, obs.running()).await;
        let (monitor, monitoring) = MonitorSwitch::start(store.clone(), media.clone()).await;
        let plan = DoorPlan {
            lan_listen: config.lan_listen,
            announced: config.announced.clone(),
            certificate: config.certificate.clone(),
            data_dir: config.data_dir.clone(),
        };
        let (doors, addresses) = Doors::new(plan, store.clone());
        let is_full = memory::watch(config.memory_percent);

        let tally = Tally::default();
        let connection_limit = config.limits.connections;
        let alarms = AlarmParts {
            rules: config.alarms.clone(),
            tally: tally.clone(),
            connection_limit,
            host: watch_host(config.data_dir.clone()),
        };
        let webhooks = Webhooks::start(config.webhooks.clone(), Patience::default())?;
        let parts = Parts {
            rooms,
            clock,
            store: store.clone(),
            workers: workers.clone(),
            worker_events,
            media: media.clone(),
            media_events,
            addresses,
            obs: obs_seen,
            obs_control,
            monitoring,
            is_full: is_full.clone(),
            provider,
            ice_servers: config.ice_servers.clone(),
            srs: config.srs.clone(),
            recovered,
            send_limits: SendLimits {
                usual: config.max_incoming_bitrate,
                on_air: config.max_incoming_bitrate_on_air,
            },
            alarms,
            webhooks: webhooks.clone(),
            debug_until: match logging::current() {
                Some(logging) => logging.debug_until(),
                None => watch::Sender::new(None).subscribe(),
            },
        };
        let outside = Outside {
            doors: doors.clone(),
            obs,
            steering,
            monitor,
            tally: tally.clone(),
            connection_limit,
            is_full,
            settings: Settings::of(&config),
        };
        let (stage, handle) = Stage::new(parts, owner.clone(), outside).await?;
        let stage = tokio::spawn(stage.run());

        let origins = AllowedOrigins::parse(&config.allowed_origins).context("`listen.allowed_origins`")?;
        let pages = signaling::Config {
            origins,
            swarm: config.swarm,
            limits: config.limits.clone(),
            tally,
            ..signaling::Config::new(config.control_listen)
        };
        let server = Server::start(pages, handle.clone())
            .await
            .context("another Greenroom may be running; end it, or choose another port with --listen")?;
        let server = Arc::new(server);
        doors.attach(&server).await;
        tokio::spawn(Doors::keep_certificate(Arc::downgrade(&doors)));
        let ports: Vec<u16> = workers.iter().map(|worker| worker.media_address().port()).collect();
        tracing::info!(control = %server.control_addr(), media = ?ports, "Greenroom is ready");
        Ok(Self { server, handle, owner, media, workers, store, stage, webhooks })
    }

    pub fn control_addr(&self) -> SocketAddr {
        self.server.control_addr()
    }

    pub fn owner(&self) -> &OwnerToken {
        &self.owner
    }

    /// Resolves when the stage has failed: without it nobody can be let in, moved or told anything.
    pub async fn failed(&self) {
        self.handle.stage_ended().await;
    }

    /// A fault of the tester's choice. Such a thing does not exist in a release build.
    #[cfg(debug_assertions)]
    pub async fn suffer(&self, fault: crate::Fault) {
        match fault {
            crate::Fault::Worker(index) => {
                let _: Result<(), _> =
                    self.workers.at(index).call(|_, _| panic!("a fault was asked for")).await;
            }
            crate::Fault::Stage => self.handle.fail().await,
        }
    }

    /// In order, and within the time given: guests are told, sockets close, the media worker ends, forwarding ends.
    pub async fn shutdown(self, within: Duration) {
        let deadline = Instant::now() + within;
        let goodbye = async {
            self.handle.say_goodbye(RESUME_IN).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        if tokio::time::timeout(within / 4, goodbye).await.is_err() {
            tracing::warn!("not everybody could be told that Greenroom closes");
        }
        self.server.shutdown(Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2).await;
        let rest = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(rest + KILL_TIME, self.media.shutdown(rest / 2)).await.is_err() {
            tracing::warn!("the media worker did not end in time");
        }
        self.workers.stop();
        self.stage.abort();
        // Ended by the line above or by itself.
        let _ = self.stage.await;
        let left = self.webhooks.finish(LAST_WEBHOOKS).await;
        if left > 0 {
            tracing::warn!(left, "webhooks were not delivered");
        }
        self.store.close().await;
        tracing::info!("Greenroom has ended");
    }
}

/// What there is to take up after a run that was cut off.
fn recovered(saved: &Saved, now: Now) -> Recovered {
    Recovered {
        rooms: saved.rooms.len(),
        invites: saved
            .invites
            .iter()
            .filter(|i| !i.revoked && i.uses < i.max_uses && i.expires_ms > now.unix_ms)
            .count(),
        guests: saved.seats.iter().filter(|seat| seat.present && !seat.removed).count(),
    }
}

fn start_media(config: &Config, workers: WorkerPool) -> (MediaHandle, outputs::obs::MediaEvents) {
    let media = outputs::obs::Config {
        program: places::media_worker(config.obs.media_worker.clone()),
        socket_path: places::obs_socket(config.obs.socket.clone()),
        slot_count: config.slot_count,
        hardware_decoding: config.hardware_decoding,
    };
    outputs::obs::start(media, Box::new(move |pipe| workers.attach_media_pipe(pipe)))
}

/// What guests are told to wait before they come back: about a restart's time.
const RESUME_IN: Duration = Duration::from_secs(2);
/// Notices are on their way through each socket's own task.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// For webhooks of the last moment; those of an endpoint that is down are given up.
const LAST_WEBHOOKS: Duration = Duration::from_millis(500);
/// For the system to end a process that was killed.
const KILL_TIME: Duration = Duration::from_millis(500);
