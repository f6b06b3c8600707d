// The desktop window through WebKitWebDriver: the few W3C WebDriver commands a test needs, over fetch.
import fs from 'node:fs';
import { freePort } from './ports.mjs';
import { Program } from './process.mjs';
import { bounded, until } from './wait.mjs';

const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

/** A running application with a WebKitGTK window. */
export class Window {
  /** Starts `binary` with `args` under the driver; `env` is the application's environment. */
  static async open({ binary, args = [], env = {} }) {
    const port = await freePort();
    const driver = new Program({
      name: 'webkit-webdriver',
      command: 'WebKitWebDriver',
      args: [`--port=${port}`],
      env: { ...env, TAURI_WEBVIEW_AUTOMATION: 'true' },
    });
    const window = new Window(`http://127.0.0.1:${port}`, driver);
    await until('the driver listens', () => window.send('GET', '/status'), { every: 50 });
    const { sessionId } = await window.send('POST', '/session', {
      capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary, args } } },
    });
    window.session = `/session/${sessionId}`;
    return window;
  }

  constructor(base, driver) {
    this.base = base;
    this.driver = driver;
  }

  async send(method, route, body) {
    const response = await bounded(`${method} ${route}`, fetch(this.base + route, { method, body: body && JSON.stringify(body) }), 40_000);
    const { value } = await response.json();
    if (!response.ok) throw Object.assign(new Error(`${value?.error}: ${value?.message}`), { error: value?.error });
    return value;
  }

  command(method, route, body) {
    return this.send(method, this.session + route, body);
  }

  /** The element a CSS selector names, once it is there and shown. */
  find(selector, { within = 20_000 } = {}) {
    return until(`${selector} is shown`, async () => {
      const found = await this.command('POST', '/element', { using: 'css selector', value: selector });
      const id = found[ELEMENT];
      return (await this.command('GET', `/element/${id}/displayed`)) && id;
    }, { within });
  }

  async click(selector, options) {
    await this.command('POST', `/element/${await this.find(selector, options)}/click`, {});
  }

  async type(selector, text) {
    const id = await this.find(selector);
    await this.command('POST', `/element/${id}/clear`, {});
    await this.command('POST', `/element/${id}/value`, { text });
  }

  async text(selector, options) {
    return this.command('GET', `/element/${await this.find(selector, options)}/text`);
  }

  /** Runs a function body in the page. */
  run(script, ...args) {
    return this.command('POST', '/execute/sync', { script, args });
  }

  url() {
    return this.command('GET', '/url');
  }

  /** PNG of the page. */
  async screenshot(file) {
    fs.writeFileSync(file, Buffer.from(await this.command('GET', '/screenshot'), 'base64'));
    return file;
  }

  /** Ends the application and the driver. */
  async close() {
    if (this.session) await this.command('DELETE', '').catch(() => {});
    await this.driver.stop('SIGTERM');
  }
}
