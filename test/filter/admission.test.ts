/**
 * admission — a ceiling for messages in flight; a place comes back once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAdmission } from '../../filter/admission.ts';

test('createAdmission() gives out so many places, and a released one again, once', () => {
  const { admit, inFlight } = createAdmission(2);
  const [first, second] = [admit(), admit()];
  assert.ok(first !== null && second !== null);
  assert.deepEqual([admit(), inFlight()], [null, 2]);
  first();
  first();
  assert.equal(inFlight(), 1);
  assert.ok(admit() !== null);
  assert.deepEqual([admit(), inFlight()], [null, 2]);
});
