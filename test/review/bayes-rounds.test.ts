/**
 * bayes-rounds — who hears of held mail and lessons that can't be carried: a line when it begins, not one a minute; and a node
 * that hangs hangs alone.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { createNews, createRounds, type RoundTrip } from '../../review/bayes-rounds.ts';
import type { BayesStep } from '../../workers/bayes-step.ts';
import { silentLog } from '../../workers/log.ts';
import { readSite } from '../../workers/site.ts';
import { recordingLog } from '../filter/store-rig.ts';
import { temporaryFolder } from '../folder.ts';

const trip = (node: string, ...steps: BayesStep[]): RoundTrip => ({
  node,
  errands: {
    moved: 0,
    taught: 0,
    troubles: steps.map((step) => ({ kind: 'failed', step, message: 'no room', remedy: 'make some' })),
  },
});

test('createNews() tells of a node where carrying fails, once, and when it works again', () => {
  const log = recordingLog();
  const tell = createNews(log);
  const trouble = 'warn Cannot carry all of what a backup holds and was taught: tried again each minute';
  tell([trip('one', 'receive', 'receive'), trip('other')]);
  tell([trip('one', 'receive'), trip('other')]);
  assert.deepEqual(log.lines, [trouble]);
  tell([trip('one'), trip('other', 'answer')]);
  assert.deepEqual(log.lines.slice(1), ['info What a backup holds and was taught is carried again', trouble]);
});

test('createNews() says nothing of a node that is away: the alarm of the nightly run does', () => {
  const log = recordingLog();
  const tell = createNews(log);
  tell([trip('one', 'connect')]);
  tell([trip('one')]);
  assert.deepEqual(log.lines, []);
  tell([trip('one', 'receive')]);
  tell([trip('one', 'connect')]);
  tell([trip('one', 'receive')]);
  assert.equal(log.lines.length, 1, 'away in between, it is no news');
});

test('createRounds() keeps no other node waiting for one that hangs, and asks that one again when its trip has ended', async (t) => {
  const folder = temporaryFolder(t);
  const file = (name: string) => join(folder, name);
  for (const name of ['key', 'known_hosts']) writeFileSync(file(name), '');
  let connections = 0;
  // Says nothing, where sshd would say who it is.
  const silent = createServer((socket) => {
    connections++;
    socket.on('error', () => {});
    t.after(() => socket.destroy());
  });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const hanging = `root@127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const away = `root@127.0.0.1:${await freePort()}`;
  const ssh = `ssh: { key: ${file('key')}, knownHosts: ${file('known_hosts')}, connectSeconds: 300 }`;
  writeFileSync(
    file('sluice.yaml'),
    `clamd: null\nspamd: null\nscan: { virus: false, spam: false }\nbayes: { nodes: ["${hanging}", "${away}"], ${ssh} }\n`,
  );
  const told: string[] = [];
  let heard: () => void = () => {};
  const goRound = createRounds((trips) => {
    told.push(...trips.map(({ node }) => node));
    heard();
  }, 1);
  const go = async (signal: AbortSignal, node: string) => {
    const hears = new Promise<void>((resolve) => {
      heard = () => told.at(-1) === node && resolve();
    });
    await goRound({ site: readSite(file('sluice.yaml'), {}), script: '/nowhere', log: silentLog, signal });
    await hears;
  };
  const stopping = new AbortController();
  const connected = once(silent, 'connection');
  await go(stopping.signal, away);
  await connected;
  await go(stopping.signal, away);
  assert.deepEqual([told, connections], [[away, away], 1]);
  const ends = new Promise<void>((resolve) => (heard = resolve));
  stopping.abort();
  await ends;
  assert.deepEqual(told, [away, away, hanging]);
  const next = new AbortController();
  const again = once(silent, 'connection');
  await go(next.signal, away);
  await again;
  const gone = new Promise<void>((resolve) => (heard = resolve));
  next.abort();
  await gone;
});
