/**
 * bayes-wire — one question and its answer between two nodes, as octets on standard input and output of ssh(1).
 *
 * Hides the form: a first line with its version, then frames, each with its kind, length and CRC-32: a head (JSON), data, and an
 * end. Only the end makes it whole; what is cut or garbled at any place rejects with BayesFail. A trouble of the other side
 * travels as one, before the data or after half of it.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { z } from 'zod';
import {
  cut,
  frame,
  frameBytesMax,
  garbled,
  headBytesMax,
  parsed,
  readFrame,
  type Side,
  troubleFrame,
  update,
} from './bayes-frame.ts';
import { BayesFail, type BayesTrouble, failed, outcomeOf, refused } from './bayes-step.ts';
import { createOctets, type Octets } from './octets.ts';

export { headBytesMax, TheirFail } from './bayes-frame.ts';
export { type Part, packParts, unpackParts } from './bayes-parts.ts';

const askNames = [
  'hello',
  'bundle',
  'snapshot',
  'score',
  'sample',
  'parity',
  'held',
  'moved',
  'adopt',
  'taught',
  'learned',
  'teach',
] as const;

/** What one node may ask of the other. */
export type AskName = (typeof askNames)[number];

export type Ask = {
  readonly name: AskName;
  readonly parameters?: unknown;
  readonly payload?: AsyncIterable<Buffer>;
};

/** head: one JSON value; payload: raw octets, known to be whole when it ends (a cut stream rejects while it is read). */
export type Answer = { readonly head: unknown; readonly payload?: AsyncIterable<Buffer> };

/** Answers one kind of question; a BayesFail that it throws travels to the asker. */
export type Answerer = (parameters: unknown, payload: AsyncIterable<Buffer>) => Promise<Answer>;
export type Answerers = Readonly<Partial<Record<AskName, Answerer>>>;

/** The other side speaks another version of the wire. */
export class OtherWire extends BayesFail {}

const version = 1;
const askShape = z.object({ name: z.string(), parameters: z.unknown(), hasPayload: z.boolean() });
const answerShape = z.object({ head: z.unknown(), hasPayload: z.boolean() });

/** A question as octets; where its payload fails the other side is told, and it rejects. */
export function packAsk({ name, parameters = null, payload }: Ask): AsyncGenerator<Buffer> {
  return pack('ask', { name, parameters, hasPayload: payload !== undefined }, payload);
}

/** An answer as octets. */
export function packAnswer({ head = null, payload }: Answer): AsyncGenerator<Buffer> {
  return pack('answer', { head, hasPayload: payload !== undefined }, payload);
}

/**
 * The answer in what the other side wrote. Resolves when its head is there and, where it has no payload, its end; rejects with
 * BayesFail, also with one of the other side. `onNone` makes the error where not even a first line came.
 */
export async function readAnswer(
  input: AsyncIterable<Buffer>,
  onNone: (text: string) => BayesFail,
): Promise<Answer> {
  const octets = createOctets(input, () => cut('answer'));
  try {
    await readFirstLine(octets, 'answer', onNone);
    const { head, hasPayload } = await readHead(octets, 'answer', answerShape);
    const payload = dataOf(octets, 'answer');
    if (hasPayload) return { head, payload };
    for await (const _ of payload) throw garbled('answer');
    return { head };
  } catch (cause) {
    await octets.close();
    throw cause;
  }
}

/** Reads one question and answers it; resolves with the exit code: 0 answered, 1 refused, 69 failed. Never rejects. */
export async function serveAsk(
  input: AsyncIterable<Buffer>,
  output: Writable,
  answerers: Answerers,
): Promise<number> {
  const octets = createOctets(input, () => cut('receive'));
  const answer = await outcomeOf(
    () => undefined,
    async (step) => {
      step('receive');
      return { kind: 'answer' as const, ...(await answerTo(octets, answerers)) };
    },
  );
  const code = { answer: 0, refused: 1, failed: 69 }[answer.kind];
  try {
    for await (const chunk of answer.kind === 'answer' ? packAnswer(answer) : packTrouble('answer', answer))
      await write(output, chunk);
    return code;
  } catch {
    // Whoever asked is gone; what was to be done is done.
    return code === 0 ? 69 : code;
  } finally {
    await octets.close().catch(() => undefined);
  }
}

async function answerTo(octets: Octets, answerers: Answerers): Promise<Answer> {
  await readFirstLine(octets, 'receive', () => refused('receive', 'Cannot answer: nobody asked', update));
  const { name, parameters, hasPayload } = await readHead(octets, 'receive', askShape);
  const known = askNames.find((one) => one === name);
  const answerer = known === undefined ? undefined : answerers[known];
  if (answerer === undefined) {
    const what = known === undefined ? 'this Sluice knows no such question' : 'not by this door';
    throw refused('receive', `Cannot answer "${name.slice(0, 40)}": ${what}`, update);
  }
  const payload = dataOf(octets, 'receive');
  if (hasPayload) return answerer(parameters, payload);
  for await (const _ of payload) throw garbled('receive');
  return answerer(parameters, payload);
}

async function* pack(
  what: 'ask' | 'answer',
  head: unknown,
  payload: AsyncIterable<Buffer> | undefined,
): AsyncGenerator<Buffer> {
  const octets = Buffer.from(JSON.stringify(head));
  if (octets.length > headBytesMax)
    throw failed(
      'send',
      `Cannot send ${octets.length} octets as a head: ${headBytesMax} are allowed`,
      update,
    );
  yield Buffer.concat([Buffer.from(`sluice-${what} ${version}\n`), frame({ kind: 'head', octets })]);
  const trouble = yield* packData(payload);
  if (trouble === null) return yield frame({ kind: 'end', octets: Buffer.alloc(0) });
  yield frame(troubleFrame(trouble));
  throw new BayesFail(trouble);
}

/** The data; in the end its trouble: a payload that fails on the way is told, not cut. */
async function* packData(
  payload: AsyncIterable<Buffer> | undefined,
): AsyncGenerator<Buffer, BayesTrouble | null> {
  if (payload === undefined) return null;
  const chunks = payload[Symbol.asyncIterator]();
  try {
    for (;;) {
      const chunk = await outcomeOf(
        () => undefined,
        async (step) => {
          step('send');
          return { kind: 'chunk' as const, next: await chunks.next() };
        },
      );
      if (chunk.kind !== 'chunk') return chunk;
      if (chunk.next.done === true) return null;
      for (let at = 0; at < chunk.next.value.length; at += frameBytesMax)
        yield frame({ kind: 'data', octets: chunk.next.value.subarray(at, at + frameBytesMax) });
    }
  } finally {
    await chunks.return?.();
  }
}

async function* packTrouble(what: 'answer', trouble: BayesTrouble): AsyncGenerator<Buffer> {
  yield Buffer.concat([Buffer.from(`sluice-${what} ${version}\n`), frame(troubleFrame(trouble))]);
}

async function readHead<T>(octets: Octets, side: Side, shape: z.ZodType<T>): Promise<T> {
  const { kind, octets: content } = await readFrame(octets, side);
  if (kind !== 'head') throw garbled(side);
  return parsed(content, side, shape);
}

async function* dataOf(octets: Octets, side: Side): AsyncGenerator<Buffer> {
  try {
    for (;;) {
      const { kind, octets: content } = await readFrame(octets, side);
      if (kind === 'end') return;
      if (kind !== 'data') throw garbled(side);
      yield content;
    }
  } finally {
    await octets.close();
  }
}

async function readFirstLine(octets: Octets, side: Side, onNone: (text: string) => BayesFail): Promise<void> {
  const wanted = `sluice-${side === 'receive' ? 'ask' : 'answer'} `;
  let line = '';
  while (!line.endsWith('\n') && line.length < 40) {
    const octet = await octets.next(1);
    if (octet === null) break;
    line += octet.toString('latin1');
  }
  if (line === `${wanted}${version}\n`) return;
  const other = /^sluice-\w+ (\d{1,6})\n$/.exec(line)?.[1];
  if (other === undefined || !line.startsWith(wanted)) throw onNone(line);
  const message = `Cannot talk to the other node: its Sluice speaks version ${other} of the wire, this one ${version}`;
  const { kind, step, remedy } = refused(side, message, update);
  throw new OtherWire({ kind, step, message, remedy });
}

async function write(output: Writable, chunk: Buffer): Promise<void> {
  if (output.destroyed || output.writableEnded) throw new Error('Cannot write: the stream is closed');
  if (output.write(chunk)) return;
  // A stream that is destroyed never drains.
  await Promise.race([once(output, 'drain'), once(output, 'close')]);
}
