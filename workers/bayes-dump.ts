/**
 * bayes-dump — what is in a dump of `sa-learn --backup`, measured while it flows by.
 *
 * Hides the format (Mail::SpamAssassin::BayesStore): `v` lines with versions and counts, `t` lines with tokens, `s` lines with
 * messages seen. The digest is the same for every order of tokens and leaves their times out, so that dumps of one
 * content are equal whatever store they come from. Never throws: a dump that is none is `broken`.
 */
import { hash } from 'node:crypto';

/** What a dump holds; equal `digest`, `nspam` and `nham` mean equal scores. */
export type DumpFigures = {
  readonly dbVersion: number;
  readonly nspam: number;
  readonly nham: number;
  /** Those that were seen in any message: others are left out of every restore. */
  readonly tokens: number;
  readonly seen: number;
  /** 32 hexadecimal digits. */
  readonly digest: string;
  /** Octets of the dump. */
  readonly dumpBytes: number;
};

export type Measured =
  | ({ readonly kind: 'whole' } & DumpFigures)
  | { readonly kind: 'broken'; readonly why: string };

export type Token = {
  readonly spam: number;
  readonly ham: number;
  readonly atime: number;
  readonly hex: string;
};

export type DumpLine =
  | ({ readonly kind: 'token' } & Token)
  | { readonly kind: 'seen'; readonly flag: 's' | 'h'; readonly messageId: string }
  | { readonly kind: 'variable'; readonly name: string; readonly value: number }
  | { readonly kind: 'skipped' | 'odd' };

/** One line without its end, octets as latin1. What sa-learn skips in silence is `skipped`, what it never writes `odd`. */
export function parseDumpLine(line: string): DumpLine {
  const [, spam, ham, atime, hex] = /^t\t(\d+)\t(\d+)\t(\d+)\t((?:[0-9a-f]{2})+)$/.exec(line) ?? [];
  if (hex !== undefined)
    return { kind: 'token', spam: Number(spam), ham: Number(ham), atime: Number(atime), hex };
  const [, flag, messageId] = /^s\t([hs])\t(\S.*)$/.exec(line) ?? [];
  if (messageId !== undefined) return { kind: 'seen', flag: flag === 's' ? 's' : 'h', messageId };
  if (line.startsWith('s\t')) return { kind: 'skipped' };
  const [, value, name] = /^v\t(\d+)\t(\w+)/.exec(line) ?? [];
  return name === undefined ? { kind: 'odd' } : { kind: 'variable', name, value: Number(value) };
}

/** The lines of a dump; one without its end is left out. */
export async function* linesOf(dump: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of dump) {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

/** Passes a dump on and measures it; `onEnd` is called when all of it was passed on. */
export async function* measuring(
  dump: AsyncIterable<Buffer>,
  onEnd: (measured: Measured) => void,
): AsyncGenerator<Buffer> {
  const meter = createMeter();
  let rest = '';
  for await (const chunk of dump) {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) meter.add(line);
    meter.addBytes(chunk.length);
    yield chunk;
  }
  onEnd(rest === '' ? meter.end() : { kind: 'broken', why: 'it is cut within a line' });
}

/** Measures a dump that nobody else needs. */
export async function measureDump(dump: AsyncIterable<Buffer>): Promise<Measured> {
  let result: Measured = { kind: 'broken', why: 'it did not end' };
  for await (const _ of measuring(dump, (measured) => (result = measured)));
  return result;
}

/** The same content: what scores the same. */
export function isSameContent(
  one: Pick<DumpFigures, 'nspam' | 'nham' | 'tokens' | 'digest'>,
  other: Pick<DumpFigures, 'nspam' | 'nham' | 'tokens' | 'digest'>,
): boolean {
  return (['nspam', 'nham', 'tokens', 'digest'] as const).every((name) => one[name] === other[name]);
}

function createMeter() {
  const variables = new Map<string, number>();
  let [lines, tokens, seen, odd, bytes] = [0, 0, 0, 0, 0];
  let sum = 0n;
  const add = (line: string): void => {
    const parsed = parseDumpLine(line);
    lines += 1;
    if (parsed.kind === 'variable') variables.set(parsed.name, parsed.value);
    else if (parsed.kind === 'seen') seen += 1;
    else if (parsed.kind === 'odd') odd += 1;
    else if (parsed.kind === 'token' && (parsed.spam > 0 || parsed.ham > 0)) {
      tokens += 1;
      sum += weightOf(parsed);
    }
    if (lines === 1 && !variables.has('db_version')) variables.set('headless', 1);
  };
  const end = (): Measured => {
    const [dbVersion, nspam, nham] = ['db_version', 'num_spam', 'num_nonspam'].map((name) =>
      variables.get(name),
    );
    if (lines === 0) return { kind: 'broken', why: 'it is empty' };
    if (variables.has('headless') || dbVersion === undefined)
      return { kind: 'broken', why: 'it does not begin with db_version' };
    if (nspam === undefined || nham === undefined)
      return { kind: 'broken', why: 'num_spam or num_nonspam is missing' };
    if (odd > 0) return { kind: 'broken', why: `${odd} of its ${lines} lines are none of a dump` };
    const digest = BigInt.asUintN(128, sum).toString(16).padStart(32, '0');
    return { kind: 'whole', dbVersion, nspam, nham, tokens, seen, digest, dumpBytes: bytes };
  };
  return { add, addBytes: (count: number) => void (bytes += count), end };
}

/** A number of 128 bits for a token and its counts; their sum is that of the set. */
function weightOf({ spam, ham, hex }: Token): bigint {
  return BigInt(`0x${hash('sha256', `${spam} ${ham} ${hex}`).slice(0, 32)}`);
}
