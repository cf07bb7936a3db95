/** bayes-wire, bayes-parts — what is whole arrives as it was; what is cut, garbled or too large is never taken for whole. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { BayesFail, failed, refused } from '../../workers/bayes-step.ts';
import {
  type Answer,
  type Answerers,
  headBytesMax,
  packAnswer,
  packAsk,
  packParts,
  readAnswer,
  serveAsk,
  unpackParts,
} from '../../workers/bayes-wire.ts';

const payload = Buffer.concat([Buffer.from('first\n'), Buffer.alloc(700, 7), Buffer.from('last')]);

test('serveAsk() and readAnswer() carry heads and payloads both ways, however the octets come in pieces', async () => {
  const large = Buffer.alloc(300_000, 'abc');
  const answerers: Answerers = {
    score: async (parameters, input) => ({ head: { parameters }, payload: only(await allOf(input)) }),
  };
  const asked = await allOf(packAsk({ name: 'score', parameters: { a: [1] }, payload: only(large) }));
  for (const size of [1000, 65_536, asked.length]) {
    const { code, answered } = await serve(asked, answerers, size);
    assert.equal(code, 0);
    const answer = await read(answered, size);
    assert.deepEqual(answer.head, { parameters: { a: [1] } });
    assert.deepEqual(await allOf(answer.payload ?? none()), large);
  }
});

test('readAnswer() gives no payload where there is none', async () => {
  const { code, answered } = await serve(await allOf(packAsk({ name: 'hello' })), {
    hello: async () => ({ head: 1 }),
  });
  assert.equal(code, 0);
  assert.deepEqual(await read(answered), { head: 1 });
});

test('serveAsk() lets a BayesFail travel as a trouble, and any other error too', async () => {
  const asked = await allOf(packAsk({ name: 'hello' }));
  const table = [
    { error: refused('order', 'Cannot take it: old', 'export'), code: 1, step: 'order', kind: 'refused' },
    { error: failed('load', 'Cannot load: full', 'make room'), code: 69, step: 'load', kind: 'failed' },
    { error: new Error('surprise'), code: 69, step: 'receive', kind: 'failed' },
  ];
  for (const { error, code, step, kind } of table) {
    const served = await serve(asked, { hello: () => Promise.reject(error) });
    assert.equal(served.code, code);
    await assert.rejects(read(served.answered), { name: 'BayesFail', kind, step });
  }
});

test('serveAsk() refuses what it has no answer for, and an answer that its door does not give', async () => {
  for (const name of ['shell', 'bundle'] as const) {
    const asked = await allOf(packAsk({ name: name as 'bundle' }));
    const { code, answered } = await serve(asked, { hello: async () => ({ head: 1 }) });
    assert.equal(code, 1);
    await assert.rejects(read(answered), { kind: 'refused', step: 'receive' });
  }
});

test('a question that is cut at any octet is never answered', async () => {
  const asked = await allOf(packAsk({ name: 'bundle', parameters: {}, payload: only(payload) }));
  for (let size = 0; size < asked.length; size++) {
    let whole = false;
    const { code, answered } = await serve(asked.subarray(0, size), {
      bundle: async (_, input) => {
        await allOf(input);
        whole = true;
        return { head: 1 };
      },
    });
    assert.equal(whole, false, `cut at ${size}`);
    assert.notEqual(code, 0);
    await assert.rejects(read(answered), BayesFail, `cut at ${size}`);
  }
});

test('an answer that is cut at any octet, or has one bit changed, is never whole', async () => {
  const answered = await allOf(packAnswer({ head: { n: 1 }, payload: only(payload) }));
  const whole = async (octets: Buffer) => {
    const { head, payload: data } = await read(octets);
    return { head, data: await allOf(data ?? none()) };
  };
  assert.deepEqual(await whole(answered), { head: { n: 1 }, data: payload });
  for (let size = 0; size < answered.length; size++)
    await assert.rejects(whole(answered.subarray(0, size)), BayesFail, `cut at ${size}`);
  for (let bit = 0; bit < answered.length * 8; bit++) {
    const garbled = Buffer.from(answered);
    garbled.writeUInt8(garbled.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    await assert.rejects(whole(garbled), BayesFail, `bit ${bit}`);
  }
});

test('readAnswer() names the version of another wire, and shows what is no answer at all', async () => {
  await assert.rejects(read(Buffer.from('sluice-answer 2\n')), { kind: 'refused', message: /version 2/ });
  await assert.rejects(read(Buffer.from('Welcome to mx2!\n')), { message: /none: Welcome/ });
  await assert.rejects(read(Buffer.alloc(0)), { message: /none: $/ });
});

test('a head that is too large is neither sent nor read', async () => {
  const head = 'x'.repeat(headBytesMax);
  await assert.rejects(allOf(packAnswer({ head })), { step: 'send', message: /are allowed/ });
  const octets = Buffer.from(await allOf(packAnswer({ head: 1 })));
  octets.writeUInt32BE(headBytesMax + 1, 'sluice-answer 1\n'.length + 1);
  await assert.rejects(read(octets), { message: /garbled/ });
});

test('a payload that fails while it is sent arrives as the trouble that it is, not as a cut', async () => {
  const failing = async function* () {
    yield payload;
    throw failed('backup', 'Cannot read: gone', 'look');
  };
  const chunks: Buffer[] = [];
  const packing = (async () => {
    for await (const chunk of packAnswer({ head: 1, payload: failing() })) chunks.push(chunk);
  })();
  await assert.rejects(packing, { step: 'backup' });
  const answer = await read(Buffer.concat(chunks));
  await assert.rejects(allOf(answer.payload ?? none()), { step: 'backup', message: 'Cannot read: gone' });
});

test('serveAsk() ends when whoever asked is gone', async () => {
  const output = new PassThrough();
  output.destroy();
  const code = await serveAsk(only(await allOf(packAsk({ name: 'hello' }))), output, {
    hello: async () => ({ head: 1, payload: only(Buffer.alloc(2 ** 20)) }),
  });
  assert.equal(code, 69);
});

test('unpackParts() gives what packParts() took; parts that nobody reads are skipped', async () => {
  const given = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(200_000, 1), Buffer.from('four')];
  const parts = given.map((bytes, at) => ({ head: { at }, sizeBytes: bytes.length, bytes: only(bytes) }));
  const packed = await allOf(packParts(parts));
  const taken: [unknown, number][] = [];
  for await (const { head, bytes } of unpackParts(pieces(packed, 11))) {
    const isWanted = (head as { at: number }).at % 2 === 1;
    let sizeBytes = 0;
    for await (const chunk of bytes) {
      sizeBytes += chunk.length;
      if (!isWanted) break;
    }
    taken.push([head, isWanted ? sizeBytes : -1]);
  }
  assert.deepEqual(taken, [
    [{ at: 0 }, -1],
    [{ at: 1 }, 0],
    [{ at: 2 }, -1],
    [{ at: 3 }, 4],
  ]);
});

test('unpackParts() rejects a payload that ends within a part; packParts() one that is not as long as it says', async () => {
  const parts = [{ head: 1, sizeBytes: 3, bytes: only(Buffer.from('abc')) }];
  const packed = await allOf(packParts(parts));
  for (let size = 1; size < packed.length; size++)
    await assert.rejects(sizesOf(packed.subarray(0, size)), BayesFail, `cut at ${size}`);
  assert.deepEqual(await sizesOf(packed), [3]);
  for (const sizeBytes of [2, 4])
    await assert.rejects(
      allOf(packParts([{ head: 1, sizeBytes, bytes: only(Buffer.from('abc')) }])),
      BayesFail,
    );
});

async function sizesOf(packed: Buffer): Promise<number[]> {
  const sizes: number[] = [];
  for await (const { bytes } of unpackParts(only(packed))) sizes.push((await allOf(bytes)).length);
  return sizes;
}

async function serve(asked: Buffer, answerers: Answerers, size = asked.length) {
  const output = new PassThrough();
  const answered = allOf(output as AsyncIterable<Buffer>);
  const code = await serveAsk(pieces(asked, size), output, answerers);
  output.end();
  return { code, answered: await answered };
}

function read(octets: Buffer, size = octets.length): Promise<Answer> {
  return readAnswer(pieces(octets, size), (text) => failed('answer', `none: ${text}`, 'x'));
}

async function* pieces(octets: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size);
}

async function* only(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}

async function* none(): AsyncGenerator<Buffer> {}

async function allOf(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
