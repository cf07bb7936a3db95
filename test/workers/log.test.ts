/**
 * log — lines that can be parsed, cut and harmless; and a log nobody reads any more stops nothing (F46).
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TempFail } from '../../workers/fail.ts';
import { terminalSafe } from '../../workers/json-text.ts';
import { createLog } from '../../workers/log.ts';

type Line = Record<string, unknown> & {
  err?: { type: string; message: string; stack: string; code?: string };
};

function lineOf(fields: object, message = 'event'): Line {
  const [line = ''] = written(fields, message);
  return JSON.parse(line) as Line;
}

function written(fields: object, message = 'event'): string[] {
  const lines: string[] = [];
  createLog({ name: 'test', destination: { write: (line) => lines.push(line) } }).info(fields, message);
  return lines;
}

test('createLog() writes one JSON line per event', () => {
  const { time, pid, ...line } = lineOf({ queueId: '4c7Yx1', empty: null });
  assert.deepEqual(line, { level: 'info', name: 'test', queueId: '4c7Yx1', empty: null, msg: 'event' });
  assert.ok(pid === process.pid && !Number.isNaN(Date.parse(String(time))));
});

test('createLog() writes nothing below its level', () => {
  const lines: string[] = [];
  const log = createLog({ name: 'test', level: 'warn', destination: { write: (line) => lines.push(line) } });
  for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level]({}, level);
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as Line)['msg']),
    ['warn', 'error'],
  );
});

test('createLog() keeps hostile text inside one line, and away from the terminal', () => {
  const subject = 'a\r\nb\u001b[2Jc\u009b2Jd\u202ee\u0000f\u2028g\u{e0041}h\ud800i';
  const [line = '', ...others] = written({ subject, reply: { text: subject } });
  assert.deepEqual(others, []);
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\p{Cf}\u2028]/u);
  assert.deepEqual([JSON.parse(line).subject, JSON.parse(line).reply.text], [subject, subject]);
});

test('createLog() cuts long texts wherever they are', () => {
  const long = 'x'.repeat(100_000);
  const nested = { reply: { text: long }, list: [long], deep: { a: { b: { c: { d: { e: long } } } } } };
  const many = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`k${at}`, 1]));
  const error = Object.assign(new TempFail(long, { cause: new Error(long) }), { code: long, extra: long });
  for (const [label, fields, most] of [
    ['a field', { subject: long }, 2300],
    ['nested', nested, 6500],
    ['many', many, 1600],
    ['a list', { list: Array.from({ length: 5000 }, () => 1) }, 500],
    ['an error', { err: error }, 13_000],
    ['a thrown text', { err: long }, 2300],
  ] as const) {
    const [line = ''] = written(fields);
    assert.ok(line.length < most, `${label}: ${line.length}`);
    JSON.parse(line);
  }
});

test('createLog() writes an error with its type, its causes and where it comes from', () => {
  const cause = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
  const { err } = lineOf({ err: new TempFail('Cannot hold 1', { cause }) });
  assert.deepEqual([err?.type, err?.message], ['TempFail', 'Cannot hold 1: ENOSPC: no space left']);
  assert.match(err?.stack ?? '', /log\.test\.ts.*caused by: Error: ENOSPC/s);
  assert.equal(lineOf({ err: cause }).err?.code, 'ENOSPC');
});

test('terminalSafe() changes no value', () => {
  for (const text of [
    '',
    'plain',
    'Grüße 日本 👩‍👩‍👧',
    '\u0080\u009f\u00ad\u200b\ufeff',
    '\\u0041 \\\\u009b',
  ])
    assert.equal(JSON.parse(terminalSafe(JSON.stringify(text))), text);
});

const script = `
  import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../../workers/log.ts'))};
  const log = createLog({ name: 'child' });
  log.info({}, 'first');
  process.on('message', (lines) => {
    for (let at = 0; at < lines; at++) log.info({ text: 'x'.repeat(500) }, 'line ' + at);
    gc();
    process.send({ heap: process.memoryUsage().heapUsed });
  });
`;

function child(stdout: 'pipe' | number): ChildProcess {
  return spawn(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script], {
    stdio: ['ignore', stdout, 'inherit', 'ipc'],
  });
}

test('createLog() goes on when the reader of its pipe is gone, without hoarding lines (F46)', async (t) => {
  const writer = child('pipe');
  t.after(() => writer.kill('SIGKILL'));
  assert.ok(writer.stdout !== null);
  await once(writer.stdout, 'data');
  writer.stdout.destroy();
  await once(writer.stdout, 'close');
  const sizes: number[] = [];
  for (const lines of [1000, 20_000]) {
    writer.send(lines);
    const [{ heap }] = (await once(writer, 'message')) as [{ heap: number }];
    sizes.push(heap);
  }
  assert.ok((sizes[1] ?? 0) - (sizes[0] ?? 0) < 4 * 1024 ** 2, `grown from ${sizes[0]} to ${sizes[1]}`);
  assert.equal(writer.exitCode, null);
});

test('createLog() goes on when its disk is full', async (t) => {
  const writer = child(openSync('/dev/full', 'w'));
  t.after(() => writer.kill('SIGKILL'));
  writer.send(10);
  await once(writer, 'message');
  assert.equal(writer.exitCode, null);
});
