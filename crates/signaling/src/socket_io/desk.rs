//! What one client asks of the engine, one thing after the other in its order, and what the engine tells it.

use super::voice::Voice;
use crate::backend::{Backend, Caller, OUTBOX_CAPACITY, within};
use crate::config::SwarmAccess;
use crate::events::{self, Request};
use crate::line::Line;
use crate::server::App;
use crate::swarm::SwarmMember;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::Instrument;
use wire::sfu::{JoinRoom, Joined, Notice, PeerReply, PeerRequest};
use wire::swarm::{Announce, SwarmHash};
use wire::{Code, Failure};

/// An event as it was read, and where its answer goes.
pub(super) struct Asked {
    pub text: Result<String, Failure>,
    pub ack: Option<u64>,
}

pub(super) struct Desk<B> {
    app: Arc<App<B>>,
    caller: Caller,
    voice: Voice,
    /// Its place in the swarms, and the way to it.
    pub member: SwarmMember,
    line: Line,
    /// *Request* kind: when full, the request is refused as `busy`.
    waiting: VecDeque<Asked>,
    /// The one being answered.
    under_way: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    /// While it is in a room.
    notices: Option<mpsc::Receiver<Box<Notice>>>,
    /// The engine knows this session.
    is_known: bool,
    /// The end of the notices is the client's own wish and no reason to disconnect it.
    is_leaving: bool,
}

/// What the engine said.
enum Answer {
    Joined(Option<u64>, Result<Box<Joined>, Failure>, mpsc::Receiver<Box<Notice>>),
    Allowed(Option<u64>, Result<SwarmHash, Failure>),
    Replied { ack: Option<u64>, reply: Result<PeerReply, Failure>, was_leaving: bool },
}

/// What is to be done about it.
pub(super) enum Turn {
    /// All is said.
    Done,
    /// An event that is not one of ours; how often, is counted elsewhere.
    Refused(Option<u64>, Failure),
    /// The engine ended it.
    Dismissed,
}

impl<B: Backend> Desk<B> {
    pub(super) fn new(app: Arc<App<B>>, caller: Caller, voice: Voice, member: SwarmMember) -> Self {
        let line = Line::SocketIo(voice.clone());
        Self {
            app,
            caller,
            voice,
            member,
            line,
            waiting: VecDeque::new(),
            under_way: None,
            notices: None,
            is_known: false,
            is_leaving: false,
        }
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    pub(super) fn queue(&mut self, asked: Asked) {
        if self.waiting.len() >= self.app.limits.queued_requests {
            self.app.tally.refuse(Code::Busy);
            let failure = Failure::new(Code::Busy, "Too many requests are waiting. Try again.");
            return self.voice.answer(asked.ack, &Err::<(), _>(failure));
        }
        self.waiting.push_back(asked);
    }

    /// Goes on with what is asked, as long as the client takes what it is answered.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        loop {
            if let Some(under_way) = &mut self.under_way {
                if let Poll::Ready(answer) = under_way.as_mut().poll(cx) {
                    self.under_way = None;
                    self.settle(answer);
                    return Poll::Ready(Turn::Done);
                }
            } else if self.voice.has_room()
                && let Some(asked) = self.waiting.pop_front()
            {
                if let Err(failure) = self.begin(asked.text, asked.ack) {
                    return Poll::Ready(Turn::Refused(asked.ack, failure));
                }
                continue;
            }
            return self.poll_notices(cx);
        }
    }

    fn poll_notices(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Some(notices) = self.notices.as_mut().filter(|_| self.voice.has_room()) else {
            return Poll::Pending;
        };
        match ready!(notices.poll_recv(cx)) {
            Some(notice) => {
                self.voice.notify(*notice);
                self.pass_on_notices();
                Poll::Ready(Turn::Done)
            }
            None => {
                self.notices = None;
                Poll::Ready(if self.is_leaving { Turn::Done } else { Turn::Dismissed })
            }
        }
    }

    /// Those that wait already.
    fn pass_on_notices(&mut self) {
        while self.voice.has_room()
            && let Some(notice) = self.notices.as_mut().and_then(|notices| notices.try_recv().ok())
        {
            self.voice.notify(*notice);
        }
    }

    fn begin(&mut self, text: Result<String, Failure>, ack: Option<u64>) -> Result<(), Failure> {
        let handling = self.app.tally.handle(text.as_deref().unwrap_or_default());
        let request = text.and_then(|text| events::parse(&text))?;
        let asking: Pin<Box<dyn Future<Output = Answer> + Send>> = match request {
            Request::Join(request) => Box::pin(join(self.app.clone(), self.caller.clone(), request, ack)),
            Request::Announce(asked) => Box::pin(announce(self.app.clone(), self.caller.clone(), asked, ack)),
            Request::Peer(request) => {
                let was_leaving = self.is_leaving;
                self.is_leaving |= matches!(request, PeerRequest::LeaveRoom) && self.is_known;
                let (app, session) = (self.app.clone(), self.caller.session);
                Box::pin(async move {
                    let reply = within(app.limits.answer_time, app.backend.request(session, request)).await;
                    Answer::Replied { ack, reply, was_leaving }
                })
            }
        };
        let span = tracing::debug_span!("socket", session = %self.caller.session.0);
        let answer = async move {
            let _handling = handling;
            asking.await
        };
        self.under_way = Some(Box::pin(answer.instrument(span)));
        Ok(())
    }

    fn settle(&mut self, answer: Answer) {
        match answer {
            Answer::Joined(ack, Ok(joined), notices) => {
                self.voice.answer(ack, &Ok(&*joined));
                self.voice.emit("room-joined", &*joined);
                (self.notices, self.is_known, self.is_leaving) = (Some(notices), true, false);
            }
            Answer::Joined(ack, Err(refused), _) => self.voice.answer(ack, &Err::<(), _>(refused)),
            Answer::Allowed(ack, allowed) => {
                let list = allowed.and_then(|hash| self.member.announce(|| self.line.clone(), hash));
                if let Ok(list) = &list {
                    self.voice.emit("peer-list", list);
                }
                self.voice.answer(ack, &list);
            }
            Answer::Replied { ack, reply, was_leaving } => {
                self.is_leaving &= was_leaving || reply.is_ok();
                self.voice.answer(ack, &reply);
            }
        }
    }

    /// What was said before the end still counts: a page says `leave-room` and is gone. When it is the server that
    /// ends, the last notices say so.
    pub(super) async fn finish(&mut self) {
        loop {
            if let Some(under_way) = self.under_way.take() {
                let answer = under_way.await;
                self.settle(answer);
            }
            let Some(asked) = self.waiting.pop_front() else { break };
            if let Err(failure) = self.begin(asked.text, asked.ack) {
                self.voice.answer(asked.ack, &Err::<(), _>(failure));
            }
        }
        self.pass_on_notices();
        self.member.leave(None);
        if self.is_known {
            self.app.backend.disconnected(self.caller.session).await;
        }
    }
}

async fn join<B: Backend>(app: Arc<App<B>>, caller: Caller, request: JoinRoom, ack: Option<u64>) -> Answer {
    let (outbox, notices) = mpsc::channel(OUTBOX_CAPACITY);
    if let Err(failure) = app.porter.check(Instant::now(), caller.address) {
        return Answer::Joined(ack, Err(failure), notices);
    }
    let joined = within(app.limits.answer_time, app.backend.join(caller, request, outbox)).await;
    Answer::Joined(ack, joined.map(Box::new), notices)
}

/// From where introductions need a token.
async fn announce<B: Backend>(app: Arc<App<B>>, caller: Caller, asked: Announce, ack: Option<u64>) -> Answer {
    let allowed = match app.swarm_access {
        SwarmAccess::Off => app.swarm_access.is_free_for(None).map(drop),
        SwarmAccess::Local | SwarmAccess::Open => match app.porter.check(Instant::now(), caller.address) {
            Ok(()) => within(app.limits.answer_time, app.backend.grant(caller.token, None)).await.map(drop),
            Err(failure) => Err(failure),
        },
    };
    Answer::Allowed(ack, allowed.map(|()| asked.hash))
}
