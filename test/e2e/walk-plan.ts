/**
 * walk-plan — which items the walk holds, and what shall become of each: the same in every process.
 */
import type { NewItem } from '../../filter/quarantine.ts';
import { spamFor } from '../filter/quarantine-rig.ts';

/** Things under way at the same time. */
export const atOnce = 8;

export type Fate = 'release' | 'delete' | 'learn' | 'expire' | 'keep';
const fates: readonly Fate[] = ['release', 'delete', 'learn', 'expire', 'keep'];

export function fateOf(number: number): Fate {
  return fates[number % fates.length] ?? 'keep';
}

export function subjectOf(number: number): string {
  return `walk ${number}.`;
}

export function bytesOf(number: number): Buffer {
  return Buffer.from(`Subject: ${subjectOf(number)}\r\n\r\n${'step '.repeat((number % 50) * 20)}\r\n`);
}

/** Every third has two recipients. */
export function recipientsOf(number: number): string[] {
  const first = `one${number}@example.com`;
  return number % 3 === 0 ? [first, `two${number}@example.org`] : [first];
}

export function itemOf(number: number): NewItem {
  const item = spamFor(recipientsOf(number), { queueId: `W${number}`, message: bytesOf(number) });
  const facts = {
    from: 'seller@example.net',
    subject: subjectOf(number),
    messageId: `<${number}@walk.example>`,
  };
  return { ...item, facts, retentionDays: fateOf(number) === 'expire' ? 1 : 30 };
}

export function keyOf(number: number): string {
  return itemOf(number).slots[0]?.ledgerKey ?? '';
}
