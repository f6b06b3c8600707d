// Socket.IO from Node: a well-behaved client with acks as data, and a raw one that may send anything.
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { bounded } from './wait.mjs';

/** A connected client; `ask` answers `{ ok }` or `{ error, code }`, `notices` collects what comes unasked. */
export async function connect(url, token) {
  const socket = io(url, { auth: token ? { token } : {}, reconnection: false, forceNew: true, transports: ['websocket'] });
  const notices = [];
  socket.onAny((event, data) => notices.push({ event, data }));
  const left = new Promise(resolve => socket.once('disconnect', resolve));
  await bounded('socket connects', new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject)), 15_000);
  const ask = (event, payload) =>
    bounded(`${event} is answered`, new Promise(resolve => socket.emit(event, payload, resolve)), 15_000).then(answer =>
      answer && typeof answer === 'object' && 'error' in answer ? answer : { ok: answer },
    );
  return { socket, notices, ask, left, close: () => socket.disconnect() };
}

/**
 * A WebSocket that speaks Engine.IO by hand: `send` takes whole packets (`42["event"]`), `ended` resolves when
 * the server closes. Pings are answered.
 */
export async function rawConnect(url, { namespace = true } = {}) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { origin: url });
  const received = [];
  const ended = new Promise(resolve => socket.once('close', code => resolve(code)));
  socket.on('message', data => {
    const text = data.toString();
    if (text === '2') socket.send('3');
    else received.push(text);
  });
  await bounded('raw socket opens', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 5000);
  socket.on('error', () => {}); // Being cut off is what these are for.
  if (namespace) socket.send('40{}');
  return { received, ended, send: packet => socket.readyState === WebSocket.OPEN && socket.send(packet), close: () => socket.terminate() };
}
