/**
 * quarantine-command — `sluice quarantine list|show|release`: the verbs, with text or JSON around them.
 *
 * Works beside a running filter and without one: both referee state changes through the same index.
 */
import { hostname, userInfo } from 'node:os';
import { openStateQuarantine } from '../filter/memory.ts';
import { createReinjector } from '../filter/reinject.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import type { ItemRow } from '../filter/quarantine.ts';
import { createLog } from '../workers/log.ts';
import type { Site } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { formatDispositions, formatReport } from './report-text.ts';
import { localTime, printable, table } from './table.ts';
import { type Desk, list, release, show } from './verbs.ts';

/** Lists what is held, newest first. */
export async function listHeld({ options, site, print }: Invocation): Promise<number> {
  const limit = options.limit === undefined ? 50 : Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit: "${options.limit}" is no positive number`);
  return atDesk(site, async (desk) => {
    const items = await list(desk, options.all === true ? { limit } : { limit, state: 'held' });
    if (options.json === true) print(JSON.stringify(items));
    else if (items.length === 0) print('Nothing is held.');
    else print(table(['held since', 'id', 'why', 'from', 'to', 'subject'], items.map(rowOf)));
    return 0;
  });
}

function rowOf({ heldAt, quarantineId, virusName, score, from, sender, slots, subject }: ItemRow): string[] {
  const why = virusName ?? (score === null ? (slots[0]?.verdict ?? '') : `score ${score}`);
  const [first, ...others] = slots.map(({ recipient, state }) =>
    state === 'held' ? recipient : `${recipient} (${state})`,
  );
  const to = others.length === 0 ? (first ?? '') : `${first} and ${others.length} more`;
  return [localTime(heldAt), quarantineId, why, from ?? (sender === '' ? '<>' : sender), to, subject ?? ''];
}

/** Shows why one message is held, for whom, and what happened since. */
export async function showHeld({ words, options, site, print }: Invocation): Promise<number> {
  return atDesk(site, async (desk) => {
    const { record, slots } = await show(desk, words[0] ?? '');
    if (options.json === true) {
      print(JSON.stringify({ ...record, states: slots }));
      return 0;
    }
    const { facts, envelope, report, dispositions } = record;
    const head = [
      ['id', record.quarantineId],
      ['held since', localTime(record.heldAt)],
      ['queue id', record.queueId ?? 'unknown'],
      ['sender', `<${envelope.sender}>`],
      ['from', facts.from ?? ''],
      ['subject', facts.subject ?? ''],
      ['message id', facts.messageId ?? ''],
      ['client', `${envelope.xforward.NAME ?? 'unknown'} [${envelope.xforward.ADDR ?? 'unknown'}]`],
      ['size', `${record.sizeBytes} bytes`],
    ].map(([name = '', value = '']) => `${name.padEnd(12)}${printable(value)}`);
    const decided = dispositions.map((disposition, at) => ({
      ...disposition,
      recipients: record.slots.filter((slot) => slot.disposition === at).map(({ recipient }) => recipient),
    }));
    const states = slots.map(({ recipient, state, actor, at, queueIdOut, expiresAt }) => [
      recipient,
      state,
      actor ?? '',
      localTime(at),
      queueIdOut ?? '',
      localTime(expiresAt),
    ]);
    const stateTable = table(['recipient', 'state', 'by', 'since', 'queue id', 'expires'], states);
    print(
      [...head, '', ...formatReport(report), '', ...formatDispositions(decided), '', stateTable].join('\n'),
    );
    return 0;
  });
}

/** Gives one held message back to Postfix. */
export async function releaseHeld({ words, options, site, print }: Invocation): Promise<number> {
  return atDesk(site, async (desk) => {
    const released = await release({ name: `cli:${userInfo().username}` }, desk, words[0] ?? '', {
      recipients: options.recipient ?? [],
      to: options.to ?? [],
      force: options.force ?? false,
      signal: AbortSignal.timeout(site.config.limits.deadlineSeconds * 1000),
    });
    if (options.json === true) print(JSON.stringify(released));
    else
      for (const { recipient, kind, detail } of released)
        print(`${printable(recipient)}: ${kind}: ${printable(detail)}`);
    if (released.some(({ kind }) => kind === 'held' || kind === 'unconfirmed')) return 75;
    return released.some(({ kind }) => kind === 'released') ? 0 : 1;
  });
}

async function atDesk(site: Site, act: (desk: Desk) => Promise<number>): Promise<number> {
  const log = createLog({ name: 'sluice', level: 'error', destination: process.stderr });
  becomeOwner(site.config.state, log);
  const quarantine = await openStateQuarantine(site.config.state, log);
  const reinjector = createReinjector({
    address: site.config.reinject,
    hostname: hostname(),
    connectionsMax: 1,
    log,
  });
  const marker = { scanner: `Sluice ${version}`, hostname: hostname() };
  try {
    return await act({ quarantine, reinject: reinjector.reinject, marker, log });
  } finally {
    await reinjector.close();
    await quarantine.close();
  }
}
