/**
 * check-spool — whether the folder of messages in flight can be used; it need not exist before the first start.
 *
 * Never throws: what could not be found out is a finding.
 */
import { stat } from 'node:fs/promises';
import { type Finding, fail, ok } from '../rules/finding.ts';
import { checkFolder, placeFor } from './check-folder.ts';
import { deadInstances, excessOctets } from './instance.ts';

/** Findings on the spool in `folder`; `state` is there. */
export async function checkSpool(folder: string, state: string, bytesNeeded: number): Promise<Finding[]> {
  const length = checkLength(folder);
  const device = await deviceOf(folder);
  if (device === null) return [...length, await checkPlace(folder)];
  const isOwnDisk = device !== (await deviceOf(state));
  return [
    ...length,
    ...(await checkFolder(folder, { name: 'Spool', bytesNeeded: isOwnDisk ? bytesNeeded : null })),
    ok(isOwnDisk ? 'Spool has a file system of its own' : 'Spool shares the file system of state', folder),
    await checkLeftover(folder),
  ];
}

function checkLength(folder: string): Finding[] {
  const excess = excessOctets(folder);
  if (excess === 0) return [];
  const remedy = `set "spool" in sluice.yaml to a path that is ${excess} octets shorter`;
  return [fail('Path of the spool is too long for the lock in it, a unix socket', folder, remedy)];
}

async function checkPlace(folder: string): Promise<Finding> {
  const { parent, ours } = await placeFor(folder);
  if (ours) return ok('Spool is made at the first start', folder);
  const remedy = 'make it, owned by the user that Sluice runs as, mode 0700';
  return fail(`Spool does not exist, and we may not make it in ${parent}`, folder, remedy);
}

async function checkLeftover(folder: string): Promise<Finding> {
  try {
    const { length } = await deadInstances(folder);
    if (length === 0) return ok('Spool holds nothing of dead processes', folder);
    return ok(`Spool holds ${length} folders of dead processes: the next start removes them`, folder);
  } catch (error) {
    const what = `Spool can not be listed: ${error instanceof Error ? error.message : String(error)}`;
    return fail(what, folder, 'give it to the user that Sluice runs as, mode 0700');
  }
}

async function deviceOf(folder: string): Promise<number | null> {
  return stat(folder).then(
    ({ dev }) => dev,
    () => null,
  );
}
