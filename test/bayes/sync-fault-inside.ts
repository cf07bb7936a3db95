/**
 * sync-fault-inside — F43 and F44: spoiled dumps, full disks, kill -9 at each step, two at once, counts that fell, versions and clocks
 * that differ.
 */
import { randomInt } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createBayesLock } from '../../workers/bayes-lock.ts';
import { type Fault, fault, hooked, hooksOption, inEnvironment, restoring } from './sync-fault.ts';
import type { Content, Way } from './sync-faults-rig.ts';

const dayMs = 86_400_000;

export function dumps(way: Way): Fault[] {
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

export function disks(way: Way): Fault[] {
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
const stepsOf: Readonly<Record<Way, Readonly<Record<'primary' | 'backup', readonly string[]>>>> = {
  push: {
    primary: ['companions', ...exporting, 'connect', 'send', 'answer', 'compare', 'parity', 'record'],
    backup: ['settings', 'receive', 'companions', ...loading, 'install', 'record'],
  },
  pull: {
    primary: [...exporting, 'send'],
    backup: [
      'lock',
      'settings',
      'connect',
      'receive',
      'companions',
      ...loading,
      'install',
      'compare',
      'parity',
      'record',
    ],
  },
};

export function kills(way: Way): Fault[] {
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

export function atOnce(way: Way): Fault[] {
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
    // The record is the other one's: a run that never began keeps none.
    { ends: [75, 69, 1, 0], says: /./, leaves: 'either', recorded: false },
    async (_, __, sync) => {
      const [one, other] = await Promise.all([sync(way), sync(way)]);
      if (one.code !== 0 && other.code !== 0)
        throw new Error(`None of two succeeded: ${one.stdout}${other.stdout}`);
      return one.code === 0 ? other : one;
    },
  );
  return [busy('primary'), busy('backup'), both];
}

export function counts(way: Way): Fault[] {
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

export function versions(way: Way): Fault[] {
  const newer = (who: 'primary' | 'backup', what: string, says: RegExp): Fault =>
    fault(
      'version',
      `${who} has a newer ${what}`,
      way,
      { ends: [1, 69], says, leaves: 'old' },
      inEnvironment(way, who, { NODE_OPTIONS: hooksOption, SLUICE_TEST_VERSION: what }),
    );
  return [
    newer('primary', 'wire', /version/),
    newer('backup', 'wire', /version/),
    newer('primary', 'manifest', /manifest|format/),
    newer('backup', 'manifest', /manifest|format/),
    newer('primary', 'database', /version 9/),
  ];
}

export function clocks(way: Way): Fault[] {
  return (['primary', 'backup'] as const).flatMap((who) =>
    [-400 * dayMs, dayMs].map((ms) =>
      fault(
        'clock',
        `${who}'s clock ${ms / dayMs} days off`,
        way,
        { ends: [0], says: /./, leaves: 'new' },
        inEnvironment(way, who, { NODE_OPTIONS: hooksOption, SLUICE_TEST_CLOCK: String(ms) }),
      ),
    ),
  );
}
