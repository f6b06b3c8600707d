// Guests' door with a certificate of the streamer's own, renewed while it is open; and the doors that stay shut.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { Engine } from '../lib/engine.mjs';
import { binary, privateFolder } from '../lib/places.mjs';
import { freePort } from '../lib/ports.mjs';
import { run } from '../lib/process.mjs';
import { until } from '../lib/wait.mjs';

const NAME = 'studio.example.com';
const folder = privateFolder('doors');
const [chain, key] = ['fullchain.pem', 'privkey.pem'].map(name => path.join(folder, name));
let engine, port;

before(async () => {
  await issue(1, 90);
  port = await freePort();
  const settings = `[listen]\nlan = "127.0.0.1:${port}"\ncertificate = ${JSON.stringify(chain)}\nkey = ${JSON.stringify(key)}\n`;
  engine = await Engine.start({ name: 'engine-doors', settings });
  await engine.createRoom('doors');
}, { timeout: 30_000 });

after(() => engine?.stop());

test('a certificate from files is shown to guests, and named in their links', { timeout: 60_000 }, async () => {
  await engine.rest('PUT', '/api/lan', { on: true });
  const { subject, fingerprint256 } = await shown();
  assert.deepEqual([subject.CN, fingerprint256], [NAME, fingerprint()]);
  const lan = await lanView(view => view.on);
  assert.deepEqual([lan.addresses, lan.certificate.selfSigned, lan.problem], [[`https://${NAME}:${port}`], false, null]);
  const left = (Date.parse(lan.certificate.expiresAt) - Date.now()) / 86_400_000;
  assert.ok(left > 89 && left <= 90, `${left} days`);
  const { url } = await engine.invite('doors');
  assert.ok(url.startsWith(`https://${NAME}:${port}/join/doors#`), url);
});

test('a renewed certificate is shown without a restart, and connections stay', { timeout: 60_000 }, async () => {
  const before = fingerprint();
  const open = await dial();
  await issue(2, 60);
  assert.notEqual(fingerprint(), before);
  let heard = '';
  open.on('data', data => (heard += data));
  const isAnswered = async () => {
    heard = '';
    open.write(`GET /health HTTP/1.1\r\nhost: ${NAME}\r\n\r\n`);
    await until('the open connection is answered', () => /^HTTP\/1.1 200[^]*\}$/.test(heard), { every: 20 });
  };
  // Who asks nothing for ten seconds is shown out.
  await until('the new certificate is shown', async () => {
    await isAnswered();
    return (await shown()).fingerprint256 === fingerprint();
  }, { within: 30_000, every: 500 });
  await isAnswered();
  open.destroy();
});

test('files that cannot be used leave the old certificate, and the dashboard says what to do', { timeout: 90_000 }, async () => {
  const { fingerprint256 } = await shown();
  fs.chmodSync(key, 0o644);
  const open = await lanView(view => view.problem);
  assert.match(open.problem, /chmod u=rw,g=r,o= .*privkey.pem.*old certificate/);
  assert.equal(open.on, true);
  fs.chmodSync(key, 0o600);
  await issue(3, 60, { withKey: false });
  assert.match((await lanView(view => /not this certificate/.test(view.problem))).problem, /two files that were made together/);
  assert.equal((await shown()).fingerprint256, fingerprint256);
  await issue(4, 60);
  assert.equal((await lanView(view => view.problem === null)).on, true);
  assert.equal((await shown()).fingerprint256, fingerprint());
});

test('the control listener answers nobody but this computer, and cannot be told to', async () => {
  const own = Object.values(os.networkInterfaces()).flat().find(({ internal, family }) => !internal && family === 'IPv4');
  if (own) await assert.rejects(reach(own.address, new URL(engine.url).port), /ECONNREFUSED/);
  for (const listen of ['0.0.0.0:0', '[::]:0', '192.0.2.1:0']) {
    const start = run(binary('greenroomd'), ['--listen', listen, '--data-dir', path.join(folder, 'open')]);
    await assert.rejects(start, /`listen.control` is .* must be a loopback address/, listen);
  }
});

test('plain HTTP at the guests\u2019 door leads to HTTPS and serves nothing', async () => {
  const answer = await fetch(`http://127.0.0.1:${port}/join/doors`, { redirect: 'manual' });
  assert.deepEqual([answer.status, answer.headers.get('location')], [307, `https://127.0.0.1:${port}/join/doors`]);
});

/** A chain for {@link NAME} by an authority of ours, put in place as renewals are: the chain first, then the key. */
async function issue(serial, days, { withKey = true } = {}) {
  const at = name => path.join(folder, name);
  const openssl = (...args) => run('openssl', args);
  if (!fs.existsSync(at('ca.pem'))) {
    await openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '365', '-subj', '/CN=An authority');
  }
  await openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('new.key'), '-out', at('new.csr'), '-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`);
  await openssl('x509', '-req', '-in', at('new.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-set_serial', String(serial), '-days', String(days), '-copy_extensions', 'copy', '-out', at('new.pem'));
  fs.writeFileSync(at('chain.new'), fs.readFileSync(at('new.pem')) + fs.readFileSync(at('ca.pem')));
  fs.renameSync(at('chain.new'), chain);
  if (!withKey) return;
  fs.chmodSync(at('new.key'), 0o600);
  fs.renameSync(at('new.key'), key);
}

function fingerprint() {
  return new crypto.X509Certificate(fs.readFileSync(chain)).fingerprint256;
}

/** Connects as a browser does that trusts our authority. */
function dial() {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: NAME, ca: fs.readFileSync(path.join(folder, 'ca.pem')) }, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function shown() {
  const socket = await dial();
  const certificate = socket.getPeerCertificate();
  socket.destroy();
  return certificate;
}

async function lanView(fits) {
  const feed = await engine.dashboard();
  try {
    return await until('the dashboard shows it', () => feed.snapshot?.lan && fits(feed.snapshot.lan) && feed.snapshot.lan, { within: 25_000, every: 50 });
  } finally {
    feed.close();
  }
}

function reach(host, at) {
  return new Promise((resolve, reject) => net.connect(at, host, resolve).once('error', reject));
}
