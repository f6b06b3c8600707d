// Test pages of our own: bundled from tests/pages, served from an origin that is not the engine's.
import { build } from 'esbuild';
import http from 'node:http';
import path from 'node:path';
import { root } from './places.mjs';

const bundles = new Map();

/** Serves `tests/pages/<name>.mjs` as a page on http://localhost:<any port>, or on that address. */
export async function servePage(name, address) {
  const script = await bundle(name);
  const server = http.createServer((request, response) => {
    const [type, body] = request.url === '/page.js' ? ['text/javascript', script] : ['text/html', html(name)];
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
  });
  await new Promise(resolve => server.listen(0, address ?? '127.0.0.1', resolve));
  const origin = `http://${address ?? 'localhost'}:${server.address().port}`;
  return { origin, close: () => server.closeAllConnections() ?? server.close() };
}

async function bundle(name) {
  if (!bundles.has(name)) {
    const { outputFiles } = await build({
      entryPoints: [path.join(root, 'tests/pages', `${name}.mjs`)],
      bundle: true,
      write: false,
      format: 'iife',
      target: 'chrome120',
      logLevel: 'error',
    });
    bundles.set(name, outputFiles[0].text);
  }
  return bundles.get(name);
}

const html = name => `<!doctype html><meta charset="utf-8"><title>${name}</title><body><script src="/page.js"></script></body>`;
