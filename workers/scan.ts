/**
 * scan — both scanners side by side under one signal: the ScanReport of a message.
 *
 * Hides which scanners this site has (none is `off`) and that a virus makes the spam score needless: the wait for it
 * ends, unless policy counts that name as spam. It never throws for a scanner's failure, which is a fact of the
 * report; it rejects with TempFail where the message itself can't be read, and leaves no conversation running then.
 */
import type { ScanReport, SpamResult, VirusResult } from '../rules/mail.ts';
import { matchesVirusName } from '../rules/virus-name.ts';
import type { LearnAs, LearnResult, SpamdClient } from './spamd.ts';
import type { SpooledMessage } from './spool.ts';

export type ScanContext = {
  /** MAIL FROM as in Envelope, '' for the null sender. */
  readonly sender: string;
  readonly queueId: string | null;
  /** Patterns of names that clamd reports and policy counts as spam: no virus, the score is still wanted. */
  readonly virusAsSpam: readonly string[];
};

export interface Scanner {
  scan(message: SpooledMessage, context: ScanContext, signal: AbortSignal): Promise<ScanReport>;
  /** Teaches the spam scanner; `off` where there is none. */
  learn(
    message: () => AsyncIterable<Uint8Array>,
    sizeBytes: number,
    as: LearnAs,
    signal: AbortSignal,
  ): Promise<LearnResult>;
  /** Cancels what is under way. */
  close(): void;
}

/** What is needed of a ClamdClient: here, or wherever a worker asks one. */
export type VirusScanner = {
  scan(message: SpooledMessage, signal: AbortSignal, context: ScanContext): Promise<VirusResult>;
  close(): void;
};

/** What is needed of a SpamdClient, likewise. */
export type SpamScanner = {
  scan(message: SpooledMessage, context: ScanContext, signal: AbortSignal): Promise<SpamResult>;
  tell: SpamdClient['tell'];
  close(): void;
};

/** A scanner over these clients; null is `{ kind: 'off' }` in every report. */
export function createScanner(clients: { clamd: VirusScanner | null; spamd: SpamScanner | null }): Scanner {
  const { clamd, spamd } = clients;
  return {
    scan(message, context, signal) {
      const askClamd = async (stop: AbortSignal) =>
        clamd?.scan(message, stop, context) ?? { kind: 'off' as const };
      const askSpamd = async (stop: AbortSignal) =>
        spamd?.scan(message, context, stop) ?? { kind: 'off' as const };
      return sideBySide(askClamd, askSpamd, context.virusAsSpam, signal);
    },
    learn: async (message, sizeBytes, as, signal) =>
      spamd?.tell(message, sizeBytes, as, signal) ?? { kind: 'off' },
    close() {
      clamd?.close();
      spamd?.close();
    },
  };
}

async function sideBySide(
  askClamd: (stop: AbortSignal) => Promise<VirusResult>,
  askSpamd: (stop: AbortSignal) => Promise<SpamResult>,
  virusAsSpam: readonly string[],
  signal: AbortSignal,
): Promise<ScanReport> {
  const both = follow(signal);
  const spamOnly = follow(both.signal);
  const virus = timed(async () => {
    const result = await askClamd(both.signal);
    if (isVirus(result, virusAsSpam)) spamOnly.abort('A virus was found: the score is not needed');
    return result;
  }, both);
  const spam = timed(() => askSpamd(spamOnly.signal), both);
  try {
    const [{ result: virusResult, ms: virusMs }, { result: spamResult, ms: spamMs }] = await Promise.all([
      virus,
      spam,
    ]);
    return { virus: virusResult, spam: spamResult, virusMs, spamMs };
  } finally {
    // After a rejection the other one has been stopped; wait, so that nothing reads the message any more.
    await Promise.allSettled([virus, spam]);
    spamOnly.unfollow();
    both.unfollow();
  }
}

/** The result and how long it took; an error stops both scans. */
async function timed<T>(ask: () => Promise<T>, both: Follower): Promise<{ result: T; ms: number }> {
  const start = performance.now();
  try {
    return { result: await ask(), ms: Math.round(performance.now() - start) };
  } catch (cause) {
    both.abort('The message cannot be read');
    throw cause;
  }
}

function isVirus(result: VirusResult, virusAsSpam: readonly string[]): boolean {
  return result.kind === 'infected' && !virusAsSpam.some((pattern) => matchesVirusName(pattern, result.name));
}

type Follower = { readonly signal: AbortSignal; abort(why: string): void; unfollow(): void };

/** A signal that fires with `signal` or alone, and leaves no listener behind (AbortSignal.any keeps one). */
function follow(signal: AbortSignal): Follower {
  const controller = new AbortController();
  const pass = () => controller.abort(signal.reason);
  if (signal.aborted) pass();
  signal.addEventListener('abort', pass, { once: true });
  return {
    signal: controller.signal,
    abort: (why) => controller.abort(new DOMException(why, 'AbortError')),
    unfollow: () => signal.removeEventListener('abort', pass),
  };
}
