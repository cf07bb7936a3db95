/**
 * remote-scanners — whether the scanners of this worker answer, asked once a second.
 *
 * Hides how each is asked. One address that answers is enough. Never throws.
 */
import type { ScannerClients } from './clients.ts';
import type { ScannerPresence } from './presence.ts';
import type { QueueName } from './job.ts';
import type { Log } from './log.ts';

/** `downSince`: Redis' time, epoch milliseconds. */
export type ScannerState = Pick<ScannerPresence, 'ok' | 'detail' | 'downSince' | 'addresses'>;

export type ScannerWatch = {
  /** Asks once; `now` is Redis' time. */
  readonly look: (now: number) => Promise<void>;
  /** As of the last look; who was not asked yet is thought to be well. */
  readonly state: (queue: QueueName) => ScannerState;
};

const patienceMs = 1_000;
const well: ScannerState = { ok: true, detail: null, downSince: null, addresses: [] };

/** Looks at these scanners, and tells `log` of changes. */
export function createScannerWatch({ clamd, spamd }: ScannerClients, log: Log): ScannerWatch {
  const states = { virus: well, spam: well };
  const asked = new Set<QueueName>();
  const note = (
    queue: QueueName,
    answers:
      | readonly {
          readonly address: string;
          readonly answer: { readonly kind: string; readonly detail?: string };
        }[]
      | undefined,
    now: number,
  ): void => {
    if (answers === undefined) return;
    const ok = answers.some(({ answer }) => answer.kind !== 'unchecked');
    const detail = answers.map(({ answer }) => answer.detail ?? '').join('; ');
    if (ok !== states[queue].ok || !asked.has(queue)) {
      if (ok) log.info({ queue }, 'Scanner answers');
      else log.error({ queue, detail, alarm: true }, 'Scanner does not answer');
    }
    asked.add(queue);
    const addresses = answers.map(({ address, answer }) => ({
      address,
      ok: answer.kind !== 'unchecked',
      detail: answer.kind === 'unchecked' ? (answer.detail ?? null) : null,
    }));
    states[queue] = ok
      ? { ...well, addresses }
      : { ok, detail, downSince: states[queue].downSince ?? now, addresses };
  };
  return {
    state: (queue) => states[queue],
    async look(now) {
      const [virus, spam] = await Promise.all([clamd?.version(patienceMs), spamd?.ping(patienceMs)]);
      note('virus', virus, now);
      note('spam', spam, now);
    },
  };
}
