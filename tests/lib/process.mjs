// Child processes whose output is kept, whose end can be awaited, and which never outlive this one.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import readline from 'node:readline';
import { after } from 'node:test';
import { artifact } from './places.mjs';
import { bounded } from './wait.mjs';

/** More than what is ended in good order takes. */
const PATIENCE_MS = 60_000;
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
// A hook that fails leaves programs behind, for which this process, and the suite, would wait for ever.
if (process.env.NODE_TEST_CONTEXT) after(() => void setTimeout(() => process.exit(1), PATIENCE_MS).unref());
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** A started program; its log is `log` (a file among the artifacts) and, in memory, `lines` (the newest ones). */
export class Program {
  /** @param {{name: string, command: string, args?: string[], env?: object, cwd?: string, input?: boolean}} what `input`: `child.stdin` is open */
  constructor({ name, command, args = [], env = {}, cwd, input = false }) {
    this.name = name;
    this.log = artifact(`${name}.log`);
    this.lines = [];
    this.listeners = new Set();
    this.child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'] });
    this.file = fs.createWriteStream(this.log, { flags: 'a' });
    this.file.write(`# ${command} ${args.join(' ')}\n`);
    running.add(this.child);
    this.ended = new Promise(resolve => {
      this.child.once('error', error => this.finish(resolve, { error }));
      this.child.once('exit', (code, signal) => this.finish(resolve, { code, signal }));
    });
    for (const stream of ['stdout', 'stderr']) {
      readline.createInterface({ input: this.child[stream] }).on('line', line => this.take(line, stream));
    }
  }

  get pid() {
    return this.child.pid;
  }

  get alive() {
    return this.exit === undefined;
  }

  take(line, stream) {
    this.file.write(line + '\n');
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    for (const listener of this.listeners) listener(line, stream);
  }

  finish(resolve, exit) {
    running.delete(this.child);
    this.exit ??= exit;
    resolve(this.exit);
  }

  /** The first line (already written or to come) for which `match` returns something truthy; returns that. */
  async line(what, match, within = 20_000) {
    let listener;
    const found = new Promise((resolve, reject) => {
      listener = (line, stream) => {
        const seen = match(line, stream);
        if (seen) resolve(seen);
      };
      for (const line of this.lines) listener(line);
      this.listeners.add(listener);
      this.ended.then(exit => reject(new Error(`${this.name} ended (${describe(exit)}) before: ${what}\n${this.tail()}`)));
    });
    try {
      return await bounded(`${this.name}: ${what}\n${this.tail()}`, found, within);
    } finally {
      this.listeners.delete(listener);
    }
  }

  /** Sends `signal` and waits for the end; kills after `within` ms and says so by throwing. */
  async stop(signal = 'SIGTERM', within = 10_000) {
    if (!this.alive) return this.exit;
    this.child.kill(signal);
    try {
      return await bounded(`${this.name} ends after ${signal}`, this.ended, within);
    } catch (error) {
      this.child.kill('SIGKILL');
      await this.ended;
      throw error;
    }
  }

  tail(count = 15) {
    return this.lines.slice(-count).join('\n');
  }
}

/** Runs to the end; returns stdout as a Buffer. Throws with stderr when it fails. */
export async function run(command, args, { within = 60_000, env = {} } = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  running.add(child);
  const out = [];
  const err = [];
  child.stdout.on('data', data => out.push(data));
  child.stderr.on('data', data => err.push(data));
  try {
    const [code, signal] = await bounded(`${command} ends`, once(child, 'close'), within);
    if (code !== 0) throw new Error(`${command} failed (${describe({ code, signal })}): ${Buffer.concat(err).toString().slice(-2000)}`);
    return Buffer.concat(out);
  } finally {
    child.kill('SIGKILL');
    running.delete(child);
  }
}

/** Pids of the direct children of `pid` whose program's name is `name`. */
export function childrenNamed(pid, name) {
  return fs
    .readdirSync('/proc')
    .filter(entry => /^\d+$/.test(entry))
    .map(Number)
    .filter(child => {
      try {
        const stat = fs.readFileSync(`/proc/${child}/stat`, 'utf8');
        // pid (name) state ppid: the name may hold blanks and brackets, so count from its end.
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (Number(parent) !== pid || state === 'Z') return false;
        const program = fs.readFileSync(`/proc/${child}/cmdline`, 'utf8').split('\0')[0];
        return program.split('/').at(-1) === name;
      } catch {
        return false; // It ended while we looked.
      }
    });
}

/** Whether the process exists and is not a zombie. */
export function isAlive(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
  } catch {
    return false;
  }
}

function describe({ code, signal, error }) {
  return error ? error.message : signal ? `signal ${signal}` : `code ${code}`;
}

const KEPT_LINES = 5_000;
