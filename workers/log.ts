/**
 * log — one JSON line per event, on standard output (pino).
 *
 * Hides the library: everybody else sees four functions. Control characters are escaped and long texts are cut, so that
 * hostile input can neither flood the log nor act on a terminal. A log that can't be written loses lines, never mail:
 * a closed pipe, a full disk or a reader that stands still end nothing (F46).
 */
import { writeSync } from 'node:fs';
import pino from 'pino';
import { terminalSafe } from './json-text.ts';

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

/** Takes whole lines. */
export type LineWriter = { write(line: string): unknown };

const charactersMax = 2048;
const stackCharactersMax = 8192;
const membersMax = 100;

/** A log that writes JSON lines named `name` to standard output, or to `destination`. */
export function createLog(options: {
  name: string;
  level?: 'debug' | 'info' | 'warn' | 'error';
  destination?: LineWriter;
}): Log {
  const destination = options.destination ?? standardOutput();
  const logger = pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: cutMembers },
      serializers: { err: describeError },
    },
    { write: (line) => void destination.write(terminalSafe(line)) },
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  };
}

/**
 * Standard output for whole lines; what can't be written is lost. (pino's own destination waits in a loop where a pipe is
 * full, and all mail with it.)
 */
export function standardOutput(): LineWriter {
  let isCut = false;
  return {
    write(line) {
      const octets = Buffer.from(isCut ? `\n${line}` : line);
      let written = 0;
      try {
        while (written < octets.length) written += writeSync(1, octets, written);
        isCut = false;
      } catch {
        // Nobody is left to tell; the next line starts on a line of its own.
        isCut ||= written > 0;
      }
    },
  };
}

function cutMembers(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields)
      .slice(0, membersMax)
      .map(([key, value]) => [key, cut(value, 1)]),
  );
}

/** Texts cut, in lists and plain objects as well; what is nested deeper than events of ours ever are is left out. */
function cut(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return shortened(value, charactersMax);
  if (typeof value !== 'object' || value === null || value instanceof Error) return value;
  if (depth > 5) return '…';
  if (Array.isArray(value)) return value.slice(0, membersMax).map((member) => cut(member, depth + 1));
  const entries = Object.entries(value).slice(0, membersMax);
  return Object.fromEntries(entries.map(([key, member]) => [key, cut(member, depth + 1)]));
}

/** Type, message, stack and the causes of both; of other things that are thrown, what they are. */
function describeError(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cut(cause, 1);
  const { type, message, stack } = pino.stdSerializers.err(cause);
  const code = 'code' in cause ? { code: cut(cause.code, 1) } : {};
  return {
    type,
    message: shortened(message, charactersMax),
    ...code,
    stack: shortened(stack, stackCharactersMax),
  };
}

function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
