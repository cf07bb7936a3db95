/**
 * quarantine-actions — `sluice quarantine release|delete|learn|export`: the verbs that act, with words and exit codes.
 *
 * What is told of one copy is a line, and the gravest of them the exit code: 75 only where trying again is right.
 */
import { open, unlink } from 'node:fs/promises';
import { PermFail } from '../workers/fail.ts';
import type { LearnAs, LearnResult } from '../workers/spamd.ts';
import { atDesk } from './at-desk.ts';
import { type Done, onEach } from './each-item.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { printable } from './table.ts';
import { deleteHeld, exportMessage, learn, release, type Released } from './verbs.ts';

/** Gives held messages back to Postfix. */
export async function releaseHeld(invocation: Invocation): Promise<number> {
  const { to = [], recipient: recipients = [], force = false, again = false } = invocation.options;
  if (to.length > 0 && (recipients.length > 0 || again))
    throw new UsageError(
      'quarantine release: --to leaves the held copies alone: write it without --recipient and --again',
    );
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const stray = to.find((address) => !/^[^\u0000-\u0020<>\u007f]+@[^\u0000-\u0020<>@\u007f]+$/.test(address));
  if (stray !== undefined) throw new UsageError(`--to: "${stray}" is no address: write user@domain`);
  const deed = { what: 'release', unit: to.length > 0 ? 'message' : 'copy' } as const;
  return onEach(invocation, deed, invocation.words, async (desk, actor, aim, signal) => {
    const whose = to.length > 0 ? [] : aim.recipients;
    const options = { recipients: whose, to, force, again, signal };
    const released = await release(actor, desk, aim.quarantineId, options);
    return { lines: released, code: exitCodeOf(released) };
  });
}

/** 75 only where trying again is right: what is unconfirmed may have arrived, what was refused will be again. */
function exitCodeOf(released: readonly Released[]): number {
  const some = (kind: Released['kind']) => released.some((one) => one.kind === kind);
  if (some('unconfirmed') || some('refused')) return 1;
  if (some('held')) return 75;
  return some('released') ? 0 : 1;
}

/** Deletes held messages. */
export async function deleteThem(invocation: Invocation): Promise<number> {
  const deed = { what: 'delete', unit: 'copy' } as const;
  return onEach(invocation, deed, invocation.words, async (desk, actor, { quarantineId, recipients }) => {
    const deleted = await deleteHeld(actor, desk, quarantineId, recipients);
    return { lines: deleted, code: deleted.some(({ kind }) => kind === 'deleted') ? 0 : 1 };
  });
}

/** Teaches the spam scanner held messages. */
export async function learnThem(invocation: Invocation): Promise<number> {
  const [as, ...ids] = invocation.words;
  if (as !== 'spam' && as !== 'ham' && as !== 'forget')
    throw new UsageError(`quarantine learn: "${as}" is nothing to learn: write spam, ham or forget`);
  const deed = { what: `learn ${as}`, unit: 'message' } as const;
  return onEach(invocation, deed, ids, async (desk, actor, { quarantineId }, signal) =>
    learned(await learn(actor, desk, quarantineId, as, signal), as),
  );
}

function learned(result: LearnResult, as: LearnAs): Done {
  const { kind } = result;
  switch (kind) {
    case 'learned':
      return { lines: [{ kind, detail: as === 'forget' ? 'forgotten' : `as ${as}` }], code: 0 };
    case 'unchanged':
      return { lines: [{ kind, detail: result.detail }], code: 1 };
    case 'disabled':
      return { lines: [{ kind, detail: result.detail }], code: 69 };
    case 'off':
      return {
        lines: [{ kind, detail: 'there is no spam scanner here: set scan.spam and spamd' }],
        code: 69,
      };
    case 'unchecked':
      return { lines: [{ kind, detail: `${result.reason}: ${result.detail}` }], code: 75 };
  }
}

/** Writes a held message, as it was scanned, to standard output or into a new file. */
export async function exportHeld(invocation: Invocation): Promise<number> {
  const { words, options, print, printJson } = invocation;
  const { output } = options;
  if (options.json === true && output === undefined)
    throw new UsageError('quarantine export: --json tells of the file: write --output FILE as well');
  return atDesk(invocation, async (desk, actor) => {
    const octets = exportMessage(actor, desk, words[0] ?? '');
    if (output === undefined) return await toStandardOutput(octets);
    const sizeBytes = await toNewFile(octets, output);
    if (options.json === true) printJson({ quarantineId: words[0], output, sizeBytes });
    else print(`${printable(output)}: ${sizeBytes} bytes`);
    return 0;
  });
}

/** Ends early, and quietly, where nobody reads any more. */
async function toStandardOutput(octets: AsyncIterable<Uint8Array>): Promise<number> {
  const { stdout } = process;
  for await (const chunk of octets) {
    if (stdout.destroyed) break;
    if (!stdout.write(chunk)) await roomIn(stdout);
  }
  return 0;
}

/** Resolves when more can be written, or nothing ever again. */
function roomIn(stream: NodeJS.WriteStream): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once('drain', resolve);
  stream.once('close', resolve);
  return promise.finally(() => stream.off('drain', resolve).off('close', resolve));
}

/** Nothing is overwritten, and nothing half is left. */
async function toNewFile(octets: AsyncIterable<Uint8Array>, path: string): Promise<number> {
  let sizeBytes = 0;
  const chunks = octets[Symbol.asyncIterator]();
  // The first octets before the file: a message that is not there makes none.
  let next = await chunks.next();
  const file = await open(path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === 'EEXIST' ? 'it is there already: name another file' : cause.message;
    throw new PermFail(`Cannot write ${path}: ${why}`, { cause });
  });
  try {
    for (; next.done !== true; next = await chunks.next()) {
      await file.write(next.value);
      sizeBytes += next.value.length;
    }
  } catch (cause) {
    await unlink(path);
    throw cause;
  } finally {
    await file.close();
  }
  return sizeBytes;
}
