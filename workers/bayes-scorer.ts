/**
 * bayes-scorer — what this node makes of a message: Bayes probability, score and rules of the local tests.
 *
 * Hides the private spamd (bayes-spamd) and the protocol. One message at a time is in memory, and none is ever on a disk. A
 * message that can't be scored is a value with the reason; once spamd is gone that is every further one.
 */
import type { Score } from '../rules/bayes-parity.ts';
import type { BayesView } from './bayes-counts.ts';
import { type PrivateSpamd, startPrivateSpamd } from './bayes-spamd.ts';
import { type Address, exchange, isUnchecked } from './exchange.ts';
import type { Unchecked } from '../rules/mail.ts';
import { formatSender, readCopy } from './spam-copy.ts';
import { parseProbability, parseReport } from './spam-report.ts';
import { formatRequest, isWholeReply, parseReply, type SpamcReply } from './spamc.ts';

/** A message of the sample. */
export type Sampled = { readonly id: string; readonly sender: string; readonly bytes: Buffer };

export type Scorer = {
  readonly startMs: number;
  score(message: Sampled): Promise<Score>;
  /** Ends its spamd. */
  close(): Promise<void>;
};

const messageTimeoutMs = 120_000;
const replyBytesMax = 1024 * 1024;

/** Rejects with BayesFail (step parity) where nothing can be scored here. */
export async function openScorer(view: BayesView, signal: AbortSignal): Promise<Scorer> {
  const spamd = await startPrivateSpamd(view, signal);
  return {
    startMs: spamd.startMs,
    score: (message) => scoreBy(spamd, message, signal),
    close: () => spamd.stop(),
  };
}

async function scoreBy(
  { address, userName }: PrivateSpamd,
  { id, sender, bytes }: Sampled,
  signal: AbortSignal,
): Promise<Score> {
  const copy = await readCopy(only(bytes), bytes.length, formatSender(sender));
  const lines = userName === null ? [] : [`User: ${userName}`];
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(messageTimeoutMs)]);
  const reply = await ask(address, [formatRequest('HEADERS', lines, copy.length), copy], deadline);
  if (isUnchecked(reply)) return { kind: 'unscored', id, reason: reply.detail };
  const [report, probability] = [parseReport(reply, false), parseProbability(reply)];
  if (report.kind !== 'scored') {
    const reason = report.kind === 'unchecked' ? report.detail : report.kind;
    return { kind: 'unscored', id, reason };
  }
  if (probability === undefined)
    return { kind: 'unscored', id, reason: 'spamd does not tell the probability of Bayes' };
  return {
    kind: 'scored',
    id,
    probability,
    score: report.score,
    rules: report.tests.map(({ name }) => name),
  };
}

async function ask(
  address: Address,
  request: readonly Buffer[],
  signal: AbortSignal,
): Promise<SpamcReply | Unchecked> {
  const sizeBytes = request.reduce((sum, { length }) => sum + length, 0);
  const reply = await exchange(address, signal, each(request), {
    // HEADERS gives back the message's own header block as well.
    replyBytesMax: replyBytesMax + sizeBytes,
    isComplete: isWholeReply,
    halfClose: true,
  });
  return isUnchecked(reply) ? reply : parseReply(reply);
}

async function* only(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* each(chunks: readonly Buffer[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
