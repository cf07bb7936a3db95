/**
 * owner-sites — two sites on disk for `sluice bayes answer`: held mail, lessons, a fake spamd that learns each message once.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { createOwnerCall } from '../../review/bayes-as-owner.ts';
import { createJournal } from '../../review/journal.ts';
import { formatAddress } from '../../rules/config.ts';
import type { Call } from '../../workers/bayes-ssh.ts';
import { silentLog } from '../../workers/log.ts';
import { type FakeSpamd, startFakeSpamd } from '../fakes/spamd.ts';
import { chunksOf, messageOf } from '../filter/quarantine-rig.ts';
import { temporaryFolder } from '../folder.ts';
import { sluice, spam } from './desk-rig.ts';

export const noSignal = new AbortController().signal;
const sha256Of = (octets: Uint8Array) => createHash('sha256').update(octets).digest('hex');

export type Site = { readonly state: string; readonly configFile: string; readonly spamd: FakeSpamd };

export async function makeSite(t: TestContext, role: 'primary' | 'backup'): Promise<Site> {
  const folder = temporaryFolder(t);
  const spamd = await startFakeSpamd({ allowTell: true });
  t.after(() => spamd.stop());
  const [state, configFile] = [join(folder, 'state'), join(folder, 'sluice.yaml')];
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(
    configFile,
    `role: ${role}\nstate: state\nclamd: null\nspamd: ${formatAddress(spamd.address as Parameters<typeof formatAddress>[0])}\nscan: { virus: false }\n`,
  );
  return { state, configFile, spamd };
}

/** Held mail and lessons, put there by this process, in the end everything owned by `nobody`. */
export async function fill({ state }: Site, items: number, lessons: number): Promise<string[]> {
  const quarantine = await openQuarantine({ ...pathsIn(state), log: silentLog });
  const ids: string[] = [];
  for (let at = 0; at < items; at++) {
    const message = messageOf(3000 + at * 40_000);
    const item = { ...spam([`a${at}@example.com`], `Q${at}`), sizeBytes: message.length };
    ids.push(await quarantine.put({ ...item, sha256: sha256Of(message) }, chunksOf(message)));
  }
  await quarantine.close();
  const journal = createJournal(state);
  for (let at = 0; at < lessons; at++) {
    const octets = Buffer.from(`Subject: lesson ${at}\r\n\r\nx\r\n`);
    const lesson = {
      sha256: sha256Of(octets),
      as: 'spam',
      by: 'cli:anna',
      sizeBytes: octets.length,
    } as const;
    await journal.add(lesson, chunksOf(octets));
  }
  return ids;
}

export function pathsIn(state: string): { folder: string; file: string } {
  return { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
}

export const callOf = ({ configFile }: Site, signal = noSignal): Call =>
  createOwnerCall({ script: sluice, configFile, signal });
