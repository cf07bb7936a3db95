/**
 * quarantine-command — `sluice quarantine list|show|release`: the verbs, with text or JSON around them.
 *
 * Works beside a running filter and without one: both referee state changes through the same index. Never creates what
 * is not there: a wrong --config must not look like an empty quarantine.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { openStateQuarantine } from '../filter/memory.ts';
import { createReinjector } from '../filter/reinject.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import { PermFail } from '../workers/fail.ts';
import { silentLog } from '../workers/log.ts';
import type { Site } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { formatItem, itemJson, rowOf } from './item-text.ts';
import { printable, table } from './table.ts';
import { type Actor, type Desk, list, release, type Released, show } from './verbs.ts';

/** Lists what waits for a decision, newest first. */
export async function listHeld(invocation: Invocation): Promise<number> {
  const { options, print, printJson } = invocation;
  const limit = limitOf(options.limit);
  return atDesk(invocation, async (desk, actor) => {
    const items = await list(actor, desk, { all: options.all === true, limit });
    if (options.json === true) printJson(items);
    else if (items.length === 0) print('Nothing is held.');
    else print(table(['held since', 'id', 'why', 'from', 'to', 'subject'], items.map(rowOf)));
    return 0;
  });
}

function limitOf(text: string | undefined): number {
  const limit = text === undefined ? 50 : Number(text);
  if (Number.isSafeInteger(limit) && limit >= 1) return limit;
  throw new UsageError(`--limit: "${text}" is no positive whole number`);
}

/** Shows why one message is held, for whom, and what happened since. */
export async function showHeld(invocation: Invocation): Promise<number> {
  const { words, options, print, printJson } = invocation;
  return atDesk(invocation, async (desk, actor) => {
    const item = await show(actor, desk, words[0] ?? '');
    if (options.json === true) printJson(itemJson(item));
    else print(formatItem(item).join('\n'));
    return 0;
  });
}

/** Gives one held message back to Postfix. */
export async function releaseHeld(invocation: Invocation): Promise<number> {
  const { words, options, print, printJson } = invocation;
  const { to = [], recipient: recipients = [], force = false, again = false } = options;
  if (to.length > 0 && (recipients.length > 0 || again))
    throw new UsageError(
      'quarantine release: --to leaves the held copies alone: write it without --recipient and --again',
    );
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const stray = to.find((address) => !/^[^\u0000-\u0020<>\u007f]+@[^\u0000-\u0020<>@\u007f]+$/.test(address));
  if (stray !== undefined) throw new UsageError(`--to: "${stray}" is no address: write user@domain`);
  return atDesk(invocation, async (desk, actor, { config }) => {
    const signal = AbortSignal.timeout(config.limits.deadlineSeconds * 1000);
    const released = await release(actor, desk, words[0] ?? '', { recipients, to, force, again, signal });
    if (options.json === true) printJson(released);
    else
      for (const { recipient, kind, detail } of released)
        print(`${printable(recipient)}: ${kind}: ${printable(detail)}`);
    return exitCodeOf(released);
  });
}

/** 75 only where trying again is right: what is unconfirmed may have arrived, what was refused will be again. */
function exitCodeOf(released: readonly Released[]): number {
  const some = (kind: Released['kind']) => released.some((one) => one.kind === kind);
  if (some('unconfirmed') || some('refused')) return 1;
  if (some('held')) return 75;
  return some('released') ? 0 : 1;
}

async function atDesk(
  { site, user }: Invocation,
  act: (desk: Desk, actor: Actor, site: Site) => Promise<number>,
): Promise<number> {
  const read = site();
  const { state, reinject: address } = read.config;
  if (!existsSync(state))
    throw new PermFail(
      `Cannot open the quarantine: there is no ${state}: is this the configuration that the filter runs with?`,
    );
  becomeOwner(state, silentLog);
  const log = { ...silentLog, error: complain };
  // What keeps the index from answering is told by the command that asked it.
  const quarantine = await openStateQuarantine(state, silentLog);
  const reinjector = createReinjector({ address, hostname: hostname(), connectionsMax: 1, log: silentLog });
  const marker = { scanner: `Sluice ${version}`, hostname: hostname() };
  try {
    return await act(
      { quarantine, reinject: reinjector.reinject, marker, log },
      { name: `cli:${user}` },
      read,
    );
  } finally {
    await reinjector.close();
    await quarantine.close();
  }
}

/** What goes wrong beside the answer, as a line for people. */
function complain(fields: object, message: string): void {
  const why = 'err' in fields && fields.err instanceof Error ? `: ${fields.err.message}` : '';
  process.stderr.write(`sluice: ${printable(`${message}${why}`)}\n`);
}
