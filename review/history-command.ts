/**
 * history-command — `sluice history`: what the filter did with every message, one line per recipient.
 *
 * Only looks: history.db belongs to the filter, and is read as it stands.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openHistory, type HistoryRow, type OutcomeRow } from '../filter/history.ts';
import { outcomes } from '../filter/history-search.ts';
import { silentLog } from '../workers/log.ts';
import { actorOf, openStateAudit, siteWithState } from './at-desk.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { limitOf, queryOf } from './quarantine-command.ts';
import { localTime, table } from './table.ts';
import { history } from './verbs.ts';

/** Lists messages that the query finds (none: all), newest first, with the outcome of each recipient. */
export async function listHistory(invocation: Invocation): Promise<number> {
  const { words, options, columns, print, printJson } = invocation;
  const query = queryOf(words.join(' '), outcomes);
  const paging = { limit: limitOf(options.limit), before: scanIdOf(options.before) };
  const { config } = siteWithState(invocation);
  const file = join(config.state, 'history.db');
  const rows = existsSync(file) ? await ask() : [];
  if (options.json === true) printJson(rows);
  else if (rows.length === 0) print('Nothing is found.');
  else
    print(
      table(
        ['time', 'queue id', 'outcome', 'score', 'from', 'to', 'became', 'subject'],
        rows.flatMap(linesOf),
        { columns, cut: ['outcome', 'from', 'to', 'subject'] },
      ),
    );
  return 0;

  async function ask(): Promise<HistoryRow[]> {
    await using opened = new AsyncDisposableStack();
    const audit = opened.adopt(await openStateAudit(config), (one) => one.close());
    const told = opened.adopt(await openHistory({ file, log: silentLog, asItStands: true }), (one) =>
      one.close(),
    );
    return await history(actorOf(invocation), { audit, history: told }, query, paging);
  }
}

function linesOf(scan: HistoryRow): string[][] {
  // A message may have ended before anything was decided for anybody.
  const all: readonly (OutcomeRow | null)[] = scan.outcomes.length === 0 ? [null] : scan.outcomes;
  return all.map((outcome) => [
    localTime(scan.at),
    scan.queueId ?? '',
    outcome === null ? '' : outcomeText(outcome),
    scoreText(outcome?.score ?? scan.score),
    scan.from ?? (scan.sender === '' ? '<>' : scan.sender),
    outcome?.recipient ?? '',
    outcome?.queueIdOut ?? outcome?.quarantineId ?? '',
    scan.subject ?? '',
  ]);
}

/** In `mode: observe` a copy is delivered whatever was decided. */
function outcomeText({ outcome, verdict, disposition }: OutcomeRow): string {
  const spared = outcome === 'delivered' && disposition !== null && disposition !== 'deliver';
  const would = spared ? `, would ${disposition}` : '';
  return verdict === null || verdict === 'clean' ? `${outcome}${would}` : `${outcome} (${verdict}${would})`;
}

function scoreText(score: number | null): string {
  return score === null ? '' : String(score);
}

function scanIdOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const scanId = Number(text);
  if (Number.isSafeInteger(scanId) && scanId >= 1) return scanId;
  throw new UsageError(`--before: "${text}" is no scanId: take the last one of the --json before`);
}
