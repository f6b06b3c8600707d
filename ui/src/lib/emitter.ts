// A typed event emitter.

type Listener<Arguments extends unknown[]> = (...args: Arguments) => void;

/** Events by name, each with its arguments. When {@link MOST_LISTENERS} is reached, `on` throws: somebody forgets to leave. */
export class Emitter<Events extends { [name in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Returns the function that ends the subscription. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    if (listeners.size >= MOST_LISTENERS) throw new RangeError(`more than ${MOST_LISTENERS} listeners to ${String(name)}`);
    this.#listeners.set(name, listeners.add(listener as Listener<never>));
    return () => void listeners.delete(listener as Listener<never>);
  }

  protected emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) (listener as Listener<Events[Name]>)(...args);
  }
}

const MOST_LISTENERS = 32;
