/**
 * bayes-answers — what a node answers when another one asks for its state, brings a snapshot, or fetches one.
 *
 * Whatever the other side sends is outside data; what it may bring about is a restore of a snapshot that passes every check, an export,
 * and a line in `status`. Rejects with BayesFail, which travels.
 */
import { hostname } from 'node:os';
import type { Config } from '../rules/config.ts';
import type { Bayes, Companion } from './bayes.ts';
import { packBundle } from './bayes-bundle.ts';
import { carries, type Stage } from './bayes-companions.ts';
import {
  helloOf,
  isBelievable,
  readBundleParameters,
  readSnapshotParameters,
  restoredHead,
} from './bayes-hello.ts';
import { keepRecord, parseRecord, readRecords, writeRecord } from './bayes-record.ts';
import type { BayesView } from './bayes-counts.ts';
import { type Snapshot, verifySnapshot } from './bayes-snapshots.ts';
import { BayesFail, isTrouble, type OnStep, orThrow, outcomeOf, refused } from './bayes-step.ts';
import { bayesSettings } from './bayes-store.ts';
import type { NodeOutcome } from './bayes-sync.ts';
import type { Answer, Answerer, Answerers } from './bayes-wire.ts';
import { messageSizeLimit } from './postmap.ts';

export type AnswerOptions = {
  readonly bayes: Bayes;
  /** Where records lie: `<state>/bayes`. */
  readonly folder: string;
  readonly role: Config['role'];
  /** Of this Sluice. */
  readonly version: string;
  /** Of SpamAssassin. */
  readonly view: BayesView;
  readonly onStep?: OnStep;
  readonly now?: () => number;
};

/** An export so young is taken as it is: several backups that come at once get one. */
const freshMs = 10 * 60_000;
/** Whose reports a primary keeps: nobody fills its disk with names. */
const nodesMax = 50;
const update = 'bring Sluice to one version on both nodes';
const tooMany = 'remove those of machines that are no more: bayes/record in the state folder';

/** For a backup that is sent its snapshots. */
export function receivingAnswers(options: AnswerOptions & { readonly stage: Stage }): Answerers {
  return { hello: helloAnswer(options), bundle: bundleAnswer(options) };
}

/** For a primary whose snapshots are fetched. */
export function sendingAnswers(
  options: AnswerOptions & { readonly companions: () => readonly Companion[] },
): Answerers {
  return { hello: helloAnswer(options), snapshot: snapshotAnswer(options), parity: reportAnswer(options) };
}

function helloAnswer({ bayes, role, version, view, now = Date.now }: AnswerOptions): Answerer {
  return async () => {
    const status = orThrow(await bayes.status());
    const own = { role, host: hostname(), sluice: version, settings: bayesSettings(view) };
    const limit = await messageSizeLimit();
    return { head: helloOf(status, { ...own, messageSizeLimit: limit, clock: now() }) };
  };
}

function bundleAnswer(options: AnswerOptions & { readonly stage: Stage }): Answerer {
  const { bayes, folder, role, stage, now = Date.now, onStep = () => undefined } = options;
  return async (parameters, payload) => {
    const { host, force } = readBundleParameters(parameters);
    requireRole(role, 'backup');
    const begun = now();
    const received = await bayes.receive(payload, { force, stage });
    const keep = (outcome: NodeOutcome) => keepRecord(folder, host, outcome, { begun, now, onStep });
    if (isTrouble(received)) {
      await keep(received);
      throw new BayesFail(received);
    }
    const head = restoredHead(received);
    const { kind, current, counts, warnings } = head;
    const { nspam, nham, tokens } = current;
    const there = { nspam, nham, tokens };
    const outcome = { snapshot: current, here: counts ?? there, there, parity: null, warnings };
    await keep({ kind: kind === 'already' ? 'already' : 'done', ...outcome });
    return { head };
  };
}

function snapshotAnswer(
  options: AnswerOptions & { readonly companions: () => readonly Companion[] },
): Answerer {
  const { bayes, role, now = Date.now } = options;
  return async (parameters) => {
    const { newestSeen } = readSnapshotParameters(parameters);
    const after = isBelievable(newestSeen, now()) ? newestSeen : 0;
    requireRole(role, 'primary');
    const companions = options.companions();
    const newest = await bayes.newestExport();
    const isNew = newest !== null && isFresh(newest, now()) && newest.manifest.snapshotId >= after;
    if (isNew && (await isWhole(newest)) && (await carries(newest, companions))) return bundleOf(newest);
    // Doubts about the database are for whoever administers it: nobody else may force it out.
    const { snapshot } = orThrow(await bayes.export({ after, companions }));
    return bundleOf(snapshot);
  };
}

function reportAnswer({ folder, role }: AnswerOptions): Answerer {
  return async (parameters) => {
    requireRole(role, 'primary');
    const record = parseRecord(parameters);
    if (record === null) throw refused('receive', 'Cannot take the report: it has another form', update);
    // The records of nodes that are served from here are ours.
    if (record.node.includes('@'))
      throw refused('receive', `Cannot take the report: ${record.node} is no name of a machine`, update);
    const others = (await readRecords(folder)).filter(({ node }) => node !== record.node);
    if (others.length >= nodesMax)
      throw refused('receive', `Cannot take the report: ${nodesMax} nodes have reported`, tooMany);
    await writeRecord(folder, record);
    return { head: null };
  };
}

function bundleOf(snapshot: Snapshot): Answer {
  return { head: { snapshotId: snapshot.manifest.snapshotId }, payload: packBundle(snapshot) };
}

/** Its files may have gone bad on disk: then there is a new one to be had. */
async function isWhole(snapshot: Snapshot): Promise<boolean> {
  const verified = await outcomeOf(
    () => undefined,
    async () => {
      await verifySnapshot(snapshot);
      return { kind: 'whole' as const };
    },
  );
  return !isTrouble(verified);
}

function isFresh({ manifest }: Snapshot, now: number): boolean {
  return Math.abs(now - manifest.takenAt) < freshMs;
}

function requireRole(role: Config['role'], wanted: Config['role']): void {
  if (role === wanted) return;
  const remedy = `write role: ${wanted} into its sluice.yaml, or correct who asks whom`;
  throw refused('settings', `Cannot answer: this node is a ${role}, not a ${wanted}`, remedy);
}
