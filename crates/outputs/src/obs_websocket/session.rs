//! The task that follows OBS: connects when it may and can, shows what OBS does, carries out what is asked.

use super::edit::{self, Addition, GUEST_SOURCE, refusal};
use super::find::{self, HOW_TO_ENABLE};
use super::link::{AskError, Gone, Link, News, OpenError};
use super::place::capacity;
use super::{Command, Config};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use wire::obs::{AddToObs, AddedToObs, ObsControl, ObsLayout, ObsShow, Recording};
use wire::{Code, Failure, SlotId};

/// Ends when every handle is gone.
pub(super) async fn run(
    config: Config,
    allowed: watch::Receiver<bool>,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<ObsControl>,
) {
    let Config { folders, slot_count, running } = config;
    let session =
        Session { folders, slot_count, running, allowed, commands, view, additions: VecDeque::new() };
    session.run().await;
}

struct Session {
    folders: Vec<std::path::PathBuf>,
    slot_count: u8,
    running: watch::Receiver<bool>,
    allowed: watch::Receiver<bool>,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<ObsControl>,
    /// What can be taken back, newest last; the oldest are forgotten. As long as the connection: after that, ids may
    /// mean other items.
    additions: VecDeque<Addition>,
}

/// Every handle is gone.
struct Over;

/// Why a connection was given up.
enum Ending {
    Over,
    Forbidden,
    Lost,
}

impl Session {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if !*self.allowed.borrow_and_update() {
                self.show(ObsControl::Off);
                pause = FIRST_PAUSE;
                match self.rest(None).await {
                    Ok(()) => continue,
                    Err(Over) => return,
                }
            }
            let was_running = *self.running.borrow_and_update();
            match if was_running { self.connect().await } else { Err(START_OBS.to_owned()) } {
                Ok(link) => {
                    let since = Instant::now();
                    match self.serve(link).await {
                        Ending::Over => return,
                        Ending::Forbidden => continue,
                        Ending::Lost => {}
                    }
                    self.additions.clear();
                    if since.elapsed() > STEADY {
                        pause = FIRST_PAUSE;
                    }
                    self.show(waiting("The connection to OBS was lost; Greenroom tries again."));
                }
                Err(hint) => self.show(waiting(hint)),
            }
            if self.rest(Some(pause)).await.is_err() {
                return;
            }
            // An OBS that was just started has its own time to get ready.
            pause = if *self.running.borrow() && !was_running {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LAST_PAUSE)
            };
        }
    }

    /// The first of the configured places that lets us in, or what to tell the streamer.
    async fn connect(&self) -> Result<Link, String> {
        let folders = self.folders.clone();
        let found = tokio::task::spawn_blocking(move || find::find(&folders)).await;
        let places = found.map_err(|error| error.to_string())?.map_err(|closed| closed.to_string())?;
        let mut worst = OpenError::Unreachable;
        for access in places {
            match Link::open(&access).await {
                Ok(link) => return Ok(link),
                Err(OpenError::Unreachable) => {}
                Err(error) => {
                    tracing::debug!(?access, %error, "obs-websocket");
                    worst = error;
                }
            }
        }
        Err(match worst {
            OpenError::Unreachable => {
                format!("OBS is running, but does not listen yet. If this stays: {HOW_TO_ENABLE}")
            }
            OpenError::Password => {
                "OBS refuses the password in its own settings. Restart OBS, so that both agree.".to_owned()
            }
            OpenError::Foreign => {
                "Another program answers where OBS should. In OBS, choose another port in Tools → WebSocket Server Settings.".to_owned()
            }
            OpenError::Silent => "OBS does not answer. Greenroom tries again.".to_owned(),
        })
    }

    /// Waits for the time given, or for ever; less when there is news. Commands are refused meanwhile.
    async fn rest(&mut self, time: Option<Duration>) -> Result<(), Over> {
        let until = time.map(|time| Instant::now() + time);
        loop {
            tokio::select! {
                changed = self.allowed.changed() => return changed.map_err(|_| Over),
                Ok(()) = self.running.changed() => return Ok(()),
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return Ok(()),
                command = self.commands.recv() => match command {
                    Some(command) => self.refuse(command),
                    None => return Err(Over),
                },
            }
        }
    }

    fn refuse(&self, command: Command) {
        let text = match &*self.view.borrow() {
            ObsControl::Waiting { hint } => format!("Greenroom is not connected to OBS. {hint}"),
            _ => "Connect Greenroom to OBS first, or add the source in OBS by hand.".to_owned(),
        };
        let failure = Failure::new(Code::Conflict, text);
        // Whoever does not wait for the answer needs none.
        match command {
            Command::Add(_, answer) => drop(answer.send(Err(failure))),
            Command::Undo(answer) => drop(answer.send(Err(failure))),
        }
    }

    /// Until the connection ends, or the consent.
    async fn serve(&mut self, mut link: Link) -> Ending {
        let mut look_at = Instant::now();
        let mut exchanged_by = None;
        loop {
            if link.is_exchanging() {
                let by = *exchanged_by.get_or_insert_with(|| Instant::now() + EXCHANGE);
                look_at = by;
                if Instant::now() >= by {
                    return Ending::Lost;
                }
            } else if exchanged_by.take().is_some() {
                look_at = Instant::now();
            }
            tokio::select! {
                heard = link.listen() => match heard {
                    Ok(()) => match link.take_news() {
                        News::None => {}
                        News::Changed => look_at = look_at.min(Instant::now() + SOON),
                        News::OtherScenes => {
                            self.additions.clear();
                            look_at = Instant::now();
                        }
                    },
                    Err(Gone) => return Ending::Lost,
                },
                command = self.commands.recv() => match command {
                    Some(command) => {
                        self.carry_out(&mut link, command).await;
                        look_at = Instant::now();
                    }
                    None => return Ending::Over,
                },
                () = sleep_until(look_at) => {
                    if !link.is_exchanging() {
                        let patience = match self.look(&mut link).await {
                            Ok(show) => {
                                self.show(ObsControl::Connected(show));
                                LOOK_EVERY
                            }
                            // It starts or ends.
                            Err(AskError::Refused { .. } | AskError::Exchanging) => FIRST_PAUSE,
                            Err(AskError::Gone) => return Ending::Lost,
                        };
                        look_at = Instant::now() + patience;
                    }
                }
                changed = self.allowed.changed() => {
                    if changed.is_err() {
                        return Ending::Over;
                    }
                    if !*self.allowed.borrow() {
                        self.additions.clear();
                        link.close().await;
                        return Ending::Forbidden;
                    }
                }
            }
        }
    }

    async fn look(&self, link: &mut Link) -> Result<ObsShow, AskError> {
        let scenes = edit::scenes(link).await?;
        let version = link.ask("GetVersion", Value::Null).await?;
        let stream = link.ask("GetStreamStatus", Value::Null).await?;
        let record = link.ask("GetRecordStatus", Value::Null).await?;
        let kinds = link.ask("GetInputKindList", json!({ "unversioned": true })).await?;
        let kinds = kinds["inputKinds"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(ObsShow {
            version: shortened(version["obsVersion"].as_str().unwrap_or_default()),
            streaming: stream["outputActive"] == true,
            recording: match (record["outputActive"] == true, record["outputPaused"] == true) {
                (false, _) => Recording::Off,
                (true, false) => Recording::On,
                (true, true) => Recording::Paused,
            },
            program: shortened(&scenes.program),
            preview: scenes.preview.as_deref().map(shortened),
            has_plugin: kinds.iter().any(|kind| kind == GUEST_SOURCE),
            undo: self.additions.back().map(|addition| addition.label.clone()),
        })
    }

    async fn carry_out(&mut self, link: &mut Link, command: Command) {
        match command {
            Command::Add(asked, answer) => drop(answer.send(self.add(link, &asked).await)),
            Command::Undo(answer) => drop(answer.send(self.undo(link).await)),
        }
    }

    async fn add(&mut self, link: &mut Link, asked: &AddToObs) -> Result<AddedToObs, Failure> {
        let slots = self.slots_for(asked)?;
        let show = self.look(link).await.map_err(refusal)?;
        if !show.has_plugin {
            let text = "OBS runs without the plugin: install it, restart OBS, and try again.";
            return Err(Failure::new(Code::Conflict, text));
        }
        let (added, addition) = edit::add(link, asked, &slots).await?;
        if self.additions.len() >= MAX_ADDITIONS {
            self.additions.pop_front();
        }
        self.additions.push_back(addition);
        Ok(added)
    }

    /// As many as the layout holds, all of them there.
    fn slots_for(&self, asked: &AddToObs) -> Result<Vec<SlotId>, Failure> {
        let all: Vec<SlotId> = SlotId::all(self.slot_count).collect();
        let most = capacity(asked.layout, all.len());
        let slots = match &asked.slots {
            Some(slots) => slots.clone(),
            None => all.iter().copied().take(most).collect(),
        };
        let fits = match asked.layout {
            ObsLayout::Grid => (1..=most).contains(&slots.len()),
            ObsLayout::Source | ObsLayout::Solo | ObsLayout::SideBySide => slots.len() == most,
        };
        if !fits || !slots.iter().all(|slot| all.contains(slot)) {
            let text = format!("This layout takes {most} of the slots 1 to {}.", all.len());
            return Err(Failure::new(Code::InvalidRequest, text));
        }
        Ok(slots)
    }

    async fn undo(&mut self, link: &mut Link) -> Result<(), Failure> {
        let Some(addition) = self.additions.back().cloned() else {
            return Err(Failure::new(Code::NotFound, "There is nothing to take back."));
        };
        edit::take_back(link, &addition).await?;
        self.additions.pop_back();
        Ok(())
    }

    fn show(&self, control: ObsControl) {
        self.view.send_if_modified(|known| std::mem::replace(known, control.clone()) != control);
    }
}

fn waiting(hint: impl Into<String>) -> ObsControl {
    ObsControl::Waiting { hint: hint.into() }
}

/// A name of OBS's, as it is shown.
fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

const START_OBS: &str = "Start OBS: Greenroom connects by itself.";
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// A connection that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// Events come in bursts: one look for all of them.
const SOON: Duration = Duration::from_millis(100);
/// Also tells an OBS that hangs from one where nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// OBS loads its scenes in less, or not at all.
const EXCHANGE: Duration = Duration::from_secs(60);
const MAX_ADDITIONS: usize = 20;
const MAX_NAME: usize = 200;
