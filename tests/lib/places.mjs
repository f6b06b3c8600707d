// Where things are: the checkout, the built programs, and the folder for what a run leaves behind.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

const binaries = path.resolve(process.env.GREENROOM_BIN_DIR ?? path.join(root, 'target/debug'));

/** A built program or library, or an error that says how to build it. */
export function binary(name) {
  const file = path.join(binaries, name);
  if (!fs.existsSync(file)) throw new Error(`${file} is missing: build it first (cargo xtask test does)`);
  return file;
}

let artifacts;

/** `$GREENROOM_ARTIFACTS`, or a folder made for this run and printed. */
export function artifactsFolder() {
  if (!artifacts) {
    artifacts = process.env.GREENROOM_ARTIFACTS
      ? path.resolve(process.env.GREENROOM_ARTIFACTS)
      : fs.mkdtempSync(path.join(os.tmpdir(), 'greenroom-artifacts-'));
    fs.mkdirSync(artifacts, { recursive: true });
    console.error(`# artifacts: ${artifacts}`);
  }
  return artifacts;
}

/** A file in the artifacts folder. */
export const artifact = name => path.join(artifactsFolder(), name.replaceAll(/[^\w.-]+/g, '-'));

/** A private empty folder, removed when the process ends. Short: unix socket paths have 108 bytes. */
export function privateFolder(purpose) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `gr-${purpose}-`));
  fs.chmodSync(folder, 0o700);
  // Not before the first is wanted: by then what ends the programs that use them is registered, and so comes first.
  if (folders.size === 0) process.on('exit', removeFolders);
  folders.add(folder);
  return folder;
}

const folders = new Set();

function removeFolders() {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
