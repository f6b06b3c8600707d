// Real OBS without a screen: a private configuration with our plugin in it, driven by obs-websocket.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import WebSocket from 'ws';
import { decodePng } from './image.mjs';
import { binary, privateFolder, root } from './places.mjs';
import { freePort } from './ports.mjs';
import { Program } from './process.mjs';
import { bounded, pause, until } from './wait.mjs';
import { closeWindow } from './window.mjs';
import { Display } from './x.mjs';

/** Of `GetInputSettings`: the kind of our source. */
export const GUEST = 'greenroom_guest_source';
/** A guest's sound alone. */
export const GUEST_SOUND = 'greenroom_guest_sound';

/** A running OBS. Stop it with `stop`: after any other end the next start may ask questions. */
export class Obs {
  /**
   * @param {object} options
   * @param {string} options.socket  where the engine's media worker listens
   * @param {string} [options.folder]  configuration of an earlier OBS, to start it again
   * @param {boolean} [options.plugin]  false: start without our plugin
   * @param {[number, number]} [options.canvas]
   * @param {number} [options.fps]
   * @param {boolean} [options.preview]  draw the program in the window too (slow without a graphics card)
   * @param {number} [options.rawOutput]  "record" raw pictures to this TCP port (see raw-output.mjs), not to a file
   * @param {string} [options.password]  that obs-websocket asks for
   * @param {() => void} [options.onScenes]  called when OBS has loaded its scenes
   * @param {Display} [options.display]  one of the caller's; else a display is started and stopped with OBS
   */
  static async start({ socket, folder = privateFolder('obs'), plugin = true, canvas = [640, 360], fps = 30, preview = false, rawOutput, password, display, onScenes, env = {}, name = 'obs' }) {
    const port = Number(process.env.GREENROOM_TEST_OBS_PORT) || (await freePort());
    configure(folder, { port, password, canvas, fps, preview, rawOutput });
    installPlugin(folder, plugin);
    const own = display ? null : await Display.start();
    const screen = display ?? own;
    const program = new Program({
      name,
      ...obsCommand(['--multi', '--disable-updater', '--disable-missing-files-check', '--minimize-to-tray']),
      cwd: folder,
      env: {
        DISPLAY: screen.name,
        HOME: path.join(folder, 'home'),
        XDG_CONFIG_HOME: path.join(folder, 'config'),
        XDG_RUNTIME_DIR: path.join(folder, 'run'),
        XDG_CACHE_HOME: path.join(folder, 'cache'),
        LIBGL_ALWAYS_SOFTWARE: '1',
        QT_QPA_PLATFORM: 'xcb',
        WAYLAND_DISPLAY: '',
        GREENROOM_OBS_SOCKET: socket,
        ...env,
      },
    });
    const obs = new Obs({ program, folder, screen, own, canvas });
    const loaded = line => line.includes('Loaded scenes:');
    if (onScenes) program.line('its scenes are loaded', loaded, 30_000).then(onScenes, () => {});
    try {
      obs.link = await connect(port, program, password);
      // obs-websocket answers before the scenes are there.
      await program.line('its scenes are loaded', loaded);
      await until('OBS is ready', () => obs.call('GetCurrentProgramScene'));
      return obs;
    } catch (error) {
      await program.stop('SIGKILL').catch(() => {});
      await own?.stop();
      throw new Error(`${error.message}\n${program.tail(30)}`);
    }
  }

  constructor(parts) {
    Object.assign(this, parts);
  }

  get pid() {
    return this.program.pid;
  }

  get alive() {
    return this.program.alive;
  }

  /** One request of obs-websocket 5; the answer's data, or an error with OBS's comment. */
  call(type, data = {}) {
    return this.link.call(type, data);
  }

  /**
   * Puts a guest into the current scene. Settings: show ("slot", "speaker", "screen", "person") with slot, person,
   * sensitivity and hold_ms; stand_in; away ("hold", "slate", "transparent"), away_after, card_colour, card_image; audio.
   */
  async addGuest(name, settings = {}, { fill = true } = {}) {
    const { currentProgramSceneName: sceneName } = await this.call('GetCurrentProgramScene');
    const { sceneItemId } = await this.call('CreateInput', {
      sceneName,
      inputName: name,
      inputKind: GUEST,
      inputSettings: settings,
    });
    if (fill) {
      const [boundsWidth, boundsHeight] = this.canvas;
      await this.call('SetSceneItemTransform', {
        sceneName,
        sceneItemId,
        sceneItemTransform: { boundsType: 'OBS_BOUNDS_SCALE_INNER', boundsWidth, boundsHeight },
      });
    }
    return { sceneName, sceneItemId };
  }

  settings(name, inputSettings) {
    return this.call('SetInputSettings', { inputName: name, inputSettings });
  }

  /** Shows or hides an item of the current scene. */
  async show({ sceneName, sceneItemId }, sceneItemEnabled) {
    await this.call('SetSceneItemEnabled', { sceneName, sceneItemId, sceneItemEnabled });
  }

  /**
   * A source (or a scene) as OBS draws it; RGBA, nothing drawn is alpha 0. A source without a picture has no size
   * either: 0 × 0. `file` keeps the PNG.
   * @returns {Promise<import('./image.mjs').Picture>}
   */
  async screenshot(sourceName, { width, height, file } = {}) {
    let imageData;
    try {
      const size = { ...(width && { imageWidth: width }), ...(height && { imageHeight: height }) };
      ({ imageData } = await this.call('GetSourceScreenshot', { sourceName, imageFormat: 'png', imageCompressionQuality: 90, ...size }));
    } catch (error) {
      if (!/Failed to render screenshot/.test(error.message)) throw error;
      return { width: 0, height: 0, data: new Uint8Array() };
    }
    const bytes = Buffer.from(imageData.slice(imageData.indexOf(',') + 1), 'base64');
    if (file) fs.writeFileSync(file, bytes);
    return decodePng(bytes);
  }

  /** The size OBS knows for a source's picture; 0 × 0 while it has none. */
  async sizeOf({ sceneName, sceneItemId }) {
    const { sceneItemTransform } = await this.call('GetSceneItemTransform', { sceneName, sceneItemId });
    return [sceneItemTransform.sourceWidth, sceneItemTransform.sourceHeight];
  }

  /** Records until the returned function is called, and at least as many seconds as that is told; it gives the file. */
  async record() {
    await this.call('StartRecord');
    await until('OBS records', async () => (await this.call('GetRecordStatus')).outputActive);
    return async (seconds = 0) => {
      await until(`${seconds} s are recorded`, async () => (await this.call('GetRecordStatus')).outputDuration >= seconds * 1000, { within: seconds * 1000 + 30_000 });
      const { outputPath } = await this.call('StopRecord');
      await until('the recording is closed', async () => !(await this.call('GetRecordStatus')).outputActive);
      return outputPath;
    };
  }

  /** The loudest peak (0 to 1) of an input during `ms`, as OBS's mixer shows it. */
  async peak(inputName, ms = 1500) {
    let loudest = 0;
    const listen = ({ inputs }) => {
      for (const input of inputs.filter(input => input.inputName === inputName)) {
        // Per channel: magnitude, peak, peak before the fader.
        loudest = Math.max(loudest, ...input.inputLevelsMul.map(levels => levels[1]));
      }
    };
    this.link.on('InputVolumeMeters', listen);
    try {
      await this.link.call('Reidentify', { eventSubscriptions: VOLUME_METERS });
      await pause(ms);
      await this.link.call('Reidentify', { eventSubscriptions: 0 });
    } finally {
      this.link.off('InputVolumeMeters', listen);
    }
    return loudest;
  }

  /** What OBS has logged so far. */
  get log() {
    return this.program.lines.join('\n');
  }

  /** Throws if OBS delays the sound of all its sources because one came late: it stays that way until OBS ends. */
  assertNoAddedDelay() {
    const raised = this.program.lines.filter(line => /adding \d+ milliseconds of audio buffering|Max audio buffering/.test(line));
    if (raised.length > 0) throw new Error(`OBS delays all sound: ${raised.join('; ')}`);
  }

  /** Ends OBS as a click on its window's cross does; its scenes are saved. Throws if it does not end by itself. */
  async stop() {
    this.link?.close();
    try {
      if (this.alive && (await closeWindow(this.screen.name, title => title.startsWith('OBS ')))) {
        return await bounded('obs ends after its window was closed', this.program.ended, 20_000);
      }
      return await this.program.stop('SIGINT', 20_000);
    } finally {
      await this.own?.stop();
    }
  }
}

/**
 * OBS of this system, or of the one in the folder `$GREENROOM_TEST_OBS_ROOT` (see `cargo xtask newer-obs`): in a mount
 * namespace of its own, which ends with it, and with our /tmp, where configurations and sockets are.
 */
function obsCommand(args) {
  const system = process.env.GREENROOM_TEST_OBS_ROOT;
  if (!system) return { command: 'obs', args };
  const mounts = ['/tmp', '/proc', '/dev', '/sys'].map(folder => `mount --rbind ${folder} "$0${folder}"`).join(' && ');
  return { command: 'unshare', args: ['--mount', '--propagation', 'private', 'sh', '-c', `${mounts} && exec chroot "$0" obs "$@"`, system, ...args] };
}

/** Puts the built plugin where the app's installer puts it, or takes it away. */
function installPlugin(folder, wanted) {
  const place = path.join(folder, 'config/obs-studio/plugins/greenroom');
  fs.rmSync(place, { recursive: true, force: true });
  if (!wanted) return;
  fs.mkdirSync(path.join(place, 'bin/64bit'), { recursive: true });
  fs.copyFileSync(binary('libgreenroom_obs.so'), path.join(place, 'bin/64bit/greenroom.so'));
  fs.cpSync(path.join(root, 'obs-plugin/data'), path.join(place, 'data'), { recursive: true });
}

/** Everything OBS would otherwise ask or look up at its first start. Scenes of an earlier run are kept. */
function configure(folder, { port, password, canvas: [width, height], fps, preview, rawOutput }) {
  const config = path.join(folder, 'config/obs-studio');
  for (const name of ['home', 'run', 'cache', 'videos']) fs.mkdirSync(path.join(folder, name), { recursive: true, mode: 0o700 });
  const write = (name, text) => {
    fs.mkdirSync(path.dirname(path.join(config, name)), { recursive: true });
    fs.writeFileSync(path.join(config, name), text);
  };
  write(
    'global.ini',
    ini({
      General: { FirstRun: true, LastVersion: 486539266, EnableAutoUpdates: false },
      Basic: { Profile: 'Untitled', ProfileDir: 'Untitled', SceneCollection: 'Untitled', SceneCollectionFile: 'Untitled' },
      BasicWindow: { PreviewEnabled: preview },
      OBSWebSocket: { FirstLoad: false, ServerEnabled: true, ServerPort: port, AuthRequired: password !== undefined, ServerPassword: password ?? '', AlertsEnabled: false },
    }),
  );
  write(
    'basic/profiles/Untitled/basic.ini',
    ini({
      General: { Name: 'Untitled' },
      Output: { Mode: rawOutput ? 'Advanced' : 'Simple' },
      AdvOut: rawOutput ? rawPictures(rawOutput) : {},
      SimpleOutput: { FilePath: path.join(folder, 'videos'), RecFormat: 'mkv', RecQuality: 'Small', RecEncoder: 'x264' },
      Video: { BaseCX: width, BaseCY: height, OutputCX: width, OutputCY: height, ...frameRate(fps) },
      Audio: { SampleRate: 48000, ChannelSetup: 'Stereo' },
    }),
  );
  if (!fs.existsSync(path.join(config, 'basic/scenes/Untitled.json'))) {
    write(
      'basic/scenes/Untitled.json',
      JSON.stringify({
        name: 'Untitled',
        current_scene: 'Scene',
        current_program_scene: 'Scene',
        scene_order: [{ name: 'Scene' }],
        sources: [{ id: 'scene', name: 'Scene', settings: {} }],
      }),
    );
  }
}

/** Whole numbers as they are, others (59.94) as thousandths of the next whole one, as television counts. */
function frameRate(fps) {
  return Number.isInteger(fps)
    ? { FPSType: 1, FPSInt: fps, FPSCommon: fps }
    : { FPSType: 2, FPSNum: Math.ceil(fps) * 1000, FPSDen: 1001 };
}

/** OBS's custom FFmpeg output; 13 is AV_CODEC_ID_RAWVIDEO. */
function rawPictures(port) {
  return {
    RecType: 'FFmpeg',
    FFOutputToFile: false,
    FFURL: `tcp://127.0.0.1:${port}?tcp_nodelay=1`,
    FFFormat: 'rawvideo',
    FFIgnoreCompat: true,
    FFVEncoder: 'rawvideo',
    FFVEncoderId: 13,
    FFAEncoderId: 0,
    FFAudioMixes: 1,
  };
}

function ini(sections) {
  return Object.entries(sections)
    .map(([name, values]) => `[${name}]\n${Object.entries(values).map(([key, value]) => `${key}=${value}\n`).join('')}`)
    .join('\n');
}

/** Connects as soon as OBS listens. */
async function connect(port, program, password) {
  return until(
    'obs-websocket listens',
    async () => {
      if (!program.alive) return { dead: true };
      return Link.open(`ws://127.0.0.1:${port}`, password);
    },
    { within: 30_000, every: 200 },
  ).then(link => {
    if (link.dead) throw new Error('OBS ended at its start');
    return link;
  });
}

/** The wire of obs-websocket 5: requests matched to answers by id, events to listeners by type. */
class Link {
  static async open(address, password) {
    const socket = new WebSocket(address, 'obswebsocket.json');
    const link = new Link(socket, password);
    await bounded('obs-websocket greets', link.identified, 5_000);
    return link;
  }

  constructor(socket, password) {
    this.socket = socket;
    this.password = password;
    this.waiting = new Map();
    this.listeners = new Map();
    this.next = 1;
    this.identified = new Promise((resolve, reject) => {
      this.welcome = resolve;
      socket.once('error', reject);
      socket.once('close', () => {
        reject(new Error('obs-websocket closed'));
        for (const { reject: fail } of this.waiting.values()) fail(new Error('obs-websocket closed'));
        this.waiting.clear();
      });
    });
    this.identified.catch(() => {});
    socket.on('message', data => this.take(JSON.parse(data)));
  }

  take({ op, d }) {
    if (op === HELLO) this.send(IDENTIFY, { rpcVersion: 1, eventSubscriptions: 0, ...(d.authentication && { authentication: proof(this.password, d.authentication) }) });
    else if (op === IDENTIFIED) {
      this.welcome();
      this.waiting.get('Reidentify')?.resolve();
      this.waiting.delete('Reidentify');
    } else if (op === EVENT) for (const listener of this.listeners.get(d.eventType) ?? []) listener(d.eventData);
    else if (op === RESPONSE) {
      const { resolve, reject, type } = this.waiting.get(d.requestId) ?? {};
      this.waiting.delete(d.requestId);
      if (d.requestStatus.result) resolve?.(d.responseData ?? {});
      else reject?.(new Error(`${type}: ${d.requestStatus.comment ?? `code ${d.requestStatus.code}`}`));
    }
  }

  call(type, data) {
    const id = type === 'Reidentify' ? type : String(this.next++);
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, type }));
    if (type === 'Reidentify') this.send(REIDENTIFY, data);
    else this.send(REQUEST, { requestType: type, requestId: id, requestData: data });
    return bounded(`OBS answers ${type}`, answer, 15_000);
  }

  send(op, d) {
    this.socket.send(JSON.stringify({ op, d }));
  }

  on(type, listener) {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  off(type, listener) {
    this.listeners.set(type, (this.listeners.get(type) ?? []).filter(other => other !== listener));
  }

  close() {
    this.socket.close();
  }
}

/** That we know the password: see "Creating an authentication string" in obs-websocket's protocol. */
function proof(password, { salt, challenge }) {
  const digest = text => crypto.createHash('sha256').update(text).digest('base64');
  return digest(digest(password + salt) + challenge);
}

// Opcodes of obs-websocket's protocol.
const HELLO = 0;
const IDENTIFY = 1;
const IDENTIFIED = 2;
const REIDENTIFY = 3;
const EVENT = 5;
const REQUEST = 6;
const RESPONSE = 7;
const VOLUME_METERS = 1 << 16;
