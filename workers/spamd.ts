/**
 * spamd — asks SpamAssassin's daemon: the score of a message (HEADERS), learning (TELL), and whether it is fit to ask.
 *
 * Hides the conversation: which command with which lines, one deadline, other addresses tried, the remedy for what an
 * administrator forgot. A conversation keeps `spamBytes` in memory. What goes wrong with spamd is a value,
 * `unchecked{reason}`; only an error in reading the message is thrown (TempFail).
 */
import type { SpamResult, Unchecked } from '../rules/mail.ts';
import { createEndpoints } from './endpoints.ts';
import { type Address, addressText, exchange, isUnchecked } from './exchange.ts';
import type { Log } from './log.ts';
import { formatSender, readCopy, withoutControls } from './spam-copy.ts';
import { missingRules, parseReport, parseSenderSeen } from './spam-report.ts';
import { formatRequest, isWholeReply, parseReply, type SpamcCommand, type SpamcReply } from './spamc.ts';
import type { SpooledMessage } from './spool.ts';

export type LearnAs = 'spam' | 'ham' | 'forget';

/** `unchanged`: spamd had nothing to do or could not; `disabled`: it is not allowed to (`detail` says the remedy). */
export type LearnResult =
  | { readonly kind: 'learned' }
  | { readonly kind: 'unchanged'; readonly detail: string }
  | { readonly kind: 'disabled'; readonly detail: string }
  | { readonly kind: 'off' }
  | Unchecked;

/** What the check at start found at one address; `detail` says the remedy. */
export type RulesCheck = { readonly kind: 'loaded' } | { readonly kind: 'missing'; readonly detail: string };

/** What each configured address answered. */
export type PerAddress<T> = readonly { readonly address: string; readonly answer: T | Unchecked }[];

export type SpamdClient = {
  /** Scores the first `spamBytes` octets. `sender` as in Envelope, '' for the null sender. */
  scan(
    message: Pick<SpooledMessage, 'sizeBytes' | 'read'>,
    context: { sender: string },
    signal: AbortSignal,
  ): Promise<SpamResult>;
  /** Teaches Bayes the same octets that a scan would see; they are read once. */
  tell(
    message: () => AsyncIterable<Uint8Array>,
    sizeBytes: number,
    as: LearnAs,
    signal: AbortSignal,
  ): Promise<LearnResult>;
  /** `atMostMs` shortens the deadline. */
  ping(atMostMs?: number): Promise<PerAddress<{ readonly kind: 'alive' }>>;
  /** Whether each spamd has read rules/sluice.cf: scores a tiny message of our own. */
  checkRules(): Promise<PerAddress<RulesCheck>>;
  /** Cancels what runs or waits. */
  close(): void;
};

/** Octets of a reply beyond those we sent: SpamAssassin's own lines, which tell about a dozen rules each. */
const replyBytesMax = 1024 * 1024;

const probeSender = 'probe@sluice.invalid';
const probe = Buffer.concat([
  formatSender(probeSender),
  Buffer.from(
    `Return-Path: <forged@sluice.invalid>\r\nFrom: <${probeSender}>\r\nTo: <${probeSender}>\r\n` +
      'Subject: Is sluice.cf loaded\r\nMessage-ID: <check@sluice.invalid>\r\n\r\nA message of Sluice to itself.\r\n',
  ),
]);

/** A client for one or several spamd. `timeoutMs`: the hard deadline of a scan, waiting for a free slot included. */
export function createSpamd(options: {
  addresses: readonly Address[];
  /** Whose preferences spamd uses (its User header); null: spamd's default. */
  user: string | null;
  spamBytes: number;
  concurrency: number;
  timeoutMs: number;
  log: Log;
}): SpamdClient {
  const { spamBytes, log } = options;
  const endpoints = createEndpoints(options);
  const user = options.user === null ? [] : [`User: ${withoutControls(options.user)}`];

  async function ask<T extends object>(
    address: Address,
    signal: AbortSignal,
    request: Request,
    parse: (reply: SpamcReply) => T | Unchecked,
  ): Promise<T | Unchecked> {
    const reply = await converse(address, signal, { ...request, lines: [...user, ...request.lines] });
    const answer = isUnchecked(reply) ? reply : parse(reply);
    if (!isUnchecked(answer)) return answer;
    const placed = { ...answer, detail: `spamd at ${addressText(address)}: ${answer.detail}` };
    if (answer.reason !== 'cancelled') log.warn(placed, 'spamd could not tell');
    return placed;
  }

  return {
    scan(message, { sender }, signal) {
      const take = Math.min(message.sizeBytes, spamBytes);
      const copy = once(() => readCopy(message.read(0, take), take, formatSender(sender)));
      const parse = (reply: SpamcReply) => parseReport(reply, message.sizeBytes > spamBytes);
      return endpoints.run<SpamResult>(signal, async (address, deadline) =>
        ask(address, deadline, { command: 'HEADERS', lines: [], message: await copy() }, parse),
      );
    },

    tell(message, sizeBytes, as, signal) {
      const copy = once(() => readCopy(message(), Math.min(sizeBytes, spamBytes), Buffer.alloc(0)));
      const lines = as === 'forget' ? ['Remove: local'] : [`Message-class: ${as}`, 'Set: local'];
      return endpoints.run<LearnResult>(signal, async (address, deadline) => {
        const request: Request = { command: 'TELL', lines, message: await copy() };
        return orDisabled(
          await ask<LearnResult>(address, deadline, request, (reply) => parseTold(reply, as)),
        );
      });
    },

    ping: (atMostMs) =>
      endpoints.each(
        (address, deadline) =>
          ask(address, deadline, { command: 'PING', lines: [], message: null }, () => ({
            kind: 'alive' as const,
          })),
        atMostMs,
      ),

    checkRules: () =>
      endpoints.each((address, deadline) =>
        ask(address, deadline, { command: 'HEADERS', lines: [], message: probe }, judgeRules),
      ),

    close: () => endpoints.close(),
  };
}

type Request = {
  readonly command: SpamcCommand;
  readonly lines: readonly string[];
  readonly message: Buffer | null;
};

async function converse(
  address: Address,
  signal: AbortSignal,
  { command, lines, message }: Request,
): Promise<SpamcReply | Unchecked> {
  const head = formatRequest(command, lines, message?.length ?? null);
  const reply = await exchange(address, signal, parts(head, message ?? Buffer.alloc(0)), {
    // HEADERS gives back the message's own header block as well.
    replyBytesMax: replyBytesMax + (message?.length ?? 0),
    isComplete: isWholeReply,
    // spamd goes by Content-length; the half-close makes it answer at once should the two ever disagree.
    halfClose: true,
  });
  return isUnchecked(reply) ? reply : parseReply(reply);
}

async function* parts(...octets: readonly Buffer[]): AsyncGenerator<Uint8Array> {
  yield* octets;
}

function parseTold(reply: SpamcReply, as: LearnAs): LearnResult {
  const done = reply.headers.get(as === 'forget' ? 'didremove' : 'didset') ?? '';
  if (done.split(',').some((place) => place.trim() === 'local')) return { kind: 'learned' };
  return {
    kind: 'unchanged',
    detail: 'Nothing to do for spamd: known already, never learned, or Bayes is off',
  };
}

/** Waiting never cures a spamd without --allow-tell. */
function orDisabled(answer: LearnResult): LearnResult {
  if (!isUnchecked(answer) || !answer.detail.includes('TELL commands are not enabled')) return answer;
  const remedy = 'start it with --allow-tell (Debian: OPTIONS in /etc/default/spamd)';
  return { kind: 'disabled', detail: `${answer.detail}: ${remedy}` };
}

function judgeRules(reply: SpamcReply): RulesCheck | Unchecked {
  const report = parseReport(reply, false);
  if (report.kind === 'unchecked') {
    return report.detail === missingRules ? { kind: 'missing', detail: missingRules } : report;
  }
  const seen = parseSenderSeen(reply);
  if (seen === null) return { kind: 'missing', detail: `An older sluice.cf is in use; ${missingRules}` };
  if (seen === probeSender) return { kind: 'loaded' };
  const detail =
    `spamd takes ${JSON.stringify(seen)} for the envelope sender, not what Sluice sent: ` +
    'take other envelope_sender_header lines out of its configuration';
  return { kind: 'missing', detail };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => (made ??= make());
}
