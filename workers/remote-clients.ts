/**
 * remote-clients — both scanners as workers elsewhere have them, to be asked like the daemons themselves.
 *
 * Hides what happens where no worker takes a job: the scanner of this machine is asked, within what is left of the same
 * deadline; where there is none, or a worker began and was not heard of again (the message may have killed it), the
 * scanner counts as unreachable and policy decides, 451 by default. What goes wrong is a value; only an error in reading the message
 * is thrown.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Unchecked } from '../rules/mail.ts';
import type { Leasable, Leases } from './bytes-lease.ts';
import { outcomeOf } from './job.ts';
import type { Ask, Question } from './remote-ask.ts';
import type { SpamScanner, VirusScanner } from './scan.ts';
import type { SpamdClient } from './spamd.ts';

/** The scanners over `ask`; `local`: those of this process, null where there is none. */
export function createRemoteClients(options: {
  ask: Ask;
  leases: Leases;
  local: { clamd: VirusScanner | null; spamd: SpamScanner | null };
  /** Deadline of one question, everything included. */
  timeoutMs: number;
  /** How much of a message is taught. */
  spamBytes: number;
}): { readonly clamd: VirusScanner; readonly spamd: SpamScanner } {
  const { ask, leases, timeoutMs } = options;
  const { clamd, spamd } = options.local;

  function put<A extends object>(
    question: Question<A>,
    here: ((until: AbortSignal) => Promise<A>) | null,
    signal: AbortSignal,
  ): Promise<A | Unchecked> {
    return withDeadline(signal, timeoutMs, async (until, deadline) => {
      const lease = leases.hold(question.message);
      const asked = await ask(question, lease, deadline, until).finally(() => lease.release());
      if (asked.kind === 'answered') return asked.answer;
      if (here !== null && !asked.started) return here(until);
      return { kind: 'unchecked', reason: 'unreachable', detail: asked.detail };
    });
  }

  const tell: SpamdClient['tell'] = async (message, sizeBytes, as, signal) => {
    const taught = await copyOf(message(), Math.min(sizeBytes, options.spamBytes));
    const task = `learn ${as}` as const;
    const question = { queue: 'spam', task, message: taught, queueId: null, sender: '' } as const;
    return put({ ...question, accept: outcomeOf.learn }, null, signal);
  };

  return {
    clamd: {
      scan(message, signal, context) {
        const { queueId, sender } = context;
        const question = { queue: 'virus', task: 'scan', message, queueId, sender } as const;
        const here = clamd === null ? null : (until: AbortSignal) => clamd.scan(message, until, context);
        return put({ ...question, accept: outcomeOf.virus }, here, signal);
      },
      close: () => clamd?.close(),
    },
    spamd: {
      scan(message, context, signal) {
        const { queueId, sender } = context;
        const question = { queue: 'spam', task: 'scan', message, queueId, sender } as const;
        const here = spamd === null ? null : (until: AbortSignal) => spamd.scan(message, context, until);
        return put({ ...question, accept: outcomeOf.spam }, here, signal);
      },
      // Where this machine has a spamd, its Bayes database is the one that is meant.
      tell: spamd === null ? tell : (...message) => spamd.tell(...message),
      close: () => spamd?.close(),
    },
  };
}

/** The first `take` octets, in memory, as a message of the spool. */
async function copyOf(
  octets: AsyncIterable<Uint8Array>,
  take: number,
): Promise<Leasable & { readonly sha256: string }> {
  const chunks: Uint8Array[] = [];
  let taken = 0;
  for await (const chunk of octets) {
    const part = chunk.subarray(0, take - taken);
    chunks.push(part);
    taken += part.length;
    if (taken === take) break;
  }
  const copy = Buffer.concat(chunks);
  return {
    spoolId: randomBytes(16).toString('hex'),
    sizeBytes: copy.length,
    sha256: createHash('sha256').update(copy).digest('hex'),
    inFile: false,
    async *read(from = 0, to = copy.length) {
      yield copy.subarray(from, to);
    },
    head: async (maxBytes) => copy.subarray(0, maxBytes),
  };
}

/** A signal of its own, so that neither timer nor listener outlives the action; `deadline` in monotonic milliseconds. */
async function withDeadline<T>(
  signal: AbortSignal,
  timeoutMs: number,
  action: (until: AbortSignal, deadline: number) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const pass = () => controller.abort(signal.reason);
  if (signal.aborted) pass();
  signal.addEventListener('abort', pass, { once: true });
  const timer = setTimeout(() => controller.abort(new DOMException('Deadline', 'TimeoutError')), timeoutMs);
  try {
    return await action(controller.signal, performance.now() + timeoutMs);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', pass);
  }
}
