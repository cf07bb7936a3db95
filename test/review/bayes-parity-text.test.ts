/**
 * bayes-parity-text — what an administrator reads of a comparison: figures, the worst messages, rules of one side.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parityText, paritySummaryText } from '../../review/bayes-parity-text.ts';
import { compareScores, type Score } from '../../rules/bayes-parity.ts';

const thresholds = [{ name: 'spam', score: 6.5 }];

function scored(id: string, probability: number | null, score: number, rules: string[] = []): Score {
  return { kind: 'scored', id, probability, score, rules };
}

test('parityText() tells figures, the worst messages and rules that hit on one side', () => {
  const here = [scored('held:1', 0.9999, 8.2, ['BAYES_99', 'X']), scored('recent:2', 0.1, 0)];
  const there = [scored('held:1', null, 4.7, ['X']), scored('recent:2', 0.1, 0)];
  const text = parityText('root@mx2.example', {
    kind: 'compared',
    parity: compareScores(here, there, thresholds),
    warnings: [],
  });
  assert.equal(
    text,
    [
      'root@mx2.example: judges otherwise: 2 of 2 messages scored on both: 1 with another probability (at most 0.50 apart), 1 with another score, 1 with another verdict',
      '',
      'the worst  here         there            between them  only here  only there',
      'held:1     0.9999, 8.2  no opinion, 4.7  spam          BAYES_99   -',
      '',
      'rule that hit on one side  only here  only there',
      'BAYES_99                   1          0',
    ].join('\n'),
  );
});

test('parityText() tells why messages have no score, harmless on a terminal', () => {
  const there: Score[] = [{ kind: 'unscored', id: 'a', reason: 'spamd \u001b[31mended' }];
  const parity = compareScores([scored('a', 0.5, 1)], there, thresholds);
  const text = parityText('mx2', { kind: 'compared', parity, warnings: ['no quarantine'] });
  assert.match(text, /^mx2: unknown: 0 of 1 messages scored on both: /);
  assert.match(text, /\n {2}warning: no quarantine\n {2}1 not scored there: spamd /);
  assert.ok(!text.includes('\u001b'));
});

test('parityText() tells what to do where nothing could be compared', () => {
  const unknown = {
    kind: 'unknown',
    messages: 3,
    message: 'Cannot score: no spamd',
    remedy: 'install it',
  } as const;
  assert.equal(parityText('mx2', unknown), 'mx2: unknown: Cannot score: no spamd\n  remedy: install it');
  assert.match(parityText('mx1', { kind: 'off' }), /bayes\.sample/);
});

test('paritySummaryText() says 200 of 200 where all is well', () => {
  const scores = Array.from({ length: 200 }, (_, at) => scored(String(at), 0.5, 1));
  const { summary } = compareScores(scores, scores, thresholds);
  assert.equal(
    paritySummaryText(summary),
    '200 of 200 messages scored on both: 0 with another probability, 0 with another score, 0 with another verdict',
  );
});
