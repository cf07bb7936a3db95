/**
 * fair-priority — the order of waiting jobs: first come, first served, with a handicap for size and for bulk.
 *
 * Hides BullMQ's priorities (1 … 2^21 - 1, the smallest is next). A priority is a point in virtual time: arrival in tenths of
 * a second, plus up to 2 s for size, plus half a second for each job of the same sender's domain that waits already, 30 s
 * at most. Time moves on, so nothing starves: what has waited 32 s is overtaken by nobody who comes now.
 */

/** Virtual time goes round after this many milliseconds, some 58 hours. */
export const roundMs = 2 ** 21 * 100 - 100_000;

const tickMs = 100;
const sizeMsMax = 2_000;
const sizeBytesOfMax = 25 * 1024 ** 2;
const bulkMsPerJob = 500;
const bulkMsMax = 30_000;

/** The priority of a job. `arrivalMs`: Redis' clock; `waitingOfSender`: how many of the sender's jobs wait already. */
export function priorityOf(job: { arrivalMs: number; sizeBytes: number; waitingOfSender: number }): number {
  const size = Math.min(sizeMsMax, (job.sizeBytes / sizeBytesOfMax) * sizeMsMax);
  const bulk = Math.min(bulkMsMax, job.waitingOfSender * bulkMsPerJob);
  return 1 + Math.floor(((job.arrivalMs % roundMs) + size + bulk) / tickMs);
}

/**
 * Whose jobs count together. Bulk mail has another local part for each recipient (VERP, BATV), so the sender's domain does;
 * bounces count together, and so does what is learned.
 */
export function bulkOf({ task, sender }: { readonly task: string; readonly sender: string }): string {
  if (task !== 'scan') return 'learn';
  if (sender === '') return '<>';
  return `@${sender.slice(sender.lastIndexOf('@') + 1)}`.toLowerCase();
}

/** Which round of virtual time this is. Jobs of an earlier round come before all others: they get priority 1. */
export function roundOf(arrivalMs: number): number {
  return Math.floor(arrivalMs / roundMs);
}
