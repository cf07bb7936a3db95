/**
 * desk-rig — a quarantine with something in it, a return smtpd, and somebody to decide: in this process, and as
 * `sluice` in a process of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { FakeReturnSmtpd, FakeScript } from '../fakes/return-smtpd.ts';
import { type NewItem, openQuarantine, type Quarantine } from '../../filter/quarantine.ts';
import { formatAddress } from '../../rules/config.ts';
import { silentLog } from '../../workers/log.ts';
import { openAudit } from '../../review/audit.ts';
import type { Desk, ReleaseOptions } from '../../review/verbs.ts';
import { chunksOf, spamFor } from '../filter/quarantine-rig.ts';
import { startRig } from '../filter/reinject-rig.ts';
import { temporaryFolder } from '../folder.ts';

export const sluice = join(import.meta.dirname, '../../bin/sluice.js');
export const message = Buffer.from(
  'From: <seller@example.net>\r\nSubject: Buy\r\nX-Spam-Flag: NO\r\n\r\nBuy.\r\n',
);

export type Rig = {
  readonly smtpd: FakeReturnSmtpd;
  readonly desk: Desk & { quarantine: Quarantine };
  readonly state: string;
  readonly config: string;
  /** Messages that were logged. */
  readonly lines: string[];
  /** Holds it and gives its id. */
  put(item?: NewItem): Promise<string>;
};

/** Everything, stopped when the test ends; `script` is the return smtpd's. */
export async function startDesk(t: TestContext, script: FakeScript = {}): Promise<Rig> {
  const { smtpd, reinjector } = await startRig(t, script);
  const folder = temporaryFolder(t);
  const state = join(folder, 'state');
  mkdirSync(state, { mode: 0o700 });
  const paths = { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
  const quarantine = await openQuarantine({ ...paths, log: silentLog });
  t.after(() => quarantine.close());
  const config = join(folder, 'sluice.yaml');
  writeFileSync(
    config,
    `state: state\nreinject: ${formatAddress(smtpd.address)}\nclamd: null\nspamd: null\nscan: { virus: false, spam: false }\n`,
  );
  const lines: string[] = [];
  const log = { ...silentLog, error: (_: object, text: string) => void lines.push(text) };
  const marker = { scanner: 'Sluice 0', hostname: 'filter.example' };
  const audit = await openAudit({ file: join(state, 'review.db'), log });
  t.after(() => audit.close());
  const learn = async () => ({ kind: 'off' }) as const;
  const desk = { quarantine, audit, reinject: reinjector.reinject, marker, learn, log };
  const put = (item = spam(['a@example.com'])) => quarantine.put(item, chunksOf(message));
  return { smtpd, desk, state, config, lines, put };
}

/** A spam for these, with DSN parameters. */
export function spam(addresses: readonly string[], queueId = '4c7Yx1'): NewItem {
  return spamFor(addresses, { message, queueId });
}

export const plain: ReleaseOptions = {
  recipients: [],
  to: [],
  force: false,
  again: false,
  signal: new AbortController().signal,
};

/** `sluice` with these words; both outputs as text when it has ended. */
export async function runSluice(
  words: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = startSluice(words, environment);
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** The process itself. */
export function startSluice(
  words: readonly string[],
  environment: Record<string, string> = {},
): ChildProcess {
  return startNode([sluice, ...words], environment);
}

/** Resolves once the filter in this process takes mail; rejects where it ends before. */
export async function untilFilterRuns(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let said = '';
  child.once('close', () => reject(new Error(`The filter ended: ${said}`)));
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (said.includes('"Filter runs"')) resolve();
  });
  await promise;
}

/** Node, as this one is, without anything of this machine's own Sluice. */
export function startNode(words: readonly string[], environment: Record<string, string> = {}): ChildProcess {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(?:(?:SLUICE|SUDO)_|COLUMNS$)/.test(name),
  );
  const env = { ...Object.fromEntries(inherited), ...environment };
  return spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'], env });
}
