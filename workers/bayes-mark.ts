/**
 * bayes-mark — the mark beside a generation, as text.
 *
 * Hides its JSON, which a store keeps and anybody may have changed: a mark that is none counts as missing.
 */
import { z } from 'zod';
import type { Mark } from './bayes-store.ts';

const count = z.int().nonnegative();

/** A mark as outside data. */
export const markShape = z.object({
  snapshotId: z.int().positive(),
  takenAt: count,
  nspam: count,
  nham: count,
  tokens: count,
  digest: z.string(),
  restoredAt: count,
});

/** The mark in a text, null where there is none. */
export function parseMark(text: string | null | undefined): Mark | null {
  if (text === null || text === undefined) return null;
  try {
    return markShape.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    // No JSON: as good as no mark.
    return null;
  }
}

/** A mark in at most 120 characters, for a column that is narrow. */
export function formatShortMark({
  snapshotId,
  takenAt,
  nspam,
  nham,
  tokens,
  digest,
  restoredAt,
}: Mark): string {
  return JSON.stringify([snapshotId, takenAt, nspam, nham, tokens, digest, restoredAt]);
}

/** What `formatShortMark` wrote, null where it is none. */
export function parseShortMark(text: string | null | undefined): Mark | null {
  if (text === null || text === undefined || !text.startsWith('[')) return null;
  const names = ['snapshotId', 'takenAt', 'nspam', 'nham', 'tokens', 'digest', 'restoredAt'];
  const values = text.slice(1, -1).split(',');
  return parseMark(`{${names.map((name, at) => `"${name}":${values[at] ?? 'null'}`).join()}}`);
}
