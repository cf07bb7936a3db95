/**
 * recipient — under which names an address is looked up.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { canonicalAddress, canonicalDomain, lookupKeysOf, unwrapSender } from '../../rules/recipient.ts';

test('canonicalAddress() compares addresses as people mean them', () => {
  const table: [label: string, address: string, canonical: string | null][] = [
    ['lower case', 'Sales@EXAMPLE.com', 'sales@example.com'],
    ['quotes are no part of the name', '"sales"@example.com', 'sales@example.com'],
    ['quoted pairs', '"a\\"b\\@c"@example.com', 'a"b@c@example.com'],
    ['an @ in quotes', '"a@b"@example.com', 'a@b@example.com'],
    ['source route', '@a.example,@b.example:user@example.com', 'user@example.com'],
    ['final dot', 'user@example.com.', 'user@example.com'],
    ['U-label', 'user@bücher.example', 'user@xn--bcher-kva.example'],
    ['A-label in upper case', 'user@XN--BCHER-KVA.example', 'user@xn--bcher-kva.example'],
    ['decomposed U-label', 'user@bu\u0308cher.example', 'user@xn--bcher-kva.example'],
    ['ideographic full stop', 'user@bücher。example', 'user@xn--bcher-kva.example'],
    ['UTF-8 local part', 'JOSÉ@example.com', 'josé@example.com'],
    ['address literal', 'user@[IPv6:::1]', 'user@[ipv6:::1]'],
    ['octets that are no UTF-8', 'a\udcff@example.com', 'a\udcff@example.com'],
    ['no domain', 'postmaster', null],
    ['empty', '', null],
    ['no local part', '@example.com', null],
    ['empty quotes', '""@example.com', null],
    ['empty domain', 'user@', null],
    ['empty label', 'user@a..b', null],
    ['a domain that is none', `user@${'a.'.repeat(5000)}b`, null],
  ];
  for (const [label, address, canonical] of table) assert.equal(canonicalAddress(address), canonical, label);
});

test('canonicalDomain() agrees with the URL standard on real names', () => {
  const names = [
    'bücher.example',
    'BÜCHER.example',
    'münchen.de',
    'straße.example',
    'ÖBB.at',
    'παράδειγμα.δοκιμή',
    'ΌΣΟΣ.example',
    'пример.испытание',
    '例え.テスト',
    '例子.测试',
    '실례.테스트',
    'उदाहरण.परीक्षा',
    'مثال.إختبار',
    'ｅｘａｍｐｌｅ.com',
    'a\u0308.example',
    '☃.net',
    'ليهمابتكلموشعربي؟.example'.replace('؟', ''),
    'ポケモン.example',
    '3年b組金八先生.example',
    'düsseldorf-größe.example',
    '💩.la',
    'xn--bcher-kva.example',
  ];
  for (const name of names) assert.equal(canonicalDomain(name), domainToASCII(name), name);
});

test('canonicalDomain() encodes any label as RFC 3492 does', () => {
  const letter = fc.integer({ min: 0x4e00, max: 0x9fa5 }).map((point) => String.fromCodePoint(point));
  const ascii = fc.constantFrom('a', 'b', 'z', '0', '9');
  fc.assert(
    fc.property(fc.array(fc.oneof(letter, ascii), { minLength: 1, maxLength: 12 }), (letters) => {
      const label = `a${letters.join('')}`;
      assert.equal(canonicalDomain(`${label}.example`), domainToASCII(`${label}.example`));
    }),
    { numRuns: 500 },
  );
});

test('lookupKeysOf() goes from the address to the farthest parent', () => {
  const table: [key: string, keys: string[]][] = [
    ['u+x@a.b.example', ['u+x@a.b.example', 'u@a.b.example', 'a.b.example', '.b.example', '.example']],
    ['u+x+y@example', ['u+x+y@example', 'u@example', 'example']],
    ['+x@example', ['+x@example', 'example']],
    ['u@exa+mple', ['u@exa+mple', 'exa+mple']],
    ['a.b.c', ['a.b.c', '.b.c', '.c']],
    ['.b.c', ['.b.c', '.c']],
  ];
  for (const [key, keys] of table) assert.deepEqual(lookupKeysOf(key), keys, key);
});

test('unwrapSender() finds what BATV and SRS wrapped', () => {
  const table: [label: string, sender: string, original: string][] = [
    ['BATV', 'prvs=4312ab89cd=user@example.com', 'user@example.com'],
    ['BATV with = in the name', 'prvs=4312ab89cd=a=b@example.com', 'a=b@example.com'],
    ['old BATV', 'prvs=user/4312ab89cd@example.com', 'user@example.com'],
    ['no tag', 'prvs=user@example.com', 'prvs=user@example.com'],
    ['SRS0', 'srs0=hhhh=tt=example.com=user@forwarder.example', 'user@example.com'],
    ['SRS0 with other separators', 'srs0+hhhh=tt=example.com=user@forwarder.example', 'user@example.com'],
    ['SRS0 with = in the name', 'srs0=hhhh=tt=example.com=a=b@forwarder.example', 'a=b@example.com'],
    ['SRS1', 'srs1=gggg=first.example==hhhh=tt=example.com=user@second.example', 'user@example.com'],
    ['cut SRS0', 'srs0=hhhh=tt@forwarder.example', 'srs0=hhhh=tt@forwarder.example'],
    ['cut SRS1', 'srs1=hhhh@forwarder.example', 'srs1=hhhh@forwarder.example'],
    ['neither', 'user@example.com', 'user@example.com'],
  ];
  for (const [label, sender, original] of table) assert.equal(unwrapSender(sender), original, label);
});

test('canonicalAddress() and lookupKeysOf() take any string', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.string({ maxLength: 300 }),
      (local, domain) => {
        const canonical = canonicalAddress(`${local}@${domain}`);
        if (canonical === null) return;
        assert.equal(lookupKeysOf(canonical)[0], canonical);
        assert.equal(typeof unwrapSender(canonical), 'string');
      },
    ),
  );
});
