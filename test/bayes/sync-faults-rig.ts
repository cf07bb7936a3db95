/**
 * sync-faults-rig — two nodes whose run can be made to fail, and what must hold after each failure.
 *
 * Hides how the primary's database changes from run to run, how the backup's is compared, and who asks its spamd all the while.
 * What was loaded is compared by sa-learn's own dump after each run that succeeds; after one that fails it is enough that link
 * and files of the live generation are, octet for octet, those that sa-learn was asked about: where not, it is asked again.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isSameContent } from '../../workers/bayes-dump.ts';
import type { Manifest } from '../../workers/bayes-manifest.ts';
import { readRecords, type SyncRecord } from '../../workers/bayes-record.ts';
import { mountSmallDisk, type SmallDisk } from '../e2e/small-disk.ts';
import { dumpOf, letterOf, snapshotOf, wordsOf } from '../workers/bayes-rig.ts';
import { type BayesNode, type Nodes, pin, type Said, scoresOf, startNodes } from './nodes-rig.ts';
import type { Carried, Spoil } from './spoiling-proxy.ts';

/** What the primary may hold: two that are sent in turn, one with a third fewer messages, one too young, nothing. */
export type Content = 'spammy' | 'hammy' | 'fallen' | 'young' | 'empty';

export type Way = 'push' | 'pull';

export type FaultRig = {
  readonly nodes: Nodes;
  readonly disks: Readonly<Record<'store' | 'backup' | 'primary', SmallDisk>>;
  readonly proxies: Readonly<Record<Way, Proxy>>;
  /** The next content of the primary, another one than the backup's. */
  turn(): Manifest;
  hold(content: Content): void;
  /** An hour later: whoever fetches gets no export of a few minutes ago. */
  later(): void;
  /** What the last turn gave it. */
  holdAgain(): void;
  /** Octets that the largest connection of an undisturbed run has carried, and how long that took. */
  readonly usual: Readonly<Record<Way, Carried>>;
  readonly usualMs: Readonly<Record<Way, number>>;
  /** Kills sluice on this node so long after the run began. */
  killedAfter(node: BayesNode, ms: number, run: () => Promise<Said>): Promise<Said>;
  sync(way: Way, env?: Readonly<Record<string, string>>): Promise<Said>;
  /** What the backup has: the content before, or the next one; anything else is an error. */
  found(next: Manifest): Promise<'old' | 'new'>;
  /** After a run that succeeded: the backup has exactly this. */
  has(content: Manifest): Promise<void>;
  /** Both nodes have one content again, whatever was there. */
  recover(): Promise<void>;
  /** The newest one. */
  record(node: BayesNode): Promise<SyncRecord | undefined>;
  /** Steps at which a hook did something since it was asked last. */
  reached(node: BayesNode): string[];
  /** Of the backup's spamd so far; the failures in words. */
  scans(): { readonly count: number; readonly failures: readonly string[] };
};

export type Proxy = { set(spoil: Spoil): Promise<Carried> };

export const hooks = join(import.meta.dirname, 'fault-hooks.ts');
const proxyPort = 2222;
const diskBytes = 24 * 1024 ** 2;
const words = 3000;

/** Starts all of it; both ways between the nodes are open, and the first run has succeeded. */
export async function startFaultRig(t: TestContext): Promise<FaultRig> {
  const mounted = new Map<string, SmallDisk>();
  t.after(() => mounted.forEach((disk) => disk.unmount()));
  const nodes = await startNodes(t, {
    lean: true,
    children: 1,
    onFolder(folder, name) {
      if (name === 'backup') mounted.set('store', mountSmallDisk(join(folder, 'bayes'), diskBytes));
      mounted.set(name, mountSmallDisk(join(folder, 'state'), diskBytes));
    },
  });
  const { primary, backup } = nodes;
  const proxies = {
    push: await startProxy(t, primary, backup),
    pull: await startProxy(t, backup, primary),
  };
  primary.configure({ bayes: { nodes: [`root@127.0.0.1:${proxyPort}`] } });
  backup.configure({ bayes: { primary: `root@127.0.0.1:${proxyPort}` } });
  const contents = await prepareContents(t, primary);
  const hold = (content: Content) => point(primary, `kept-${content}`);
  let held: 'spammy' | 'hammy' = 'hammy';
  let old: { content: Manifest; fingerprint: string };
  const has = async (content: Manifest): Promise<void> => {
    const figures = await backup.site.figures();
    assert.ok(isSameContent(figures, content), JSON.stringify([figures, content]));
    old = { content, fingerprint: fingerprintOf(backup) };
  };
  const disk = (name: string): SmallDisk => {
    const found = mounted.get(name);
    assert.ok(found !== undefined);
    return found;
  };
  const rig: Omit<FaultRig, 'scans'> = {
    nodes,
    proxies,
    disks: { store: disk('store'), backup: disk('backup'), primary: disk('primary') },
    hold,
    turn() {
      held = held === 'hammy' ? 'spammy' : 'hammy';
      hold(held);
      ageExports(primary);
      return contents[held];
    },
    holdAgain: () => hold(held),
    later: () => ageExports(primary),
    usual: {
      push: { up: 0, down: 0 },
      pull: { up: 0, down: 0 },
    },
    usualMs: { push: 0, pull: 0 },
    killedAfter,
    sync: (way, env = {}) =>
      way === 'push'
        ? primary.sluice(['bayes', 'sync', '--now'], env)
        : backup.sluice(['bayes', 'fetch'], env),
    async found(next) {
      if (fingerprintOf(backup) === old.fingerprint) return 'old';
      const figures = await backup.site.figures();
      if (isSameContent(figures, next)) return 'new';
      assert.ok(isSameContent(figures, old.content), `neither old nor new: ${JSON.stringify(figures)}`);
      return 'old';
    },
    has,
    async recover() {
      const content = rig.turn();
      const said = await rig.sync('push');
      assert.equal(said.code, 0, said.stdout + said.stderr);
      await has(content);
    },
    // A node may have been called by two names.
    record: async (node) => (await readRecords(node.site.options.folder)).toSorted((a, b) => b.at - a.at)[0],
    reached: reachedAt,
  };
  const push = await undisturbed(rig, 'push');
  const scans = askWithoutEnd(t, backup, () => existsSync(join(disk('store').folder, 'filler')));
  const pull = await undisturbed(rig, 'pull');
  return {
    ...rig,
    scans,
    usual: { push: push.carried, pull: pull.carried },
    usualMs: { push: push.ms, pull: pull.ms },
  };
}

async function undisturbed(
  { turn, sync, has, proxies }: Pick<FaultRig, 'turn' | 'sync' | 'has' | 'proxies'>,
  way: Way,
): Promise<{ carried: Carried; ms: number }> {
  const content = turn();
  const begun = Date.now();
  const said = await sync(way);
  const ms = Date.now() - begun;
  assert.equal(said.code, 0, `${way}: ${said.stdout}${said.stderr}`);
  await has(content);
  return { carried: await proxies[way].set({ after: null }), ms };
}

/** Generations of the primary, kept beside those that sluice knows of. */
async function prepareContents(
  t: TestContext,
  primary: BayesNode,
): Promise<Record<'spammy' | 'hammy', Manifest>> {
  const empty = join(primary.site.folder, 'bayes', 'kept-empty');
  mkdirSync(empty);
  chmodSync(empty, 0o777);
  const make = async (content: Content, kind: 'spam' | 'ham', count: number, figures: object) => {
    const { folder, manifest } = await snapshotOf(t, dumpOf(wordsOf(kind, count), figures));
    const said = await primary.sluice(['bayes', 'restore', folder, '--force']);
    assert.equal(said.code, 0, said.stdout + said.stderr);
    const home = join(primary.site.folder, 'bayes');
    const kept = join(home, `kept-${content}`);
    // With its owner, as only cp(1) does.
    execFileSync('cp', ['-a', join(home, readlinkSync(join(home, 'current'))), kept]);
    rmSync(join(kept, 'snapshot.json'), { force: true });
    return manifest;
  };
  await make('fallen', 'spam', words, { nspam: 700, nham: 1000 });
  await make('young', 'spam', words, { nspam: 100, nham: 100 });
  return {
    spammy: await make('spammy', 'spam', words, { nspam: 1000, nham: 1000 }),
    hammy: await make('hammy', 'ham', words + 10, { nspam: 1010, nham: 1005 }),
  };
}

function point({ site }: BayesNode, name: string): void {
  const home = join(site.folder, 'bayes');
  symlinkSync(name, join(home, '.next'));
  renameSync(join(home, '.next'), join(home, 'current'));
}

/** As if the last one had been an hour ago. */
function ageExports({ site }: BayesNode): void {
  const home = join(site.options.folder, 'exported');
  for (const name of existsSync(home) ? readdirSync(home) : []) {
    const file = join(home, name, 'manifest.json');
    if (!existsSync(file)) continue;
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { takenAt: number };
    writeFileSync(file, JSON.stringify({ ...manifest, takenAt: Date.now() - 3_600_000 }));
  }
}

/** Where the link leads, and the octets of what is there; spamd's own journal of what it has seen is no part of it. */
function fingerprintOf({ site }: BayesNode): string {
  const link = join(site.folder, 'bayes', 'current');
  const files = ['bayes_toks', 'bayes_seen', 'snapshot.json'].map((name) => readFileSync(join(link, name)));
  return [basename(readlinkSync(link)), ...files.map((bytes) => hash('sha256', bytes))].join(' ');
}

async function killedAfter({ file }: BayesNode, ms: number, run: () => Promise<Said>): Promise<Said> {
  const running = run();
  await Promise.race([delay(ms), running]);
  // Each node's configuration has a name of its own: whoever names it was started by this test.
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    if (wordsOfProcess(pid).includes(file)) process.kill(Number(pid), 'SIGKILL');
  return running;
}

function wordsOfProcess(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // It has ended meanwhile.
  }
}

function reachedAt({ site }: BayesNode): string[] {
  const file = join(site.folder, 'reached');
  try {
    const steps = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    rmSync(file);
    return steps;
  } catch {
    return []; // No hook has done anything.
  }
}

/**
 * One letter of words that both contents know, again and again until the test ends: each answer must have an opinion. Only where the
 * disk under its database is full SpamAssassin has answers without one by itself, though nobody syncs (seen in four of four tries).
 */
function askWithoutEnd(t: TestContext, backup: BayesNode, isFull: () => boolean): FaultRig['scans'] {
  const letter = letterOf(wordsOf('spam'));
  const failures: string[] = [];
  let count = 0;
  let goes = true;
  const asker = (async () => {
    while (goes) {
      const wasFull = isFull();
      const [answer = ''] = await scoresOf(backup, [letter]).catch((cause: unknown) => [String(cause)]);
      count += 1;
      const mayLackOne = wasFull || isFull();
      if (!/ BAYES_(?:00|9\d+)$/.test(answer) && !(mayLackOne && /^\S+ -$/.test(answer)))
        failures.push(answer);
      await delay(200);
    }
  })();
  t.after(async () => {
    goes = false;
    await asker;
  });
  return () => ({ count, failures });
}

/** In `from`'s namespace, to `to`'s sshd. */
async function startProxy(t: TestContext, from: BayesNode, to: BayesNode): Promise<Proxy> {
  pin(from, `[127.0.0.1]:${proxyPort}`, to);
  const script = join(import.meta.dirname, 'spoiling-proxy.ts');
  const words = [...from.within, process.execPath, script, String(proxyPort), to.address];
  const child = spawn(words[0] ?? '', words.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    return done === true ? '' : value;
  };
  assert.equal(await next(), 'listening');
  return {
    async set(spoil) {
      child.stdin.write(`${JSON.stringify(spoil)}\n`);
      return JSON.parse(await next()) as Carried;
    },
  };
}
