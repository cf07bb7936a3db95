/**
 * audit-text — what people did, as a table.
 */
import type { AuditEntry } from './audit.ts';
import { localTime, table } from './table.ts';

/** One line for each, in lines of so many columns; `withId`: also which item it was done with. */
export function auditTable(
  entries: readonly AuditEntry[],
  { columns, withId }: { columns: number; withId: boolean },
): string {
  const rows = entries.map(({ at, actor, verb, quarantineId, detail, outcome }) => [
    localTime(at),
    actor,
    [verb, ...wordsOf(detail)].join(' '),
    ...(withId ? [quarantineId ?? ''] : []),
    outcome ?? 'under way, or its process died',
  ]);
  const head = ['time', 'by', 'did', ...(withId ? ['id'] : []), 'outcome'];
  return table(head, rows, { columns, cut: ['did', 'outcome'] });
}

/** What was asked for, without what was left open. */
function wordsOf(detail: unknown): string[] {
  if (typeof detail !== 'object' || detail === null) return [];
  return Object.entries(detail).flatMap(([name, value]: [string, unknown]) => {
    if (value === null || value === false || (Array.isArray(value) && value.length === 0)) return [];
    if (value === true) return [name];
    const isPlain = Array.isArray(value) && value.every((one) => typeof one === 'string');
    const text = typeof value === 'string' ? value : isPlain ? value.join(' ') : JSON.stringify(value);
    return [`${name} ${text}`];
  });
}
