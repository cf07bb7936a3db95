/**
 * bayes-rounds — who hears of held mail and lessons that can't be carried: a line when it begins, not one a minute.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNews, type RoundTrip } from '../../review/bayes-rounds.ts';
import type { BayesStep } from '../../workers/bayes-step.ts';
import { recordingLog } from '../filter/store-rig.ts';

const trip = (node: string, ...steps: BayesStep[]): RoundTrip => ({
  node,
  errands: {
    moved: 0,
    taught: 0,
    troubles: steps.map((step) => ({ kind: 'failed', step, message: 'no room', remedy: 'make some' })),
  },
});

test('createNews() tells of a node where carrying fails, once, and when it works again', () => {
  const log = recordingLog();
  const tell = createNews(log);
  const trouble = 'warn Cannot carry all of what a backup holds and was taught: tried again each minute';
  tell([trip('one', 'receive', 'receive'), trip('other')]);
  tell([trip('one', 'receive'), trip('other')]);
  assert.deepEqual(log.lines, [trouble]);
  tell([trip('one'), trip('other', 'answer')]);
  assert.deepEqual(log.lines.slice(1), ['info What a backup holds and was taught is carried again', trouble]);
});

test('createNews() says nothing of a node that is away: the alarm of the nightly run does', () => {
  const log = recordingLog();
  const tell = createNews(log);
  tell([trip('one', 'connect')]);
  tell([trip('one')]);
  assert.deepEqual(log.lines, []);
  tell([trip('one', 'receive')]);
  tell([trip('one', 'connect')]);
  tell([trip('one', 'receive')]);
  assert.equal(log.lines.length, 1, 'away in between, it is no news');
});
