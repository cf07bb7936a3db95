/**
 * network — addresses at both edges of networks, in every notation.
 */
import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isInNetwork, prefixOf } from '../../rules/network.ts';

const cases: readonly [string, string, boolean | null][] = [
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.7', '192.0.2.8', false],
  ['192.0.2.0/25', '192.0.2.127', true],
  ['192.0.2.0/25', '192.0.2.128', false],
  ['10/8', '10.255.0.1', true],
  ['10.1.', '10.1.255.3', true],
  ['10.1.', '10.2.0.1', false],
  ['10', '10.9.9.9', true],
  ['0.0.0.0/0', '203.0.113.9', true],
  ['0.0.0.0/0', '2001:db8::1', false],
  ['[2001:db8::]/32', '2001:db8:ffff::1', true],
  ['2001:db8::/32', '2001:db9::1', false],
  ['[2001:db8::5]', '2001:0db8:0:0:0:0:0:5', true],
  ['[::1]/128', '::1', true],
  ['[::ffff:192.0.2.0]/120', '192.0.2.9', true],
  ['192.0.2.0/24', '::ffff:192.0.2.9', true],
  ['hash:/etc/postfix/networks', '192.0.2.9', null],
  ['mx2.example.com', '192.0.2.9', null],
  ['192.0.2.0/33', '192.0.2.9', null],
  ['300.1.1.1', '192.0.2.9', null],
  ['192.0.2.0/24', 'mx2', false],
];

suite('isInNetwork()', () => {
  for (const [network, address, expected] of cases)
    test(`${network} ${address}`, () => assert.equal(isInNetwork(network, address), expected));
});

test("isInNetwork() says what Node's BlockList says", () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.integer({ min: 1, max: 32 }), fc.ipV4(), (base, prefix, address) => {
      const list = new BlockList();
      list.addSubnet(base, prefix, 'ipv4');
      assert.equal(isInNetwork(`${base}/${prefix}`, address), list.check(address, 'ipv4'));
    }),
  );
  fc.assert(
    fc.property(fc.ipV6(), fc.integer({ min: 1, max: 128 }), fc.ipV6(), (base, prefix, address) => {
      fc.pre(!`${base}${address}`.includes('.'));
      const list = new BlockList();
      list.addSubnet(base, prefix, 'ipv6');
      assert.equal(isInNetwork(`[${base}]/${prefix}`, address), list.check(address, 'ipv6'));
    }),
  );
});

test('prefixOf() knows how narrow a network is', () => {
  assert.deepEqual(['10/8', '10.1.', '192.0.2.7', '[2001:db8::]/32', 'x'].map(prefixOf), [
    8,
    16,
    32,
    32,
    null,
  ]);
});
