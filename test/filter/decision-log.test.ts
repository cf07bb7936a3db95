/** decision-log — fields that scripts rely on (docs/logs.md), and the choice of form. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createDecisionLog } from '../../filter/decision-log.ts';
import { createLog, silentLog } from '../../workers/log.ts';
import { createSpool, type Spool } from '../../workers/spool.ts';
import { infected, plainMessage, policiesOf, refused, scored, to, World } from './pipeline-rig.ts';

let folder = '';
let spool: Spool;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-decisions-'));
  spool = await createSpool({ folder, log: silentLog });
});
after(async () => {
  await spool.close();
  await rm(folder, { recursive: true });
});

type Fields = Record<string, unknown>;

/** The JSON lines of one walk through the pipeline. */
async function linesOf(options: Parameters<World['attempt']>[0], times = 1): Promise<Fields[]> {
  const world = new World(spool);
  for (let count = 0; count < times; count++) await world.attempt(options);
  const account = world.accounts.at(-1);
  assert.ok(account !== undefined);
  const lines: Fields[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line) as Fields);
  const log = createLog({ name: 'filter', destination: { write } });
  createDecisionLog({ format: 'json', level: 'info' }, log, { write: () => assert.fail() })(account);
  return lines;
}

/** Names of the fields in the table of docs/logs.md. */
function documented(heading: string): string[] {
  const text = readFileSync(join(import.meta.dirname, '../../docs/logs.md'), 'utf8');
  const section = text.split(`## ${heading}`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| `([\w.]+)` \|/gm)].map(([, name = '']) => name);
}

test('createDecisionLog() writes one line per recipient, with every field that docs/logs.md has, and no other', async () => {
  const recipients = [to('a@deliver.test'), to('b@hold.test'), to('c@discard.test')];
  const lines = await linesOf({ recipients, report: scored(25) });
  assert.equal(lines.length, 3);
  for (const line of lines) {
    const { ms, ...rest } = line;
    const names = [...Object.keys(rest), ...Object.keys(ms ?? {}).map((stage) => `ms.${stage}`)];
    assert.deepEqual(
      names.toSorted(),
      documented('A decision')
        .filter((name) => name !== 'alarm')
        .toSorted(),
    );
  }
});

test('createDecisionLog() says what became of each recipient', async () => {
  const recipients = [to('a@deliver.test'), to('b@hold.test'), to('c@discard.test')];
  const [delivered, held, discarded] = await linesOf({ recipients, report: scored(25) });
  const { time, ms, pid, ...fields } = delivered ?? {};
  assert.ok(typeof time === 'string' && typeof pid === 'number' && ms instanceof Object);
  assert.deepEqual(fields, {
    level: 'info',
    name: 'filter',
    msg: 'Recipient decided',
    queueId: '4c7Yx1',
    queueIdOut: 'B14',
    quarantineId: null,
    direction: 'inbound',
    protocol: 'lmtp',
    client: '192.0.2.7',
    sender: 'sender@partner.example',
    recipient: 'a@deliver.test',
    messageId: '<1@partner.example>',
    sizeBytes: plainMessage.length,
    outcome: 'delivered',
    verdict: 'clean',
    disposition: 'deliver',
    score: 25,
    virus: null,
    why: fields['why'],
    repeated: false,
    reason: null,
    code: 250,
    reply: 'Ok: handed to the return smtpd: queued as B14',
  });
  assert.match(String(fields['why']), /score 25/);
  assert.deepEqual([held?.['outcome'], held?.['quarantineId']], ['held', '1'.padStart(32, '0')]);
  assert.deepEqual([discarded?.['outcome'], discarded?.['verdict']], ['discarded', 'spam']);
});

test('createDecisionLog() names virus, refusal, deferral with its reason, and a repeated outcome', async () => {
  const [virus] = await linesOf({ recipients: [to('a@hold.test')], report: infected });
  assert.deepEqual([virus?.['verdict'], virus?.['virus']], ['virus', 'Eicar-Test']);
  const [gone] = await linesOf({ answer: () => refused });
  assert.deepEqual([gone?.['outcome'], gone?.['code'], gone?.['reply']], ['refused', 550, 'No such user']);
  const [later] = await linesOf({
    at: (name, when) => {
      if (name === 'scan' && when === 'before') throw new Error('out of order');
      return undefined;
    },
  });
  assert.deepEqual([later?.['outcome'], later?.['reason'], later?.['code']], ['deferred', 'internal', 451]);
  const [again] = await linesOf({}, 2);
  assert.deepEqual([again?.['repeated'], again?.['outcome'], again?.['verdict']], [true, 'delivered', null]);
});

test('createDecisionLog() warns of outbound mail over its alarm threshold', async () => {
  const policies = policiesOf('outbound: { thresholds: { alarm: 8 } }');
  const [line] = await linesOf({ direction: 'outbound', report: scored(12), policies });
  assert.deepEqual([line?.['level'], line?.['alarm'], line?.['outcome']], ['warn', true, 'delivered']);
});

test('createDecisionLog() writes amavis lines to the output alone, and none above the level info', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [to('a@deliver.test'), to('b@hold.test')], report: scored(12) });
  const [account] = world.accounts;
  assert.ok(account !== undefined);
  const fail = () => assert.fail();
  const log = { debug: fail, info: fail, warn: fail, error: fail };
  for (const level of ['debug', 'info', 'warn', 'error'] as const) {
    const lines: string[] = [];
    createDecisionLog({ format: 'amavis', level }, log, { write: (line) => lines.push(line) })(account);
    assert.equal(lines.length, level === 'debug' || level === 'info' ? 2 : 0, level);
    for (const line of lines) assert.match(line, /^\(\d{5,}-01\) (?:Passed|Blocked) .* ms\n$/);
  }
});
