//! The sound service and its devices: finds the one that is wanted, plays on it, notices when it goes.
//!
//! PulseAudio's protocol where a server speaks it (PipeWire's does too), ALSA otherwise.

use crate::playout::{Chunk, Drain, Feeder, playout};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Device, ErrorKind, FromSample, Host, HostId, SampleFormat, SizedSample, Stream, StreamConfig,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wire::monitor::{DeviceId, MAX_DEVICES, MonitorReport, MonitorState, OutputDevice};

/// Where the mix goes: to the device that is open, if one is.
///
/// A lock, because the device comes and goes while the mix flows. Held for 10 ms of resampling; the service's thread
/// never takes it.
#[derive(Default)]
pub struct Output(Mutex<Option<Feeder>>);

impl Output {
    pub fn push(&self, chunk: &Chunk) {
        if let Some(feeder) = &mut *self.feeder() {
            feeder.push(chunk);
        }
    }

    fn feeder(&self) -> MutexGuard<'_, Option<Feeder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for the device, opens it, lets go of it.
pub struct Player {
    /// `None`: whichever the system plays on.
    wanted: Option<DeviceId>,
    output: Arc<Output>,
    host: Option<Host>,
    playing: Option<Playing>,
    /// There is, or was, a server of PulseAudio's protocol. Then nothing else is tried: a card that we took while it is
    /// being started again would be missing to everybody.
    served: bool,
    keeps_waiting: bool,
    /// What the wanted device was called while it was there.
    name: Option<String>,
}

struct Playing {
    id: DeviceId,
    /// The service says that this stream is over.
    ended: Arc<AtomicBool>,
    _stream: Stream,
}

impl Player {
    pub fn new(wanted: Option<DeviceId>, output: Arc<Output>) -> Self {
        Self { wanted, output, host: None, playing: None, served: false, keeps_waiting: false, name: None }
    }

    /// Does what is to be done now and says how things are. Called a few times a second.
    pub fn look_around(&mut self) -> MonitorReport {
        let (state, devices) = match self.try_to_play() {
            Ok((playing, devices)) => (MonitorState::Playing { device: playing }, devices),
            Err((reason, devices)) => {
                self.stop();
                // Without a card, a server may be on its way.
                self.host = self.host.take().filter(|_| self.served);
                (MonitorState::Waiting { reason }, devices)
            }
        };
        MonitorReport { state, devices }
    }

    /// The sound service took so long that this process had better begin anew: its client's threads wait for ever.
    pub fn keeps_waiting(&self) -> bool {
        self.keeps_waiting
    }

    fn try_to_play(&mut self) -> Result<(String, Vec<OutputDevice>), (String, Vec<OutputDevice>)> {
        let host = match self.host.take() {
            Some(host) => host,
            None => self.connect().map_err(|error| (format!("{NO_ANSWER} ({error})."), Vec::new()))?,
        };
        // A service that was restarted knows nothing of us: it is connected to anew.
        let found = outputs(&host).map_err(|error| (format!("{NO_ANSWER} ({error})."), Vec::new()))?;
        let devices: Vec<OutputDevice> = found.iter().map(|(known, _)| known.clone()).collect();
        let usual = host.default_output_device().and_then(|device| device.id().ok());
        self.host = Some(host);
        let chosen = match &self.wanted {
            Some(wanted) => found.iter().find(|(known, _)| known.id == *wanted),
            None => usual.and_then(|id| found.iter().find(|(known, _)| known.id.as_str() == id.id())),
        };
        let Some((known, device)) = chosen else { return Err((self.why_none(), devices)) };
        self.name = Some(known.name.clone());
        let plays = |playing: &Playing| playing.id == known.id && !playing.ended.load(Ordering::Acquire);
        if !self.playing.as_ref().is_some_and(plays) {
            self.stop();
            let opened = self.open(known, device);
            let refused = |error| (format!("{} cannot be played on ({error}).", known.name), devices.clone());
            self.playing = Some(opened.map_err(refused)?);
        }
        Ok((known.name.clone(), devices))
    }

    fn connect(&mut self) -> Result<Host, cpal::Error> {
        self.served |= cpal::available_hosts().contains(&HostId::PulseAudio);
        if !self.served {
            return cpal::host_from_id(HostId::Alsa);
        }
        let start = Instant::now();
        let host = cpal::host_from_id(HostId::PulseAudio);
        self.keeps_waiting = host.is_err() && start.elapsed() > QUICKLY;
        host
    }

    fn why_none(&self) -> String {
        match (&self.wanted, &self.name) {
            (None, _) => {
                "This computer has nothing to play sound on. Plug in your headphones, and it begins.".into()
            }
            (Some(_), Some(name)) => {
                format!("{name} is gone. Plug it in again, and it goes on; or choose another.")
            }
            (Some(id), None) => format!("“{id}” is not there. Plug it in, and it begins; or choose another."),
        }
    }

    /// Lets go of the device before anything else plays on what the service would move us to.
    fn stop(&mut self) {
        *self.output.feeder() = None;
        self.playing = None;
    }

    fn open(&self, known: &OutputDevice, device: &Device) -> Result<Playing, cpal::Error> {
        let usual = device.default_output_config()?;
        // PulseAudio takes whatever it is given; a card of ALSA's what it is.
        let by_protocol = device.id().is_ok_and(|id| id.host() == HostId::PulseAudio);
        let (format, config) = if by_protocol {
            let buffer_size = BufferSize::Fixed(PULSE_FRAMES);
            (SampleFormat::F32, StreamConfig { channels: 2, sample_rate: 48_000, buffer_size })
        } else {
            (usual.sample_format(), usual.config())
        };
        let (feeder, drain) = playout(config.sample_rate);
        let ended = Arc::new(AtomicBool::new(false));
        let stream = match format {
            SampleFormat::F32 => build::<f32>(device, config, drain, ended.clone()),
            SampleFormat::I32 => build::<i32>(device, config, drain, ended.clone()),
            SampleFormat::I16 => build::<i16>(device, config, drain, ended.clone()),
            SampleFormat::U8 => build::<u8>(device, config, drain, ended.clone()),
            _ => Err(cpal::Error::new(ErrorKind::UnsupportedConfig)),
        }?;
        stream.play()?;
        *self.output.feeder() = Some(feeder);
        Ok(Playing { id: known.id.clone(), ended, _stream: stream })
    }
}

fn build<S: SizedSample + FromSample<f32>>(
    device: &Device,
    config: StreamConfig,
    mut drain: Drain,
    ended: Arc<AtomicBool>,
) -> Result<Stream, cpal::Error> {
    let channels = usize::from(config.channels.max(1));
    let play = move |output: &mut [S], _: &cpal::OutputCallbackInfo| {
        drain.begin(output.len() / channels);
        for frame in output.chunks_exact_mut(channels) {
            let [left, right] = drain.next_frame();
            match frame {
                [only] => *only = S::from_sample((left + right) / 2.0),
                // Further channels stay silent, as they are handed over.
                [first, second, ..] => (*first, *second) = (S::from_sample(left), S::from_sample(right)),
                [] => {}
            }
        }
    };
    let on_error = move |error: cpal::Error| {
        if is_the_end(error.kind()) {
            ended.store(true, Ordering::Release);
        }
    };
    device.build_output_stream(config, play, on_error, Some(OPEN_WITHIN))
}

/// A hole in the sound, or a thread without the priority it asked for, ends no stream.
fn is_the_end(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Xrun | ErrorKind::RealtimeDenied)
}

/// What can be played on, at most [`MAX_DEVICES`].
fn outputs(host: &Host) -> Result<Vec<(OutputDevice, Device)>, cpal::Error> {
    let mut found = Vec::new();
    for device in host.output_devices()? {
        let (Ok(id), Ok(about)) = (device.id(), device.description()) else { continue };
        let Ok(id) = DeviceId::try_from(id.id().to_owned()) else { continue };
        if NOWHERE.contains(&id.as_str()) {
            continue;
        }
        let name = about.name().chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        found.push((OutputDevice { id, name }, device));
        if found.len() == MAX_DEVICES {
            break;
        }
    }
    Ok(found)
}

/// What PulseAudio and PipeWire, and what ALSA offers when there is nothing.
const NOWHERE: &[&str] = &["auto_null", "null"];
/// 30 ms, of which the server holds two: with 5 ms PipeWire's leaves holes on a busy machine, with 20 on a very busy one.
const PULSE_FRAMES: u32 = 1440;
/// A server that refuses does so at once.
const QUICKLY: Duration = Duration::from_secs(1);
const OPEN_WITHIN: Duration = Duration::from_secs(2);
const MAX_NAME: usize = 120;
const NO_ANSWER: &str = "This computer's sound service does not answer";
