/**
 * check-loop — proves that what the return smtpd takes from us does not come back to us.
 *
 * Sends one marked message into the return smtpd, to an address that the administrator names, and waits. Where Sluice
 * runs, a row of its history with the mark means that the message came back; the row is written behind the scan, so as long as Postfix
 * is busy with the message nothing is proven. Where it does not run, we listen on its addresses ourselves meanwhile and answer
 * 451. The mark is the sender and the Message-ID, which our own header filter leaves alone. Never throws: what could not be
 * found out is a finding.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, formatAddress, isLoopback } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import type { Envelope } from '../rules/mail.ts';
import { silentLog } from '../workers/log.ts';
import type { QueuePlace } from '../workers/postfix-queue.ts';
import { openWatch, type Watch } from './loop-watch.ts';
import { createReinjector, type Outcome } from './reinject.ts';

export type ProbeOptions = {
  /** Who shall get the message. */
  readonly recipient: string;
  /** Our name, in EHLO and in the mark. */
  readonly hostname: string;
  readonly now: number;
  /** Where a message of this queue id is in this machine's Postfix (postfix-queue.ts). */
  readonly placeOf: (queueId: string) => Promise<QueuePlace>;
  readonly waitMs?: number;
};

/** Where the message was seen last: `back` again, or still in Postfix, or no more. */
type Sight = { readonly kind: 'back' } | QueuePlace;

const pollMs = 250;

/** The finding on a loop. It takes `waitMs` (10 s) where there is none, and longer while Postfix is busy with the message. */
export async function checkLoop(
  config: Pick<Config, 'listen' | 'reinject' | 'state' | 'limits'>,
  { recipient, hostname, now, placeOf, waitMs = 10_000 }: ProbeOptions,
): Promise<Finding> {
  const where = formatAddress(config.reinject);
  const mark = `sluice-probe-${randomBytes(8).toString('hex')}`;
  try {
    const watch = await openWatch(config, mark, now);
    try {
      const outcome = await send(config.reinject, { recipient, hostname, now, mark });
      if (outcome?.kind !== 'accepted') return notSent(where, recipient, outcome);
      const { queueIdOut } = outcome;
      // Another machine's queue knows nothing of it.
      const place = queueIdOut !== null && isLoopback(config.reinject) ? () => placeOf(queueIdOut) : null;
      const longestMs = waitMs + config.limits.deadlineSeconds * 1000;
      const sight = await follow(watch, place, { waitMs, longestMs });
      return judge(sight, { where, recipient, queueIdOut, waitMs, longestMs });
    } finally {
      await watch.close();
    }
  } catch (error) {
    const what = `Whether there is a content_filter loop is unknown: ${error instanceof Error ? error.message : String(error)}`;
    return warn(what, where, 'mend what is said above, then check again');
  }
}

/** Looks until the message is back or has left Postfix, and stays away as long as a message may take. */
async function follow(
  watch: Watch,
  place: (() => Promise<QueuePlace>) | null,
  { waitMs, longestMs }: { readonly waitMs: number; readonly longestMs: number },
): Promise<Sight> {
  const startedAt = performance.now();
  // The row of the history comes a moment behind the reply; a message that changes queues can be missed once.
  for (let rested = 0; ; await delay(pollMs)) {
    if (await watch.sees()) return { kind: 'back' };
    const passedMs = performance.now() - startedAt;
    if (passedMs <= waitMs) continue;
    if (!watch.isLate) return { kind: 'gone' };
    const now: QueuePlace = (await place?.()) ?? { kind: 'unknown', why: 'it is not on this machine' };
    rested = now.kind === 'under way' ? 0 : rested + 1;
    if (rested > 2 || now.kind === 'unknown' || passedMs > longestMs) return now;
  }
}

type Judged = {
  readonly where: string;
  readonly recipient: string;
  readonly queueIdOut: string | null;
  readonly waitMs: number;
  readonly longestMs: number;
};

function judge(sight: Sight, { where, recipient, queueIdOut, waitMs, longestMs }: Judged): Finding {
  const [seconds, longest] = [waitMs / 1000, longestMs / 1000];
  const mended = 'see why, then check again';
  switch (sight.kind) {
    case 'back':
      return loop(where, queueIdOut);
    case 'gone':
      return ok(`A message to ${recipient} went on and did not come back: no content_filter loop`, where);
    case 'waiting': {
      const what = `Whether there is a content_filter loop is unknown: Postfix keeps the message to ${recipient}: ${sight.reason}`;
      return warn(what, where, mended);
    }
    case 'under way': {
      const what = `Whether there is a content_filter loop is unknown: Postfix is busy with the message to ${recipient} for ${longest} s`;
      return warn(what, where, mended);
    }
    case 'unknown': {
      const what = `A message to ${recipient} did not come back within ${seconds} s`;
      return ok(
        `${what}; whether a scan holds it longer can't be told by Postfix's queue: ${sight.why}`,
        where,
      );
    }
    default:
      return assertNever(sight);
  }
}

function assertNever(value: never): never {
  throw new Error(`Cannot judge the probe: ${JSON.stringify(value)} is no place`);
}

function loop(where: string, queueId: string | null): Finding {
  const what = 'The message came back to Sluice: the return smtpd filters again, a content_filter loop';
  const clean =
    queueId === null
      ? ''
      : `, then remove the probe: postsuper -d ${queueId} (and what "postqueue -p" shows of it)`;
  return fail(what, where, `set content_filter= for the return smtpd in master.cf, "postfix reload"${clean}`);
}

function notSent(where: string, recipient: string, outcome: Outcome | undefined): Finding {
  const detail =
    outcome?.kind === 'tempfail'
      ? outcome.detail
      : `${outcome?.reply.code ?? ''} ${outcome?.reply.text ?? 'no outcome'}`;
  const what = `Return smtpd did not take a message to ${recipient}: ${detail}`;
  return fail(
    what,
    where,
    'mend what is said above of the return smtpd, or name an address that it takes mail for',
  );
}

async function send(
  address: Address,
  { recipient, hostname, now, mark }: Omit<ProbeOptions, 'waitMs' | 'placeOf'> & { mark: string },
): Promise<Outcome | undefined> {
  const reinjector = createReinjector({ address, hostname, connectionsMax: 1, log: silentLog });
  const sender = `${mark}@${hostname}`;
  const recipients = [{ address: recipient, notify: 'NEVER', orcpt: null }];
  const envelope: Envelope = {
    sender,
    recipients,
    body: null,
    smtputf8: false,
    ret: null,
    envid: null,
    xforward: {},
  };
  const text = letter(sender, recipient, new Date(now));
  const bytes = async function* () {
    yield text;
  };
  try {
    const signal = AbortSignal.timeout(30_000);
    return (await reinjector.reinject({ envelope, recipients, bytes, allOrNothing: false }, signal))[0];
  } finally {
    await reinjector.close();
  }
}

function letter(sender: string, recipient: string, date: Date): Buffer {
  const lines = [
    `From: Sluice check <${sender}>`,
    `To: <${recipient}>`,
    'Subject: Sluice check: this message proves that there is no loop',
    `Date: ${date.toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${sender}>`,
    'Auto-Submitted: auto-generated',
    '',
    'The administrator of this mail server ran "sluice check --probe" with your address.',
    'Sluice gave this message to Postfix behind the filter. It arrived, as it should.',
    '',
  ];
  return Buffer.from(lines.join('\r\n'), 'utf8');
}
