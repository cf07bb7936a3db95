/**
 * sync-fault-table — the faults F40 to F44 of a sync, each with what must come of it: exit status, words, whose content.
 */
import { randomInt } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createBayesLock } from '../../workers/bayes-lock.ts';
import type { BayesNode, Said, Tree } from './nodes-rig.ts';
import { type Content, type FaultRig, hooks, type Way } from './sync-faults-rig.ts';

export type Fault = {
  readonly kind: string;
  readonly label: string;
  readonly way: Way;
  /** Makes it happen in a run, and puts everything back. */
  inject(rig: FaultRig): Promise<Said>;
  /** Exit codes, or SIGKILL. */
  readonly ends: readonly (number | 'SIGKILL')[];
  readonly says: RegExp;
  /** Whose content the backup may have then. */
  readonly leaves: 'old' | 'new' | 'either';
  /** The node whose hook must have been reached. */
  readonly hooked?: 'primary' | 'backup';
  /** False: the run had no chance to write its record. */
  readonly recorded?: boolean;
};

type Sides = { readonly caller: BayesNode; readonly called: BayesNode };
type Inject = (rig: FaultRig, sides: Sides, sync: FaultRig['sync']) => Promise<Said>;
type Expected = Omit<Fault, 'inject' | 'label' | 'way' | 'kind'>;

const ways: readonly Way[] = ['push', 'pull'];
const node = `--import=${hooks}`;
const dayMs = 86_400_000;

/** All of them once, then chance decides, `count` in all. */
export function faultsOf(count: number): readonly Fault[] {
  const all = [
    ...ways.flatMap((way) => [...unreachable(way), ...keys(way), ...cuts(way), ...disks(way)]),
    ...ways.flatMap((way) => [...dumps(way), ...kills(way), ...atOnce(way), ...counts(way)]),
    ...ways.flatMap((way) => [...versions(way), ...clocks(way)]),
  ];
  const more = Array.from({ length: Math.max(0, count - all.length) }, (_, at) => chance(at));
  if (count >= all.length) return [...all, ...more];
  // A few of each kind, spread evenly.
  return Array.from({ length: count }, (_, at) => all[Math.floor((at * all.length) / count)]).filter(
    (fault): fault is Fault => fault !== undefined,
  );
}

function fault(kind: string, label: string, way: Way, expected: Expected, inject: Inject): Fault {
  return {
    ...expected,
    kind,
    label: `${label} (${way})`,
    way,
    inject: (rig) => {
      const { primary, backup } = rig.nodes;
      const sides =
        way === 'push' ? { caller: primary, called: backup } : { caller: backup, called: primary };
      return inject(rig, sides, (...words) => rig.sync(...words));
    },
  };
}

const failsToConnect = (says: RegExp): Expected => ({ ends: [69], says, leaves: 'old' });

function unreachable(way: Way): Fault[] {
  const at = (label: string, says: RegExp, inject: Inject) =>
    fault('unreachable', label, way, failsToConnect(says), inject);
  return [
    at('the wire is out', /can not be reached/, async ({ nodes }, { caller, called }, sync) => {
      await nodes.link(false);
      return restoring(
        () => through(caller, called.address, () => sync(way)),
        () => nodes.link(true),
      );
    }),
    at('its port is closed', /nothing listens/, (_, { caller, called }, sync) =>
      through(caller, `${called.address}:2`, () => sync(way)),
    ),
    at('it takes the connection and says nothing', /can not be reached|timed out/, ({ proxies }, _, sync) =>
      spoiled(proxies[way], { way: 'up', after: 0, ending: 'silent' }, () => sync(way)),
    ),
    at('it falls silent half way', /no whole answer|timed out|lost|cut/, ({ proxies }, { caller }, sync) =>
      configured(
        caller,
        { bayes: { ssh: { deadlineSeconds: 15 } } },
        { bayes: { ssh: { deadlineSeconds: 120 } } },
        () => spoiled(proxies[way], { way: bulkWay(way), after: 20_000, ending: 'silent' }, () => sync(way)),
      ),
    ),
  ];
}

function keys(way: Way): Fault[] {
  const at = (label: string, says: RegExp, inject: Inject, ends = [69]) =>
    fault('key', label, way, { ends, says, leaves: 'old' }, inject);
  const door = way === 'push' ? 'receive' : 'send';
  const other = way === 'push' ? 'send' : 'receive';
  const edited =
    (whose: keyof Sides, name: string, text: (old: string, sides: Sides) => string): Inject =>
    async (_, sides, sync) => {
      const file = join(sides[whose].sshFolder, name);
      const old = readFileSync(file, 'utf8');
      writeFileSync(file, text(old, sides));
      return restoring(
        () => sync(way),
        () => writeFileSync(file, old),
      );
    };
  const missing =
    (name: string): Inject =>
    async (_, { caller }, sync) => {
      const file = join(caller.sshFolder, name);
      renameSync(file, `${file}.away`);
      return restoring(
        () => sync(way),
        () => renameSync(`${file}.away`, file),
      );
    };
  const command = (words: string) => (old: string) => old.replace(/command="[^"]*"/, `command="${words}"`);
  return [
    at(
      'another key is authorized',
      /not accepted/,
      edited('called', 'authorized_keys', (old, { called }) =>
        old.replace(/ssh-ed25519 \S+/, keyIn(called, 'key.pub')),
      ),
    ),
    at(
      'no key is authorized',
      /not accepted/,
      edited('called', 'authorized_keys', () => ''),
    ),
    at('our key is gone', /key.* is not at/, missing('key')),
    at('our key can be read by others', /others may read/, async (_, { caller }, sync) => {
      const file = join(caller.sshFolder, 'key');
      chmodSync(file, 0o644);
      return restoring(
        () => sync(way),
        () => chmodSync(file, 0o600),
      );
    }),
    at(
      'its host key has changed',
      /not the one that is pinned/,
      edited('caller', 'known_hosts', (old, { caller }) =>
        old.replaceAll(/ssh-ed25519 \S+/g, keyIn(caller, 'host_key.pub')),
      ),
    ),
    at(
      'its host key was never pinned',
      /not pinned/,
      edited('caller', 'known_hosts', () => ''),
    ),
    at('the pinned keys are gone', /are not at/, missing('known_hosts')),
    at(
      'the key leads to the other door',
      /not by this door/,
      async (_, { called }, sync) => {
        called.grant(other);
        return restoring(
          () => sync(way),
          () => called.grant(door),
        );
      },
      [1],
    ),
    at('there is no sluice', /no sluice/, edited('called', 'authorized_keys', command('/nowhere/sluice'))),
    at('its configuration is broken', /ended there with 78/, async (_, { called }, sync) => {
      const old = readFileSync(called.file, 'utf8');
      writeFileSync(called.file, '{ role: tertiary }');
      return restoring(
        () => sync(way),
        () => writeFileSync(called.file, old),
      );
    }),
    at(
      'its shell prints first',
      /answer is "hello"|answer is/,
      edited('called', 'authorized_keys', (old) => old.replace('command="', 'command="echo hello; ')),
    ),
  ];
}

function cuts(way: Way): Fault[] {
  const bulk = bulkWay(way);
  const shares = [0.25, 0.5, 0.99];
  return [
    ...shares.map((share) => cutAt(way, bulk, share)),
    // What comes back: whether the backup has it is not known to the primary then.
    ...shares.map((share) => cutAt(way, bulk === 'up' ? 'down' : 'up', share)),
  ];
}

function cutAt(way: Way, direction: 'up' | 'down', share: number): Fault {
  const label = `cut at ${Math.round(share * 100)} % ${direction}`;
  const leaves = direction === bulkWay(way) && share < 0.9 ? 'old' : 'either';
  const ends = leaves === 'old' ? [69] : [69, 0, 1];
  return fault('cut', label, way, { ends, says: /./, leaves }, async ({ proxies, usual }, _, sync) =>
    spoiled(
      proxies[way],
      { way: direction, after: Math.floor(usual[way][direction] * share), ending: 'cut' },
      () => sync(way),
    ),
  );
}

function dumps(way: Way): Fault[] {
  const spoils = ['truncate', 'garble'] as const;
  const wire = way === 'push' ? 'receive' : 'send';
  const filtered = (label: string, filter: string): Fault =>
    fault(
      'dump',
      label,
      way,
      { ends: [69, 1], says: /cut|garbled|SHA-256|./, leaves: 'old' },
      async (_, { called }, sync) => {
        const file = join(called.sshFolder, 'authorized_keys');
        const old = readFileSync(file, 'utf8');
        const piped =
          way === 'push'
            ? old.replace('command="', `command="${filter} | `)
            : old.replace('" ssh-', ` | ${filter}" ssh-`);
        writeFileSync(file, piped);
        return restoring(
          () => sync(way),
          () => called.grant(wire),
        );
      },
    );
  return [
    ...spoils.map((what) =>
      fault(
        'dump',
        `${what}d on the primary after the export`,
        way,
        { ends: [69, 1], says: /SHA-256|cut|octets/, leaves: 'old', hooked: 'primary' },
        hooked(way, 'primary', 'send', what),
      ),
    ),
    filtered('truncated on the way', `head -c ${randomInt(6000, 20_000)}`),
    filtered('garbled on the way', `(dd bs=1 count=${randomInt(6000, 20_000)} 2>/dev/null; tr m n)`),
  ];
}

function disks(way: Way): Fault[] {
  const full = (which: 'store' | 'backup' | 'primary', recorded: boolean): Fault =>
    fault(
      'disk',
      `full: ${which}`,
      way,
      { ends: [69, 1], says: /room|ENOSPC|space|sa-learn|restore/i, leaves: 'old', recorded },
      async ({ disks: all }, _, sync) => {
        all[which].fill();
        return restoring(
          () => sync(way),
          () => all[which].free(),
        );
      },
    );
  return [full('store', true), full('backup', way === 'push'), full('primary', way === 'pull')];
}

const exporting = ['lock', 'settings', 'sync', 'backup', 'judge', 'keep'];
const loading = ['bundle', 'order', 'prepare', 'load', 'count', 'mark', 'link', 'switch', 'clean'];
export const stepsOf: Readonly<Record<Way, Readonly<Record<'primary' | 'backup', readonly string[]>>>> = {
  push: {
    primary: [...exporting, 'connect', 'send', 'record'],
    backup: ['settings', 'receive', ...loading, 'record'],
  },
  pull: {
    primary: [...exporting, 'send'],
    backup: ['lock', 'settings', 'connect', 'receive', ...loading, 'record'],
  },
};

function kills(way: Way): Fault[] {
  return (['primary', 'backup'] as const).flatMap((who) =>
    stepsOf[way][who].map((step) => killAt(way, who, step)),
  );
}

function killAt(way: Way, who: 'primary' | 'backup', step: string): Fault {
  const isCaller = (who === 'primary') === (way === 'push');
  const ends: Fault['ends'] = isCaller ? ['SIGKILL'] : [69, 1];
  const isAfter = ['clean', 'install', 'record', 'compare', 'parity', 'answer'].includes(step);
  const leaves = who === 'backup' && isAfter ? 'new' : isAfter || who === 'primary' ? 'either' : 'old';
  return fault(
    'killed',
    `${who} killed at ${step}`,
    way,
    { ends, says: isCaller ? /^/ : /./, leaves, hooked: who, recorded: !isCaller },
    hooked(way, who, step, 'kill'),
  );
}

function hooked(way: Way, who: 'primary' | 'backup', step: string, what: string): Inject {
  const env = { NODE_OPTIONS: node, SLUICE_TEST_STEP: step, SLUICE_TEST_DO: what };
  return inEnvironment(way, who, env);
}

/** On the caller's side by its own environment, on the other by its forced command. */
function inEnvironment(way: Way, who: 'primary' | 'backup', env: Readonly<Record<string, string>>): Inject {
  return async (_, { caller, called }, sync) => {
    if (caller.name === who) return sync(way, env);
    const door = way === 'push' ? 'receive' : 'send';
    called.grant(door, env);
    return restoring(
      () => sync(way),
      () => called.grant(door),
    );
  };
}

function atOnce(way: Way): Fault[] {
  const busy = (who: 'primary' | 'backup'): Fault =>
    fault(
      'two at once',
      `another run on the ${who}`,
      way,
      { ends: [75, 69, 1], says: /another Bayes run/, leaves: 'old' },
      async ({ nodes }, _, sync) => {
        const release = await createBayesLock(join(nodes[who].site.options.folder, 'lock'))();
        if (release === null) throw new Error('Cannot take the lock');
        return restoring(() => sync(way), release);
      },
    );
  const both = fault(
    'two at once',
    'two of them',
    way,
    { ends: [75, 69, 1, 0], says: /./, leaves: 'either' },
    async (_, __, sync) => {
      const [one, other] = await Promise.all([sync(way), sync(way)]);
      if (one.code !== 0 && other.code !== 0)
        throw new Error(`None of two succeeded: ${one.stdout}${other.stdout}`);
      return one.code === 0 ? other : one;
    },
  );
  return [busy('primary'), busy('backup'), both];
}

function counts(way: Way): Fault[] {
  const holding = (content: Content, says: RegExp): Fault =>
    fault('counts', content, way, { ends: [1], says, leaves: 'old' }, async (rig, _, sync) => {
      rig.hold(content);
      return restoring(
        () => sync(way),
        () => rig.holdAgain(),
      );
    });
  return [holding('fallen', /700|tenth|fewer|fell/), holding('young', /100 /), holding('empty', /no token/)];
}

function versions(way: Way): Fault[] {
  const newer = (who: 'primary' | 'backup', what: string, says: RegExp): Fault =>
    fault(
      'version',
      `${who} has a newer ${what}`,
      way,
      { ends: [1, 69], says, leaves: 'old' },
      inEnvironment(way, who, { NODE_OPTIONS: node, SLUICE_TEST_VERSION: what }),
    );
  return [
    newer('primary', 'wire', /version/),
    newer('backup', 'wire', /version/),
    newer('primary', 'manifest', /manifest|format/),
    newer('backup', 'manifest', /manifest|format/),
    newer('primary', 'database', /version 9/),
  ];
}

function clocks(way: Way): Fault[] {
  return (['primary', 'backup'] as const).flatMap((who) =>
    [-400 * dayMs, dayMs].map((ms) =>
      fault(
        'clock',
        `${who}'s clock ${ms / dayMs} days off`,
        way,
        { ends: [0], says: /./, leaves: 'new' },
        inEnvironment(way, who, { NODE_OPTIONS: node, SLUICE_TEST_CLOCK: String(ms) }),
      ),
    ),
  );
}

/** A fault that chance picks: a cut somewhere, a kill at some instant. */
function chance(at: number): Fault {
  const way: Way = at % 2 === 0 ? 'push' : 'pull';
  if (at % 4 < 2) return cutAt(way, at % 8 < 4 ? 'up' : 'down', randomInt(1, 100) / 100);
  const who = at % 8 < 4 ? 'primary' : 'backup';
  const isCaller = (who === 'primary') === (way === 'push');
  const expected: Expected = {
    ends: isCaller ? ['SIGKILL', 0] : [69, 1, 0],
    says: /^/,
    leaves: 'either',
    recorded: false,
  };
  return fault('killed', `${who} killed at some instant`, way, expected, (rig, { called, caller }, sync) =>
    rig.killedAfter(isCaller ? caller : called, randomInt(rig.usualMs[way]), () => sync(way)),
  );
}

function bulkWay(way: Way): 'up' | 'down' {
  return way === 'push' ? 'up' : 'down';
}

function keyIn({ sshFolder }: BayesNode, name: string): string {
  return readFileSync(join(sshFolder, name), 'utf8').split(' ').slice(0, 2).join(' ');
}

/** Not by the proxy, but to this address. */
function through(caller: BayesNode, address: string, run: () => Promise<Said>): Promise<Said> {
  const to = (where: string): Tree =>
    caller.name === 'primary'
      ? { bayes: { nodes: [`root@${where}`] } }
      : { bayes: { primary: `root@${where}` } };
  return configured(caller, to(address), to('127.0.0.1:2222'), run);
}

function configured(who: BayesNode, changes: Tree, back: Tree, run: () => Promise<Said>): Promise<Said> {
  who.configure(changes);
  return restoring(run, () => who.configure(back));
}

async function spoiled(
  proxy: FaultRig['proxies'][Way],
  how: Parameters<typeof proxy.set>[0],
  run: () => Promise<Said>,
): Promise<Said> {
  await proxy.set(how);
  return restoring(run, async () => void (await proxy.set({ after: null })));
}

async function restoring(run: () => Promise<Said>, restore: () => void | Promise<void>): Promise<Said> {
  try {
    return await run();
  } finally {
    await restore();
  }
}
