// Two people who connect to each other by themselves: simple-peer, and `signal` through the server.
import { io } from 'socket.io-client';
import SimplePeer from 'simple-peer/simplepeer.min.js';

const state = { said: [], errors: [] };

window.client = {
  state,
  /** Enters the room and says who is there. */
  async join({ url, token, roomId, userId, role }) {
    const socket = (state.socket = io(`${url}/signaling`, { auth: { token } }));
    socket.on('peer-joined', ({ peerId }) => state.said.push(peerId));
    socket.on('error', error => state.errors.push(error));
    const joined = new Promise(resolve => socket.on('room-joined', resolve));
    socket.emit('join-room', { roomId, userId, role });
    state.joined = await joined;
    return { peerId: state.joined.peerId, state: state.joined.state, peers: state.joined.peers };
  },
  /** Connects to the other one; resolves with the size of the picture that came. */
  async connect({ isHost, remotePeerId }) {
    const { socket } = state;
    const localStream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    const peer = (state.peer = new SimplePeer({ initiator: isHost, stream: localStream, trickle: true }));
    peer.on('signal', signalData => socket.emit('signal', { to: remotePeerId, signal: signalData }));
    socket.on('signal', data => {
      if (data.from === remotePeerId) peer.signal(data.signal);
    });
    peer.on('error', error => state.errors.push(String(error)));
    const stream = await new Promise(resolve => peer.on('stream', resolve));
    const video = document.createElement('video');
    Object.assign(video, { srcObject: stream, muted: true, autoplay: true });
    document.body.append(video);
    await new Promise(resolve => video.addEventListener('playing', resolve, { once: true }));
    return { width: video.videoWidth, tracks: stream.getTracks().map(track => track.kind).sort() };
  },
};
