/**
 * item-text — a held item in words and as JSON.
 *
 * The JSON of `quarantine show` is that of `quarantine list` and more: the same names mean the same in both.
 */
import type { ItemRecord, ItemRow, SlotRow } from '../filter/quarantine.ts';
import { formatDispositions, formatReport } from './report-text.ts';
import { localTime, printable, table } from './table.ts';

/** An item with all that is known of it. */
export type Item = { readonly record: ItemRecord; readonly slots: readonly SlotRow[] };

/** One line of the list: held since, id, why, from, to, subject. */
export function rowOf({
  heldAt,
  quarantineId,
  virusName,
  score,
  from,
  sender,
  slots,
  subject,
  flag,
}: ItemRow): string[] {
  const why = virusName ?? (score === null ? (slots[0]?.verdict ?? '') : `score ${score}`);
  const [first, ...others] = slots.map(({ recipient, state }) =>
    state === 'held' ? recipient : `${recipient} (${state})`,
  );
  const to = others.length === 0 ? (first ?? '') : `${first} and ${others.length} more`;
  const id = flag === null ? quarantineId : `${quarantineId} (${flag})`;
  return [localTime(heldAt), id, why, from ?? (sender === '' ? '<>' : sender), to, subject ?? ''];
}

/** Everything of one item, line by line. */
export function formatItem({ record, slots }: Item): string[] {
  const { facts, envelope, report, dispositions } = record;
  const head = [
    ['id', record.quarantineId],
    ['held since', localTime(record.heldAt)],
    ['queue id', record.queueId ?? 'unknown'],
    ['sender', `<${envelope.sender}>`],
    ['from', facts.from ?? ''],
    ['subject', facts.subject ?? ''],
    ['message id', facts.messageId ?? ''],
    ['client', clientOf(envelope.xforward)],
    ['size', `${record.sizeBytes} bytes`],
  ].map(([name = '', value = '']) => `${name.padEnd(12)}${printable(value)}`.trimEnd());
  const decided = dispositions.map((disposition, at) => ({
    ...disposition,
    recipients: record.slots.filter((slot) => slot.disposition === at).map(({ recipient }) => recipient),
  }));
  return [
    ...head,
    '',
    ...formatReport(report),
    '',
    ...formatDispositions(decided),
    '',
    ...thresholdLines(record),
    stateTable(slots),
    ...trailLines(slots),
  ];
}

/** Each policy that held a copy: its thresholds and days, where they were set, and for whom. */
function thresholdLines({ policies = [], slots }: ItemRecord): string[] {
  return policies.flatMap(({ thresholds, retentionDays }, at) => {
    const whose = slots.filter(({ policy }) => policy === at).map(({ recipient }) => recipient.address);
    const rows = Object.entries({ ...thresholds, 'kept for days': retentionDays }).map(
      ([name, { value, origin }]) => [name, value === null ? 'off' : String(value), origin],
    );
    const [first = '', ...others] = whose;
    const who = others.length === 0 ? first : `${first} and ${others.length} more`;
    return [`policy of ${printable(who)}`, table(['threshold', 'value', 'set by'], rows), ''];
  });
}

function stateTable(slots: readonly SlotRow[]): string {
  const rows = slots.map(({ recipient, state, actor, at, queueIdOut, expiresAt }) => [
    recipient,
    state,
    actor ?? '',
    localTime(at),
    queueIdOut ?? '',
    localTime(expiresAt),
  ]);
  return table(['recipient', 'state', 'by', 'since', 'queue id', 'expires'], rows);
}

/** What happened to each copy, step by step, where anything did. */
function trailLines(slots: readonly SlotRow[]): string[] {
  const steps = slots.flatMap(({ recipient, trail }) =>
    trail.map(({ at, from, to, actor, queueIdOut }) => [
      localTime(at),
      recipient,
      `${from} to ${to}`,
      actor,
      queueIdOut ?? '',
    ]),
  );
  return steps.length === 0 ? [] : ['', table(['time', 'recipient', 'became', 'by', 'queue id'], steps)];
}

/** Name and address as Postfix forwarded them, which has [UNAVAILABLE] for what it does not know. */
function clientOf(xforward: Readonly<Record<string, string>>): string {
  const known = (value: string | undefined) =>
    value === undefined || value === '[UNAVAILABLE]' ? 'unknown' : value;
  return `${known(xforward['NAME'])} [${known(xforward['ADDR'])}]`;
}

/** What `quarantine list` says of an item (ItemRow), and envelope, report, dispositions and digest besides. */
export function itemJson({ record, slots }: Item) {
  const {
    format: _format,
    facts,
    envelope,
    report,
    dispositions,
    policies = [],
    slots: held,
    ...same
  } = record;
  return {
    ...same,
    sender: envelope.sender,
    ...facts,
    score: report.spam.kind === 'scored' ? report.spam.score : null,
    virusName: report.virus.kind === 'infected' ? report.virus.name : null,
    slots: slots.map((row) => ({
      ...row,
      disposition: held[row.slot]?.disposition ?? null,
      policy: held[row.slot]?.policy ?? null,
    })),
    envelope,
    report,
    dispositions,
    policies,
  };
}
