/**
 * trusted-clients — who may speak: loopback always, the named ones in every notation, nobody else.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustedClients, plainAddress } from '../../filter/trusted-clients.ts';

const entries = ['192.0.2.7', '198.51.100.0/24', '2001:db8::/32', '2001:DB9::1', '::ffff:203.0.113.5'];
const addresses: readonly [string, boolean][] = [
  ['127.0.0.1', true],
  ['127.8.9.10', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['192.0.2.7', true],
  ['::ffff:192.0.2.7', true],
  ['192.0.2.8', false],
  ['198.51.100.0', true],
  ['198.51.100.255', true],
  ['198.51.101.0', false],
  ['2001:db8:ffff::1', true],
  ['2001:db9::1', true],
  ['2001:db9::2', false],
  ['fe80::1%eth0', false],
  ['203.0.113.5', true],
  ['', false],
  ['example.org', false],
];

for (const [address, trusted] of addresses) {
  test(`parseTrustedClients() ${trusted ? 'trusts' : 'does not trust'} ${JSON.stringify(address)}`, () => {
    assert.equal(parseTrustedClients(entries).has(address), trusted);
  });
}

test('plainAddress() takes away zone ids and the mapping into IPv6', () => {
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  assert.equal(plainAddress('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(plainAddress('::1'), '::1');
});
