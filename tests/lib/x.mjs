// A display without a screen: one Xvfb per user of it.
import fs from 'node:fs';
import { Program, run } from './process.mjs';
import { until } from './wait.mjs';

/** Starts Xvfb on a free display number; `name` is what DISPLAY must be. */
export class Display {
  static async start({ width = 1280, height = 800 } = {}) {
    for (let number = FIRST; number <= LAST; number += 1) {
      if (fs.existsSync(`/tmp/.X11-unix/X${number}`) || fs.existsSync(`/tmp/.X${number}-lock`)) continue;
      const server = new Program({
        name: `xvfb-${number}`,
        command: 'Xvfb',
        args: [`:${number}`, '-screen', '0', `${width}x${height}x24`, '+extension', 'GLX', '-nolisten', 'tcp'],
      });
      const up = until(`display :${number}`, () => !server.alive || fs.existsSync(`/tmp/.X11-unix/X${number}`), { every: 50 });
      await up;
      if (server.alive) return new Display(server, `:${number}`);
    }
    throw new Error(`no display is free between :${FIRST} and :${LAST}`);
  }

  constructor(server, name) {
    this.server = server;
    this.name = name;
  }

  /** Everything on the display, as a PNG file. */
  async screenshot(file) {
    await run('ffmpeg', ['-v', 'error', '-y', '-f', 'x11grab', '-i', this.name, '-frames:v', '1', file]);
    return file;
  }

  async stop() {
    await this.server.stop('SIGTERM');
  }
}

/** `$GREENROOM_TEST_DISPLAY` moves the range, for machines where several suites run at once. */
const FIRST = Number(process.env.GREENROOM_TEST_DISPLAY ?? 80);
const LAST = FIRST + 9;
