/**
 * quarantine-command — `sluice quarantine list|search|show|audit`: the verbs that only look, with text or JSON around them.
 */
import { parseQuery, type Query } from '../filter/query.ts';
import { recipientStates } from '../filter/quarantine.ts';
import { atDesk } from './at-desk.ts';
import { auditTable } from './audit-text.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { formatItem, itemJson, rowOf } from './item-text.ts';
import { table } from './table.ts';
import { auditTrail, list, search, show } from './verbs.ts';

/** Lists what waits for a decision, newest first. */
export async function listHeld(invocation: Invocation): Promise<number> {
  const { options } = invocation;
  const paging = { all: options.all === true, limit: limitOf(options.limit), before: options.before };
  return atDesk(invocation, async (desk, actor) => {
    printItems(invocation, await list(actor, desk, paging), 'Nothing is held.');
    return 0;
  });
}

/** Lists what a query finds, newest first. */
export async function searchHeld(invocation: Invocation): Promise<number> {
  const { words, options } = invocation;
  const query = queryOf(words.join(' '), recipientStates);
  const paging = { all: options.all === true, limit: limitOf(options.limit), before: options.before };
  return atDesk(invocation, async (desk, actor) => {
    printItems(invocation, await search(actor, desk, query, paging), 'Nothing is found.');
    return 0;
  });
}

const head = ['held since', 'id', 'why', 'from', 'to', 'subject'];

function printItems(
  { options, columns, print, printJson }: Invocation,
  items: Awaited<ReturnType<typeof list>>,
  none: string,
): void {
  if (options.json === true) printJson(items);
  else if (items.length === 0) print(none);
  else print(table(head, items.map(rowOf), { columns, cut: ['why', 'from', 'to', 'subject'] }));
}

/** Shows why one message is held, for whom, and what happened since. */
export async function showHeld(invocation: Invocation): Promise<number> {
  const { words, options, columns, print, printJson } = invocation;
  return atDesk(invocation, async (desk, actor) => {
    const item = await show(actor, desk, words[0] ?? '');
    if (options.json === true) printJson(itemJson(item));
    else print(formatItem(item, columns).join('\n'));
    return 0;
  });
}

/** Lists what people did, newest first: with everything, or with one item. */
export async function listAudit(invocation: Invocation): Promise<number> {
  const { words, options, columns, print, printJson } = invocation;
  const [quarantineId] = words;
  const limit = limitOf(options.limit);
  return atDesk(invocation, async (desk, actor) => {
    const asked = quarantineId === undefined ? { limit } : { limit, quarantineId };
    const entries = await auditTrail(actor, desk, asked);
    if (options.json === true) printJson(entries);
    else if (entries.length === 0) print('Nothing was done.');
    else print(auditTable(entries, { columns, withId: quarantineId === undefined }));
    return 0;
  });
}

/** The number of --limit. */
export function limitOf(text: string | undefined): number {
  const limit = text === undefined ? 50 : Number(text);
  if (Number.isSafeInteger(limit) && limit >= 1) return limit;
  throw new UsageError(`--limit: "${text}" is no positive whole number`);
}

/** The query in these words; what is wrong with it is a UsageError with every problem. */
export function queryOf(text: string, states: readonly string[]): Query {
  const { query, problems } = parseQuery(text, { states, now: Date.now() });
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  return query;
}
