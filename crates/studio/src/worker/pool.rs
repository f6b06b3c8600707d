//! All forwarding threads: each has its own port and its own rooms, and an id tells whose it is.

use super::{StartError, WorkerConfig, WorkerEvent, WorkerHandle};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A cloneable way to every forwarding thread. A room lives on one of them, with everything in it.
#[derive(Clone)]
pub struct WorkerPool(Arc<[WorkerHandle]>);

impl WorkerPool {
    /// Starts `count` threads (at least one, at most [`MAX_WORKERS`]), each on the first of the ports that it can have.
    /// Events of all come from one receiver (*request* kind: when it is full they wait inside the state machines,
    /// which are bounded by what they hold).
    pub fn start(
        config: &WorkerConfig,
        count: usize,
    ) -> Result<(Self, mpsc::Receiver<WorkerEvent>), StartError> {
        let (events, receiver) = mpsc::channel(EVENT_CAPACITY);
        let start = |index: usize| WorkerHandle::start(config.clone(), index as u8, events.clone());
        let workers = (0..count.clamp(1, MAX_WORKERS)).map(start).collect::<Result<_, _>>()?;
        Ok((Self(workers), receiver))
    }

    /// Where the router, transport, producer, consumer or tap of that id lives. An id that no worker made leads to one
    /// that does not know it.
    pub fn home(&self, id: Uuid) -> &WorkerHandle {
        self.at(home_index(id, self.0.len()))
    }

    /// The index of [`Self::home`] in [`Self::iter`].
    pub fn home_index(&self, id: Uuid) -> usize {
        home_index(id, self.0.len())
    }

    /// For what is the same on all; a pool is never empty.
    pub fn at(&self, index: usize) -> &WorkerHandle {
        &self.0[index % self.0.len()]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &WorkerHandle> {
        self.0.iter()
    }

    /// Where media records go from now on: the write end of the media worker's pipe, already non-blocking. All threads
    /// write to the same pipe: a record is one `write` of at most `PIPE_BUF` octets, which no other write gets into.
    pub fn attach_media_pipe(&self, pipe: OwnedFd) {
        for worker in self.iter() {
            let attached = pipe.try_clone().map_err(StartError::Io).map(|own| worker.attach_media_pipe(own));
            match attached {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a forwarding worker's guests do not reach OBS"),
                Err(error) => tracing::error!(%error, "a forwarding worker's guests do not reach OBS"),
            }
        }
    }

    /// Ends every thread after the batch in hand.
    pub fn stop(&self) {
        self.iter().for_each(WorkerHandle::stop);
    }
}

fn home_index(id: Uuid, workers: usize) -> usize {
    usize::from(sfu::mark_of(id)) % workers
}

/// Far more than cores that a streamer's computer would give away.
pub const MAX_WORKERS: usize = 64;
/// Room for every peer of a few rooms changing state at once.
const EVENT_CAPACITY: usize = 1024;
