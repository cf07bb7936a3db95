/**
 * proof — shows a filter a virus and a spam message before it is measured: one that does not scan would be fast.
 *
 * The scanners' own logs must tell of both, and amavisd-new's where SpamAssassin runs inside it. Rejects otherwise.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';
import type { Contestant, ContestantName } from './contestants.ts';
import { deliver } from './load.ts';
import type { Rig } from './rig.ts';

/** Generic Test for Unsolicited Bulk Email: 1,000 points (SpamAssassin). */
const gtube = ['XJS*C4JDBQADN1.NSBN3*2IDNEN', '*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*', 'C.34X'].join('');

const header = 'From: <a@example.org>\r\nTo: <b@example.com>\r\nSubject: proof\r\n\r\n';

/** Resolves when the scanners have seen both through this contestant. */
export async function prove(rig: Rig, name: ContestantName, contestant: Contestant): Promise<void> {
  const { target } = contestant;
  if (target.kind === 'scanners') return;
  const spamLog = name === 'amavis' ? (contestant.logFile ?? '') : rig.spamd.logFile;
  const spamLine =
    name === 'amavis' ? /Passed SPAM\b.* Hits: 9\d\d|Hits: 1\d{3}/g : /identified spam \((?:9|1\d)\d\d/g;
  await seen(rig.clamd.logFile, / FOUND/g, () => deliver(target, bytesOf(eicar()), 'proof1'));
  if (name.includes('virus') || name === 'clamsmtp') return;
  await seen(spamLog, spamLine, () => deliver(target, bytesOf(gtube), 'proof2'));
}

function bytesOf(text: string): Buffer {
  return Buffer.from(`${header}${text}\r\n`, 'latin1');
}

async function seen(file: string, line: RegExp, send: () => Promise<void>): Promise<void> {
  const count = async () => (await readFile(file, 'utf8')).match(line)?.length ?? 0;
  const before = await count();
  await send();
  for (let tries = 0; tries < 100; tries++) {
    if ((await count()) > before) return;
    await delay(50);
  }
  throw new Error(`Cannot trust the contestant: ${file} has no new line like ${line}`);
}
