// The engine as its own process: private folders, any port, its REST API, and the ways it can die.
import fs from 'node:fs';
import path from 'node:path';
import WebSocket from 'ws';
import { readExposition } from './exposition.mjs';
import { artifact, binary, privateFolder } from './places.mjs';
import { Program, childrenNamed, isAlive } from './process.mjs';
import { bounded, until } from './wait.mjs';

export class Engine {
  /**
   * @param {{name?: string, settings?: string, env?: object}} options `settings` is TOML put after the test's own;
   *   its tables must not be those of `configuration` below.
   */
  static async start(options = {}) {
    const engine = new Engine(options);
    await engine.launch();
    return engine;
  }

  constructor({ name = 'engine', settings = '', media = '', env = {} }) {
    this.name = name;
    this.env = env;
    this.folder = privateFolder('engine');
    this.socket = path.join(this.folder, 'obs.sock');
    this.config = path.join(this.folder, 'config.toml');
    this.listen = '127.0.0.1:0';
    fs.writeFileSync(this.config, configuration(this.socket, media) + settings);
  }

  /** Starts the process; again after `die` it takes the same address and data. */
  async launch() {
    this.program = new Program({
      name: this.name,
      command: binary('greenroomd'),
      args: [...this.arguments, '--print-access'],
      env: this.environment,
    });
    const access = await this.program.line('prints its access', (line, stream) => stream === 'stdout' && parseAccess(line));
    this.url = access.url;
    this.token = access.token;
    this.dashboardUrl = access.dashboard;
    this.listen = new URL(this.url).host;
    await until('the engine is healthy', async () => (await fetch(`${this.url}/health`)).ok, { within: 10_000, every: 50 });
  }

  /** What `greenroom` and `greenroomd` both understand. */
  get arguments() {
    return ['--config', this.config, '--listen', this.listen, '--data-dir', path.join(this.folder, 'data')];
  }

  get environment() {
    return { HOME: this.folder, XDG_RUNTIME_DIR: this.folder, ...this.env };
  }

  get pid() {
    return this.program.pid;
  }

  /** The media worker's pid, once it runs. */
  async mediaWorker() {
    return until('the media worker runs', () => childrenNamed(this.pid, 'greenroom-media')[0], { every: 50 });
  }

  /** `kill -9` of the media worker; resolves when it is dead. */
  async killMediaWorker() {
    const pid = await this.mediaWorker();
    process.kill(pid, 'SIGKILL');
    await until('the media worker is dead', () => !isAlive(pid), { every: 10 });
    return pid;
  }

  /** `kill -9` of the engine. */
  async die() {
    await this.program.stop('SIGKILL');
  }

  /** SIGTERM; resolves with how it ended. */
  async stop() {
    return this.program.stop('SIGTERM', 15_000);
  }

  /** A REST request as the owner. Answers the parsed body; throws an error with `status` and `code` on failure. */
  async rest(method, route, body, { token = this.token } = {}) {
    const response = await fetch(this.url + route, {
      method,
      headers: { ...(token && { authorization: `Bearer ${token}` }), ...(body !== undefined && { 'content-type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    const answer = text ? JSON.parse(text) : {};
    if (!response.ok) throw Object.assign(new Error(`${method} ${route}: ${response.status} ${text}`), { status: response.status, ...answer });
    return answer;
  }

  /** One scrape, as Prometheus does it: the families by name ({@link readExposition}). */
  async metrics() {
    const response = await fetch(`${this.url}/metrics`, { headers: { authorization: `Bearer ${this.token}` }, signal: AbortSignal.timeout(10_000) });
    if (response.status !== 200) throw new Error(`/metrics: ${response.status}`);
    const text = await response.text();
    fs.writeFileSync(artifact('metrics.txt'), text);
    return readExposition(text);
  }

  createRoom(roomId, title = roomId) {
    return this.rest('POST', '/api/rooms', { roomId, title });
  }

  invite(roomId, options = {}) {
    return this.rest('POST', `/api/rooms/${roomId}/invites`, options);
  }

  room(roomId) {
    return this.rest('GET', `/rooms/${roomId}`);
  }

  /** The peer of that name, once it is in the room (and, if asked, in that state). */
  async peer(roomId, displayName, { state, within } = {}) {
    return until(`${displayName} is ${state ?? 'there'}`, async () => {
      const { peers } = await this.room(roomId);
      return peers.find(peer => peer.displayName === displayName && (!state || peer.state === state));
    }, { within });
  }

  /** Waits for the guest in the green room, and lets them in. */
  async admit(roomId, displayName, slot) {
    const { peerId } = await this.peer(roomId, displayName, { state: 'waiting' });
    await this.rest('POST', `/api/rooms/${roomId}/peers/${peerId}/admit`, slot ? { slot } : {});
    return peerId;
  }

  remove(roomId, peerId) {
    return this.rest('DELETE', `/api/rooms/${roomId}/peers/${peerId}`);
  }

  /** What the dashboard is told: `snapshot` is always the latest one, `previews` counts pictures by peer. */
  async dashboard() {
    const socket = new WebSocket(`${this.url.replace('http', 'ws')}/api/dashboard`, { origin: this.url });
    const feed = { socket, snapshot: null, levels: new Map(), previews: new Map(), close: () => socket.terminate() };
    socket.on('open', () => socket.send(JSON.stringify({ token: this.token })));
    socket.on('message', (data, isBinary) => {
      if (isBinary) {
        const peer = data.subarray(0, 16).toString('hex');
        feed.previews.set(peer, { count: (feed.previews.get(peer)?.count ?? 0) + 1, jpeg: data.subarray(16) });
        return;
      }
      const message = JSON.parse(data.toString());
      if (message.type === 'snapshot') feed.snapshot = message;
      if (message.type === 'levels') for (const level of message.levels) feed.levels.set(level.peerId, level);
    });
    await bounded('the dashboard socket opens', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 15_000);
    socket.on('error', () => {});
    await until('the first snapshot', () => feed.snapshot, { every: 20 });
    return feed;
  }
}

/** A UDP port of the system's choice; the parts as built, wherever they are installed. */
function configuration(socket, media) {
  return `
[media]
port = 0
${media}

[obs]
socket = ${JSON.stringify(socket)}
media_worker = ${JSON.stringify(binary('greenroom-media'))}
plugin = ${JSON.stringify(binary('libgreenroom_obs.so'))}

`;
}

function parseAccess(line) {
  try {
    const { control, token, dashboard } = JSON.parse(line);
    return control && token && { url: control, token, dashboard };
  } catch {
    return undefined; // Some other line.
  }
}

