/**
 * sync-fault-table — which faults a test makes happen: each of F40 to F44 once, some of each kind, or more than there are.
 */
import { randomInt } from 'node:crypto';
import { type Expected, type Fault, fault } from './sync-fault.ts';
import { atOnce, clocks, counts, disks, dumps, kills, versions } from './sync-fault-inside.ts';
import { cutAt, cuts, keys, unreachable } from './sync-fault-reach.ts';
import type { Way } from './sync-faults-rig.ts';

const ways: readonly Way[] = ['push', 'pull'];

/** All of them once, then chance decides, `count` in all. */
export function faultsOf(count: number): readonly Fault[] {
  const all = [
    ...ways.flatMap((way) => [...unreachable(way), ...keys(way), ...cuts(way), ...disks(way)]),
    ...ways.flatMap((way) => [...dumps(way), ...kills(way), ...atOnce(way), ...counts(way)]),
    ...ways.flatMap((way) => [...versions(way), ...clocks(way)]),
  ];
  const more = Array.from({ length: Math.max(0, count - all.length) }, (_, at) => chance(at));
  if (count >= all.length) return [...all, ...more];
  return someOf(all, count);
}

/** As many of each kind, the rest kills; spread over both ways. */
function someOf(all: readonly Fault[], count: number): Fault[] {
  const others = [...new Set(all.map(({ kind }) => kind))].filter((kind) => kind !== 'killed');
  const each = Math.max(1, Math.floor((count * 0.7) / others.length));
  const chosen = others.flatMap((kind, at) => spread(all, kind, each, at));
  return [...chosen, ...spread(all, 'killed', Math.max(1, count - chosen.length), 1)];
}

function spread(all: readonly Fault[], kind: string, count: number, from: number): Fault[] {
  const those = all.filter((fault) => fault.kind === kind);
  const start = (from * those.length) >> 1;
  const picked = Array.from(
    { length: Math.min(count, those.length) },
    (_, at) => those[(start + Math.floor((at * those.length) / count)) % those.length],
  );
  return picked.filter((fault): fault is Fault => fault !== undefined);
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
