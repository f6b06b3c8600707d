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
  if (!host) process.exit(runInside(scriptUrl, ['host', 'far']));
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

/** Addresses behind {@link throughRouter}'s router: the engine's and a guest's, IPv4 and IPv6. */
export const HOME = ['10.1.0.2', 'fd01::2'];
export const AWAY = ['10.2.0.2', 'fd02::2'];
export const ROUTER_HOME = '10.1.0.1';
export const ROUTER_AWAY = '10.2.0.1';

/**
 * As {@link badLink}, but the two namespaces meet in a third, a router: `home` is its side towards the engine, `away`
 * towards the guest. What it forwards is up to `iptables` in there; at first, everything.
 */
export function throughRouter(scriptUrl) {
  const host = process.env.GREENROOM_TEST_NAMESPACE;
  if (!host) process.exit(runInside(scriptUrl, ['host', 'far', 'router']));
  const [far, router] = [host.replace('host', 'far'), host.replace('host', 'router')];
  const ip = (namespace, ...words) => execFileSync('ip', ['-n', namespace, ...words]);
  for (const [side, namespace, [v4, v6]] of [['home', host, HOME], ['away', far, AWAY]]) {
    ip(router, 'link', 'add', side, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    for (const [place, link, octet] of [[router, side, 1], [namespace, 'eth0', 2]]) {
      ip(place, 'address', 'add', v4.replace(/2$/, `${octet}/24`), 'dev', link);
      ip(place, 'address', 'add', v6.replace(/2$/, `${octet}/64`), 'dev', link, 'nodad');
      ip(place, 'link', 'set', link, 'up');
    }
    ip(namespace, 'route', 'add', 'default', 'via', v4.replace(/2$/, '1'));
    ip(namespace, '-6', 'route', 'add', 'default', 'via', v6.replace(/2$/, '1'));
  }
  const within = (namespace, command) => execFileSync('ip', ['netns', 'exec', namespace, 'sh', '-ec', command], { encoding: 'utf8' });
  within(router, 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
  return {
    far: command => inNamespace(far, command),
    /** Shell commands on the engine's machine, the guest's and the router. */
    onHome: command => execFileSync('sh', ['-ec', command], { encoding: 'utf8' }),
    onFar: command => within(far, command),
    onRouter: command => within(router, command),
  };
}

function runInside(scriptUrl, roles) {
  const names = roles.map(role => `gr${process.pid}${role}`);
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
