// Refusals as they come over the wire, as errors one can catch.

import type { Code } from './wire/Code';
import type { Failure } from './wire/Failure';

/** The server said no. `message` is for people, `code` for programs. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
  }
}

/** The server did not answer: the connection is gone, or too slow to be of use. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

export function isFailure(value: unknown): value is Failure {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { error?: unknown }).error === 'string' &&
    typeof (value as { code?: unknown }).code === 'string'
  );
}

/** Refusals that pass by themselves: asking again later is right. */
export function passes(error: unknown): boolean {
  return !(error instanceof Refusal) || PASSING.has(error.code);
}

const PASSING: ReadonlySet<Code> = new Set<Code>(['busy', 'rate-limited', 'server-closing', 'internal']);
