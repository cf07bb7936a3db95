/**
 * check-bayes-role — a backup and a primary as they should be are passed without a warning, and each planted mistake is found
 * with its remedy. As root, for the key is root's.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { parseConfig } from '../../rules/config.ts';
import type { BayesStatus, BayesTrouble } from '../../workers/bayes.ts';
import { freshTable, staleTable } from '../../rules/postfix-backup.ts';
import { checkBayesRole } from '../../workers/check-bayes-role.ts';
import { temporaryFolder } from '../folder.ts';
import { stockMain, stockMaster } from '../rules/postfix-texts.ts';

const hourMs = 3_600_000;
const now = Date.now();
const networks = 'trusted_networks 192.0.2.0/24\ninternal_networks 192.0.2.7 10/8\n';

type Site = {
  readonly folder: string;
  readonly file: (name: string) => string;
  readonly write: (name: string, text: string) => void;
  mark: { takenAt: number } | null | undefined;
  trouble: BayesTrouble | null;
  fetching: { reported: readonly string[]; allowed: boolean };
  /** On a primary. */
  nodes: string;
};

const none = { reported: [], allowed: false };

/** A good site of either role, in files; spoilt by `spoil` before it is checked. */
async function findingsOf(
  t: TestContext,
  role: 'primary' | 'backup',
  spoil: (site: Site) => void,
): Promise<string[]> {
  const folder = temporaryFolder(t);
  const file = (name: string) => join(folder, name);
  const site: Site = {
    folder,
    file,
    write: (name, text) => writeFileSync(file(name), text),
    mark: { takenAt: now - hourMs },
    trouble: null,
    fetching: none,
    nodes: '192.0.2.7',
  };
  for (const made of ['spamassassin', 'postfix']) mkdirSync(file(made));
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file('key')]);
  const pub = execFileSync('ssh-keygen', ['-y', '-f', file('key')], { encoding: 'utf8' }).trim();
  site.write('known_hosts', `192.0.2.7 ${pub}\n`);
  site.write('spamassassin/v310.pre', '# loadplugin Mail::SpamAssassin::Plugin::AWL\n');
  site.write('spamassassin/local.cf', `${networks}bayes_auto_learn 0 # the primary learns\n`);
  site.write('postfix/main.cf', stockMain);
  site.write('postfix/master.cf', stockMaster);
  site.write('recipients', 'a@example.com x\n');
  site.write('recipients.stale', freshTable());
  spoil(site);
  const own =
    role === 'primary' ? `nodes: [${site.nodes}]` : `primary: 192.0.2.7, recipients: ${file('recipients')}`;
  const text = `role: ${role}\nbayes: { ${own}, ssh: { key: ${file('key')}, knownHosts: ${file('known_hosts')} } }`;
  const { config, problems } = parseConfig({ file: 'sluice.yaml', text }, {});
  assert.ok(config !== null, JSON.stringify(problems));
  const status = async (): Promise<BayesStatus | BayesTrouble> => site.trouble ?? statusOf(site.mark);
  const found = await checkBayesRole(config, {
    siteFolder: file('spamassassin'),
    postfixFolder: file('postfix'),
    status,
    fetching: site.fetching,
    now,
  });
  return found.map(({ level, what, where, remedy }) =>
    `${level} ${what} [${where?.replace(`${folder}/`, '') ?? ''}] ${remedy ?? ''}`.replaceAll(
      `${folder}/`,
      '',
    ),
  );
}

/** Undefined: no database; null: one that no restore has brought. */
function statusOf(taken: Site['mark']): BayesStatus {
  const mark =
    taken === null || taken === undefined
      ? null
      : { ...taken, snapshotId: 1, nspam: 1, nham: 1, tokens: 1, digest: '', restoredAt: 0 };
  const standing = { current: taken === undefined ? null : { mark }, previous: null };
  const kept = { exported: [], received: [], broken: [] };
  return {
    kind: 'status',
    store: 'files',
    place: '/b/bayes',
    spamassassin: '4.0.1',
    counts: null,
    standing,
    ...kept,
  };
}

for (const role of ['primary', 'backup'] as const)
  test(`checkBayesRole() has nothing against a ${role} as it should be`, async (t) => {
    const found = await findingsOf(t, role, () => undefined);
    assert.deepEqual(
      found.filter((line) => !line.startsWith('ok ')),
      [],
    );
    assert.ok(found.length >= 4, found.join('\n'));
  });

test('checkBayesRole() says nothing where there is no other node', async () => {
  const { config } = parseConfig({ file: 'sluice.yaml', text: '' }, {});
  assert.ok(config !== null);
  assert.deepEqual(
    await checkBayesRole(config, {
      siteFolder: '/x',
      postfixFolder: null,
      status: null,
      fetching: none,
      now,
    }),
    [],
  );
});

const stale = staleTable('', ['example.com'], 26);
const age = ({ file }: Site, hours: number): void =>
  utimesSync(file('recipients'), new Date(), new Date(now - hours * hourMs));

/** A primary that knows its backups only by their reports. */
const pulled = (site: Site, reported: readonly string[]): void => {
  site.nodes = '';
  site.fetching = { reported, allowed: true };
};

type Mistake = readonly [string, 'primary' | 'backup', (site: Site) => void, RegExp];

const mistakes: readonly Mistake[] = [
  [
    'a backup learns by itself',
    'backup',
    ({ write }) => write('spamassassin/local.cf', 'bayes_auto_learn 1\n'),
    /^warn This node learns by itself.*write bayes_auto_learn 0/,
  ],
  [
    'TxRep is on',
    'backup',
    ({ write }) => write('spamassassin/x.pre', 'loadplugin Mail::SpamAssassin::Plugin::TxRep\nuse_txrep 1\n'),
    /^warn TxRep is on: its scores differ.*\[spamassassin\/x\.pre:2\] write use_txrep 0/,
  ],
  [
    'AWL is on',
    'backup',
    ({ write }) => write('spamassassin/v310.pre', 'loadplugin Mail::SpamAssassin::Plugin::AWL\n'),
    /^warn AWL is on.*\[spamassassin\/v310\.pre:1\] write use_auto_welcomelist 0/,
  ],
  [
    'the database in place is old',
    'backup',
    (site) => (site.mark = { takenAt: now - 27 * hourMs }),
    /^warn The Bayes database in place is 27 h old \[\/b\/bayes\] on the primary: sluice bayes sync --now/,
  ],
  [
    'there is no database',
    'backup',
    (site) => (site.mark = undefined),
    /^warn There is no Bayes database yet/,
  ],
  [
    "the database is the backup's own",
    'backup',
    (site) => (site.mark = null),
    /^warn The Bayes database in place did not come from the primary/,
  ],
  [
    'sa-learn can not be run',
    'backup',
    (site) =>
      (site.trouble = {
        kind: 'failed',
        step: 'settings',
        message: 'Cannot run sa-learn',
        remedy: 'install it',
      }),
    /^warn Cannot run sa-learn \[\] install it/,
  ],
  [
    'the map of recipients is old',
    'backup',
    (site) => (age(site, 30), site.write('recipients.stale', stale)),
    /^warn The map of relay recipients is 30 h old: unknown recipients are deferred, not refused \[recipients\]/,
  ],
  [
    'the map of recipients is empty',
    'backup',
    ({ write }) => (write('recipients', '# nobody yet\n'), write('recipients.stale', stale)),
    /^warn The map of relay recipients names nobody: unknown recipients are deferred, not refused \[recipients\]/,
  ],
  [
    'the map of recipients is old, and its table was never exchanged',
    'backup',
    (site) => age(site, 30),
    /^fail The map of relay recipients is 30 h old, and nobody has exchanged its table: unknown recipients are refused for good \[recipients\.stale\] enable sluice-bayes\.service \(or run `sluice run bayes`\)/,
  ],
  [
    'the map of recipients is empty, and its table was never made',
    'backup',
    (site) => (site.write('recipients', ''), site.write('recipients.stale', ''), age(site, 1)),
    /^fail The map of relay recipients names nobody, and nobody has exchanged its table.*enable sluice-bayes/,
  ],
  [
    'the map of recipients is old, its table is missing',
    'backup',
    (site) => (age(site, 27), rmSync(site.file('recipients.stale'))),
    /^fail The map of relay recipients is 27 h old, and nobody has exchanged/,
  ],
  [
    'the map of recipients has just become old',
    'backup',
    (site) => age(site, 26.05),
    /^warn The map of relay recipients is 26 h old: unknown recipients are soon deferred/,
  ],
  [
    'the map of recipients is fresh, its table is not',
    'backup',
    (site) => (age(site, 1), site.write('recipients.stale', stale)),
    /^warn The map of relay recipients is 1 h old, but its table is that of a stale one.*enable sluice-bayes/,
  ],
  [
    'the map of recipients is fresh, and nobody made its table',
    'backup',
    (site) => (age(site, 1), site.write('recipients.stale', '')),
    /^warn The map of relay recipients is 1 h old, but nobody has made its table: .*enable sluice-bayes/,
  ],
  [
    'the map of recipients is missing',
    'backup',
    ({ file }) => rmSync(file('recipients')),
    /^warn The map of relay recipients is not here yet/,
  ],
  [
    'the key is missing',
    'primary',
    ({ file }) => rmSync(file('key')),
    /^warn There is no key for the Bayes sync \[key\] make one/,
  ],
  [
    'others may read the key',
    'primary',
    ({ file }) => chmodSync(file('key'), 0o644),
    /^warn Others may read the key, so ssh does not use it \[key\] chmod 600 key/,
  ],
  [
    'the host key is not pinned',
    'backup',
    ({ write }) => write('known_hosts', ''),
    /^warn The host key of root@192\.0\.2\.7 is not pinned/,
  ],
  [
    'only trusted_networks has the backup',
    'primary',
    ({ write }) => write('spamassassin/local.cf', 'trusted_networks 192.0.2.7\n'),
    /^warn root@192\.0\.2\.7 \(192\.0\.2\.7\) is not in internal_networks: SpamAssassin takes it for the sender.*write "internal_networks 192\.0\.2\.7" into local\.cf/,
  ],
  [
    'only internal_networks has the backup',
    'primary',
    ({ write }) => write('spamassassin/local.cf', 'internal_networks 192.0.2.7\n'),
    /^warn root@192\.0\.2\.7 .*is not in trusted_networks: SpamAssassin believes no header line/,
  ],
  [
    'a backup that fetches is not trusted',
    'primary',
    (site) => (
      pulled(site, ['198.51.100.9']), site.write('spamassassin/local.cf', 'internal_networks 198.51.100.9\n')
    ),
    /^warn 198\.51\.100\.9 \(198\.51\.100\.9\) is not in trusted_networks/,
  ],
  [
    'a backup that fetches has no address',
    'primary',
    (site) => pulled(site, ['mx2.invalid']),
    /^warn mx2\.invalid has no address in the DNS: .*\[bayes\/record\] give the name/,
  ],
  [
    'a backup may fetch, and none has',
    'primary',
    (site) => pulled(site, []),
    /^warn A key lets a backup fetch the Bayes database, but none has reported yet: .* is not checked/,
  ],
  [
    'the backup is taken out again',
    'primary',
    ({ write }) => write('spamassassin/local.cf', `${networks}trusted_networks !192.0.2.7\n`),
    /^warn .* is not in trusted_networks.*\[spamassassin\/local\.cf:3\]/,
  ],
  [
    'the networks are cleared further down',
    'primary',
    ({ write }) => write('spamassassin/zz.cf', 'clear_internal_networks\n'),
    /^warn .* is not in internal_networks.*\[spamassassin\/zz\.cf:1\]/,
  ],
  [
    'Postfix greylists the backup',
    'primary',
    ({ write }) =>
      write('postfix/main.cf', `${stockMain}smtpd_client_restrictions = check_policy_service unix:grey\n`),
    /^warn smtpd smtp: smtpd_client_restrictions asks a policy service, which may greylist it.*\[postfix\/main\.cf:\d+\] postconf -e 'mynetworks = 192\.0\.2\.7 /,
  ],
  [
    'Postfix refuses the backup',
    'primary',
    ({ write }) =>
      write('postfix/main.cf', `${stockMain}smtpd_client_restrictions = permit_mynetworks, reject\n`),
    /^fail smtpd smtp: smtpd_client_restrictions refuses it/,
  ],
];

suite('checkBayesRole() finds', () => {
  for (const [label, role, spoil, expected] of mistakes)
    test(label, async (t) => {
      const found = await findingsOf(t, role, spoil);
      const wrong = found.filter((line) => !line.startsWith('ok '));
      assert.equal(wrong.length, 1, found.join('\n'));
      assert.match(wrong[0] ?? '', expected);
    });
});

test('checkBayesRole() says where neither list has the backup, each with its price', async (t) => {
  const found = await findingsOf(t, 'primary', ({ write }) => write('spamassassin/local.cf', ''));
  const wrong = found.filter((line) => !line.startsWith('ok '));
  assert.deepEqual(
    wrong.map((line) => /not in (\w+)/.exec(line)?.[1]),
    ['trusted_networks', 'internal_networks'],
  );
});
