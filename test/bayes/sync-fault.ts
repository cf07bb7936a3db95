/**
 * sync-fault — one fault of a sync: how it is made to happen and put back, and what must come of it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BayesNode, Said, Tree } from './nodes-rig.ts';
import { type FaultRig, hooks, type Way } from './sync-faults-rig.ts';

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

/** Who begins the conversation, and who answers. */
export type Sides = { readonly caller: BayesNode; readonly called: BayesNode };
export type Inject = (rig: FaultRig, sides: Sides, sync: FaultRig['sync']) => Promise<Said>;
export type Expected = Omit<Fault, 'inject' | 'label' | 'way' | 'kind'>;

/** By which fault-hooks are loaded. */
export const hooksOption = `--import=${hooks}`;

/** A fault of this name, in this way of calling. */
export function fault(kind: string, label: string, way: Way, expected: Expected, inject: Inject): Fault {
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

/** Something that a hook does as a step begins. */
export function hooked(way: Way, who: 'primary' | 'backup', step: string, what: string): Inject {
  const env = { NODE_OPTIONS: hooksOption, SLUICE_TEST_STEP: step, SLUICE_TEST_DO: what };
  return inEnvironment(way, who, env);
}

/** On the caller's side by its own environment, on the other by its forced command. */
export function inEnvironment(
  way: Way,
  who: 'primary' | 'backup',
  env: Readonly<Record<string, string>>,
): Inject {
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

/** Which way the snapshot goes through the proxy. */
export function bulkWay(way: Way): 'up' | 'down' {
  return way === 'push' ? 'up' : 'down';
}

/** A public key without its comment. */
export function keyIn({ sshFolder }: BayesNode, name: string): string {
  return readFileSync(join(sshFolder, name), 'utf8').split(' ').slice(0, 2).join(' ');
}

/** Not by the proxy, but to this address. */
export function through(caller: BayesNode, address: string, run: () => Promise<Said>): Promise<Said> {
  const to = (where: string): Tree =>
    caller.name === 'primary'
      ? { bayes: { nodes: [`root@${where}`] } }
      : { bayes: { primary: `root@${where}` } };
  return configured(caller, to(address), to('127.0.0.1:2222'), run);
}

export function configured(
  who: BayesNode,
  changes: Tree,
  back: Tree,
  run: () => Promise<Said>,
): Promise<Said> {
  who.configure(changes);
  return restoring(run, () => who.configure(back));
}

export async function spoiled(
  proxy: FaultRig['proxies'][Way],
  how: Parameters<typeof proxy.set>[0],
  run: () => Promise<Said>,
): Promise<Said> {
  await proxy.set(how);
  return restoring(run, async () => void (await proxy.set({ after: null })));
}

export async function restoring(
  run: () => Promise<Said>,
  restore: () => void | Promise<void>,
): Promise<Said> {
  try {
    return await run();
  } finally {
    await restore();
  }
}
