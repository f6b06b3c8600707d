// The pattern host of frame-ipc in the engine's place: pictures with a readable counter, a tone per slot.
import fs from 'node:fs';
import path from 'node:path';
import { binary, privateFolder, root } from './places.mjs';
import { Program, run } from './process.mjs';

/** Hz of the tone of a slot. */
export const toneOf = slot => 440 * slot;

/** Where a host and OBS can meet, in a folder of its own. */
export const meetingPlace = () => path.join(privateFolder('meet'), 'run/obs.sock');

/** One of frame-ipc's examples as a program, built if need be. */
export async function startExample(example, args, stdin = '/dev/null') {
  let file;
  try {
    file = binary(`examples/${example}`);
  } catch {
    const target = path.dirname(path.dirname(binary('libgreenroom_obs.so')));
    await run('cargo', ['build', '--manifest-path', path.join(root, 'Cargo.toml'), '--target-dir', target, '-p', 'greenroom-frame-ipc', '--examples'], {
      within: 300_000,
    });
    file = binary(`examples/${example}`);
  }
  // The shell only opens the pipe and then becomes the program: signals reach the right one.
  const program = new Program({ name: example, command: 'sh', args: ['-c', 'exec "$0" "$@" < "$STDIN"', file, ...args], env: { STDIN: stdin } });
  await program.line('ready', line => line === 'ready');
  return program;
}

/** A pattern host that takes orders. */
export class Pattern {
  /** @param {string} socket @param {string[]} [args] as of the example */
  static async start(socket, args = []) {
    const pipe = path.join(privateFolder('pattern'), 'orders');
    await run('mkfifo', [pipe]);
    const orders = fs.openSync(pipe, 'r+');
    const program = await startExample('pattern', [socket, ...args], pipe);
    return new Pattern(program, orders);
  }

  constructor(program, orders) {
    this.program = program;
    this.orders = orders;
  }

  /** "leave 1", "enter 1 Cleo", "camera 1 off", "camera 1 on"; of all slots "size 640x360", "rotate 90", "fps 60". */
  async order(line) {
    fs.writeSync(this.orders, `${line}\n`);
    await this.program.line(line, seen => seen === line);
  }

  signal(name) {
    process.kill(this.program.pid, name);
  }

  async stop(signal = 'SIGKILL') {
    if (this.orders !== undefined) fs.closeSync(this.orders);
    this.orders = undefined;
    await this.program.stop(signal);
  }
}

/** The counter in a picture of the pattern at its own size, or null if it is no such picture. */
export function counterIn({ width, height, data }) {
  if (width < 32 * DOT || height < 2 * DOT) return null;
  const bright = (column, row) => {
    const at = ((row * DOT + DOT / 2) * width + column * DOT + DOT / 2) * 4;
    const [r, g, b, a] = data.subarray(at, at + 4);
    return a > 128 ? (r * 299 + g * 587 + b * 114) / 1000 > 128 : null;
  };
  let counter = 0;
  for (let bit = 0; bit < 32; bit += 1) {
    const one = bright(bit, 0);
    if (one === null || one === bright(bit, 1)) return null;
    counter = counter * 2 + (one ? 1 : 0);
  }
  return counter;
}

const DOT = 8;
