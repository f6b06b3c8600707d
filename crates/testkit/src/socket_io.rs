//! A Socket.IO client just large enough to join a room: one WebSocket, requests with acks (Engine.IO 4).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

pub struct SocketIo {
    socket: WebSocket<TcpStream>,
    next_ack: u32,
}

impl SocketIo {
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) =
            tungstenite::client(url, stream).map_err(|e| anyhow::anyhow!("no WebSocket: {e}"))?;
        let mut client = Self { socket, next_ack: 0 };
        client.read_until(|text| text.starts_with('0').then_some(()))?;
        client.write("40{}".into())?;
        client.read_until(|text| text.starts_with("40").then_some(()))?;
        Ok(client)
    }

    /// Sends a request and waits for its ack; a refusal is an error.
    pub fn ask(&mut self, event: &str, payload: Value) -> Result<Value> {
        let ack = self.next_ack;
        self.next_ack += 1;
        self.write(format!("42{ack}{}", json!([event, payload])))?;
        let prefix = format!("43{ack}[");
        let answer = self
            .read_until(|text| text.starts_with(&prefix).then(|| text[prefix.len() - 1..].to_owned()))
            .with_context(|| format!("no answer to {event}"))?;
        let answer: Vec<Value> = serde_json::from_str(&answer)?;
        let answer = answer.into_iter().next().unwrap_or_default();
        if let Some(error) = answer.get("error") {
            bail!("{event}: {error}");
        }
        Ok(answer)
    }

    /// Reads what has come, and answers pings.
    pub fn keep_alive(&mut self) -> Result<()> {
        self.socket.get_ref().set_nonblocking(true)?;
        let mut outcome = Ok(());
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => outcome = self.write("3".into()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            }
        }
        self.socket.get_ref().set_nonblocking(false)?;
        outcome
    }

    fn read_until<T>(&mut self, mut pick: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Message::Text(text) = self.socket.read()? else { continue };
            if text.as_str() == "2" {
                self.write("3".into())?;
            } else if let Some(found) = pick(&text) {
                return Ok(found);
            }
        }
        bail!("the server is silent")
    }

    fn write(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text))?)
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
