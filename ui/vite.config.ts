// Two pages, one build: `join.html` for guests, `dashboard.html` for the streamer.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** The stock Socket.IO client, for pages that are not ours: the engine serves it at `/socket.io/socket.io.js`. */
function stockSocketIo(): Plugin {
  return {
    name: 'stock-socket-io',
    generateBundle() {
      const file = fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url));
      const source = readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n');
      this.emitFile({ type: 'asset', fileName: 'socket.io.js', source });
    },
  };
}

export default defineConfig({
  plugins: [svelte(), stockSocketIo()],
  build: {
    // Safari 15.4 is the oldest phone browser whose WebRTC we expect to work.
    target: ['es2022', 'safari15.4'],
    // Our Content-Security-Policy has no room for inline scripts, and data: URLs help nobody on a LAN.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ['join.html', 'dashboard.html'] },
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
