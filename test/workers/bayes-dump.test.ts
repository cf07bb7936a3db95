/**
 * bayes-dump — what a dump is measured to hold, however it is cut into pieces; marks and manifests that others wrote.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSameContent, measureDump } from '../../workers/bayes-dump.ts';
import { parseManifest } from '../../workers/bayes-manifest.ts';
import { formatShortMark, parseMark, parseShortMark } from '../../workers/bayes-mark.ts';
import { dumpOf, only, snapshotOf, wordsOf } from './bayes-rig.ts';

const dump = dumpOf(wordsOf('spam', 50));

async function wholeOf(text: string) {
  const measured = await measureDump(only(Buffer.from(text)));
  assert.ok(measured.kind === 'whole', JSON.stringify(measured));
  return measured;
}

test('measureDump() is the same for every cut, every order and every time of use', async () => {
  const expected = await wholeOf(dump);
  assert.deepEqual(
    [expected.nspam, expected.nham, expected.tokens, expected.seen, expected.dbVersion],
    [300, 300, 50, 2, 3],
  );
  for (const size of [1, 2, 7, 64]) {
    const pieces = async function* () {
      for (let at = 0; at < dump.length; at += size) yield Buffer.from(dump.slice(at, at + size));
    };
    assert.deepEqual(await measureDump(pieces()), expected);
  }
  const [head, ...rest] = dump.trimEnd().split('\n');
  assert.ok(isSameContent(await wholeOf([head, ...rest.toReversed(), ''].join('\n')), expected));
  assert.ok(isSameContent(await wholeOf(dump.replaceAll(/^(t\t\d+\t\d+\t)\d+/gm, '$15')), expected));
  assert.ok(isSameContent(await wholeOf(`${dump}t\t0\t0\t5\tabcdef0123\n`), expected), 'tokens of nothing');
  assert.ok(!isSameContent(await wholeOf(dump.replace('t\t250', 't\t251')), expected));
});

test('measureDump() tells what is no dump', async () => {
  for (const [why, text] of [
    [/empty/, ''],
    [/cut/, dump.slice(0, -1)],
    [/begin/, dump.slice(dump.indexOf('\n') + 1)],
    [/num_spam/, dump.replace('num_spam', 'num_spat')],
    [/1 of its/, `${dump}hello\n`],
    [/1 of its/, dump.replace(/t\t250/, 't\t-250')],
  ] as const) {
    const measured = await measureDump(only(Buffer.from(text)));
    assert.ok(measured.kind === 'broken', text.slice(0, 60));
    assert.match(measured.why, why);
  }
});

test('parseManifest() says what is wrong and believes no name that leads elsewhere', async (t) => {
  const { manifest } = await snapshotOf(t, dump);
  assert.deepEqual(parseManifest(JSON.stringify(manifest)), manifest);
  const file = manifest.files[0];
  assert.ok(file !== undefined);
  for (const files of [
    [],
    [{ ...file, name: '../bayes.gz' }],
    [{ ...file, name: 'policies.yaml' }],
    [file, { ...file, name: 'manifest.json' }],
    [file, file],
    [{ ...file, sizeBytes: -1 }],
    [{ ...file, sha256: 'x' }],
  ])
    assert.ok('problem' in parseManifest(JSON.stringify({ ...manifest, files })), JSON.stringify(files));
  for (const text of ['', '{', 'null', '[]', '{"__proto__":{}}'])
    assert.ok('problem' in parseManifest(text), text);
});

test('parseShortMark() reads what formatShortMark() wrote, in less than a column has', () => {
  const large = { nspam: 99_999_999, nham: 99_999_999, tokens: 999_999_999 };
  const mark = {
    snapshotId: 9_999_999_999_999,
    takenAt: 9_999_999_999_999,
    ...large,
    digest: 'f'.repeat(32),
    restoredAt: 9_999_999_999_999,
  };
  assert.deepEqual(parseShortMark(formatShortMark(mark)), mark);
  assert.ok(formatShortMark(mark).length <= 200);
  for (const text of ['', '[', '[1,2]', 'null', null, undefined]) assert.equal(parseShortMark(text), null);
  for (const text of ['', '{', 'null', 'loading', null]) assert.equal(parseMark(text), null);
});
