// The least that introduces peers: a socket.io 4 server with announce, offer, answer and ice-candidate, and no limits.
// As a program it prints the port it listens on: `node lib/introductions-reference.mjs`.
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { Server } from 'socket.io';

export function serveIntroductions() {
  const server = http.createServer();
  const io = new Server(server);
  const rooms = new Map(); // hash -> socket ids

  io.on('connection', socket => {
    socket.on('announce', ({ hash }) => {
      if (!rooms.has(hash)) rooms.set(hash, new Set());
      rooms.get(hash).add(socket.id);
      socket.join(hash);
      const peers = Array.from(rooms.get(hash)).filter(id => id !== socket.id);
      socket.emit('peer-list', { peers });
      socket.to(hash).emit('new-peer', { peerId: socket.id });
    });
    for (const event of ['offer', 'answer', 'ice-candidate']) {
      socket.on(event, data => socket.to(data.targetPeer).emit(event, { ...data, fromPeer: socket.id }));
    }
    socket.on('disconnect', () => {
      rooms.forEach((peers, hash) => {
        peers.delete(socket.id);
        if (peers.size === 0) rooms.delete(hash);
      });
    });
  });

  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => resolve({ url: `http://127.0.0.1:${server.address().port}`, close: () => io.close() }));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await serveIntroductions()).url);
