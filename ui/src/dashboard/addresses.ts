// Under which addresses an invite link can be given out.

import type { LanView } from '../lib/wire/LanView';

/** The link under each address that guests can reach, best first, without repeats. */
export function addressesOf(url: string, lan: LanView): string[] {
  const own = new URL(url);
  const elsewhere = lan.on ? lan.addresses.map(address => new URL(own.pathname + own.search + own.hash, address).href) : [];
  const all = isOnlyHere(url) ? [...elsewhere, own.href] : [own.href, ...elsewhere];
  return [...new Set(all)];
}

/** True for addresses that mean "this computer" on every computer. */
export function isOnlyHere(url: string): boolean {
  const name = new URL(url).hostname;
  return name === 'localhost' || name.endsWith('.localhost') || name === '[::1]' || name.startsWith('127.');
}
