/**
 * bayes-fetch — the run by which this backup gets the Bayes database from its primary, where connections go only that way.
 *
 * Hides the order: who is there, its newest snapshot, restore, compare, and in the end a report to the primary, which shows it in
 * its `status`. Never rejects: what became of it is a record.
 */
import { hostname } from 'node:os';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { Bayes, BayesStatus, BayesStep, Received } from './bayes.ts';
import type { Stage } from './bayes-companions.ts';
import { countsNow, judgeHello, newestSeen, readHello } from './bayes-hello.ts';
import type { BayesLock } from './bayes-lock.ts';
import { keepRecord, type SyncRecord } from './bayes-record.ts';
import { type Call, leave } from './bayes-ssh.ts';
import { failed, isTrouble, type OnStep, orThrow, outcomeOf } from './bayes-step.ts';
import { type AfterSync, afterwards, lockedRecord, type NodeOutcome, takeLock } from './bayes-sync.ts';

export type FetchOptions = {
  readonly bayes: Bayes;
  /** Where records lie: `<state>/bayes`. */
  readonly folder: string;
  readonly primary: SshNode;
  readonly call: Call;
  readonly stage: Stage;
  readonly lock: BayesLock;
  readonly force: boolean;
  /** Of this Sluice. */
  readonly version: string;
  readonly afterSync?: AfterSync;
  readonly onStep?: (step: BayesStep) => void;
  readonly now?: () => number;
};

/** Fetches, restores, reports. */
export async function fetchSnapshot(options: FetchOptions): Promise<SyncRecord> {
  const { folder, call, now = Date.now, onStep = () => undefined } = options;
  const name = formatNode(options.primary);
  const begun = now();
  const taken = await takeLock(options.lock, onStep);
  if (isTrouble(taken)) return lockedRecord(name, taken, begun);
  try {
    const outcome = await outcomeOf<NodeOutcome>(onStep, (step) => fetchNow(options, name, step));
    const record = await keepRecord(folder, name, outcome, { begun, now, onStep });
    // For the eyes of the primary; that it did not arrive changes nothing here. One that can't be reached can't be told.
    if (record.step === 'connect') return record;
    const told = await call({ name: 'parity', parameters: mirrored(record) });
    if (!isTrouble(told)) return record;
    return { ...record, warnings: [...record.warnings, `The primary was not told: ${told.message}`] };
  } finally {
    await taken.release();
  }
}

/** The same run as the primary sees it. */
function mirrored({ lastGood, ...record }: SyncRecord): SyncRecord {
  const seen = lastGood === null ? null : { ...lastGood, here: lastGood.there, there: lastGood.here };
  return { ...record, node: hostname(), lastGood: seen };
}

async function fetchNow(options: FetchOptions, name: string, step: OnStep): Promise<NodeOutcome> {
  const { bayes, call, version, now = Date.now } = options;
  step('connect');
  const before = orThrow(await bayes.status());
  const askedAt = now();
  const hello = readHello(orThrow(await call({ name: 'hello' })).head);
  const own = { role: 'backup' as const, sluice: version, spamassassin: before.spamassassin };
  const warnings = judgeHello(own, hello, name, { askedAt, now: now() });
  const received = await receiveFrom(options, name, before);
  step('compare');
  const { current, companions } = received;
  const { nspam, nham, tokens, snapshotId, takenAt } = current;
  const live = countsNow(current, received.counts);
  step('parity');
  const compared = await afterwards(options.afterSync ?? null, { node: name, call, hello });
  const told = received.kind === 'restored' ? received.warnings : [];
  return {
    kind: received.kind === 'already' ? 'already' : 'done',
    warnings: [...warnings, ...told, ...companions.warnings, ...compared.warnings],
    snapshot: { snapshotId, takenAt },
    here: live ?? { nspam, nham, tokens },
    there: { nspam, nham, tokens },
    parity: compared.parity,
  };
}

async function receiveFrom(
  { bayes, call, stage, force }: FetchOptions,
  name: string,
  { standing }: BayesStatus,
): Promise<Received> {
  const [current, previous] = [standing.current?.mark ?? null, standing.previous?.mark ?? null];
  const parameters = { newestSeen: newestSeen({ current, previous }) };
  const answer = orThrow(await call({ name: 'snapshot', parameters }));
  if (answer.payload === undefined)
    throw failed(
      'answer',
      `Cannot read the answer of ${name}: it has no snapshot`,
      'bring Sluice to one version on both nodes',
    );
  try {
    return orThrow(await bayes.receive(answer.payload, { force, stage }));
  } finally {
    await leave(answer.payload);
  }
}
