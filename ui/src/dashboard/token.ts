// The owner's token: it arrives in the address and must not stay there.

/** Moves a token out of the address, where history and screen sharing would show it, into this tab's memory. */
export function takeToken(): string | null {
  const given = new URLSearchParams(location.hash.slice(1)).get('token')?.trim();
  if (given) {
    keepToken(given);
    history.replaceState(null, '', location.pathname + location.search);
    return given;
  }
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function keepToken(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Without memory the token is asked for again after a reload.
  }
}

const KEY = 'greenroom.owner';
