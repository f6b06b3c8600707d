//! One TCP connection: metered, and cut from outside when its time is over.

use crate::tally::Inside;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a request knows of the connection it came by; among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub remote: SocketAddr,
    /// Cancelled: the connection is cut.
    pub cut: CancellationToken,
    /// Octets that the network has taken so far.
    pub written: Arc<AtomicU64>,
}

/// A stream that lives on through upgrades to WebSocket, and holds its place in the listener's limits.
pub(crate) struct Metered {
    stream: TcpStream,
    cut_reading: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_writing: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes that may be read before the next pause.
    allowance: usize,
    pause: Pin<Box<Sleep>>,
    written: Arc<AtomicU64>,
    _slot: Slot,
}

/// A place in the listener's limits; dropping it frees the place.
pub(crate) struct Slot {
    pub _permit: OwnedSemaphorePermit,
    pub _inside: Inside,
    pub _address: AddressSlot,
    /// The listener's close waits for it.
    pub _alive: TaskTrackerToken,
}

impl Metered {
    pub(crate) fn new(stream: TcpStream, connection: &Connection, slot: Slot) -> Self {
        let cut = &connection.cut;
        Self {
            stream,
            cut_reading: Box::pin(cut.clone().cancelled_owned()),
            cut_writing: Box::pin(cut.clone().cancelled_owned()),
            allowance: FIRST_ALLOWANCE,
            pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
            written: connection.written.clone(),
            _slot: slot,
        }
    }

    /// One allowance for each pause: a flood is slowed by TCP itself before any of it is parsed.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.allowance == 0 {
            std::task::ready!(self.pause.as_mut().poll(cx));
            self.allowance = ALLOWANCE;
            self.pause.as_mut().reset(Instant::now() + PAUSE);
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_reading.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        std::task::ready!(self.poll_allowance(cx));
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        // One read may go past the allowance by a buffer's length; the next one pays.
        let read = buffer.filled().len().saturating_sub(before);
        self.allowance = self.allowance.saturating_sub(read);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_writing(cx)?;
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_writing(cx)?;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Metered {
    fn count(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(octets)) = result {
            self.written.fetch_add(*octets as u64, Ordering::Relaxed);
        }
    }

    fn check_writing(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut_writing.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

/// How many connections each address holds. A lock, because places are given back from `drop`; it is held
/// for one look-up.
#[derive(Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address; dropping it gives the place back.
pub(crate) struct AddressSlot {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// `None` when the address holds `most` already.
    pub(crate) fn try_take(&self, address: IpAddr, most: usize) -> Option<AddressSlot> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressSlot { addresses: self.clone(), address })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut held = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// A page with its assets, and a burst of signaling, fit before the first pause.
const FIRST_ALLOWANCE: usize = 2 * 1024 * 1024;
/// 1 MB/s over time: four times what one socket's byte limit lets through, so an honest client never meets it.
const ALLOWANCE: usize = 256 * 1024;
const PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_places_back() {
        let addresses = Addresses::default();
        let address: IpAddr = "192.0.2.9".parse().unwrap();
        let first = addresses.try_take(address, 2);
        let second = addresses.try_take(address, 2);
        assert!(first.is_some() && second.is_some());
        assert!(addresses.try_take(address, 2).is_none());
        assert!(addresses.try_take("192.0.2.10".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(addresses.try_take(address, 2).is_some());
        drop(second);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
