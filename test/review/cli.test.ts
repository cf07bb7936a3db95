/**
 * cli — the command as people and programs use it: words, exit codes, what is said where, and what never gets out.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { commands as manuals, groups } from '../../review/commands.ts';
import { help } from '../../review/help.ts';
import { freePort } from '../../demo/daemon.ts';
import { temporaryFolder } from '../folder.ts';
import { runSluice, spam, startDesk, startNode, startSluice } from './desk-rig.ts';

const top = join(import.meta.dirname, '../..');
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const actsOnTerminal = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;
const commands = manuals.map(({ name }) => name);

type Answer = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** A configuration in a folder of its own; gives its path. */
function configOf(t: TestContext, text = '', policies: string | null = null): string {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'sluice.yaml'), `state: state\n${text}`);
  if (policies !== null) writeFileSync(join(folder, 'policies.yaml'), policies);
  return join(folder, 'sluice.yaml');
}

/** Runs these command lines one after the other in one process, which is much quicker than a process for each. */
async function runAll(lines: readonly (readonly string[])[]): Promise<Answer[]> {
  const script = `
    import { main } from ${JSON.stringify(join(top, 'review/cli.ts'))};
    const write = process.stdout.write.bind(process.stdout);
    const answers = [];
    for (const words of JSON.parse(process.argv[1])) {
      const said = { stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr']) process[name].write = (text) => ((said[name] += text), true);
      answers.push({ code: await main(words), ...said });
    }
    write(JSON.stringify(answers));`;
  const child = startNode(['--input-type=module', '--eval', script, JSON.stringify(lines)]);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(child, 'close');
  return JSON.parse(text) as Answer[];
}

test('sluice writes all it has to say, however slowly it is read', async (t) => {
  const mistakes = Array.from({ length: 10_000 }, (_, at) => `mistake${at}: 1`);
  const config = configOf(t, '', mistakes.join('\n'));
  const script = join(top, 'bin/sluice.js');
  const child = spawn(process.execPath, [script, 'policy', 'check', '--json', '--config', config], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  // As `| less` does: it reads on when somebody has read.
  for await (const chunk of child.stdout) {
    chunks.push(chunk as Buffer);
    if (chunks.length < 20) await delay(50);
  }
  const text = Buffer.concat(chunks).toString();
  assert.match(text, /mistake9999/);
  assert.doesNotThrow(() => void JSON.parse(text));
});

test('sluice exits with 69 where what it prints finds no room', () => {
  const full = openSync('/dev/full', 'w');
  const { status, stderr } = spawnSync(process.execPath, [join(top, 'bin/sluice.js'), '--help'], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(full);
  assert.match(stderr, /cannot write what was to be printed: ENOSPC/);
  assert.equal(status, 69);
});

test('sluice says what is wrong with a command line, and exits with 64', async (t) => {
  const config = configOf(t);
  const rows = [
    [['frobnicate'], 'unknown command "frobnicate": see sluice --help'],
    [['--frobnicate'], 'unknown option --frobnicate: see sluice --help'],
    [['frobnicate', '--help'], 'unknown command "frobnicate": see sluice --help'],
    [['help', 'frobnicate'], 'unknown command "frobnicate": see sluice --help'],
    [['chekc'], 'unknown command "chekc": did you mean "sluice check"? see sluice --help'],
    [
      ['release', 'x'],
      'unknown command "release": did you mean "sluice quarantine release"? see sluice --help',
    ],
    [['quarentine'], 'unknown command "quarentine": did you mean "sluice quarantine"? see sluice --help'],
    [
      ['quarantaine', 'relase', 'x'],
      'unknown command "quarantaine": did you mean "sluice quarantine release"? see sluice --help',
    ],
    [
      ['quarantine', 'serach'],
      'unknown command "quarantine serach": did you mean "sluice quarantine search"? see sluice quarantine --help',
    ],
    [['quarantine', 'frobnicate'], 'unknown command "quarantine frobnicate": see sluice quarantine --help'],
    [
      ['scan', 'x', '--form', 'a@b'],
      'scan has no option --form: did you mean --from? see sluice scan --help',
    ],
    [
      ['scan', 'x', '--from', '--json'],
      '--from needs a value, got "--json": write --from=--json if that is meant; see sluice scan --help',
    ],
    [
      ['quarantine', 'delete', '--all-matching', "-it's score:>12"],
      `--all-matching needs a value, got "-it's score:>12": write --all-matching='-it'\\''s score:>12' if that is meant; see sluice quarantine delete --help`,
    ],
    [['scan', 'x', '--to', 'sales'], '--to: "sales" is no address: write user@domain'],
    [['scan', 'x', '--from'], '--from needs a value: write --from SENDER; see sluice scan --help'],
    [
      ['quarantine', 'list', '--json=yes'],
      '--json takes no value, got "yes": see sluice quarantine list --help',
    ],
    [['quarantine', 'list', '-x'], 'quarantine list has no option -x: see sluice quarantine list --help'],
    [['completion', 'tcsh'], 'completion: "tcsh" is no shell known here: write bash, zsh or fish'],
    [
      ['quarantine'],
      'incomplete command "quarantine": add list, search, show, release, delete, learn, export or audit; see sluice quarantine --help',
    ],
    [['import'], 'incomplete command "import": add amavis; see sluice import --help'],
    [
      ['policy', 'exp'],
      'unknown command "policy exp": did you mean "sluice policy explain"? see sluice policy --help',
    ],
    [['scan'], 'scan takes FILE, got nothing: see sluice scan --help'],
    [
      ['quarantine', 'show', 'a', 'b'],
      'quarantine show takes ID, got "b" as well: see sluice quarantine show --help',
    ],
    [
      ['policy', 'check', 'me'],
      'policy check takes no word, got "me" as well: see sluice policy check --help',
    ],
    [['policy', 'check', '--force'], 'policy check has no option --force: see sluice policy check --help'],
    [['policy', 'explain', 'example.com'], 'policy explain: "example.com" is no address: write user@domain'],
    [['run', 'everything'], 'run: unknown part "everything": write all, filter, worker or bayes'],
    [['quarantine', 'list', '--limit', '0'], '--limit: "0" is no positive whole number'],
    [['quarantine', 'list', '--limit', '1e99'], '--limit: "1e99" is no positive whole number'],
    [['quarantine', 'release', 'x', '--to', 'nobody'], '--to: "nobody" is no address: write user@domain'],
    [
      ['quarantine', 'release', 'x', '--to', 'a@b\r\nDATA'],
      '--to: "a@b??DATA" is no address: write user@domain',
    ],
    [
      ['quarantine', 'release', 'x', '--to', 'a@b', '--recipient', 'c@d'],
      'quarantine release: --to leaves the held copies alone: write it without --recipient',
    ],
  ] as const;
  const answers = await runAll(rows.map(([words]) => ['--config', config, ...words]));
  for (const [at, [words, said]] of rows.entries())
    assert.deepEqual(answers[at], { code: 64, stdout: '', stderr: `sluice: ${said}\n` }, words.join(' '));
  assert.equal(existsSync(join(config, '../state')), false, 'nothing was made');
});

test('sluice --help and --version', async () => {
  const { version } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')) as { version: string };
  const rows = [
    [['--version'], `${version}\n`],
    [['--help'], `${help('')}\n`],
    [['help'], `${help('')}\n`],
    [[], `${help('')}\n`],
    [['help', 'scan'], `${help('scan')}\n`],
    [['scan', '-h'], `${help('scan')}\n`],
    ...groups.flatMap(({ name }) => [
      [[name, '--help'], `${help(name)}\n`] as const,
      [['help', name], `${help(name)}\n`] as const,
    ]),
    ...commands.map((command) => [[...command.split(' '), '--help'], `${help(command)}\n`] as const),
  ] as const;
  const answers = await runAll(rows.map(([words]) => words));
  for (const [at, [words, stdout]] of rows.entries())
    assert.deepEqual(answers[at], { code: 0, stdout, stderr: '' }, words.join(' '));
  assert.deepEqual(await runSluice(['--version']), answers[0]);
  assert.deepEqual(await runSluice(['quarantine', '--help']), {
    code: 0,
    stdout: `${help('quarantine')}\n`,
    stderr: '',
  });
});

test('sluice policy explain prints every effective value and where it was set', async (t) => {
  const config = configOf(
    t,
    'role: backup\n',
    'recipients:\n  example.com: { thresholds: { spam: 7.5 }, subjectTag: "[SPAM] " }\n',
  );
  const words = ['policy', 'explain', 'sales@example.com', '--config', config];
  const [text, json] = await runAll([words, [...words, '--json']]);
  assert.ok(text !== undefined && json !== undefined);
  assert.deepEqual([text.code, text.stderr], [0, '']);
  assert.match(text.stdout, /^Policy for sales@example\.com \(role backup\)\n\nfield +value +set by\n/);
  assert.match(
    text.stdout,
    /\nthresholds\.spam +5\.5 +shipped roles: backup, which caps 7\.5 of .*policies\.yaml:2 recipients: example\.com\n/,
  );
  assert.match(text.stdout, /\nsubjectTag +"\[SPAM\] " +.*policies\.yaml:2 recipients: example\.com\n/);
  assert.match(text.stdout, /\nvirus +quarantine +shipped default\n/);
  const explained = JSON.parse(json.stdout) as {
    recipient: string;
    role: string;
    policy: { field: string; value: unknown; origin: string }[];
  };
  assert.deepEqual([explained.recipient, explained.role], ['sales@example.com', 'backup']);
  const virus = explained.policy.find(({ field }) => field === 'virus');
  assert.deepEqual(virus, { field: 'virus', value: 'quarantine', origin: 'shipped default' });
});

test('sluice policy explain --outbound prints what holds for what a sender sends', async (t) => {
  const policies =
    'recipients:\n  example.com: { thresholds: { spam: 7.5 }, outbound: { thresholds: { alarm: 5 } } }\n';
  const config = configOf(t, '', policies);
  const words = ['policy', 'explain', '--outbound', 'sales@example.com', '--config', config];
  const [text, json] = await runAll([words, [...words, '--json']]);
  assert.deepEqual([text?.code, text?.stderr], [0, '']);
  assert.match(
    text?.stdout ?? '',
    /^Policy for what sales@example\.com sends \(role primary\)\n\nfield +value +set by\n/,
  );
  assert.match(
    text?.stdout ?? '',
    /\noutbound\.thresholds\.alarm +5 +.*policies\.yaml:2 recipients: example\.com\n/,
  );
  assert.match(text?.stdout ?? '', /\noutbound\.virus +quarantine +shipped /);
  assert.doesNotMatch(text?.stdout ?? '', /\n(?:thresholds|virus |senders|subjectTag)/);
  const explained = JSON.parse(json?.stdout ?? '') as Record<string, unknown>;
  assert.deepEqual(Object.keys(explained), ['sender', 'role', 'policy']);
});

test('sluice policy check prints every problem with its line; other commands refuse to start', async (t) => {
  const good = configOf(t, '', 'default: { thresholds: { spam: 7 } }\n');
  const bad = configOf(t, '', 'default:\n  thresholds: { spam: 70 }\n  virsu: discard\n');
  const policies = join(bad, '../policies.yaml');
  const [fine, fineJson, text, json, explain] = await runAll([
    ['policy', 'check', '--config', good],
    ['policy', 'check', '--json', '--config', good],
    ['policy', 'check', '--config', bad],
    ['policy', 'check', '--json', '--config', bad],
    ['policy', 'explain', 'a@b.test', '--config', bad],
  ]);
  assert.ok(fineJson !== undefined && text !== undefined && json !== undefined && explain !== undefined);
  assert.deepEqual(fine, {
    code: 0,
    stdout: `configuration: ${good}: ok\npolicies: ${join(good, '../policies.yaml')}: ok\n`,
    stderr: '',
  });
  assert.deepEqual(JSON.parse(fineJson.stdout), {
    configFile: good,
    policies: join(good, '../policies.yaml'),
    problems: [],
  });
  assert.deepEqual([text.code, text.stderr], [78, '']);
  const lines = text.stdout.trimEnd().split('\n');
  assert.match(
    lines[0] ?? '',
    new RegExp(`^${policies}:2:23: default\\.thresholds\\.spam: .* is above thresholds\\.quarantine`),
  );
  assert.match(lines[1] ?? '', new RegExp(`^${policies}:3:3: default\\.virsu: `));
  const { problems } = JSON.parse(json.stdout) as { problems: { file: string; line: number }[] };
  assert.deepEqual(
    [json.code, problems.map(({ file, line }) => [file, line])],
    [
      78,
      [
        [policies, 2],
        [policies, 3],
      ],
    ],
  );
  assert.deepEqual([explain.code, explain.stdout], [78, '']);
  assert.equal(explain.stderr, lines.map((line) => `sluice: ${line}\n`).join(''));
});

test('sluice refuses a configuration it can not follow with 78, whatever the command', async (t) => {
  const rows = [
    [
      ['run'],
      'mode: watch\n',
      /^sluice: .*sluice\.yaml:2:7: mode: found "watch": write filter or observe\n$/,
    ],
    [
      ['run', 'filter'],
      'policies: none.yaml\n',
      /^sluice: .*none\.yaml: no such file: create it, or name another/,
    ],
    [['quarantine', 'list'], 'listen: { smtp: 0.0.0.0:25 }\n', /listen\.trustedClients is empty/],
  ] as const;
  const answers = await runAll(rows.map(([words, text]) => [...words, '--config', configOf(t, text)]));
  for (const [at, [words, , said]] of rows.entries()) {
    assert.deepEqual([answers[at]?.code, answers[at]?.stdout], [78, ''], words.join(' '));
    assert.match(answers[at]?.stderr ?? '', said);
  }
  const missing = await runSluice(['policy', 'explain', 'a@b.test'], {
    SLUICE_CONFIG: '/nowhere/sluice.yaml',
  });
  assert.deepEqual(
    [missing.code, missing.stderr],
    [78, 'sluice: /nowhere/sluice.yaml: no such file: name another with --config or SLUICE_CONFIG\n'],
  );
});

test('sluice quarantine says 69 for what is not there, and makes nothing', async (t) => {
  const rig = await startDesk(t);
  const elsewhere = configOf(t);
  const id = 'f'.repeat(32);
  const rows = [
    [['show', id], rig.config, /^sluice: Cannot read .*item\.json: it is not there \(any more\)\n$/],
    [['release', id], rig.config, /^sluice: Cannot read .*item\.json: it is not there \(any more\)\n$/],
    [['show', 'abc'], rig.config, /^sluice: Cannot look up "abc": this is no quarantine id\n$/],
    [
      ['list'],
      elsewhere,
      /^sluice: Cannot open the quarantine: there is no .*state: is this the configuration that the filter runs with\?\n$/,
    ],
  ] as const;
  const answers = await runAll(rows.map(([words, config]) => ['quarantine', ...words, '--config', config]));
  for (const [at, [words, , said]] of rows.entries()) {
    assert.deepEqual([answers[at]?.code, answers[at]?.stdout], [69, ''], words.join(' '));
    assert.match(answers[at]?.stderr ?? '', said);
  }
  assert.equal(existsSync(join(elsewhere, '../state')), false);
});

test('sluice quarantine says 75 in one line where the index does not answer', async (t) => {
  const config = configOf(t);
  mkdirSync(join(config, '../state/quarantine.db'), { recursive: true });
  const { code, stdout, stderr } = await runSluice(['quarantine', 'list', '--config', config]);
  assert.deepEqual([code, stdout], [75, '']);
  assert.match(stderr, /^sluice: Cannot use .*quarantine\.db: [^\n]*\n$/);
});

test('sluice quarantine: list and show speak the same JSON; hostile texts stay texts in either form', async (t) => {
  const rig = await startDesk(t);
  const evil = 'Hi\u001b]0;owned\u0007\u009b2J\u202egnp.exe\r\nX: y';
  const item = spam(['a\u001b[1m@example.com']);
  const id = await rig.put({
    ...item,
    facts: { from: evil, subject: evil, messageId: evil },
    report: { ...item.report, virus: { kind: 'infected', name: evil } },
  });
  const run = (...words: string[]) => runSluice(['quarantine', ...words, '--config', rig.config]);
  const [list, show, listJson, showJson, refused] = await Promise.all([
    run('list'),
    run('show', id),
    run('list', '--json'),
    run('show', id, '--json'),
    run('release', id),
  ]);
  for (const { code, stdout, stderr } of [list, show, listJson, showJson]) {
    assert.deepEqual([code, stderr], [0, '']);
    assert.doesNotMatch(stdout, actsOnTerminal);
  }
  assert.equal(list.stdout.split('\n').length, 3, 'one line per item');
  assert.match(
    list.stdout,
    new RegExp(`^held since +id +why +from +to +subject\\n\\d{4}-\\d\\d-\\d\\d [\\d:]{8}  ${id}  `),
  );
  assert.match(show.stdout, /\nsubject {5}Hi\?]0;owned/);
  const [row] = JSON.parse(listJson.stdout) as Record<string, unknown>[];
  const shown = JSON.parse(showJson.stdout) as Record<string, unknown>;
  assert.deepEqual([row?.['subject'], shown['subject']], [evil, evil], 'the value is the very same');
  const common = Object.keys(row ?? {}).filter((name) => name !== 'slots' && name !== 'flag');
  for (const name of common) assert.deepEqual(shown[name], row?.[name], name);
  assert.deepEqual(refused.code, 69);
  assert.doesNotMatch(refused.stderr, actsOnTerminal);
  const released = await run('release', id, '--force');
  assert.equal(released.code, 0, released.stderr);
  assert.match(released.stdout, /^a\?\[1m@example\.com: released: Ok: queued as FAKE1\n$/);
});

test('sluice quarantine release: exit codes, and who did it', async (t) => {
  const rig = await startDesk(t);
  const run = (id: string, ...words: string[]) =>
    runSluice(['quarantine', 'release', id, ...words, '--config', rig.config], { SUDO_USER: 'anna' });
  rig.smtpd.script = { rcpt: '450 4.2.0 Later' };
  const id = await rig.put();
  assert.equal((await run(id)).code, 75);
  rig.smtpd.script = { rcpt: '550 5.1.1 No such user' };
  assert.deepEqual(await run(id), {
    code: 1,
    stdout: 'a@example.com: refused: return smtpd said "550 5.1.1 No such user"\n',
    stderr: '',
  });
  rig.smtpd.script = { dot: { do: 'drop' } };
  assert.equal((await run(id)).code, 1, 'nobody must try again without thinking');
  rig.smtpd.script = {};
  assert.deepEqual(await run(id), {
    code: 1,
    stdout: 'a@example.com: skipped: it is unconfirmed: it may have arrived; --again releases it once more\n',
    stderr: '',
  });
  const { code, stdout } = await run(id, '--again', '--json');
  assert.deepEqual(
    [code, JSON.parse(stdout)],
    [
      0,
      [
        {
          quarantineId: id,
          recipient: 'a@example.com',
          kind: 'released',
          detail: 'Ok: queued as FAKE4',
          queueIdOut: 'FAKE4',
        },
      ],
    ],
  );
  const { slots } = await rig.desk.quarantine.get(id);
  assert.equal(slots[0]?.actor, 'cli:anna');
});

test('sluice scan says what became of it: 0, 75 where a scanner could not tell, 69 where there is no file', async (t) => {
  const off = configOf(t, 'clamd: null\nspamd: null\nscan: { virus: false, spam: false }\n');
  const away = configOf(t, `clamd: unix:none.sock\nspamd: 127.0.0.1:${await freePort()}\n`);
  const file = join(top, 'test/messages/plain.eml');
  const [fine, unchecked, json, missing] = await Promise.all([
    runSluice(['scan', file, '--to', 'a@b.test', '--config', off]),
    runSluice(['scan', file, '--config', away]),
    runSluice(['scan', file, '--json', '--config', off]),
    runSluice(['scan', join(top, 'no-such-file'), '--config', off]),
  ]);
  assert.deepEqual([fine.code, fine.stderr], [0, '']);
  assert.match(fine.stdout, /^virus {2}off\nspam {3}off\n\ndeliver \(clean\): a@b\.test\n/);
  assert.deepEqual([unchecked.code, unchecked.stderr], [75, '']);
  assert.match(
    unchecked.stdout,
    /^virus {2}unchecked \(unreachable\): .*\nspam {3}unchecked \(unreachable\): .*\n\ndefer \(unchecked\): anybody\n/,
  );
  assert.deepEqual(Object.keys(JSON.parse(json.stdout) as object), [
    'sizeBytes',
    'from',
    'subject',
    'messageId',
    'report',
    'dispositions',
    'policies',
    'slots',
  ]);
  assert.deepEqual([missing.code, missing.stdout], [69, '']);
  assert.match(missing.stderr, /^sluice: Cannot scan .*no-such-file: ENOENT[^\n]*\n$/);
});

test('sluice goes on quietly when nobody reads its output any more', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  for (const words of [['policy', 'explain', 'a@b.test'], ['history'], ['quarantine', 'release', id]]) {
    const child = startSluice([...words, '--config', rig.config]);
    child.stdout?.destroy();
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number];
    assert.deepEqual([code, stderr], [0, ''], words.join(' '));
  }
  assert.equal(rig.smtpd.committed().length, 1);
});

test('sluice run filter that can not open one of its listeners ends: half a filter takes no mail', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const address = taken.address();
  assert.ok(address !== null && typeof address === 'object');
  const smtp = await freePort();
  const config = configOf(t, filterConfig(smtp, address.port));
  const { code, stdout, stderr } = await runSluice(['run', 'filter', '--config', config]);
  assert.equal(code, 75, stdout);
  assert.equal(stderr, `sluice: Cannot listen on 127.0.0.1:${address.port}: in use\n`);
});

test('sluice run all starts the filter, and SIGTERM ends both in order', async (t) => {
  const config = configOf(t, filterConfig(await freePort(), await freePort()));
  const child = startSluice(['run', '--config', config]);
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (text.includes('"Filter runs"')) child.kill('SIGTERM');
  });
  assert.deepEqual(await once(child, 'close'), [0, null]);
  const said = text
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
  assert.ok(said.includes('Stopping: finishing what is in flight'), said.join());
});

function filterConfig(smtp: number, lmtp: number): string {
  return `listen: { smtp: 127.0.0.1:${smtp}, lmtp: 127.0.0.1:${lmtp} }
clamd: null
spamd: null
scan: { virus: false, spam: false }
health: { filter: null, worker: null, review: null }
`;
}
