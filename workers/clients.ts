/**
 * clients — the scanners of this site's configuration, ready to be asked.
 *
 * Hides how many scans run at once and how much of a message's deadline belongs to scanning: four fifths, so that
 * what was decided in spite of a scanner's silence (deferAtMost) still has time to be handed over.
 */
import type { Config } from '../rules/config.ts';
import { type ClamdClient, createClamd } from './clamd.ts';
import type { Log } from './log.ts';
import { createSpamd, type SpamdClient } from './spamd.ts';

/** Null where the scanner is switched off or has no address here. */
export type ScannerClients = { readonly clamd: ClamdClient | null; readonly spamd: SpamdClient | null };

const clamdConcurrencyPerAddress = 32;
/** Messages that each spamd is asked about at once. */
export const spamdConcurrencyPerAddress = 16;
/** Part of a message's deadline that belongs to scanning. */
export const scanningShare = 0.8;

/**
 * Clients for `scan`, `clamd` and `spamd` of the configuration. Connects to nothing yet. `atLeast`: so many messages at once,
 * where the usual number is smaller.
 */
export function createScannerClients(
  config: Config,
  log: Log,
  atLeast: { readonly virus: number; readonly spam: number } = { virus: 0, spam: 0 },
): ScannerClients {
  const timeoutMs = config.limits.deadlineSeconds * 1000 * scanningShare;
  const { scan, clamd, spamd, spamdUser: user, limits } = config;
  return {
    clamd:
      scan.virus && clamd.length > 0
        ? createClamd({
            addresses: clamd,
            concurrency: Math.max(clamdConcurrencyPerAddress * clamd.length, atLeast.virus),
            timeoutMs,
            log,
          })
        : null,
    spamd:
      scan.spam && spamd.length > 0
        ? createSpamd({
            addresses: spamd,
            concurrency: Math.max(spamdConcurrencyPerAddress * spamd.length, atLeast.spam),
            timeoutMs,
            log,
            user,
            spamBytes: limits.spamBytes,
          })
        : null,
  };
}

/** Asks every scanner once and logs who answers, who does not, and where sluice.cf is not loaded. Never throws. */
export async function reportScanners({ clamd, spamd }: ScannerClients, log: Log): Promise<void> {
  for (const { address, answer } of (await clamd?.version()) ?? []) {
    if (answer.kind === 'unchecked') log.error({ clamd: address, ...answer }, 'clamd does not answer');
    else log.info({ clamd: address, ...answer }, 'clamd answers');
  }
  for (const { address, answer } of (await spamd?.checkRules()) ?? []) {
    if (answer.kind === 'loaded') log.info({ spamd: address }, 'spamd answers, sluice.cf is loaded');
    else log.error({ spamd: address, ...answer }, 'spamd can not be used as it is');
  }
  if (clamd === null) log.warn({}, 'No virus scanner: nothing is checked for viruses');
  if (spamd === null) log.warn({}, 'No spam scanner: nothing is checked for spam');
}
