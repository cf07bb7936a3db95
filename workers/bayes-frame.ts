/**
 * bayes-frame — the pieces of which questions and answers between two nodes are made: a kind, a length, a CRC-32, octets.
 *
 * Hides their form and what is wrong with one that is cut, garbled or too large: it rejects with BayesFail. A frame can be the trouble of the
 * other side, which is thrown as such.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { BayesFail, bayesSteps, type BayesTrouble, failed } from './bayes-step.ts';
import type { Octets } from './octets.ts';

/** A trouble that the other side has told: its step and remedy are those of that machine. */
export class TheirFail extends BayesFail {}

/** Of a head as JSON: a comparison of 10,000 messages has room. */
export const headBytesMax = 16 * 1024 ** 2;
export const frameBytesMax = 64 * 1024;
/** What to do where two nodes do not understand each other. */
export const update = 'bring Sluice to one version on both nodes';
const again = 'run it again; if it stays, look at the connection between the nodes';

type Kind = 'head' | 'data' | 'end' | 'trouble';
const kinds: readonly Kind[] = ['head', 'data', 'end', 'trouble'];
export type Frame = { readonly kind: Kind; readonly octets: Buffer };

/** Who reads: the node that was asked, or the one that asked. */
export type Side = 'receive' | 'answer';

const troubleShape = z.object({
  kind: z.enum(['refused', 'failed']),
  // A newer Sluice may know steps that this one does not.
  step: z.enum(bayesSteps).catch('answer'),
  message: z.string().max(10_000),
  remedy: z.string().max(10_000),
});

/** A trouble as a frame. */
export function troubleFrame({ kind, step, message, remedy }: BayesTrouble): Frame {
  const [text, what] = [message.slice(0, 5000), remedy.slice(0, 5000)];
  return {
    kind: 'trouble',
    octets: Buffer.from(JSON.stringify({ kind, step, message: text, remedy: what })),
  };
}

/** As it travels: one octet for the kind, four for the length, four for the CRC-32 of all the rest. */
export function frame({ kind, octets }: Frame): Buffer {
  const head = Buffer.alloc(9);
  head.writeUInt8(kinds.indexOf(kind));
  head.writeUInt32BE(octets.length, 1);
  head.writeUInt32BE(crc32(octets, crc32(head.subarray(0, 5))), 5);
  return Buffer.concat([head, octets]);
}

/** The next frame; throws BayesFail, also where it is a trouble. */
export async function readFrame(octets: Octets, side: Side): Promise<Frame> {
  const head = await octets.whole(9);
  const kind = kinds[head.readUInt8()];
  const sizeBytes = head.readUInt32BE(1);
  if (kind === undefined || sizeBytes > (kind === 'data' ? frameBytesMax : headBytesMax)) throw garbled(side);
  const content = await octets.whole(sizeBytes);
  if (crc32(content, crc32(head.subarray(0, 5))) !== head.readUInt32BE(5)) throw garbled(side);
  if (kind === 'trouble') throw new TheirFail(parsed(content, side, troubleShape));
  return { kind, octets: content };
}

/** JSON of that shape; throws BayesFail. */
export function parsed<T>(octets: Buffer, side: Side, shape: z.ZodType<T>): T {
  try {
    return shape.parse(JSON.parse(octets.toString('utf8')));
  } catch (cause) {
    throw failed(side, 'Cannot read what the other node sent: it has another form', update, cause);
  }
}

/** For an input that ended within something. */
export function cut(side: Side): BayesFail {
  return failed(side, 'Cannot read what the other node sent: it was cut', again);
}

/** For a frame that can't be one, or not here. */
export function garbled(side: Side): BayesFail {
  return failed(side, 'Cannot read what the other node sent: it is garbled', again);
}
