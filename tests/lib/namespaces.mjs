// Two network namespaces with a bad link between them: the engine's side and a far guest's (Linux, root).
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { binary, privateFolder } from './places.mjs';
import { Program } from './process.mjs';

/** Addresses of both ends. */
export const HOST = '10.99.0.2';
export const FAR = '10.99.0.1';

/**
 * Runs the calling script again inside a fresh namespace that ends with it; in there, returns a link to a second
 * namespace. So everything the script starts is on the engine's side, unless it is started through `link.far`.
 */
export async function badLink(scriptUrl) {
  const host = process.env.GREENROOM_TEST_NAMESPACE;
  if (!host) process.exit(runInside(scriptUrl));
  const far = host.replace('host', 'far');
  const program = new Program({
    name: 'impaired-link',
    command: binary('impaired-link'),
    args: [far, `${FAR}/24`, host, `${HOST}/24`],
    input: true,
  });
  await program.line('is ready', line => line === 'ready');
  /** Changes `up` (from the far guest), `down` or `both`; `{ loss: %, delay: ms, rate: kbit/s, queue: ms }`. */
  const set = async (direction, impairment) => {
    const words = Object.entries(impairment).map(([name, value]) => `${name}=${value}`);
    const answered = new Promise(resolve => {
      const listener = line => {
        program.listeners.delete(listener);
        resolve(line);
      };
      program.listeners.add(listener);
    });
    program.child.stdin.write(`${{ up: 'ab', down: 'ba', both: 'both' }[direction]} ${words.join(' ')}\n`);
    return answered;
  };
  return { set, far: command => inNamespace(far, command), close: () => program.stop() };
}

function runInside(scriptUrl) {
  const id = `gr${process.pid}`;
  const names = [`${id}host`, `${id}far`];
  try {
    for (const name of names) {
      execFileSync('ip', ['netns', 'add', name]);
      execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    }
    const args = ['netns', 'exec', names[0], process.execPath, new URL(scriptUrl).pathname, ...process.argv.slice(2)];
    execFileSync('ip', args, { stdio: 'inherit', env: { ...process.env, GREENROOM_TEST_NAMESPACE: names[0] } });
    return 0;
  } catch (error) {
    if (error.status === undefined) console.error(`cannot make network namespaces (root and iproute2 are needed): ${error.message}`);
    return error.status ?? 1;
  } finally {
    for (const name of names) {
      try {
        execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
      } catch {
        // It was never made.
      }
    }
  }
}

/** A program file that runs `command` in the namespace: for drivers that start programs themselves. */
function inNamespace(namespace, command) {
  const file = path.join(privateFolder('far'), path.basename(command));
  fs.writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${namespace} ${command} "$@"\n`, { mode: 0o700 });
  return file;
}
