/**
 * item-text — a held item in words and as JSON.
 *
 * The JSON of `quarantine show` is that of `quarantine list` and more: the same names mean the same in both.
 */
import type { ItemRecord, ItemRow, SlotRow } from '../filter/quarantine.ts';
import { auditTable } from './audit-text.ts';
import { type Explanation, formatExplanation } from './report-text.ts';
import { localTime, printable, table } from './table.ts';
import type { Shown } from './verbs.ts';

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
  const why = [...new Set(slots.flatMap((slot) => reasonsOf(slot, { virusName, score })))].join(', ');
  const [first, ...others] = slots.map(({ recipient, state }) =>
    state === 'held' ? recipient : `${recipient} (${state})`,
  );
  const to = others.length === 0 ? (first ?? '') : `${first} and ${others.length} more`;
  const id = flag === null ? quarantineId : `${quarantineId} (${flag})`;
  return [localTime(heldAt), id, why, from ?? (sender === '' ? '<>' : sender), to, subject ?? ''];
}

/** What a copy is held for, in a word or two: of what decided, not of all that the scanners said. */
function reasonsOf(
  { verdict, why }: SlotRow,
  { virusName, score }: Pick<ItemRow, 'virusName' | 'score'>,
): string[] {
  if (verdict === 'virus') return [virusName ?? verdict];
  // Recipients with other policies, and so other scores, share a copy: decide.ts words each.
  const said = why.match(verdict === 'unchecked' ? /\w+ unchecked \([^)]*\)/g : /\bscore -?[\d.]*\d/g);
  return said ?? [score === null ? verdict : `score ${score}`];
}

/** Everything of one item, line by line, in lines of so many columns. */
export function formatItem({ record, slots, audit }: Shown, columns: number): string[] {
  const { facts, envelope } = record;
  const head = [
    ['id', record.quarantineId],
    ['held since', localTime(record.heldAt)],
    ...(record.movedFrom === undefined ? [] : [['moved from', movedText(record.movedFrom)]]),
    ['queue id', record.queueId ?? 'unknown'],
    ['sender', `<${envelope.sender}>`],
    ['from', facts.from ?? ''],
    ['subject', facts.subject ?? ''],
    ['message id', facts.messageId ?? ''],
    ['client', clientOf(envelope.xforward)],
    ['size', `${record.sizeBytes} bytes`],
  ].map(([name = '', value = '']) => `${name.padEnd(12)}${printable(value)}`.trimEnd());
  return [
    ...head,
    '',
    ...formatExplanation(explanationOf(record), columns),
    '',
    stateTable(slots, columns),
    ...trailLines(slots, columns),
    ...(audit.length === 0 ? [] : ['', auditTable(audit.toReversed(), { columns, withId: false })]),
  ];
}

function movedText({ node, at }: { node: string; at: number }): string {
  return `${node}, ${localTime(at)}`;
}

/** Why these copies are held; items of before there were any have no policies. */
function explanationOf({ report, dispositions, policies = [], slots }: ItemRecord): Explanation {
  const whose = (name: 'disposition' | 'policy', at: number) =>
    slots.filter((slot) => slot[name] === at).map(({ recipient }) => recipient);
  return {
    report,
    dispositions: dispositions.map((one, at) => ({ ...one, recipients: whose('disposition', at) })),
    policies: policies.map((values, at) => ({
      values,
      recipients: whose('policy', at).map(({ address }) => address),
    })),
  };
}

function stateTable(slots: readonly SlotRow[], columns: number): string {
  const rows = slots.map(({ recipient, state, actor, at, queueIdOut, expiresAt }) => [
    recipient,
    state,
    actor ?? '',
    localTime(at),
    queueIdOut ?? '',
    localTime(expiresAt),
  ]);
  return table(['recipient', 'state', 'by', 'since', 'queue id', 'expires'], rows, { columns });
}

/** What happened to each copy, step by step, where anything did. */
function trailLines(slots: readonly SlotRow[], columns: number): string[] {
  const steps = slots.flatMap(({ recipient, trail }) =>
    trail.map(({ at, from, to, actor, queueIdOut }) => [
      localTime(at),
      recipient,
      `${from} to ${to}`,
      actor,
      queueIdOut ?? '',
    ]),
  );
  const head = ['time', 'recipient', 'became', 'by', 'queue id'];
  return steps.length === 0 ? [] : ['', table(head, steps, { columns })];
}

/** Name and address as Postfix forwarded them, which has [UNAVAILABLE] for what it does not know. */
function clientOf(xforward: Readonly<Record<string, string>>): string {
  const known = (value: string | undefined) =>
    value === undefined || value === '[UNAVAILABLE]' ? 'unknown' : value;
  return `${known(xforward['NAME'])} [${known(xforward['ADDR'])}]`;
}

/** What `quarantine list` says of an item (ItemRow), and envelope, report, dispositions, digest and audit besides. */
export function itemJson({ record, slots, audit }: Shown) {
  const {
    format: _format,
    facts,
    envelope,
    report,
    dispositions,
    policies = [],
    slots: held,
    movedFrom,
    ...same
  } = record;
  return {
    ...same,
    sender: envelope.sender,
    ...facts,
    movedFrom: movedFrom?.node ?? null,
    movedAt: movedFrom?.at ?? null,
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
    audit,
  };
}
