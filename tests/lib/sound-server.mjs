// A sound service of a test's own, without a sound card: PipeWire, and its server of PulseAudio's protocol.
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { RATE } from './audio.mjs';
import { privateFolder } from './places.mjs';
import { Program, run } from './process.mjs';
import { until } from './wait.mjs';

export class SoundServer {
  static async start() {
    const folder = privateFolder('sound');
    fs.mkdirSync(path.join(folder, 'run'), { mode: 0o700 });
    const bluetooth = path.join(folder, 'home/config/wireplumber/bluetooth.lua.d');
    fs.mkdirSync(bluetooth, { recursive: true });
    // Its support for Bluetooth asks systemd's login service who sits at the computer, and without that nothing of it starts.
    fs.writeFileSync(path.join(bluetooth, '80-none.lua'), 'bluez_monitor.enabled = false\n');
    const server = new SoundServer(folder);
    await server.run();
    return server;
  }

  constructor(folder) {
    this.folder = folder;
    const run = path.join(folder, 'run');
    /** What a program needs to find this service and no other. */
    this.env = {
      HOME: path.join(folder, 'home'),
      XDG_RUNTIME_DIR: run,
      XDG_CONFIG_HOME: path.join(folder, 'home/config'),
      XDG_STATE_HOME: path.join(folder, 'home/state'),
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${run}/bus`,
      PIPEWIRE_REMOTE: 'pipewire-0',
      PULSE_SERVER: `unix:${run}/pulse/native`,
    };
  }

  /** Also to start it again after {@link stop}. */
  async run() {
    const { env } = this;
    const there = (what, file) => until(what, () => fs.existsSync(path.join(env.XDG_RUNTIME_DIR, file)), { every: 20 });
    for (const file of ['bus', 'pipewire-0', 'pulse/native']) fs.rmSync(path.join(env.XDG_RUNTIME_DIR, file), { force: true });
    this.programs = [];
    const start = (name, command, args = []) => {
      const program = new Program({ name, command, args, env });
      this.programs.unshift(program);
      return program;
    };
    start('dbus', 'dbus-daemon', ['--session', `--address=${env.DBUS_SESSION_BUS_ADDRESS}`, '--nofork', '--nopidfile']);
    await there('the message bus is open', 'bus');
    start('pipewire', 'pipewire');
    await there('PipeWire is open', 'pipewire-0');
    start('wireplumber', 'wireplumber');
    this.pulse = start('pipewire-pulse', 'pipewire-pulse');
    await until('the sound service answers', () => this.pactl('info').then(() => true, () => false), { every: 100 });
  }

  async stop() {
    for (const program of this.programs) await program.stop().catch(() => {});
  }

  pactl(...args) {
    return run('pactl', args, { env: this.env });
  }

  /** Adds a device that nobody hears; what is played on it can be recorded. Returns what takes it away. */
  async device(name, description) {
    const properties = `device.description=${description}`;
    const made = await this.pactl('load-module', 'module-null-sink', 'media.class=Audio/Sink', `sink_name=${name}`, `sink_properties=${properties}`, 'channel_map=stereo', 'rate=48000');
    await until(`${name} is there`, async () => String(await this.pactl('list', 'short', 'sinks')).includes(name));
    return () => this.pactl('unload-module', String(made).trim());
  }

  /** Makes it the one that is played on where nothing else is said. */
  async choose(name) {
    // Until WirePlumber is ready, there is no such thing as a default.
    await until(`${name} is the default`, () => this.pactl('set-default-sink', name).then(() => true, () => false));
  }

  /** What is played on the device during `seconds`: the left of its two channels, at 48 kHz. */
  record(name, seconds) {
    return new Promise((resolve, reject) => {
      const args = ['--device', `${name}.monitor`, '--format=float32le', `--rate=${RATE}`, '--channels=2', '--raw', '--latency-msec=50'];
      const child = spawn('parec', args, { env: { ...process.env, ...this.env }, stdio: ['ignore', 'pipe', 'ignore'] });
      const wanted = Math.round(seconds * RATE) * 8;
      const parts = [];
      let length = 0;
      child.on('error', reject);
      child.stdout.on('data', data => {
        parts.push(data);
        length += data.length;
        if (length >= wanted) child.kill();
      });
      child.on('exit', () => {
        const bytes = Buffer.concat(parts).subarray(0, wanted);
        const both = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~7)));
        resolve(both.filter((_, index) => index % 2 === 0));
      });
    });
  }
}
