/**
 * settlement — one outcome per recipient object, and how many of them make the one reply of SMTP.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createSettlements, type Settlements } from '../../filter/settlement.ts';
import type { Recipient } from '../../rules/mail.ts';
import { replyFor } from '../../rules/replies.ts';

type Kind = 'delivered' | 'held' | 'discarded' | 'refused' | 'deferred' | 'open';

const recipientsOf = (count: number): Recipient[] =>
  Array.from({ length: count }, () => ({ address: 'same@example.com', notify: null, orcpt: null }));

function settleAs(
  settlements: Settlements,
  recipient: Recipient,
  kind: Kind,
  queueIdOut: string | null = 'B1',
): void {
  switch (kind) {
    case 'delivered':
      return settlements.deliver(recipient, queueIdOut);
    case 'held':
      return settlements.hold([recipient], 'f'.repeat(32));
    case 'discarded':
      return settlements.discard([recipient]);
    case 'refused':
      return settlements.refuse(recipient, { code: 550, enhanced: '5.1.1', text: 'No such\nuser\u0000' });
    case 'deferred':
      return settlements.defer([recipient], 'scanUnavailable');
    case 'open':
      return;
    default:
      return kind satisfies never;
  }
}

function repliesFor(kinds: readonly Kind[], protocol: 'smtp' | 'lmtp'): string[] {
  const recipients = recipientsOf(kinds.length);
  const settlements = createSettlements(recipients);
  for (const [at, kind] of kinds.entries()) settleAs(settlements, recipients[at] ?? never(), kind);
  return settlements.replies(protocol).map(({ code, enhanced, text }) => `${code} ${enhanced} ${text}`);
}

function never(): never {
  throw new Error('no such recipient');
}

test('replies() combines the outcomes of one SMTP transaction', () => {
  const delivered = '250 2.0.0 Ok: handed to the return smtpd: queued as B1';
  const held = `250 2.0.0 Ok: held in quarantine: ${'f'.repeat(32)}`;
  for (const [label, kinds, reply] of [
    ['nobody', [], '451 4.3.0 Internal error, try again later'],
    ['delivered', ['delivered'], delivered],
    ['a delivery says more than a hold', ['held', 'delivered'], delivered],
    ['held beside discarded', ['held', 'discarded'], held],
    ['refused beside held', ['refused', 'held'], held],
    ['refused beside discarded', ['refused', 'discarded'], '250 2.0.0 Ok: discarded by policy'],
    ['all refused', ['refused', 'refused'], '550 5.1.1 No such user'],
    [
      'one deferred',
      ['delivered', 'deferred', 'refused'],
      '451 4.3.0 Content scan unavailable, try again later',
    ],
    ['one left open', ['delivered', 'open'], '451 4.3.0 Internal error, try again later'],
  ] as const satisfies readonly [string, readonly Kind[], string][]) {
    assert.deepEqual(repliesFor(kinds, 'smtp'), [reply], label);
  }
});

test('replies() of LMTP are one per recipient, in order, none missing', () => {
  const kinds = fc.array(
    fc.constantFrom<Kind>('delivered', 'held', 'discarded', 'refused', 'deferred', 'open'),
  );
  fc.assert(
    fc.property(kinds, (all) => {
      const codes = repliesFor(all, 'lmtp').map((reply) => reply.slice(0, 3));
      const code = (kind: Kind) =>
        kind === 'refused' ? '550' : kind === 'deferred' || kind === 'open' ? '451' : '250';
      assert.deepEqual(codes, all.map(code));
      const smtp = repliesFor(all, 'smtp');
      assert.equal(smtp.length, 1);
      if (codes.includes('451')) assert.match(smtp[0] ?? '', /^451/, 'a deferral defers all');
    }),
  );
});

test('replies() names every queue id of the return smtpd once', () => {
  const recipients = recipientsOf(4);
  const settlements = createSettlements(recipients);
  for (const [at, id] of ['B1', 'B2', 'B1', null].entries())
    settlements.deliver(recipients[at] ?? never(), id);
  assert.deepEqual(settlements.replies('smtp'), [replyFor('delivered', 'queued as B1, B2')]);
  assert.equal(settlements.replies('lmtp')[3]?.text, 'Ok: handed to the return smtpd');
});

test('the first outcome of a recipient stands: an effect can not be taken back', () => {
  const [one, other] = recipientsOf(2);
  assert.ok(one !== undefined && other !== undefined);
  const settlements = createSettlements([one, other]);
  settlements.deliver(one, 'B1');
  for (const kind of ['held', 'discarded', 'refused', 'deferred'] as const) settleAs(settlements, one, kind);
  settlements.deferRest('internal');
  assert.deepEqual([settlements.get(one)?.kind, settlements.get(other)?.kind], ['delivered', 'deferred']);
});

test('repeat() gives the reply of the ledger word for word', () => {
  const recipients = recipientsOf(1);
  const settlements = createSettlements(recipients);
  const reply = { code: 250, enhanced: '2.0.0', text: 'as it was said' };
  const entry = { key: 'k', queueId: 'A', queueIdOut: 'B', quarantineId: null, at: 0 };
  settlements.repeat(recipients[0] ?? never(), { ...entry, outcome: 'delivered', reply });
  assert.deepEqual([settlements.replies('smtp'), settlements.replies('lmtp')], [[reply], [reply]]);
});

test('deferAlike() gives everybody who is open the reply of the first deferral; without one it does nothing', () => {
  const recipients = recipientsOf(3);
  const settlements = createSettlements(recipients);
  settlements.deliver(recipients[0] ?? never(), 'B1');
  settlements.deferAlike();
  assert.equal(settlements.open().length, 2);
  settlements.defer(recipients.slice(2), 'loop');
  settlements.deferAlike();
  assert.deepEqual(settlements.replies('lmtp').slice(1), [replyFor('loop'), replyFor('loop')]);
  assert.deepEqual([settlements.anyDeferred(), settlements.of('delivered').length], [true, 1]);
});

test('deferRefused() takes back a refusal that nobody was told of', () => {
  const recipients = recipientsOf(2);
  const settlements = createSettlements(recipients);
  settlements.deliver(recipients[0] ?? never(), 'B1');
  settleAs(settlements, recipients[1] ?? never(), 'refused');
  settlements.deferRefused(settlements.of('refused'), 'returnUnavailable');
  assert.deepEqual(settlements.replies('smtp'), [replyFor('returnUnavailable')]);
});
