/**
 * check-workers — what is said of each constellation of workers and filters.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../rules/config.ts';
import { judgeWorkers } from '../../workers/check-workers.ts';
import type { FilterPresence, WorkerPresence } from '../../workers/presence.ts';

const scanner = { ok: true, detail: null, downSince: null, addresses: [], concurrency: 16, running: 0 };
const common = { host: 'scan.test', pid: 7, version: '1.2.3', startedAt: 5 };
const worker: WorkerPresence = { ...common, id: 'w1', virus: scanner, spam: scanner, spools: ['f1'] };
const filter: FilterPresence = { ...common, host: 'mx.test', id: 'f1', inFlight: 0, spool: null };
const down = { ...scanner, ok: false, detail: 'refused' };
const here = 'clamd: a:1\nspamd: a:2\n';
const none = 'clamd: null\nspamd: null\n';

type Row = {
  label: string;
  config: string;
  workers: readonly WorkerPresence[];
  filters?: readonly FilterPresence[];
  /** `level text`, in order. */
  says: readonly RegExp[];
};

const rows: readonly Row[] = [
  {
    label: 'all as it should be',
    config: `${none}redis: redis://h`,
    workers: [worker],
    says: [
      /^ok 1 of 1 workers scan for virus, 16 messages at once/,
      /^ok 1 of 1 workers scan for spam/,
      /^ok Worker runs Sluice 1\.2\.3 as we do \(scan\.test, process 7\)/,
      /^ok All workers share the spool/,
    ],
  },
  {
    label: 'nobody, and no scanner here',
    config: `${none}redis: redis://h`,
    workers: [],
    says: [
      /^fail No worker scans for virus: mail is deferred .*run worker --scanners virus/,
      /^fail No worker scans for spam/,
    ],
  },
  {
    label: 'nobody, but scanners here',
    config: `${here}redis: redis://h`,
    workers: [],
    says: [
      /^warn No worker scans for virus: the filter asks its own clamd/,
      /^warn No worker scans for spam/,
    ],
  },
  {
    label: 'what is switched off needs nobody',
    config: `${none}redis: redis://h\nscan: { spam: false }`,
    workers: [{ ...worker, spam: null }],
    says: [/^ok 1 of 1 workers scan for virus/, /^ok Worker runs/, /^ok All workers share/],
  },
  {
    label: 'a scanner down at one of two',
    config: `${none}redis: redis://h`,
    workers: [worker, { ...worker, id: 'w2', pid: 8, virus: down }],
    says: [
      /^ok 1 of 2 workers scan for virus, 16 messages/,
      /^warn The worker's clamd does not answer: refused \(scan\.test, process 8\) start clamd there/,
      /^ok 2 of 2 workers scan for spam, 32 messages/,
      /^ok Worker runs/,
      /^ok Worker runs/,
      /^ok All workers share/,
    ],
  },
  {
    label: 'the only scanner down',
    config: `${none}redis: redis://h\nscan: { spam: false }`,
    workers: [{ ...worker, virus: down, spam: null }],
    says: [
      /^fail No worker for virus has a clamd that answers: mail is deferred/,
      /^warn The worker's clamd does not answer/,
      /^ok Worker runs/,
      /^ok All workers share/,
    ],
  },
  {
    label: 'another version',
    config: `${none}redis: redis://h\nscan: { spam: false }`,
    workers: [{ ...worker, version: '9.9.9' }],
    says: [/^ok 1 of 1/, /^warn Worker runs Sluice 9\.9\.9, this is 1\.2\.3/, /^ok All workers share/],
  },
  {
    label: 'no filter to share a spool with',
    config: `${none}redis: redis://h\nscan: { spam: false }`,
    workers: [worker],
    filters: [],
    says: [
      /^ok 1 of 1/,
      /^ok Worker runs/,
      /^ok No filter is alive: whether .* not known; where they do not, messages over 32 MB need redis\.fetch/,
    ],
  },
  {
    label: 'no filter, and nothing that Redis does not take',
    config: `${none}redis: redis://h\nscan: { spam: false }\nlimits: { messageBytes: 32MB }`,
    workers: [worker],
    filters: [],
    says: [/^ok 1 of 1/, /^ok Worker runs/, /^ok No filter is alive: whether .* is not known $/],
  },
  {
    label: 'a limit of less than a megabyte',
    config: `${none}redis: { url: redis://h, messageBytesMax: 512KB }\nscan: { spam: false }`,
    workers: [{ ...worker, spools: [] }],
    says: [/^ok/, /^ok/, /^ok .* through Redis up to 512 KB/, /^fail Messages from 512 KB to 100 MB/],
  },
  {
    label: 'apart, and messages larger than what goes through Redis',
    config: `${none}redis: redis://h\nscan: { spam: false }`,
    workers: [{ ...worker, spools: [] }],
    says: [
      /^ok 1 of 1/,
      /^ok Worker runs/,
      /^ok 1 of 1 workers get messages through Redis up to 32 MB, they share no spool \(scan\.test, process 7\)/,
      /^fail Messages from 32 MB to 100 MB do not get to workers .* deferred until they bounce write redis\.fetch/,
    ],
  },
  {
    label: 'apart, with scanners here for the large ones',
    config: `${here}redis: redis://h\nscan: { spam: false }`,
    workers: [{ ...worker, spools: [] }],
    says: [/^ok/, /^ok/, /^ok/, /^warn Messages from 32 MB .* scanned by the filter itself/],
  },
  {
    label: 'apart, and nothing is larger',
    config: `${none}redis: redis://h\nscan: { spam: false }\nlimits: { messageBytes: 32MB }`,
    workers: [{ ...worker, spools: [] }],
    says: [/^ok/, /^ok/, /^ok 1 of 1 workers get messages through Redis/],
  },
  {
    label: 'apart, and the large ones are fetched',
    config: `${none}redis: { url: redis://h, fetch: 10.0.0.1:1, fetchClients: 10.0.0.2 }\nscan: { spam: false }`,
    workers: [{ ...worker, spools: [] }],
    says: [
      /^ok/,
      /^ok/,
      /^ok/,
      /^ok Messages from 32 MB to 100 MB are fetched from the filter \(10\.0\.0\.1:1\)/,
    ],
  },
  {
    label: 'on another machine, and fetched from a loopback address',
    config: `${none}redis: { url: redis://h, fetch: 127.0.0.1:1 }\nscan: { spam: false }`,
    workers: [{ ...worker, spools: [] }],
    says: [/^ok/, /^ok/, /^ok/, /^fail Messages .* redis\.fetch is a loopback address/],
  },
];

test('judgeWorkers() says what is wrong with each constellation, and nothing else', () => {
  for (const { label, config: text, workers, filters = [filter], says } of rows) {
    const { config, problems } = parseConfig({ file: 'sluice.yaml', text }, {});
    assert.ok(config !== null, `${label}: ${problems.map(({ message }) => message).join()}`);
    const found = judgeWorkers(config, { workers, filters }, '1.2.3').map(
      ({ level, what, where, remedy }) =>
        `${level} ${what}${where === null ? '' : ` (${where})`} ${remedy ?? ''}`,
    );
    assert.equal(found.length, says.length, `${label}\n${found.join('\n')}`);
    for (const [at, pattern] of says.entries()) assert.match(found[at] ?? '', pattern, label);
  }
});
