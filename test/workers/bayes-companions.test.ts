/** bayes-companions — policies and the map of recipients: checked before, exchanged whole, finished by the next run. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Config } from '../../rules/config.ts';
import { parseConfig } from '../../rules/config.ts';
import { companionsOf, stageCompanions } from '../../workers/bayes-companions.ts';
import { draftFor, install } from '../../workers/bayes-install.ts';
import { BayesFail } from '../../workers/bayes-step.ts';
import type { Manifest } from '../../workers/bayes-manifest.ts';
import { temporaryFolder } from '../folder.ts';

type Files = Readonly<Record<string, string>>;

const good: Files = {
  'policies.yaml': 'default: { thresholds: { tag: 1.5 } }\n',
  'recipients.map': '# all\na@example.com OK\nb@example.com\tOK\n',
};

test('stageCompanions() exchanges both files only at install(), with owner and mode of those before', async (t) => {
  const site = siteIn(t);
  const { policies, recipients } = site;
  writeFileSync(policies, 'default: {}\n', { mode: 0o600 });
  chownSync(policies, 65_534, 65_534);
  chmodSync(policies, 0o604);
  const staged = await site.stage(good);
  assert.equal(readFileSync(policies, 'utf8'), 'default: {}\n');
  assert.deepEqual(await staged.install(), [policies, recipients]);
  assert.equal(readFileSync(policies, 'utf8'), good['policies.yaml']);
  const { uid, gid, mode } = statSync(policies);
  assert.deepEqual([uid, gid, mode & 0o777], [65_534, 65_534, 0o604]);
  assert.equal(readFileSync(recipients, 'utf8'), good['recipients.map']);
  assert.ok(existsSync(`${recipients}.db`), 'postmap made its table');
  assert.deepEqual(site.left(), []);
});

test('stageCompanions() whose install() fails says that the database is new and files are old', async (t) => {
  const site = siteIn(t);
  const staged = await site.stage(good);
  mkdirSync(site.policies);
  await assert.rejects(staged.install(), (cause: unknown) => {
    assert.ok(cause instanceof BayesFail && cause.step === 'install');
    assert.match(cause.message, /which is in place: /);
    assert.match(cause.remedy, /^the database is new, files are old: run it again/);
    return true;
  });
});

test('stageCompanions() gives new policies to the group of the state folder, a new map to the owner of its folder', async (t) => {
  const site = siteIn(t);
  chownSync(site.config.state, 65_534, 65_534);
  await (await site.stage(good)).install();
  const [policies, recipients] = [statSync(site.policies), statSync(site.recipients)];
  assert.deepEqual([policies.uid, policies.gid, policies.mode & 0o777], [0, 65_534, 0o640]);
  assert.deepEqual([recipients.uid, recipients.gid, recipients.mode & 0o777], [0, 0, 0o644]);
});

test('stageCompanions() refuses what is no policy, no table or no plain file, and leaves nothing', async (t) => {
  const table: readonly (readonly [string, Files, RegExp])[] = [
    ['unknown key', { 'policies.yaml': 'default: { nonsense: 1 }\n' }, /nonsense/],
    ['no YAML', { 'policies.yaml': 'default: [\n' }, /policies/],
    ['order', { 'policies.yaml': 'default: { thresholds: { tag: 9, spam: 5 } }\n' }, /tag|spam/],
    ['empty map', { ...good, 'recipients.map': '# nobody\n\n' }, /no recipient/],
    ['no value', { ...good, 'recipients.map': 'a@example.com\n' }, /line 1 has no value/],
    ['binary', { ...good, 'recipients.map': 'a@example.com \u0001OK\n' }, /no text/],
    ['half a line', { ...good, 'recipients.map': '  OK\n' }, /goes on/],
  ];
  const site = siteIn(t);
  for (const [name, files, message] of table) {
    await assert.rejects(site.stage(files), { kind: 'refused', step: 'companions', message }, name);
    assert.deepEqual(site.left(), [], name);
    assert.ok(!existsSync(site.policies) && !existsSync(site.recipients), name);
  }
  symlinkSync('/etc/passwd', site.policies);
  await assert.rejects(site.stage(good), { message: /no plain file/ });
});

test('stageCompanions() drops what it wrote, and sweeps what a killed run left', async (t) => {
  const site = siteIn(t);
  await site.stage(good);
  assert.ok(site.left().length >= 3, 'as of a run that was killed before the switch');
  const staged = await site.stage(good);
  await staged.drop();
  assert.deepEqual(site.left(), []);
  assert.ok(!existsSync(site.policies));
});

test('stageCompanions() leaves, with a word, what sluice.yaml has no place for', async (t) => {
  const site = siteIn(t, 'policies: null\n');
  const staged = await site.stage(good);
  assert.deepEqual(await staged.install(), []);
  assert.equal(staged.warnings.length, 2);
});

test('stageCompanions() says that a folder is missing, and that postmap does not work', async (t) => {
  const site = siteIn(t);
  await assert.rejects(site.stage(good, { mailConfig: '/nonexistent' }), {
    step: 'companions',
    message: /main\.cf/,
  });
  rmSync(site.etc, { recursive: true });
  await assert.rejects(site.stage(good), { kind: 'failed', step: 'companions', message: /ENOENT/ });
});

test('companionsOf() sends what there is, and says when a named file is missing', async (t) => {
  const site = siteIn(t);
  const { policies, recipients, config } = site;
  writeFileSync(policies, 'default: {}\n');
  assert.throws(() => companionsOf(config), { step: 'companions', message: /relay_recipients/ });
  writeFileSync(recipients, 'a@b.example OK\n');
  assert.deepEqual(
    companionsOf(config).map(({ name }) => name),
    ['policies.yaml', 'recipients.map'],
  );
});

function siteIn(t: TestContext, lines?: string) {
  const folder = temporaryFolder(t);
  const etc = join(folder, 'etc');
  for (const name of ['etc', 'state', 'snapshot', 'postfix']) mkdirSync(join(folder, name));
  writeFileSync(
    join(folder, 'postfix', 'main.cf'),
    'compatibility_level = 3.6\ndefault_database_type = hash\n',
  );
  const [policies, recipients] = [join(etc, 'policies.yaml'), join(etc, 'relay_recipients')];
  const own = lines ?? `policies: ${policies}\nbayes: { recipients: ${recipients} }\n`;
  const config = configOf(`role: backup\nstate: ${join(folder, 'state')}\n${own}`);
  const left = () => readdirSync(etc).filter((name) => name.startsWith('.'));
  const stage = (files: Files, { mailConfig = join(folder, 'postfix') } = {}) => {
    process.env.MAIL_CONFIG = mailConfig;
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, 'snapshot', name), text);
    const named = Object.keys(files).map((name) => ({ name, sizeBytes: 0, sha256: '' }));
    const manifest = { files: named } as unknown as Manifest;
    return stageCompanions(config)({ folder: join(folder, 'snapshot'), manifest });
  };
  t.after(() => delete process.env.MAIL_CONFIG);
  return { etc, policies, recipients, config, left, stage };
}

function configOf(text: string): Config {
  const { config, problems } = parseConfig({ file: 'sluice.yaml', text }, {});
  if (config === null) throw new Error(JSON.stringify(problems));
  return config;
}

test('install() exchanges the table before its source, whose time says how old the table is', async (t) => {
  const target = join(temporaryFolder(t), 'recipients');
  const draft = await draftFor(target, Buffer.from('anna@example.com x\n'), { gid: null, mode: 0o644 });
  writeFileSync(`${draft.path}.db`, 'new table');
  writeFileSync(`${target}.db`, 'old table');
  // As one that dies before the source: its exchange fails.
  mkdirSync(join(target, 'in the way'), { recursive: true });
  await assert.rejects(install(draft, ['.db']));
  assert.equal(readFileSync(`${target}.db`, 'utf8'), 'new table');
});

test('companionsOf() takes a plain file alone, and none beyond bayes.sizeMax', (t) => {
  const { config, policies, recipients } = siteIn(t);
  writeFileSync(policies, '');
  symlinkSync('/dev/zero', recipients);
  assert.throws(() => companionsOf(config), {
    step: 'companions',
    message: /relay_recipients: it is no plain file/,
  });
  rmSync(recipients);
  writeFileSync(recipients, '');
  truncateSync(recipients, config.bayes.sizeMax + 1);
  assert.throws(() => companionsOf(config), { step: 'companions', message: /bayes\.sizeMax is/ });
});
