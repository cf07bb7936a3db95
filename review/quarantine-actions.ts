/**
 * quarantine-actions — `sluice quarantine release|delete|learn|export`: the verbs that act, on one item or on many.
 *
 * Many are named one by one, or by a query: that one first only says how many it finds, and acts when it is given this
 * number. An item for which it does not work keeps nobody from the next; a database that is down ends it, and so does
 * Ctrl-C, behind the item under way.
 */
import { open, unlink } from 'node:fs/promises';
import { recipientStates } from '../filter/quarantine.ts';
import { PermFail, TempFail } from '../workers/fail.ts';
import type { LearnAs, LearnResult } from '../workers/spamd.ts';
import { atDesk } from './at-desk.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { listenForInterruption } from './interruption.ts';
import { queryOf } from './quarantine-command.ts';
import { printable } from './table.ts';
import {
  type Actor,
  deleteHeld,
  type Desk,
  exportMessage,
  learn,
  release,
  type Released,
  searchAll,
} from './verbs.ts';

/** One line of an answer: which item, for whom, what became of it. */
type Line = { readonly recipient?: string; readonly kind: string; readonly detail: string };
/** What became of one item; its exit code when it is the only one. */
type Done = { readonly lines: readonly Line[]; readonly code: number };

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
  return onEach(invocation, 'release', invocation.words, async (desk, actor, id, signal) => {
    const released = await release(actor, desk, id, { recipients, to, force, again, signal });
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
  const { recipient: recipients = [] } = invocation.options;
  return onEach(invocation, 'delete', invocation.words, async (desk, actor, id) => {
    const deleted = await deleteHeld(actor, desk, id, recipients);
    return { lines: deleted, code: deleted.some(({ kind }) => kind === 'deleted') ? 0 : 1 };
  });
}

/** Teaches the spam scanner held messages. */
export async function learnThem(invocation: Invocation): Promise<number> {
  const [as, ...ids] = invocation.words;
  if (as !== 'spam' && as !== 'ham' && as !== 'forget')
    throw new UsageError(`quarantine learn: "${as}" is nothing to learn: write spam, ham or forget`);
  return onEach(invocation, `learn ${as}`, ids, async (desk, actor, id, signal) =>
    learned(await learn(actor, desk, id, as, signal), as),
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

/** Does it for each item that the words or --all-matching name, and tells of each. */
async function onEach(
  invocation: Invocation,
  what: string,
  words: readonly string[],
  act: (desk: Desk, actor: Actor, quarantineId: string, signal: AbortSignal) => Promise<Done>,
): Promise<number> {
  const matching = invocation.options['all-matching'];
  if ((matching === undefined) === (words.length === 0))
    throw new UsageError(`quarantine ${what}: name items by ID, or all of a query by --all-matching QUERY`);
  const query = matching === undefined ? null : queryOf(matching, recipientStates);
  return atDesk(invocation, async (desk, actor, { config }) => {
    invocation.status.say('looking for what matches');
    const ids =
      query === null ? words : await confirmed(invocation, what, await searchAll(actor, desk, query));
    if (ids === null) return 1;
    const deadlineMs = config.limits.deadlineSeconds * 1000;
    const run = { what, ids, isOnly: query === null && ids.length === 1 };
    return tell(invocation, run, (id, breakOff) =>
      act(desk, actor, id, AbortSignal.any([AbortSignal.timeout(deadlineMs), breakOff])),
    );
  });
}

/** The ids, where --confirm names their number; else says how many there are, and nothing is done. */
async function confirmed(
  { options, print, printJson }: Invocation,
  what: string,
  ids: readonly string[],
): Promise<readonly string[] | null> {
  if (options.confirm === String(ids.length) && ids.length > 0) return ids;
  if (options.json === true) printJson({ matching: ids.length, confirmed: false });
  else if (ids.length === 0) print('Nothing is found.');
  else
    print(
      `${ids.length} items match${options.confirm === undefined ? '' : `, not ${printable(options.confirm)}`}; ` +
        `nothing was done. Look at them with "quarantine search"; to ${what} them add --confirm ${ids.length}`,
    );
  return null;
}

/** What is to be done, with which items; `isOnly`: one that was named, so that its failure is the command's. */
type Run = { readonly what: string; readonly ids: readonly string[]; readonly isOnly: boolean };

/** One after the other; the exit code is the gravest: 69, 75, 1, 0; where it was interrupted, the signal's. */
async function tell(
  { options, status, print, printJson }: Invocation,
  { what, ids, isOnly }: Run,
  act: (quarantineId: string, breakOff: AbortSignal) => Promise<Done>,
): Promise<number> {
  const all: (Line & { quarantineId: string })[] = [];
  const codes = new Set<number>();
  let done = 0;
  using interruption = listenForInterruption(() => {
    status.clear();
    complain(`${what}: stopping after the message under way; once more breaks it off`);
  });
  for (const quarantineId of ids) {
    if (interruption.exitCode() === null) status.say(`${what}: ${done + 1} of ${ids.length}`);
    const doing = () => act(quarantineId, interruption.breakOff);
    const { lines, code } = isOnly ? await doing() : await tried(doing);
    done++;
    codes.add(code);
    all.push(...lines.map((line) => ({ quarantineId, ...line })));
    if (options.json !== true) for (const line of lines) print(lineText(isOnly ? null : quarantineId, line));
    // The next one would meet the same.
    if (code === down || interruption.exitCode() !== null) break;
  }
  if (options.json === true) printJson(all);
  const stopped = done < ids.length ? interruption.exitCode() : null;
  status.clear();
  if (stopped !== null) complain(`${what}: stopped after ${done} of ${ids.length}`);
  return stopped ?? [69, 75, 1].find((code) => codes.has(code) || (code === 75 && codes.has(down))) ?? 0;
}

function complain(text: string): void {
  process.stderr.write(`sluice: ${text}\n`);
}

function lineText(quarantineId: string | null, { recipient, kind, detail }: Line): string {
  const words = [quarantineId, recipient ?? null, kind, detail];
  return words.flatMap((word) => (word === null ? [] : [printable(word)])).join(': ');
}

const down = -1;

async function tried(act: () => Promise<Done>): Promise<Done> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof PermFail) && !(error instanceof TempFail)) throw error;
    const code = error instanceof PermFail ? 69 : down;
    return { lines: [{ kind: 'failed', detail: error.message }], code };
  }
}
