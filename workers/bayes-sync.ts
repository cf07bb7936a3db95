/**
 * bayes-sync — the run that brings this primary's Bayes database to its backup nodes: export once, then each of them.
 *
 * Hides the order: every node is asked first who it is and what it has, so that the new snapshot goes beyond all that any of them
 * has seen, whatever clocks say. Nodes are served side by side; one that fails stops no other. Lock, calls and what is to be
 * done after it are arguments. Never rejects: what became of each node is a record, kept for `status` and alarms.
 */
import { hostname } from 'node:os';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { Bayes, BayesStep, BayesTrouble, Companion, Exported } from './bayes.ts';
import { exportWith } from './bayes-companions.ts';
import { packBundle } from './bayes-bundle.ts';
import { isSameContent } from './bayes-dump.ts';
import {
  type Hello,
  isBelievable,
  judgeHello,
  newestSeen,
  readHello,
  readRestored,
  type RestoredThere,
} from './bayes-hello.ts';
import type { BayesLock } from './bayes-lock.ts';
import type { Manifest } from './bayes-manifest.ts';
import { type Counts, keepRecord, type SyncRecord } from './bayes-record.ts';
import type { Snapshot } from './bayes-snapshots.ts';
import type { Call } from './bayes-ssh.ts';
import {
  BayesFail,
  failed,
  isTrouble,
  messageOf,
  type OnStep,
  orThrow,
  outcomeOf,
  refused,
} from './bayes-step.ts';

/** Another node while it is being served. */
export type Peer = { readonly node: string; readonly call: Call; readonly hello: Hello };

/** What is done once a node has the snapshot, and what it found; its failure is a warning, never the sync's. */
export type AfterSync = (
  peer: Peer,
) => Promise<{ readonly parity: SyncRecord['parity']; readonly warnings: readonly string[] }>;

export type SyncOptions = {
  readonly bayes: Bayes;
  /** Where records lie: `<state>/bayes`. */
  readonly folder: string;
  readonly nodes: readonly SshNode[];
  readonly callOf: (node: SshNode) => Call;
  readonly companions: () => readonly Companion[];
  /** For all syncs of this primary; every run of `bayes` has its own. */
  readonly lock: BayesLock;
  readonly force: boolean;
  /** Of this Sluice. */
  readonly version: string;
  readonly afterSync?: AfterSync;
  /** Each step as it begins; null: for all nodes. */
  readonly onStep?: (step: BayesStep, node: string | null) => void;
  readonly now?: () => number;
};

type Run = Required<Omit<SyncOptions, 'afterSync'>> & { readonly afterSync: AfterSync | null };

/** What became of one node, before it is written down. */
export type NodeOutcome =
  | {
      readonly kind: 'done' | 'already';
      readonly warnings: readonly string[];
      readonly snapshot: Pick<Manifest, 'snapshotId' | 'takenAt'>;
      readonly here: Counts;
      readonly there: Counts;
      readonly parity: SyncRecord['parity'];
    }
  | BayesTrouble;

/** Serves all nodes; a record for each. Where another sync is under way all are refused at `lock`, and nothing is written. */
export async function syncAll(options: SyncOptions): Promise<SyncRecord[]> {
  const run = { onStep: () => undefined, now: Date.now, ...options, afterSync: options.afterSync ?? null };
  const begun = run.now();
  const taken = await takeLock(run.lock, (step) => run.onStep(step, null));
  if (isTrouble(taken)) return run.nodes.map((node) => lockedRecord(formatNode(node), taken, begun));
  try {
    return await syncNodes(run, begun);
  } finally {
    await taken.release();
  }
}

/** The lock of all syncs of this machine, or why it can't be had. */
export function takeLock(
  lock: BayesLock,
  onStep: OnStep,
): Promise<{ readonly release: () => Promise<void> } | BayesTrouble> {
  return outcomeOf(onStep, async (step) => {
    step('lock');
    const release = await lock();
    if (release !== null) return { release };
    const message = 'Cannot begin: another sync is under way on this machine';
    throw refused('lock', message, 'wait for its end, then run it again');
  });
}

/** The record of a run that did not begin; it is not kept: the one that has the lock keeps its own. */
export function lockedRecord(node: string, trouble: BayesTrouble, at: number): SyncRecord {
  const { kind, step, message, remedy } = trouble;
  const none = { warnings: [], lastGood: null, parity: null };
  return { node, at, seconds: 0, outcome: kind, step, message, remedy, ...none };
}

type Greeting = {
  readonly kind: 'greeting';
  readonly hello: Hello;
  /** By our clock: between these two it answered. */
  readonly askedAt: number;
  readonly now: number;
};

async function syncNodes(run: Run, begun: number): Promise<SyncRecord[]> {
  const greetings = await Promise.all(
    run.nodes.map(async (node) => ({ node, greeting: await greet(run, node) })),
  );
  // Where nobody can be reached a snapshot is still one: tomorrow's is compared with it.
  const seen = greetings.map(({ greeting }) =>
    greeting.kind === 'greeting' ? newestSeen(greeting.hello) : 0,
  );
  const after = Math.max(0, ...seen.filter((id) => isBelievable(id, begun)));
  const onStep: OnStep = (step) => run.onStep(step, null);
  const exported = await exportWith(run.companions, { bayes: run.bayes, force: run.force, after, onStep });
  return Promise.all(
    greetings.map(async ({ node, greeting }) => {
      const outcome = await outcomeFor(run, node, greeting, exported);
      const name = formatNode(node);
      const onStep: OnStep = (step) => run.onStep(step, name);
      return keepRecord(run.folder, name, outcome, { begun, now: run.now, onStep });
    }),
  );
}

async function outcomeFor(
  run: Run,
  node: SshNode,
  greeting: Greeting | BayesTrouble,
  exported: Exported | BayesTrouble,
): Promise<NodeOutcome> {
  if (greeting.kind !== 'greeting') return greeting;
  return exported.kind === 'exported' ? serve(run, node, greeting, exported) : exported;
}

/** Asks a node who it is. */
async function greet({ callOf, onStep, now }: Run, node: SshNode): Promise<Greeting | BayesTrouble> {
  const name = formatNode(node);
  return outcomeOf(
    (step) => onStep(step, name),
    async (step) => {
      step('connect');
      const askedAt = now();
      const hello = readHello(orThrow(await callOf(node)({ name: 'hello' })).head);
      return { kind: 'greeting' as const, hello, askedAt, now: now() };
    },
  );
}

function serve(
  run: Run,
  node: SshNode,
  greeting: Greeting,
  { snapshot, warnings }: { snapshot: Snapshot; warnings: readonly string[] },
): Promise<NodeOutcome> {
  const [name, call] = [formatNode(node), run.callOf(node)];
  return outcomeOf<NodeOutcome>(
    (step) => run.onStep(step, name),
    async (step) => {
      step('connect');
      const { spamassassin } = snapshot.manifest;
      const own = { role: 'primary' as const, sluice: run.version, spamassassin };
      const different = judgeHello(own, greeting.hello, name, greeting);
      const restored = await sendBundle(run, call, snapshot, step);
      step('compare');
      const differing = compare(name, snapshot.manifest, restored);
      const told = [...different, ...warnings, ...restored.warnings, ...differing];
      const { nspam, nham, tokens } = snapshot.manifest;
      const here = { nspam, nham, tokens };
      step('parity');
      const after = await afterwards(run.afterSync, { node: name, call, hello: greeting.hello });
      return {
        kind: restored.kind === 'already' ? 'already' : 'done',
        warnings: [...told, ...after.warnings],
        snapshot: snapshot.manifest,
        here,
        there: restored.counts ?? here,
        parity: after.parity,
      };
    },
  );
}

async function sendBundle(
  { force }: Run,
  call: Call,
  snapshot: Snapshot,
  step: OnStep,
): Promise<RestoredThere> {
  step('send');
  const payload = async function* () {
    yield* packBundle(snapshot);
    step('answer');
  };
  const ask = { name: 'bundle' as const, parameters: { host: hostname(), force }, payload: payload() };
  return readRestored(orThrow(await call(ask)).head);
}

/** What was counted there before the switch must be what was sent; what the live database says after it should be. */
export function compare(node: string, sent: Manifest, { current, counts }: RestoredThere): string[] {
  const text = ({ nspam, nham, tokens }: Counts) => `${nspam} spam, ${nham} ham, ${tokens} tokens`;
  if (current.snapshotId !== sent.snapshotId || !isSameContent(current, sent)) {
    const message = `Cannot call it done: ${node} has ${text(current)}, sent were ${text(sent)}, or other tokens`;
    throw failed('compare', message, 'run it again; if it stays, see sluice bayes status on both nodes');
  }
  if (counts?.nspam === sent.nspam && counts.nham === sent.nham) return [];
  const now = counts === null ? 'no database that sa-learn can read' : text(counts);
  return [
    `${node} has ${now} just after it got ${text(sent)}: set bayes_auto_learn 0 there, and see that sa-learn sees spamd's database`,
  ];
}

/** Runs what comes after a sync; what it throws is a warning. */
export async function afterwards(
  afterSync: AfterSync | null,
  peer: Peer,
): Promise<Awaited<ReturnType<AfterSync>>> {
  if (afterSync === null) return { parity: null, warnings: [] };
  try {
    return await afterSync(peer);
  } catch (cause) {
    const remedy = cause instanceof BayesFail ? `: ${cause.remedy}` : '';
    return { parity: null, warnings: [`Cannot compare the scores: ${messageOf(cause)}${remedy}`] };
  }
}
