/**
 * item-text — the list says for what a copy is held, whatever else the scanners said.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ItemRow } from '../../filter/quarantine.ts';
import { rowOf } from '../../review/item-text.ts';

type Case = { verdict: string; why: string; score: number | null; virusName?: string };

function whyOf(score: number | null, virusName: string | null, slots: readonly Omit<Case, 'score'>[]) {
  const item: ItemRow = {
    quarantineId: 'a'.repeat(32),
    heldAt: 0,
    receivedAt: 0,
    queueId: null,
    direction: 'inbound',
    sender: '',
    from: null,
    subject: null,
    messageId: null,
    sizeBytes: 1,
    score,
    virusName,
    flag: null,
    movedFrom: null,
    slots: slots.map(({ verdict, why }, slot) => ({
      quarantineId: 'a'.repeat(32),
      slot,
      recipient: 'a@example.com',
      expiresAt: 0,
      verdict,
      why,
      state: 'held',
      actor: null,
      at: 0,
      owner: null,
      queueIdOut: null,
      trail: [],
    })),
  };
  return rowOf(item)[2];
}

test('rowOf() says why a message is held: what decided, with the score of the policy', () => {
  const overLimit =
    'score 0.1 is below every threshold; virus unchecked (overLimit): quarantine (shipped default)';
  const cases: [Case, string][] = [
    [{ verdict: 'unchecked', why: overLimit, score: 0.1 }, 'virus unchecked (overLimit)'],
    [
      { verdict: 'unchecked', why: 'spam unchecked (poison): quarantine (default)', score: null },
      'spam unchecked (poison)',
    ],
    [{ verdict: 'spam', why: 'score 12.5 >= quarantine 10 (default)', score: 12.5 }, 'score 12.5'],
    [
      // A phishing heuristic that adds points is no virus.
      {
        verdict: 'spam',
        why: 'score 11.25 >= quarantine 10 (default); virus Heuristics.Phishing adds 4',
        score: 7.25,
        virusName: 'Heuristics.Phishing',
      },
      'score 11.25',
    ],
    [{ verdict: 'virus', why: 'virus score 1: quarantine (default)', score: 3, virusName: 'Eicar' }, 'Eicar'],
    [{ verdict: 'spam', why: '', score: 12 }, 'score 12'],
    [{ verdict: 'unchecked', why: '', score: null }, 'unchecked'],
    [
      { verdict: 'spam', why: 'score -1.5 >= quarantine -2 (x) | score 3 >= quarantine 3 (y)', score: 1 },
      'score -1.5, score 3',
    ],
  ];
  for (const [one, expected] of cases)
    assert.equal(whyOf(one.score, one.virusName ?? null, [one]), expected, one.why);
  const spam = { verdict: 'spam', why: 'score 12 >= quarantine 10 (default)' };
  assert.equal(
    whyOf(12, null, [spam, { verdict: 'unchecked', why: overLimit }, spam]),
    'score 12, virus unchecked (overLimit)',
  );
});
