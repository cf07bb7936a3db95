/**
 * sync-fault-reach — F40 to F42: the other node can't be reached, keys do not fit, the connection is cut.
 */
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  bulkWay,
  configured,
  type Expected,
  type Fault,
  fault,
  type Inject,
  keyIn,
  restoring,
  type Sides,
  spoiled,
  through,
} from './sync-fault.ts';
import type { Way } from './sync-faults-rig.ts';

const failsToConnect = (says: RegExp): Expected => ({ ends: [69], says, leaves: 'old' });

export function unreachable(way: Way): Fault[] {
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
    at('it takes the connection and says nothing', /can not be reached/, ({ proxies }, _, sync) =>
      spoiled(proxies[way], { way: 'both', after: 0, ending: 'silent' }, () => sync(way)),
    ),
    silentAt('it says who it is, and nothing more', way, 0),
    silentAt('it falls silent half way', way, 20_000),
  ];
}

/** ssh's own time limit is for the first line of sshd; from then on ours counts. */
function silentAt(label: string, way: Way, after: number): Fault {
  const limit = (deadlineSeconds: number) => ({ bayes: { ssh: { deadlineSeconds } } });
  const expected = failsToConnect(/no whole answer within 15 s|timed out/);
  return fault('unreachable', label, way, expected, ({ proxies }, { caller }, sync) =>
    configured(caller, limit(15), limit(1200), () =>
      spoiled(proxies[way], { way: after === 0 ? 'up' : bulkWay(way), after, ending: 'silent' }, () =>
        sync(way),
      ),
    ),
  );
}

export function keys(way: Way): Fault[] {
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
    at('our key is gone', /there is no key at/, missing('key')),
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
    at('the pinned keys are gone', /no host key is pinned: there is no/, missing('known_hosts')),
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
      /answer is "hello"/,
      edited('called', 'authorized_keys', (old) => old.replace('command="', 'command="echo hello; ')),
    ),
  ];
}

export function cuts(way: Way): Fault[] {
  const bulk = bulkWay(way);
  const shares = [0.25, 0.5, 0.99];
  return [
    ...shares.map((share) => cutAt(way, bulk, share)),
    // What comes back: whether the backup has it is not known to the primary then.
    ...shares.map((share) => cutAt(way, bulk === 'up' ? 'down' : 'up', share)),
  ];
}

export function cutAt(way: Way, direction: 'up' | 'down', share: number): Fault {
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
