/**
 * postfix-folders — the folders of a private Postfix, owned as Postfix demands.
 *
 * Hides user ids and modes. Made here and not by `postfix check`, which also looks after the machine's shared files.
 */
import { chmod, chown, mkdir, mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export type Owner = { readonly uid: number; readonly gid: number };

/** Folders of the queue that belong to the postfix user alone (postfix-files). */
const queueFolders = 'active bounce corrupt defer deferred flush hold incoming private saved trace'.split(
  ' ',
);

/** A new folder under /tmp that other users may enter: os.tmpdir() may lie inside a user's private one. */
export async function createReachableFolder(label: string): Promise<string> {
  const folder = await mkdtemp(`/tmp/${label}-`);
  await chmod(folder, 0o755);
  return folder;
}

/** Makes etc, log, queue, data and mail (for delivered copies) under `folder`, which exists. */
export async function makeFolders(folder: string, mailOwner: Owner): Promise<void> {
  const postfix = await userIds('postfix');
  const postdrop = { uid: postfix.uid, gid: await groupId('postdrop') };
  const make = async (name: string, owner: Owner, mode: number) => {
    await mkdir(join(folder, name));
    await chown(join(folder, name), owner.uid, owner.gid);
    await chmod(join(folder, name), mode);
  };
  for (const name of ['etc', 'log', 'queue', 'queue/pid']) await make(name, { uid: 0, gid: 0 }, 0o755);
  await make('data', postfix, 0o700);
  await make('mail', mailOwner, 0o755);
  for (const name of queueFolders) await make(`queue/${name}`, { uid: postfix.uid, gid: 0 }, 0o700);
  await make('queue/maildrop', postdrop, 0o1730);
  await make('queue/public', postdrop, 0o2710);
}

/** User and group of passwd(5). */
export async function userIds(name: string): Promise<Owner> {
  const [uid, gid] = await idsIn('/etc/passwd', name);
  return { uid: Number(uid), gid: Number(gid) };
}

async function groupId(name: string): Promise<number> {
  const [gid] = await idsIn('/etc/group', name);
  return Number(gid);
}

/** What follows name and password in the line of passwd(5) or group(5). */
async function idsIn(file: string, name: string): Promise<readonly string[]> {
  const line = (await readFile(file, 'utf8')).split('\n').find((each) => each.startsWith(`${name}:`));
  if (line === undefined) throw new Error(`Cannot find ${name} in ${file}: run demo/setup.sh`);
  return line.split(':').slice(2);
}
