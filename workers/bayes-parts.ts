/**
 * bayes-parts — several things one behind the other in one payload, each with a JSON head and its octets.
 *
 * Hides the form: a line with the sizes of head and octets, the head, the octets. Rejects with BayesFail where a payload ends within
 * a part or is none.
 */
import { type BayesFail, failed } from './bayes-step.ts';
import { createOctets, type Octets } from './octets.ts';

/** Of a stream of parts; `bytes` of a part must be read before the next part is asked for, or are skipped. */
export type Part = {
  readonly head: unknown;
  readonly sizeBytes: number;
  readonly bytes: AsyncIterable<Buffer>;
};

const partHeadBytesMax = 1024 ** 2;
const lineMax = 40;

/** The parts as one payload; rejects where a part has another size than it says. */
export async function* packParts(parts: AsyncIterable<Part> | Iterable<Part>): AsyncGenerator<Buffer> {
  for await (const { head, sizeBytes, bytes } of parts) {
    const text = Buffer.from(JSON.stringify(head ?? null));
    if (text.length > partHeadBytesMax) throw wrong(`the head of a part has ${text.length} octets`);
    yield Buffer.concat([Buffer.from(`${text.length} ${sizeBytes}\n`), text]);
    let missing = sizeBytes;
    for await (const chunk of bytes) {
      missing -= chunk.length;
      if (missing < 0) break;
      yield chunk;
    }
    if (missing !== 0) throw wrong(`a part has not the ${sizeBytes} octets that it says`);
  }
}

/** The parts in a payload, one after the other. */
export async function* unpackParts(payload: AsyncIterable<Buffer>): AsyncGenerator<Part> {
  const octets = createOctets(payload, () => wrong('it ends within a part'));
  try {
    for (;;) {
      const sizes = await readSizes(octets);
      if (sizes === null) return;
      const head = jsonOf(await octets.whole(sizes.headBytes));
      const bytes = octets.exactly(sizes.sizeBytes);
      yield { head, sizeBytes: sizes.sizeBytes, bytes: keepOpen(bytes) };
      // Those that nobody wanted.
      for await (const _ of bytes);
    }
  } finally {
    await octets.close();
  }
}

/** A reader who leaves early leaves the rest to be skipped: his `break` must not end what is behind. */
function keepOpen(bytes: AsyncGenerator<Buffer>): AsyncIterable<Buffer> {
  return { [Symbol.asyncIterator]: () => ({ next: () => bytes.next() }) };
}

async function readSizes(octets: Octets): Promise<{ headBytes: number; sizeBytes: number } | null> {
  let line = '';
  while (!line.endsWith('\n') && line.length < lineMax) {
    const octet = await octets.next(1);
    if (octet === null) {
      if (line === '') return null;
      break;
    }
    line += octet.toString('latin1');
  }
  const [, head, size] = /^(\d{1,8}) (\d{1,15})\n$/.exec(line) ?? [];
  if (head === undefined || Number(head) > partHeadBytesMax) throw wrong('it is no series of parts');
  return { headBytes: Number(head), sizeBytes: Number(size) };
}

function jsonOf(octets: Buffer): unknown {
  try {
    return JSON.parse(octets.toString('utf8'));
  } catch (cause) {
    throw failed('answer', 'Cannot read a part: its head is no JSON', 'bring Sluice to one version', cause);
  }
}

function wrong(why: string): BayesFail {
  return failed('answer', `Cannot read or write the parts of a payload: ${why}`, 'run it again');
}
