// Real browsers: Chromium through playwright-core, Firefox through WebDriver BiDi, each page's console kept.
import fs from 'node:fs';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { syntheticCamera } from './camera.mjs';
import { artifact } from './places.mjs';

/**
 * Chromium with fake devices, and permission given for them (`devices: 'allowed'`), refused (`'denied'`), or without
 * any (`'none'`). `files` (from camera.mjs) become its camera and microphone; they belong to the whole browser.
 */
export async function launchChromium({ files, devices = 'allowed', executable, args = [] } = {}) {
  const browser = await chromium.launch({
    executablePath: executable ?? process.env.GREENROOM_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: [
      ...CHROMIUM_ARGUMENTS,
      ...args,
      ...(devices === 'none' ? [] : ['--use-fake-device-for-media-stream']),
      ...(devices === 'allowed' ? ['--use-fake-ui-for-media-stream'] : []),
      ...(files ? [`--use-file-for-fake-video-capture=${files.video}`, `--use-file-for-fake-audio-capture=${files.audio}`] : []),
    ],
  });
  return browser;
}

/** A page of its own (own storage and permissions). With `guest`, its camera is the drawn one. */
export async function openPage(browser, { guest, name = guest?.name ?? 'page', url, viewport = { width: 900, height: 700 } } = {}) {
  const context = await browser.newContext({ viewport });
  context.setDefaultTimeout(30_000);
  context.setDefaultNavigationTimeout(30_000);
  const page = await context.newPage();
  keepConsole(page, name);
  await page.addInitScript(rememberConnections);
  if (guest) await page.addInitScript({ content: syntheticCamera(guest) });
  if (url) await page.goto(url);
  return page;
}

/** Everything the page says, in `<name>.console.log` among the artifacts, and as `page.said`. */
function keepConsole(page, name) {
  const file = artifact(`${name}.console.log`);
  page.said = [];
  const keep = line => {
    page.said.push(line);
    fs.appendFileSync(file, `${new Date().toISOString()} ${line}\n`);
  };
  page.on('console', message => keep(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => keep(`uncaught: ${error.stack ?? error.message ?? error}`));
  page.on('requestfailed', request => keep(`request failed: ${request.url().split(/[#?]/)[0]} ${request.failure()?.errorText}`));
}

/** Firefox with its own fake camera (640 × 480) and microphone (1 kHz), permission given. */
export async function launchFirefox() {
  return puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.GREENROOM_FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    extraPrefsFirefox: FIREFOX_PREFERENCES,
  });
}

/** A Firefox page with its console kept. */
export async function openFirefoxPage(browser, { guest, name = 'firefox', url } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  const file = artifact(`${name}.console.log`);
  page.on('console', message => fs.appendFileSync(file, `${message.type()}: ${message.text()}\n`));
  page.on('pageerror', error => fs.appendFileSync(file, `uncaught: ${error.message}\n`));
  await page.evaluateOnNewDocument(rememberConnections);
  if (guest) await page.evaluateOnNewDocument(syntheticCamera(guest));
  if (url) await page.goto(url);
  return page;
}

/**
 * The energy of all sound that the page's connections have received (W3C webrtc-stats `totalAudioEnergy`): grows while
 * there is sound. For Firefox, whose WebAudio stands still on a machine without a sound card.
 */
export async function soundReceived(page) {
  const received = await reportsOf(page, 'inbound-rtp');
  return received.filter(({ kind }) => kind === 'audio').reduce((energy, { totalAudioEnergy = 0 }) => energy + totalAudioEnergy, 0);
}

/**
 * The page's streams of pictures (W3C webrtc-stats): what it sends, by the rid of the encoding, and what it receives.
 * `direction`: "outbound" or "inbound".
 */
export async function pictureStreams(page, direction) {
  const streams = (await reportsOf(page, `${direction}-rtp`)).filter(({ kind }) => kind === 'video');
  return streams
    .map(({ rid, ssrc, frameWidth, framesPerSecond, framesSent, framesDecoded, bytesSent, bytesReceived }) => ({ rid, ssrc, frameWidth, framesPerSecond, framesSent, framesDecoded, bytes: bytesSent ?? bytesReceived }))
    .sort((one, other) => (one.rid ?? '').localeCompare(other.rid ?? ''));
}

/** The reports of that type (W3C webrtc-stats) of all the page's connections that are not closed. */
export async function reportsOf(page, type) {
  const reports = await page.evaluate(async type => {
    const found = [];
    for (const connection of window.greenroomConnections) {
      if (connection.connectionState === 'closed') continue;
      for (const report of (await connection.getStats()).values()) if (report.type === type) found.push(report);
    }
    // As text: drivers differ in how they hand over what a page's objects hold.
    return JSON.stringify(found);
  }, type);
  return JSON.parse(reports);
}

/** Runs in the page before anything else. */
function rememberConnections() {
  const all = (window.greenroomConnections = []);
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...configuration) {
      super(...configuration);
      all.push(this);
    }
  };
}

const CHROMIUM_ARGUMENTS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  // The engine listens on 127.0.0.1 in tests; without this a page without another interface has no candidates.
  '--allow-loopback-in-peer-connection',
];

const FIREFOX_PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
  'media.autoplay.default': 0,
  'media.gmp-manager.updateEnabled': false,
};
