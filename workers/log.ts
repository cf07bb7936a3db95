/**
 * log — one JSON line per event, on standard output (pino).
 *
 * Hides the library: everybody else sees four functions. Control characters are escaped by JSON; a field longer than
 * 2,048 characters is cut, so that hostile input can't flood the log. A broken log pipe never stops the mail.
 */
import pino from 'pino';

type Write = (fields: object, message: string) => void;

/** Where events go. `fields` are plain data; an Error under `err` is written with stack and cause. */
export type Log = {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
};

/** A log that nobody reads: what goes wrong is told in another way. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

const fieldCharactersMax = 2048;

/** A log that writes JSON lines named `name` to standard output, or to `destination` in tests. */
export function createLog(options: {
  name: string;
  level?: 'debug' | 'info' | 'warn' | 'error';
  destination?: { write(line: string): void };
}): Log {
  const destination = options.destination ?? pino.destination({ fd: 1, sync: true });
  if (destination instanceof Object && 'on' in destination && typeof destination.on === 'function') {
    // F46: a closed log pipe must not end the process; there is nobody left to tell.
    destination.on('error', () => undefined);
  }
  const logger = pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: capFields },
    },
    destination,
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  };
}

function capFields(fields: Record<string, unknown>): Record<string, unknown> {
  const capped: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    const long = typeof value === 'string' && value.length > fieldCharactersMax;
    capped[key] = long ? `${value.slice(0, fieldCharactersMax)}…` : value;
  }
  return capped;
}
