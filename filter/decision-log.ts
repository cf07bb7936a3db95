/**
 * decision-log — what was decided, in the log: one line per recipient, in one of two forms.
 *
 * `json`: one JSON line with both queue ids and the time of each stage; docs/logs.md is its contract, so that fields are
 * added and never renamed. `amavis`: lines of text in the form of amavisd-new, for parsers that know it.
 */
import type { Config } from '../rules/config.ts';
import type { LineWriter, Log } from '../workers/log.ts';
import type { Account, RecipientAccount } from './account.ts';
import { createAmavisLines } from './amavis-line.ts';

/** Writes an account in the configured form: JSON through `log`, other text to `output`. */
export function createDecisionLog(
  { format, level }: Config['log'],
  log: Log,
  output: LineWriter,
): (account: Account) => void {
  if (format === 'json') return (account) => logJson(account, log);
  // A decision has the level info.
  if (level === 'warn' || level === 'error') return () => undefined;
  const linesOf = createAmavisLines(process.pid);
  return (account) => {
    for (const line of linesOf(account)) output.write(`${line}\n`);
  };
}

function logJson(account: Account, log: Log): void {
  for (const one of account.recipients) {
    const write = one.alarm ? log.warn : log.info;
    write(fieldsOf(account, one), 'Recipient decided');
  }
}

function fieldsOf(account: Account, one: RecipientAccount): object {
  const { queueId, direction, protocol, client, sender, messageId, sizeBytes, report } = account;
  const { recipient, outcome, verdict, disposition, score, why, repeated, reason } = one;
  return {
    queueId,
    queueIdOut: one.queueIdOut,
    quarantineId: one.quarantineId,
    direction,
    protocol,
    client,
    sender,
    recipient,
    messageId,
    sizeBytes,
    outcome,
    verdict,
    disposition,
    score,
    virus: report?.virus.kind === 'infected' ? report.virus.name : null,
    why,
    repeated,
    reason,
    code: one.reply.code,
    reply: one.reply.text,
    ms: timesOf(account),
    ...(one.alarm ? { alarm: true } : {}),
  };
}

/** Milliseconds, to a tenth; `virus` and `spam` are the two parts of `scan`, side by side. */
function timesOf({ ms, report }: Account): Readonly<Record<string, number>> {
  const { receive, scan, quarantine, reinject, ledger, total } = ms;
  const all = { receive, scan, virus: report?.virusMs ?? 0, spam: report?.spamMs ?? 0 };
  const times = { ...all, quarantine, reinject, ledger, total };
  return Object.fromEntries(
    Object.entries(times).map(([stage, time]) => [stage, Math.round(time * 10) / 10]),
  );
}
