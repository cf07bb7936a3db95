/**
 * signatures — a database for clamd that looks like the official one of some day and knows one virus, EICAR.
 *
 * Real ones can't be downloaded everywhere. Hides the format: 512 octets of header, then a gzipped tar with a list of what
 * is in it. The name ends in .cud, so that clamd asks for no signature of its makers.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eicar } from '../../demo/clamd.ts';

const dayMs = 86_400_000;

/** The octets of daily.cud, made so many days ago. */
export function dailySignatures(ageDays: number): Buffer {
  const at = new Date(Date.now() - ageDays * dayMs);
  const viruses = `Eicar-Test-Signature:0:*:${Buffer.from(eicar(), 'latin1').toString('hex')}\n`;
  const list = `${header(at, 'X'.repeat(32))}\ndaily.ndb:${viruses.length}:${digest('sha256', viruses)}\n`;
  const folder = mkdtempSync(join(tmpdir(), 'sluice-signatures-'));
  try {
    writeFileSync(join(folder, 'daily.info'), list);
    writeFileSync(join(folder, 'daily.ndb'), viruses);
    const words = ['--format=ustar', '-czf', 'all', 'daily.info', 'daily.ndb'];
    execFileSync('tar', words, { cwd: folder });
    const packed = readFileSync(join(folder, 'all'));
    return Buffer.concat([Buffer.from(header(at, digest('md5', packed)).padEnd(512)), packed]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Magic, time, version, count of signatures, functionality level, digest, signature, builder, time. */
function header(at: Date, md5: string): string {
  const [, day, month, year, hour, minute] = /, (\d+) (\w+) (\d+) (\d+):(\d+)/.exec(at.toUTCString()) ?? [];
  const date = `${day} ${month} ${year} ${hour}-${minute} +0000`;
  return `ClamAV-VDB:${date}:27000:1:90:${md5}:X:sluice:${Math.floor(at.getTime() / 1000)}`;
}

function digest(kind: 'md5' | 'sha256', bytes: string | Buffer): string {
  return createHash(kind).update(bytes).digest('hex');
}
