//! What waits for one client: put there by anybody, taken by the task that owns the connection, bounded in octets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// A lock, because others put in what the client's own task takes out; it is held for that.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    packets: VecDeque<Vec<u8>>,
    octets: usize,
    is_overflowing: bool,
    is_hung_up: bool,
    waker: Option<Waker>,
}

impl Outbox {
    /// What somebody else has for this client. When it does not fit, the client does not read what it is sent, and its
    /// task is told to end.
    pub(crate) fn try_push(&self, packet: Vec<u8>) -> bool {
        let mut waiting = self.lock();
        let fits = waiting.octets + size(&packet) <= MAX_WAITING && !waiting.is_overflowing;
        if fits {
            waiting.put(packet);
        } else {
            waiting.is_overflowing = true;
        }
        wake(waiting);
        fits
    }

    /// Ends the client's connection.
    pub(crate) fn hang_up(&self) {
        let mut waiting = self.lock();
        waiting.is_hung_up = true;
        wake(waiting);
    }

    /// What the client itself asked for, put in by its own task, which asks before whether there is room.
    pub(crate) fn push(&self, packet: Vec<u8>) {
        self.lock().put(packet);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.lock().octets < MAX_WAITING / 2
    }

    pub(crate) fn is_overflowing(&self) -> bool {
        self.lock().is_overflowing
    }

    /// Whether the client's task is to end.
    pub(crate) fn is_over(&self) -> bool {
        let waiting = self.lock();
        waiting.is_overflowing || waiting.is_hung_up
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().packets.is_empty()
    }

    /// Hands over what waits until it is `enough` octets. Who polls is woken when more has come.
    pub(crate) fn take(&self, cx: &mut Context<'_>, enough: usize, mut take: impl FnMut(&[u8])) {
        let mut waiting = self.lock();
        let mut taken = 0;
        while taken < enough
            && let Some(packet) = waiting.packets.pop_front()
        {
            taken += size(&packet);
            take(&packet);
        }
        waiting.octets -= taken;
        if waiting.packets.is_empty() && waiting.packets.capacity() > FEW {
            waiting.packets = VecDeque::new();
        }
        waiting.wake_with(cx);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn put(&mut self, packet: Vec<u8>) {
        self.octets += size(&packet);
        self.packets.push_back(packet);
    }

    fn wake_with(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// Wakes the connection's task, with the lock given back first: it asks for it at once.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn size(packet: &[u8]) -> usize {
    packet.len() + OVERHEAD
}

/// Octets that wait for one client: some fifty session descriptions.
const MAX_WAITING: usize = 256 * 1024;
/// What a packet costs beside its octets.
const OVERHEAD: usize = 48;
/// Packets whose places are kept for the next.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    async fn next(outbox: &Outbox) -> Vec<u8> {
        let mut taken = Vec::new();
        poll_fn(|cx| {
            outbox.take(cx, 1, |packet| taken.extend_from_slice(packet));
            if taken.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        taken
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let outbox = Arc::new(Outbox::default());
        let other = outbox.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            assert!(other.try_push(b"first".to_vec()) && other.try_push(b"second".to_vec()));
        });
        assert_eq!(next(&outbox).await, b"first");
        assert_eq!(next(&outbox).await, b"second");
    }

    #[tokio::test]
    async fn who_does_not_read_is_told_to_end() {
        let outbox = Outbox::default();
        let big = vec![b'x'; 100_000];
        assert!(outbox.try_push(big.clone()) && outbox.try_push(big.clone()));
        assert!(!outbox.has_room());
        assert_eq!(next(&outbox).await.len(), 100_000);
        assert!(outbox.try_push(big.clone()), "what was read makes room");
        assert!(!outbox.is_overflowing());
        assert!(!outbox.try_push(big) && outbox.is_overflowing() && outbox.is_over());
    }
}
