/**
 * endpoints — several addresses of one kind of scanner daemon, used as if they were one.
 *
 * Hides the spreading (round robin), which address is down and until when, the concurrency limit with its queue, and
 * the hard deadline. It never throws for a daemon's failure: what went wrong is a value, `unchecked{reason}`. One
 * address that fails is not the end: another is tried, as long as the deadline allows it.
 */
import type { Unchecked } from '../rules/mail.ts';
import { abortedBy, type Address, addressText, isUnchecked } from './exchange.ts';

/** One conversation with the daemon at `address`; gives up when `signal` fires. Failures are values. */
export type Attempt<T> = (address: Address, signal: AbortSignal) => Promise<T | Unchecked>;

export type Endpoints = {
  /**
   * Runs `attempt` under one free slot and one deadline, at another address as long as the answer is `unreachable`,
   * `busy`, `protocol` or `failed`. A slot that stays taken until the deadline is `busy`. What `attempt` throws comes through.
   */
  run<T extends object>(signal: AbortSignal, attempt: Attempt<T>): Promise<T | Unchecked>;
  /**
   * Runs `attempt` once at every address, outside the slots and whatever is thought to be down: for health checks.
   * `atMostMs` shortens the deadline.
   */
  each<T extends object>(
    attempt: Attempt<T>,
    atMostMs?: number,
  ): Promise<readonly { address: string; answer: T | Unchecked }[]>;
  /** Cancels what runs or waits. */
  close(): void;
};

/**
 * Endpoints over `addresses`. `concurrency`: conversations at once over all of them. `timeoutMs`: wait for a slot
 * and all attempts together. An address found down is tried last for `cooldownMs`; `now` is the clock, milliseconds.
 */
export function createEndpoints(options: {
  addresses: readonly Address[];
  concurrency: number;
  timeoutMs: number;
  cooldownMs?: number;
  now?: () => number;
}): Endpoints {
  const { timeoutMs } = options;
  const order = createOrder(options.addresses, options.cooldownMs ?? 10_000, options.now ?? Date.now);
  const slots = createSlots(options.concurrency);
  const closing = new AbortController();

  return {
    run: (signal, attempt) =>
      withDeadline([signal, closing.signal], timeoutMs, async (deadline) => {
        if (deadline.aborted) return abortedBy(deadline);
        if (!(await slots.take(deadline))) return waitedInVain(deadline, options.concurrency);
        try {
          return await tryInTurn(order, deadline, attempt);
        } finally {
          slots.release();
        }
      }),
    each: (attempt, atMostMs = timeoutMs) =>
      withDeadline([closing.signal], Math.min(atMostMs, timeoutMs), (deadline) =>
        Promise.all(
          options.addresses.map(async (address) => ({
            address: addressText(address),
            answer: await attempt(address, deadline),
          })),
        ),
      ),
    close: () => closing.abort(new DOMException('Client is closed', 'AbortError')),
  };
}

async function tryInTurn<T extends object>(
  order: Order,
  signal: AbortSignal,
  attempt: Attempt<T>,
): Promise<T | Unchecked> {
  let failure: Unchecked = { kind: 'unchecked', reason: 'unreachable', detail: 'No address is configured' };
  for (const address of order.next()) {
    if (signal.aborted) return abortedBy(signal);
    const answer = await attempt(address, signal);
    if (!isUnchecked(answer)) {
      order.up(address);
      return answer;
    }
    // A timeout has used up the deadline of this message; the next one shall begin somewhere else.
    if (answer.reason === 'unreachable' || (answer.reason === 'timeout' && signal.aborted))
      order.down(address);
    else if (answer.reason !== 'cancelled') order.up(address);
    if (!mayDifferElsewhere(answer)) return answer;
    failure = moreTelling(failure, answer);
  }
  return failure;
}

function mayDifferElsewhere(answer: Unchecked): boolean {
  return ['unreachable', 'busy', 'protocol', 'failed'].includes(answer.reason);
}

/** A daemon that was there and failed says more of the message than one that is away (deferAtMost.attempts). */
function moreTelling(first: Unchecked, second: Unchecked): Unchecked {
  return second.reason === 'unreachable' && first.reason !== 'unreachable' ? first : second;
}

type Order = { next(): Address[]; down(address: Address): void; up(address: Address): void };

function createOrder(addresses: readonly Address[], cooldownMs: number, now: () => number): Order {
  const downUntil = new Map<Address, number>();
  let turn = 0;
  return {
    next() {
      const isDown = (address: Address) => (downUntil.get(address) ?? 0) > now();
      const up = addresses.filter((address) => !isDown(address));
      const down = addresses.filter(isDown);
      const start = turn++ % Math.max(up.length, 1);
      const [first, ...others] = [...up.slice(start), ...up.slice(0, start)];
      // After its cool-down one message at a time tries an address; the others wait for what becomes of that.
      if (first !== undefined && downUntil.has(first)) downUntil.set(first, now() + cooldownMs);
      return [...(first === undefined ? [] : [first]), ...others, ...down];
    },
    down: (address) => void downUntil.set(address, now() + cooldownMs),
    up: (address) => void downUntil.delete(address),
  };
}

type Slots = { take(signal: AbortSignal): Promise<boolean>; release(): void };

/** First come, first served; `take` says false when the signal fires first. */
function createSlots(concurrency: number): Slots {
  const waiting = new Set<() => void>();
  let free = concurrency;
  return {
    async take(signal) {
      if (free > 0) {
        free--;
        return true;
      }
      return new Promise((resolve) => {
        const give = () => {
          waiting.delete(give);
          signal.removeEventListener('abort', leave);
          resolve(true);
        };
        const leave = () => {
          waiting.delete(give);
          resolve(false);
        };
        waiting.add(give);
        signal.addEventListener('abort', leave, { once: true });
      });
    },
    release() {
      const [give] = waiting;
      if (give === undefined) free++;
      else give();
    },
  };
}

function waitedInVain(signal: AbortSignal, concurrency: number): Unchecked {
  const aborted = abortedBy(signal);
  if (aborted.reason !== 'timeout') return aborted;
  return {
    kind: 'unchecked',
    reason: 'busy',
    detail: `All ${concurrency} slots stayed taken until the deadline`,
  };
}

/** A signal of its own, so that neither timer nor listener outlives the action (AbortSignal.any and .timeout keep both). */
async function withDeadline<T>(
  signals: readonly AbortSignal[],
  timeoutMs: number,
  action: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const pass = (signal: AbortSignal) => controller.abort(signal.reason);
  const listeners = signals.map((signal) => ({ signal, listener: () => pass(signal) }));
  for (const { signal, listener } of listeners) {
    if (signal.aborted) pass(signal);
    signal.addEventListener('abort', listener, { once: true });
  }
  const timer = setTimeout(() => {
    controller.abort(new DOMException('Deadline', 'TimeoutError'));
  }, timeoutMs);
  try {
    return await action(controller.signal);
  } finally {
    clearTimeout(timer);
    for (const { signal, listener } of listeners) signal.removeEventListener('abort', listener);
  }
}
