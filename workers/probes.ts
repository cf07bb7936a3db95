/**
 * probes — questions asked again and again: are the scanners there, is the return smtpd.
 *
 * Hides the clock. A probe is asked at once, and again a pause after its last answer: a slow one never piles up. What a
 * probe throws is logged and asked again. Nobody waits for a probe, and none keeps the process alive.
 */
import type { ClamdClient } from './clamd.ts';
import type { ScannerClients } from './clients.ts';
import type { Log } from './log.ts';
import type { SpamdClient } from './spamd.ts';

/** Calls `action` once after `ms` unless the function returned is called before. */
export type After = (ms: number, action: () => void) => () => void;

export type Probe = { readonly name: string; readonly ask: () => Promise<void> };

/** What became of asking one scanner at one address. `signaturesAt`: epoch milliseconds, where it told. */
export type ScannerState = {
  readonly scanner: 'clamd' | 'spamd';
  readonly address: string;
  readonly up: boolean;
  readonly detail: string | null;
  readonly signaturesAt: number | null;
};

const scannerTimeoutMs = 10_000;
const returnTimeoutMs = 10_000;

/** Starts them all; `stop` ends the asking, the answers of those under way are still taken. */
export function startProbes(
  probes: readonly Probe[],
  { everyMs = 60_000, after = afterTimer, log }: { everyMs?: number; after?: After; log: Log },
): { stop(): void } {
  const waits = new Map<Probe, () => void>();
  let stopped = false;
  const ask = async (probe: Probe): Promise<void> => {
    try {
      await probe.ask();
    } catch (cause) {
      log.warn({ err: cause, probe: probe.name }, 'Probe failed');
    }
    if (!stopped)
      waits.set(
        probe,
        after(everyMs, () => void ask(probe)),
      );
  };
  for (const probe of probes) void ask(probe);
  return {
    stop() {
      stopped = true;
      for (const cancel of waits.values()) cancel();
    },
  };
}

/** One probe for each kind of scanner that there is. */
export function scannerProbes(
  { clamd, spamd }: ScannerClients,
  tell: (state: ScannerState) => void,
): readonly Probe[] {
  return [
    ...(clamd === null ? [] : [{ name: 'clamd', ask: () => askClamd(clamd, tell) }]),
    ...(spamd === null ? [] : [{ name: 'spamd', ask: () => askSpamd(spamd, tell) }]),
  ];
}

async function askClamd(clamd: ClamdClient, tell: (state: ScannerState) => void): Promise<void> {
  for (const { address, answer } of await clamd.version(scannerTimeoutMs)) {
    const common = { scanner: 'clamd', address } as const;
    if (answer.kind === 'unchecked')
      tell({ ...common, up: false, detail: answer.detail, signaturesAt: null });
    else tell({ ...common, up: true, detail: null, signaturesAt: answer.signaturesAt });
  }
}

async function askSpamd(spamd: SpamdClient, tell: (state: ScannerState) => void): Promise<void> {
  for (const { address, answer } of await spamd.ping(scannerTimeoutMs)) {
    const detail = answer.kind === 'unchecked' ? answer.detail : null;
    tell({ scanner: 'spamd', address, up: detail === null, detail, signaturesAt: null });
  }
}

/** Asks the return smtpd, but only where no mail does: `isIdle`. */
export function returnProbe(
  probe: (signal: AbortSignal) => Promise<unknown>,
  isIdle: () => boolean,
  tell: (up: boolean, detail: string | null) => void,
): Probe {
  return {
    name: 'return smtpd',
    async ask() {
      if (!isIdle()) return;
      const controller = new AbortController();
      const timer = setTimeout(() => controller.abort(new Error('no answer to a probe')), returnTimeoutMs);
      try {
        await probe(controller.signal);
        tell(true, null);
      } catch (cause) {
        tell(false, cause instanceof Error ? cause.message : String(cause));
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function afterTimer(ms: number, action: () => void): () => void {
  const timer = setTimeout(action, ms).unref();
  return () => clearTimeout(timer);
}
