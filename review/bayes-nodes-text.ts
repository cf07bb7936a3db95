/**
 * bayes-nodes-text — how the other nodes stand, for people: what the last runs came to, and what they say now.
 */
import type { BayesTrouble } from '../workers/bayes.ts';
import type { Hello } from '../workers/bayes-hello.ts';
import type { Counts, SyncRecord } from '../workers/bayes-record.ts';
import { paritySummaryText } from './bayes-parity-text.ts';
import { localTime, printable } from './table.ts';

/** A node, and what it answered just now. */
export type PeerState = {
  readonly node: string;
  readonly answer: { readonly kind: 'hello'; readonly hello: Hello } | BayesTrouble;
};

/** What became of each node in one run. */
export function runText(records: readonly SyncRecord[]): string {
  return records.map((record) => `${record.node}: ${recordLines(record).join('\n')}`).join('\n');
}

/** What the last runs came to, in some lines; none where there was none. */
export function recordsText(records: readonly SyncRecord[], now: number): string[] {
  return records.flatMap((record) => [
    '',
    `${printable(record.node)}, last run ${localTime(record.at)}`,
    ...recordLines(record).map((line, at) => (at === 0 ? `  ${line}` : line)),
    ...lastGoodLines(record, now),
  ]);
}

/** What the nodes said just now. */
export function peersText(peers: readonly PeerState[]): string[] {
  return peers.flatMap(({ node, answer }) => {
    if (answer.kind !== 'hello')
      return ['', `${node} now: ${printable(answer.message)}`, `  remedy: ${printable(answer.remedy)}`];
    const { host, role, sluice, spamassassin, counts, current } = answer.hello;
    return [
      '',
      `${node} now: ${printable(host)}, ${role}, Sluice ${printable(sluice)}, SpamAssassin ${printable(spamassassin)}`,
      `  counts    ${counts === null ? 'no database, or sa-learn can not read it' : countsText(counts)}`,
      `  current   ${current === null ? 'no snapshot' : `snapshot ${current.snapshotId} of ${localTime(current.takenAt)}`}`,
    ];
  });
}

function recordLines({
  outcome,
  seconds,
  step,
  message,
  remedy,
  warnings,
  lastGood,
  parity,
}: SyncRecord): string[] {
  const notes = warnings.map((warning) => `  warning: ${printable(warning)}`);
  if (outcome === 'refused' || outcome === 'failed')
    return [
      `${outcome} at ${step}: ${printable(message ?? '')}`,
      `  remedy: ${printable(remedy ?? '')}`,
      ...notes,
    ];
  const verb = outcome === 'already' ? 'in place already' : `done in ${seconds.toFixed(1)} s`;
  const snapshot =
    lastGood === null ? '' : `: snapshot ${lastGood.snapshotId} of ${localTime(lastGood.takenAt)}`;
  const counts =
    lastGood === null
      ? []
      : [`  here      ${countsText(lastGood.here)}`, `  there     ${countsText(lastGood.there)}`];
  return [`${verb}${snapshot}`, ...counts, ...(parity === null ? [] : [parityLine(parity)]), ...notes];
}

function lastGoodLines({ outcome, lastGood, parity }: SyncRecord, now: number): string[] {
  if (lastGood === null) return ['  never done yet'];
  const age = `  age       ${ageText(now - lastGood.at)} since the last good run`;
  if (outcome === 'done' || outcome === 'already') return [age];
  return [
    `  last good snapshot ${lastGood.snapshotId} of ${localTime(lastGood.takenAt)}: ${countsText(lastGood.there)} there`,
    ...(parity === null ? [] : [parityLine(parity)]),
    age,
  ];
}

function parityLine(parity: NonNullable<SyncRecord['parity']>): string {
  return `  parity    ${paritySummaryText(parity)}`;
}

function countsText({ nspam, nham, tokens }: Counts): string {
  return `${nspam} spam, ${nham} ham, ${tokens} tokens`;
}

/** Rough, as people say it. */
function ageText(ms: number): string {
  const hours = Math.floor(Math.max(0, ms) / 3_600_000);
  if (hours < 1) return 'less than an hour';
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}
