//! One `Greenroom Guest` in a scene: wishes in, a thread that fulfils them.

use crate::reader::{Sink, run};
use crate::settings::{Board, Wishes};
use frame_ipc::default_socket_path;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// Ends when dropped; nothing is given to its sink after that.
pub struct Source {
    pub board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    pub fn start(wishes: Wishes, sink: impl Sink + Send + 'static) -> io::Result<Self> {
        let (board, changes) = Board::new()?;
        board.set(wishes);
        let board = Arc::new(board);
        let wanted = board.clone();
        let thread = Builder::new().name("greenroom".into()).spawn(move || {
            // A mistake of ours costs this source its guest, not the streamer the show.
            if catch_unwind(AssertUnwindSafe(|| run(&wanted, changes, &sink, default_socket_path))).is_err() {
                sink.log(
                    "a guest's source stopped because of a mistake in Greenroom; add it to the scene anew",
                );
                sink.blank();
            }
        })?;
        Ok(Self { board, thread: Some(thread) })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.board.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
