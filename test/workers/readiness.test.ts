/** readiness — checks that hang, fail, or are asked for all the time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TempFail } from '../../workers/fail.ts';
import { createReadiness } from '../../workers/readiness.ts';

const fine = async () => undefined;

test('createReadiness() is ready where nothing hinders and every check is fine', async () => {
  const look = createReadiness({ checks: { ledger: fine, history: fine }, hindrance: () => null });
  assert.deepEqual(await look(), { ready: true, hindrances: [], checks: { ledger: 'ok', history: 'ok' } });
});

test('createReadiness() names every reason, a failing check and one that hangs', async () => {
  const look = createReadiness({
    checks: {
      quarantine: () => Promise.reject(new TempFail('Cannot use quarantine.db: disk I/O error')),
      ledger: () => new Promise(() => undefined),
      history: fine,
    },
    hindrance: () => 'stopping',
    timeoutMs: 20,
  });
  assert.deepEqual(await look(), {
    ready: false,
    hindrances: [
      'stopping',
      'quarantine: Cannot use quarantine.db: disk I/O error',
      'ledger: no answer within 20 ms',
    ],
    checks: {
      quarantine: 'Cannot use quarantine.db: disk I/O error',
      ledger: 'no answer within 20 ms',
      history: 'ok',
    },
  });
});

test('createReadiness() asks once for all who ask together, and again a second after the answer', async () => {
  let [asked, now] = [0, 0];
  let answer = Promise.withResolvers<void>();
  const check = () => {
    asked++;
    return answer.promise;
  };
  const look = createReadiness({ checks: { ledger: check }, hindrance: () => null, clock: () => now });
  const askers = [look(), look()];
  now = 5000; // it takes its time: nobody asks a second time meanwhile
  askers.push(look());
  answer.resolve();
  assert.deepEqual(
    (await Promise.all(askers)).map(({ ready }) => ready),
    [true, true, true],
  );
  now = 5999;
  await look();
  assert.equal(asked, 1);
  now = 6000;
  answer = Promise.withResolvers<void>();
  answer.reject(new Error('gone'));
  assert.equal((await look()).ready, false);
  assert.equal(asked, 2);
});

test('createReadiness() sees the hindrance of this moment, whatever the age of the checks', async () => {
  let hindrance: string | null = 'starting';
  const look = createReadiness({ checks: { ledger: fine }, hindrance: () => hindrance });
  assert.deepEqual((await look()).hindrances, ['starting']);
  hindrance = null;
  assert.equal((await look()).ready, true);
});
