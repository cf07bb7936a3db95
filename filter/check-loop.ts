/**
 * check-loop — proves that what the return smtpd takes from us does not come back to us.
 *
 * Sends one marked message into the return smtpd, to an address that the administrator names, and waits. Where Sluice
 * runs, a row of its history with the mark means that the message came back; where it does not, we listen on its
 * addresses ourselves meanwhile and answer 451. The mark is the sender and the Message-ID, which our own header filter
 * leaves alone. Never throws: what could not be found out is a finding.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, formatAddress } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import type { Envelope } from '../rules/mail.ts';
import { silentLog } from '../workers/log.ts';
import { openWatch, type Watch } from './loop-watch.ts';
import { createReinjector, type Outcome } from './reinject.ts';

export type ProbeOptions = {
  /** Who shall get the message. */
  readonly recipient: string;
  /** Our name, in EHLO and in the mark. */
  readonly hostname: string;
  readonly now: number;
  readonly waitMs?: number;
};

const pollMs = 250;

/** The finding on a loop. It takes `waitMs` (10 s) where there is none. */
export async function checkLoop(
  config: Pick<Config, 'listen' | 'reinject' | 'state'>,
  { recipient, hostname, now, waitMs = 10_000 }: ProbeOptions,
): Promise<Finding> {
  const where = formatAddress(config.reinject);
  const mark = `sluice-probe-${randomBytes(8).toString('hex')}`;
  try {
    const watch = await openWatch(config, mark, now);
    try {
      const outcome = await send(config.reinject, { recipient, hostname, now, mark });
      if (outcome?.kind !== 'accepted') return notSent(where, recipient, outcome);
      const cameBack = await seenWithin(watch, waitMs);
      return cameBack ? loop(where, outcome.queueIdOut) : noLoop(where, recipient, waitMs);
    } finally {
      await watch.close();
    }
  } catch (error) {
    const what = `Whether there is a content_filter loop is unknown: ${error instanceof Error ? error.message : String(error)}`;
    return warn(what, where, 'mend what is said above, then check again');
  }
}

async function seenWithin(watch: Watch, waitMs: number): Promise<boolean> {
  const until = performance.now() + waitMs;
  for (;;) {
    if (await watch.sees()) return true;
    if (performance.now() > until) return false;
    await delay(pollMs);
  }
}

function loop(where: string, queueId: string | null): Finding {
  const what = 'The message came back to Sluice: the return smtpd filters again, a content_filter loop';
  const clean =
    queueId === null
      ? ''
      : `, then remove the probe: postsuper -d ${queueId} (and what "postqueue -p" shows of it)`;
  return fail(what, where, `set content_filter= for the return smtpd in master.cf, "postfix reload"${clean}`);
}

function noLoop(where: string, recipient: string, waitMs: number): Finding {
  return ok(
    `A message to ${recipient} did not come back within ${waitMs / 1000} s: no content_filter loop`,
    where,
  );
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
  { recipient, hostname, now, mark }: Omit<ProbeOptions, 'waitMs'> & { mark: string },
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
