/** postfix-queue — where a message is, in the words of postqueue(1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeAmong, placeInQueue } from '../../workers/postfix-queue.ts';

const line = (queue: string, id: string, reason?: string) =>
  JSON.stringify({
    queue_name: queue,
    queue_id: id,
    arrival_time: 1,
    message_size: 300,
    forced_expire: false,
    sender: 'a@example.net',
    recipients: [{ address: 'b@example.com', ...(reason === undefined ? {} : { delay_reason: reason }) }],
  });

test('placeAmong() tells what Postfix is busy with from what waits, and from what is gone', () => {
  const lines = `${[
    line('incoming', 'A1'),
    line('active', 'A2'),
    line('deferred', 'A3', 'connection refused'),
    line('hold', 'A4'),
    line('maildrop', 'A22'),
  ].join('\n')}\n`;
  const table = {
    A1: { kind: 'under way' },
    A2: { kind: 'under way' },
    A22: { kind: 'under way' },
    A3: { kind: 'waiting', reason: 'connection refused' },
    A4: { kind: 'waiting', reason: 'it is in the queue "hold"' },
    A5: { kind: 'gone' },
    A: { kind: 'gone' },
  };
  for (const [id, place] of Object.entries(table)) assert.deepEqual(placeAmong(lines, id), place, id);
  assert.deepEqual(placeAmong('', 'A1'), { kind: 'gone' });
});

test('placeInQueue() says why the queue can not be asked', async () => {
  const place = await placeInQueue('A1', '/nonexistent');
  assert.equal(place.kind, 'unknown');
  assert.match(place.kind === 'unknown' ? place.why : '', /nonexistent|ENOENT/);
});
