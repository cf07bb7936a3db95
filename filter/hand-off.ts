/**
 * hand-off — one transaction with the return smtpd: envelope, message, dot.
 *
 * Hides the order of commands, what may be pipelined, and which reply decides what for whom (RELIABILITY R2–R6). Until
 * the dot, whatever goes wrong has cost nothing: the connection is dropped or reset, and every recipient may be tried
 * again. After the dot, an answer that does not come is `outcomeUnknown`. A ConnectionFail is thrown only before the
 * first octet of the message, where another connection may be tried.
 */
import type { Envelope, Recipient } from '../rules/mail.ts';
import type { PeerReply, Stage } from '../rules/replies.ts';
import { commandLine, mailLine, recipientLine, xforwardLines } from './client-commands.ts';
import { createDotStuffer } from './dot-stuffing.ts';
import type { PeerOffers } from './offers.ts';
import { deferredBy, type Outcome, outcomeOf, quoteReply, type TempFailed, tempFailed } from './outcome.ts';
import { ConnectionFail, type SmtpConnection } from './smtp-client.ts';

/** One message for some of its recipients. */
export type HandOff = {
  readonly envelope: Envelope;
  /** Who shall get it; entries of `envelope.recipients`. */
  readonly recipients: readonly Recipient[];
  /** The octets to deliver, lines ending in CRLF. Called once per transaction. */
  readonly bytes: () => AsyncIterable<Uint8Array>;
  /** Size of those octets, for SIZE= (RFC 1870); left out where it is not known beforehand. */
  readonly sizeBytes?: number;
  /** SMTP input: one recipient that is deferred before DATA defers all (RELIABILITY, partial acceptance). */
  readonly allOrNothing: boolean;
  /** Asked at our dot: how long its reply may take, milliseconds; left out, the reinjector's own limit holds. */
  readonly dotTimeoutMs?: () => number;
  /** Awaited when all octets are with the peer and the dot is not; once per transaction. Rejecting means: no dot. */
  readonly beforeDot?: () => Promise<void>;
};

/** `postponed`: too many recipients for one transaction (RFC 5321 §4.5.3.1.10); belongs into the next one. */
export type Part = Outcome | { readonly kind: 'postponed'; readonly reply: PeerReply };

/** What RCPT says: `willing` is not accepted yet, the message decides. */
type Answer = Exclude<Part, { kind: 'accepted' }> | { readonly kind: 'willing' };

/** Splits the message into pieces so that a slow peer shows progress. */
const pieceOctets = 65_536;

/**
 * Hands the message to `recipients` in one transaction on a connection that is at rest; one part per recipient, in
 * order. `signal` is honoured until the dot. Afterwards the connection is at rest again, or has failed.
 */
export async function transact(
  connection: SmtpConnection,
  job: HandOff,
  recipients: readonly Recipient[],
  options: { signal: AbortSignal; dotTimeoutMs: number },
): Promise<readonly Part[]> {
  const { offers } = connection;
  if (job.envelope.smtputf8 && !offers.smtputf8) {
    // RFC 6531 §3.1: never without; and never converted. Bouncing would punish the sender for our configuration.
    const lacking = tempFailed('returnMisconfigured', null, 'return smtpd does not offer SMTPUTF8');
    return recipients.map(() => lacking);
  }
  const release = connection.failOn(options.signal);
  try {
    connection.uses++;
    const answers = await offerEnvelope(connection, job, recipients);
    const settled = answers.filter((answer) => answer.kind !== 'willing');
    if (settled.length === answers.length) {
      await connection.reset();
      return settled;
    }
    const outcome =
      (await offerMessage(connection)) ?? (await sendMessage(connection, job, release, options.dotTimeoutMs));
    return answers.map((answer) => (answer.kind === 'willing' ? outcome : answer));
  } finally {
    release();
  }
}

/** XFORWARD, MAIL and every RCPT: what each recipient was told. */
async function offerEnvelope(
  connection: SmtpConnection,
  job: HandOff,
  recipients: readonly Recipient[],
): Promise<Answer[]> {
  const commands = commandsFor(job, recipients, connection.offers);
  const { rcpt, refusal } = await converse(connection, commands);
  if (refusal !== null) return recipients.map(() => refusal);
  const answers = rcpt.map(answerOf);
  // Postponing is progress only where this transaction takes somebody.
  const someWilling = answers.some(({ kind }) => kind === 'willing');
  const final = someWilling ? answers : answers.map(deferPostponed);
  return job.allOrNothing ? allOrNothing(final) : final;
}

/** Sends the commands, in one write where pipelining is offered (RFC 2920), and reads the replies. */
async function converse(
  connection: SmtpConnection,
  commands: readonly Command[],
): Promise<{ rcpt: PeerReply[]; refusal: Exclude<Outcome, { kind: 'accepted' }> | null }> {
  const { pipelining } = connection.offers;
  const rcpt: PeerReply[] = [];
  if (pipelining) await connection.write(Buffer.concat(commands.map(({ line }) => line)), commands.length);
  for (const { stage, line } of commands) {
    if (!pipelining) await connection.write(line, 1);
    const reply = await connection.reply();
    expectFinal(connection, stage, reply);
    if (stage === 'rcpt') rcpt.push(reply);
    else {
      const outcome = outcomeOf(stage, reply);
      // The replies to what was sent behind it are read by reset().
      if (outcome.kind !== 'accepted') return { rcpt: [], refusal: outcome };
    }
  }
  return { rcpt, refusal: null };
}

/**
 * DATA, alone: behind RCPT in the same write it could not be taken back (RELIABILITY, partial acceptance). Null when the
 * peer waits for the message.
 */
async function offerMessage(connection: SmtpConnection): Promise<Outcome | null> {
  await connection.write(commandLine('DATA'), 1);
  const reply = await connection.reply();
  if (reply.code === 354) return null;
  if (reply.code < 400) throw outOfStep(connection, 'data', reply);
  await connection.reset();
  return outcomeOf('data', reply);
}

/** The message and its dot. Never throws: from here on nothing may be tried again by itself. */
async function sendMessage(
  connection: SmtpConnection,
  job: HandOff,
  release: () => void,
  dotTimeoutMs: number,
): Promise<Outcome> {
  let end: Uint8Array;
  try {
    end = await sendOctets(connection, job.bytes());
    if (job.beforeDot !== undefined) await connection.until(job.beforeDot);
    await connection.listen();
  } catch (error) {
    return failureOf(connection.fail(asConnectionFail(error)));
  }
  // Our dot is out from here on: the signal counts no more (R5), and silence means unknown (R4).
  release();
  try {
    await connection.write(end, 1);
    const reply = await connection.reply(job.dotTimeoutMs?.() ?? dotTimeoutMs);
    expectFinal(connection, 'dot', reply);
    return outcomeOf('dot', reply);
  } catch (error) {
    const { message, reply } = connection.fail(asConnectionFail(error));
    // 421 is an answer: the peer has not taken the message (RFC 5321 §3.8).
    return tempFailed(
      reply === null ? 'outcomeUnknown' : 'returnUnavailable',
      reply,
      `after the dot: ${message}`,
    );
  }
}

/** Sends every octet of the source, each piece only when the kernel has taken the one before; returns what ends them. */
async function sendOctets(connection: SmtpConnection, bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const stuffer = createDotStuffer();
  const source = bytes[Symbol.asyncIterator]();
  // Our lines in front are few octets: they wait for what follows, and a small message is one write.
  let gathered: Uint8Array[] = [];
  let gatheredOctets = 0;
  try {
    for (;;) {
      const next = await connection.until(() => source.next());
      if (next.done === true) break;
      for (let at = 0; at < next.value.length; at += pieceOctets) {
        const piece = stuffer.write(next.value.subarray(at, at + pieceOctets));
        gathered.push(piece);
        gatheredOctets += piece.length;
        if (gatheredOctets < pieceOctets) continue;
        await connection.write(joined(gathered));
        [gathered, gatheredOctets] = [[], 0];
      }
    }
    await connection.write(joined(gathered));
    return stuffer.end();
  } catch (error) {
    // Not awaited: a source that hangs must not hold the hand-off; what it says now comes too late to matter.
    source.return?.().catch(() => undefined);
    throw error;
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [first = new Uint8Array(0)] = pieces;
  return pieces.length < 2 ? first : Buffer.concat(pieces);
}

type Command = { readonly stage: Stage; readonly line: Uint8Array };

/** All lines are built before the first is sent: one that can't be sent (PermFail) leaves nothing behind. */
function commandsFor(job: HandOff, recipients: readonly Recipient[], offers: PeerOffers): Command[] {
  return [
    ...xforwardLines(job.envelope, offers).map((line) => ({ stage: 'xforward', line }) as const),
    { stage: 'mail', line: mailLine(job.envelope, job.sizeBytes, offers) },
    ...recipients.map((recipient) => ({ stage: 'rcpt', line: recipientLine(recipient, offers) }) as const),
  ];
}

function answerOf(reply: PeerReply): Answer {
  // 452 is also "disk full" (4.3.1); only 4.5.3, or no enhanced code at all, speaks of the number of recipients.
  if (reply.code === 452 && (reply.enhanced === null || reply.enhanced === '4.5.3')) {
    return { kind: 'postponed', reply };
  }
  const outcome = outcomeOf('rcpt', reply);
  return outcome.kind === 'accepted' ? { kind: 'willing' } : outcome;
}

function deferPostponed(answer: Answer): Answer {
  return answer.kind === 'postponed' ? deferredBy(answer.reply) : answer;
}

/** One that is deferred defers all, the refused as well: there is but one reply, and it will be 451. */
function allOrNothing(answers: Answer[]): Answer[] {
  const culprit = answers.find((answer) => answer.kind === 'tempfail');
  if (culprit === undefined) return answers;
  const others = tempFailed(culprit.outcome, null, `deferred with another recipient: ${culprit.detail}`);
  return answers.map((answer) => (answer.kind === 'tempfail' ? answer : others));
}

/** A 3xx where the command is complete: the peer waits for something that we shall never send. */
function expectFinal(connection: SmtpConnection, stage: Stage, reply: PeerReply): void {
  if (reply.code >= 300 && reply.code < 400) throw outOfStep(connection, stage, reply);
}

function outOfStep(connection: SmtpConnection, stage: Stage, reply: PeerReply): ConnectionFail {
  return connection.fail(
    new ConnectionFail(`return smtpd said ${quoteReply(reply)} to ${stage.toUpperCase()}`),
  );
}

/** Everybody's outcome when the connection failed before the dot. */
export function failureOf(failure: ConnectionFail): TempFailed {
  return tempFailed(failure.outcome, failure.reply, failure.message);
}

/** What the source, or `beforeDot`, threw: our own trouble, not the peer's. */
function asConnectionFail(error: unknown): ConnectionFail {
  if (error instanceof ConnectionFail) return error;
  return new ConnectionFail(`no dot, because of ${String(error)}`, 'internal');
}
