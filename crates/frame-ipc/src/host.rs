//! The host's own thread: lets readers in, hears them out, throws out those that misbehave.

use crate::message::{Look, MAJOR, MAX_TO_HOST, MINOR, Older, Refusal, Report, ToHost, ToReader};
use crate::slot::{Slot, SlotWriter};
use crate::socket::{self, Received, Sent, Wake, check_peer, hang_up, receive, send};
use crate::subject::Subject;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The socket and the slots behind it. Dropping it ends every connection and removes the socket.
pub struct Host {
    path: PathBuf,
    inode: u64,
    /// First those with a number that people know, then [`FOLLOWED`] more for what readers follow.
    slots: Vec<Arc<Slot>>,
    /// Each until it is taken.
    writers: Mutex<Vec<Option<SlotWriter>>>,
    followed: Arc<Board>,
    strangers: Arc<Strangers>,
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

/// Who reads one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotReaders {
    pub slot: u8,
    pub readers: u32,
    /// How many of them have the picture on screen.
    pub shown: u32,
    /// The best look any of them has at it.
    pub look: Look,
    /// The last report of each reader.
    pub reports: Vec<Report>,
}

/// What a slot above the numbered ones is for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    pub slot: u8,
    pub subject: Subject,
}

/// Which of the slots above the numbered ones is for what: readers of the same subject share one.
///
/// A lock, because readers come on one thread, and who puts guests into slots looks from another. Held for a look.
type Board = Mutex<Vec<Option<Subject>>>;

/// When a reader of another version last came, and who is the older: it comes again every second.
///
/// A lock, because readers come on one thread and are asked for on another. Held for a look.
type Strangers = Mutex<Option<(Instant, Older)>>;

impl Host {
    /// Serves slots 1 to `slots`, and [`FOLLOWED`] more, at `path`. A socket left by a host that died is replaced; a living one's is an
    /// `AddrInUse`.
    pub fn bind(path: &Path, slots: u8) -> io::Result<Self> {
        let listener = socket::listen(path)?;
        let inode = socket::inode(path)?;
        let wake = Arc::new(Wake::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        let numbered = slots.min(u8::MAX - FOLLOWED);
        let writers: Vec<_> =
            (1..=numbered + FOLLOWED).map(|n| SlotWriter::new(n, wake.clone())).collect::<Result<_, _>>()?;
        let slots: Vec<_> = writers.iter().map(SlotWriter::slot).collect();
        let followed = Arc::new(Mutex::new(vec![None; FOLLOWED.into()]));
        let strangers = Arc::new(Strangers::default());
        let house = House {
            numbered,
            slots: slots.clone(),
            followed: followed.clone(),
            last: 0,
            strangers: strangers.clone(),
        };
        let door = Door {
            listener,
            house,
            stop: stop.clone(),
            wake: wake.clone(),
            clients: Vec::new(),
            next_id: 0,
            shut_until: None,
        };
        let thread = std::thread::Builder::new().name("frame-ipc".into()).spawn(move || door.run())?;
        let writers = Mutex::new(writers.into_iter().map(Some).collect());
        let path = path.to_owned();
        Ok(Self { path, inode, slots, writers, followed, strangers, stop, wake, thread: Some(thread) })
    }

    /// The writer of slot `number`, counted from 1; `None` if there is no such slot or it was taken before.
    pub fn slot(&self, number: u8) -> Option<SlotWriter> {
        let index = usize::from(number).checked_sub(1)?;
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)?.take()
    }

    pub fn readers(&self) -> Vec<SlotReaders> {
        self.slots.iter().map(|slot| slot.readers()).collect()
    }

    /// Whether any reader has this slot's picture on screen.
    pub fn is_shown(&self, number: u8) -> bool {
        self.slots.iter().any(|slot| slot.number == number && slot.readers().shown > 0)
    }

    /// Readers of another major version of the protocol keep coming, and cannot be served: which side is older.
    pub fn mismatch(&self) -> Option<Older> {
        let stranger = *self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        stranger.filter(|(at, _)| at.elapsed() < STRANGER_TIME).map(|(_, older)| older)
    }

    /// What readers follow, and in which slot they expect it. A slot that is not named here any more is to be
    /// emptied: it is given to the next subject only then.
    pub fn followed(&self) -> Vec<Followed> {
        let board = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.slots.len() - board.len();
        let named = |(i, subject): (usize, &Option<Subject>)| {
            Some(Followed { slot: self.slots.get(first + i)?.number, subject: subject.clone()? })
        };
        board.iter().enumerate().filter_map(named).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if socket::is_at(&self.path, self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

struct Door {
    listener: OwnedFd,
    house: House,
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    /// At most [`MAX_READERS`].
    clients: Vec<Client>,
    next_id: u64,
    /// After running out of descriptors: when to look at the door again.
    shut_until: Option<Instant>,
}

/// What there is to read.
struct House {
    numbered: u8,
    slots: Vec<Arc<Slot>>,
    followed: Arc<Board>,
    /// Where the last subject was put: the next goes to another place, if there is one.
    last: usize,
    strangers: Arc<Strangers>,
}

struct Client {
    id: u64,
    socket: Arc<OwnedFd>,
    stage: Stage,
    /// Messages in the second that began then.
    window: (Instant, u32),
    /// Something owed did not fit: to be sent when there is room.
    waiting: bool,
}

enum Stage {
    New {
        since: Instant,
    },
    Greeted {
        since: Instant,
        /// The minor version it speaks.
        minor: u8,
    },
    /// Slot 0: all slots, state only.
    Subscribed {
        slot: u8,
    },
}

impl Door {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let Ok(ready) = self.wait() else {
                // poll fails only for want of memory; try again when there may be some.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let now = Instant::now();
            self.wake.clear();
            let gone: Vec<u64> = ready.into_iter().filter(|id| !self.serve(*id, now)).collect();
            let silent = self.clients.iter().filter(|client| client.is_silent(now)).map(|client| client.id);
            let gone: Vec<u64> = gone.into_iter().chain(silent).collect();
            for id in gone {
                self.forget(id);
            }
            self.pay_debts();
            if self.shut_until.is_none_or(|until| now >= until) {
                self.shut_until = None;
                self.admit(now);
            }
        }
    }

    /// Waits for something to do; the ids of the clients that have it.
    fn wait(&self) -> io::Result<Vec<u64>> {
        let listening = if self.shut_until.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut polled =
            vec![PollFd::new(&self.listener, listening), PollFd::new(&*self.wake, PollFlags::IN)];
        for client in &self.clients {
            let mut interest = PollFlags::IN;
            interest.set(PollFlags::OUT, client.waiting);
            polled.push(PollFd::new(&*client.socket, interest));
        }
        let unsettled = self.shut_until.is_some() || self.clients.iter().any(Client::is_unsettled);
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut polled, unsettled.then_some(&second)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled[2..].iter().map(|fd| !(fd.revents() & !PollFlags::OUT).is_empty());
        Ok(self.clients.iter().zip(ready).filter(|(_, ready)| *ready).map(|(client, _)| client.id).collect())
    }

    fn admit(&mut self, now: Instant) {
        // A few at a time, so that a crowd at the door does not silence those inside.
        for _ in 0..8 {
            match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) if check_peer(&socket).is_err() => {}
                Ok(socket) if self.clients.len() >= MAX_READERS => {
                    send(&socket, &ToReader::Refused(Refusal::Full).encode(), None);
                    hang_up(&socket);
                }
                Ok(socket) => {
                    let id = self.next_id;
                    self.next_id += 1;
                    let stage = Stage::New { since: now };
                    let socket = Arc::new(socket);
                    self.clients.push(Client { id, socket, stage, window: (now, 0), waiting: false });
                }
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {
                    self.shut_until = Some(now + Duration::from_secs(1));
                    return;
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes a client's messages; false if it is to be thrown out or has gone.
    fn serve(&mut self, id: u64, now: Instant) -> bool {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return true };
        for _ in 0..MESSAGES_PER_TURN {
            let mut bytes = [0; MAX_TO_HOST];
            match receive(&client.socket, &mut bytes) {
                Received::Nothing => return true,
                Received::End => return false,
                Received::Message(length, _unwanted) => {
                    let message = bytes.get(..length).and_then(ToHost::decode);
                    if !client.is_within_budget(now)
                        || !message.is_some_and(|m| client.handle(m, &mut self.house, now))
                    {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn pay_debts(&mut self) {
        for client in &mut self.clients {
            if let Stage::Subscribed { slot } = client.stage {
                let heard = self.house.heard(slot);
                // Not `any`: each slot is to pay what it can.
                client.waiting = heard.filter(|s| s.settle(client.id)).count() > 0;
            }
        }
    }

    fn forget(&mut self, id: u64) {
        for client in self.clients.extract_if(.., |client| client.id == id) {
            hang_up(&client.socket);
        }
        for slot in &self.house.slots {
            slot.unsubscribe(id);
        }
        self.house.forget_subjects();
    }
}

impl House {
    /// The slots a subscriber of `slot` hears of; 0: of each numbered one.
    fn heard(&self, slot: u8) -> impl Iterator<Item = &Arc<Slot>> {
        let of_interest =
            move |s: &&Arc<Slot>| if slot == 0 { s.number <= self.numbered } else { s.number == slot };
        self.slots.iter().filter(of_interest)
    }

    /// The slot for `subject`, if there is room for one more.
    fn place(&mut self, subject: &Subject) -> Option<u8> {
        let mut board = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let places = &self.slots[usize::from(self.numbered)..];
        let known = board.iter().position(|known| known.as_ref() == Some(subject));
        let is_free = |i: &usize| board[*i].is_none() && places[*i].is_vacant();
        let index =
            known.or_else(|| (1..=board.len()).map(|n| (self.last + n) % board.len()).find(is_free))?;
        self.last = index;
        board[index] = Some(subject.clone());
        Some(places[index].number)
    }

    /// What nobody follows any more.
    fn forget_subjects(&mut self) {
        let mut board = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for (subject, slot) in board.iter_mut().zip(&self.slots[usize::from(self.numbered)..]) {
            if subject.is_some() && !slot.has_readers() {
                *subject = None;
            }
        }
    }
}

impl Client {
    /// False: this was not in order.
    fn handle(&mut self, message: ToHost, house: &mut House, now: Instant) -> bool {
        match (&self.stage, message) {
            (Stage::New { .. }, ToHost::Hello { major: MAJOR, minor }) => {
                self.stage = Stage::Greeted { since: now, minor };
                let welcome = ToReader::Welcome { major: MAJOR, minor: MINOR, slots: house.numbered };
                self.tell(&welcome)
            }
            (Stage::New { .. }, ToHost::Hello { major, .. }) => {
                let older = if major < MAJOR { Older::Reader } else { Older::Host };
                *house.strangers.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, older));
                // Not a refusal: from our version it knows what is to be updated.
                self.tell(&ToReader::Welcome { major: MAJOR, minor: MINOR, slots: 0 });
                false
            }
            (Stage::Greeted { minor, .. }, ToHost::Subscribe { slot }) => {
                if slot > house.numbered {
                    self.tell(&ToReader::Refused(Refusal::NoSuchSlot));
                    return false;
                }
                self.subscribe(house, slot, *minor)
            }
            (Stage::Greeted { minor, .. }, ToHost::Follow(subject)) => match house.place(&subject) {
                Some(slot) => self.subscribe(house, slot, *minor),
                None => {
                    self.tell(&ToReader::Refused(Refusal::Full));
                    false
                }
            },
            (Stage::Subscribed { slot: 1.. }, ToHost::Shown(shown)) => {
                // Somebody of whom no more is known may be on air.
                let look = if shown { Look::PROGRAM } else { Look::HIDDEN };
                self.with_slot(house, |slot, id| slot.set_look(id, look));
                true
            }
            (Stage::Subscribed { slot: 1.. }, ToHost::Look(look)) => {
                self.with_slot(house, |slot, id| slot.set_look(id, look));
                true
            }
            (Stage::Subscribed { slot: 1.. }, ToHost::Report(report)) => {
                self.with_slot(house, |slot, id| slot.set_report(id, report));
                true
            }
            _ => false,
        }
    }

    fn subscribe(&mut self, house: &House, slot: u8, minor: u8) -> bool {
        self.stage = Stage::Subscribed { slot };
        house.heard(slot).for_each(|s| s.subscribe(self.id, self.socket.clone(), slot != 0, minor));
        true
    }

    fn with_slot(&self, house: &House, f: impl Fn(&Slot, u64)) {
        if let Stage::Subscribed { slot: slot @ 1.. } = self.stage {
            house.heard(slot).for_each(|s| f(s, self.id));
        }
    }

    fn tell(&self, message: &ToReader) -> bool {
        send(&self.socket, &message.encode(), None) == Sent::Yes
    }

    fn is_within_budget(&mut self, now: Instant) -> bool {
        if now.duration_since(self.window.0) >= Duration::from_secs(1) {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        self.window.1 <= MESSAGES_PER_SECOND
    }

    /// Has not said what it wants in time.
    fn is_silent(&self, now: Instant) -> bool {
        match self.stage {
            Stage::New { since } | Stage::Greeted { since, .. } => now.duration_since(since) > GREETING_TIME,
            Stage::Subscribed { .. } => false,
        }
    }

    fn is_unsettled(&self) -> bool {
        !matches!(self.stage, Stage::Subscribed { .. })
    }
}

/// How many different subjects can be followed at a time; one more reader is told that the house is full.
pub const FOLLOWED: u8 = 16;
/// Sixteen slots in four places each.
const MAX_READERS: usize = 64;
const MESSAGES_PER_TURN: usize = 16;
/// A reader reports once a second and says where it is seen.
const MESSAGES_PER_SECOND: u32 = 100;
const GREETING_TIME: Duration = Duration::from_secs(5);
/// A source that is turned away comes again within a second.
const STRANGER_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socketpair};

    fn visitor(now: Instant) -> (Client, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap();
        let stage = Stage::New { since: now };
        (Client { id: 0, socket: Arc::new(ours), stage, window: (now, 0), waiting: false }, theirs)
    }

    #[test]
    fn a_visitor_who_never_says_what_it_wants_is_not_kept() {
        let start = Instant::now();
        let (mut client, _theirs) = visitor(start);
        let mut house = House {
            numbered: 0,
            slots: Vec::new(),
            followed: Arc::default(),
            last: 0,
            strangers: Arc::default(),
        };
        assert!(!client.is_silent(start + GREETING_TIME));
        assert!(client.is_silent(start + GREETING_TIME * 2));
        let hello = ToHost::Hello { major: MAJOR, minor: MINOR };
        assert!(client.handle(hello, &mut house, start + GREETING_TIME * 2));
        assert!(client.is_silent(start + GREETING_TIME * 4));
        assert!(client.handle(ToHost::Subscribe { slot: 0 }, &mut house, start + GREETING_TIME * 4));
        assert!(!client.is_silent(start + GREETING_TIME * 100));
    }

    #[test]
    fn a_reader_may_speak_a_hundred_times_a_second() {
        let start = Instant::now();
        let (mut client, _theirs) = visitor(start);
        assert!((0..MESSAGES_PER_SECOND).all(|_| client.is_within_budget(start)));
        assert!(!client.is_within_budget(start));
        assert!(client.is_within_budget(start + Duration::from_secs(1)));
    }
}
