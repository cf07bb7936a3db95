/**
 * reinject-rig — a reinjector in front of the fake return smtpd, and hand-offs to give it.
 *
 * Both are stopped when the test ends, whatever became of it.
 */
import type { TestContext } from 'node:test';
import type { HandOff, Outcome, Reinjector, ReinjectorOptions } from '../../filter/reinject.ts';
import { createReinjector } from '../../filter/reinject.ts';
import type { Envelope, Recipient } from '../../rules/mail.ts';
import type { Log } from '../../workers/log.ts';
import { type FakeReturnSmtpd, type FakeScript, startReturnSmtpd } from '../fakes/return-smtpd.ts';

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export type Rig = { smtpd: FakeReturnSmtpd; reinjector: Reinjector };

/** Starts both. Timeouts are long unless `options` says otherwise: a test that waits for one says so. */
export async function startRig(
  context: TestContext,
  script: FakeScript = {},
  options: Partial<ReinjectorOptions> & { keywords?: readonly string[]; path?: string } = {},
): Promise<Rig> {
  const { keywords, path, ...reinjectorOptions } = options;
  const smtpd = await startReturnSmtpd({
    script,
    ...(keywords === undefined ? {} : { keywords }),
    ...(path === undefined ? {} : { path }),
  });
  const reinjector = createReinjector({
    address: smtpd.address,
    hostname: 'filter.example',
    connectionsMax: 4,
    log: silent,
    ...reinjectorOptions,
  });
  context.after(async () => {
    await reinjector.close();
    await smtpd.stop();
  });
  return { smtpd, reinjector };
}

/** A recipient without DSN parameters. */
export function recipient(address: string): Recipient {
  return { address, notify: null, orcpt: null };
}

/** A plain hand-off to `addresses`; `changes` replace fields of it or of its envelope. */
export function handOff(
  addresses: readonly string[] = ['one@example.com'],
  changes: Partial<HandOff> & {
    readonly of?: Partial<Envelope>;
    readonly message?: string | Uint8Array;
  } = {},
): HandOff {
  const { of, message = 'Subject: x\r\n\r\nbody\r\n', ...fields } = changes;
  const recipients = fields.recipients ?? addresses.map(recipient);
  const envelope: Envelope = {
    sender: 'sender@example.net',
    body: null,
    smtputf8: false,
    ret: null,
    envid: null,
    recipients,
    xforward: {},
    ...of,
  };
  const bytes = () => chunks(typeof message === 'string' ? Buffer.from(message, 'latin1') : message);
  return { envelope, recipients, bytes, allOrNothing: false, ...fields };
}

/** The octets as one chunk, or cut into chunks of `sizes`, the rest as the last one. */
export async function* chunks(octets: Uint8Array, sizes: readonly number[] = []): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    yield octets.subarray(at, at + size);
    at += size;
  }
  yield octets.subarray(at);
}

/** `accepted`, `refused`, or the name of the outcome: what a table can hold. */
export function nameOf(outcome: Outcome | undefined): string {
  if (outcome === undefined) return 'missing';
  return outcome.kind === 'tempfail' ? outcome.outcome : outcome.kind;
}

/** Hands off without ever being interrupted, and names the outcomes. */
export async function outcomesOf(
  reinjector: Reinjector,
  job: HandOff,
  signal?: AbortSignal,
): Promise<string[]> {
  return (await reinjector.reinject(job, signal ?? new AbortController().signal)).map(nameOf);
}
