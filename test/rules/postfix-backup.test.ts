/**
 * postfix-backup — the settings of a backup MX, the table for a stale map, and every mistake that can be planted in them.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { domainsOf, freshTable, retryDaysOf, staleTable, tableState } from '../../rules/postfix-backup.ts';
import { checkPostfix, type PostfixTexts } from '../../rules/postfix-check.ts';
import { parseMain } from '../../rules/postfix-files.ts';
import { fragmentOf, type Fragment } from '../../rules/postfix-fragment.ts';
import { formatFragment } from '../../rules/postfix-text.ts';
import { policiesOf } from './policy-texts.ts';
import { configOf, postconf, stockMain, stockMaster, texts } from './postfix-texts.ts';

const policies = policiesOf(
  'recipients: { b.example: {}, .c.example: {}, x@a.example: {}, y@a.example: {} }',
  'backup',
);
const config = configOf('role: backup\nbayes: { recipients: /etc/postfix/known }');

function made(primary: string | null = '192.0.2.10', yaml = config): Fragment {
  const { fragment, problems } = fragmentOf(yaml, null, { policies, primary });
  assert.deepEqual(problems, []);
  assert.ok(fragment !== null);
  return fragment;
}

const mainOf = (fragment: Fragment) =>
  Object.fromEntries(
    fragment.settings.filter(({ service }) => service === null).map(({ name, value }) => [name, value]),
  );

test('fragmentOf() for a backup names domains, map and primary, where they are known', () => {
  const main = mainOf(made());
  assert.equal(main.relay_domains, 'a.example, b.example, c.example');
  assert.equal(main.relay_recipient_maps, '${default_database_type}:/etc/postfix/known');
  assert.equal(main.relay_transport, 'relay:[192.0.2.10]');
  assert.equal(main.smtpd_etrn_restrictions, 'check_client_access inline:{ { 192.0.2.10 = OK } }, reject');
  assert.deepEqual([main.maximal_queue_lifetime, main.bounce_queue_lifetime], ['14d', '14d']);
  const pull = configOf('role: backup\nbayes: { primary: root@mx1.example.com }');
  assert.equal(mainOf(made(null, pull)).relay_transport, 'relay:[mx1.example.com]');
});

test('fragmentOf() for a backup has placeholders that resolve nowhere for what nobody knows', () => {
  const { fragment } = fragmentOf(configOf('role: backup'), null, { policies: null, primary: null });
  assert.ok(fragment !== null);
  const main = mainOf(fragment);
  assert.equal(main.relay_domains, 'domains-of-the-primary.invalid');
  assert.equal(main.relay_transport, 'relay:[primary.invalid]');
  assert.equal(main.relay_recipient_maps, '${default_database_type}:/etc/postfix/relay_recipients');
  assert.deepEqual(domainsOf(policiesOf('')), []);
});

test('formatFragment() for a backup gives each setting its reason, in lines of 120 columns; nothing changes without it', () => {
  const fragment = made();
  const { main, commands } = formatFragment(fragment);
  const parsed = parseMain({ file: 'main.cf', text: main });
  assert.deepEqual(parsed.problems, []);
  for (const { service, name, value, why } of fragment.settings) {
    if (service !== null) continue;
    assert.equal(parsed.parameters.get(name)?.value, value);
    assert.ok(main.includes(`# ${why}\n`), name);
  }
  for (const line of `${main}${commands}`.split('\n')) assert.ok(line.length <= 120, line);
  assert.match(main, /^# message_size_limit: write the primary's own/m);
  assert.match(commands, /^test -e \/etc\/postfix\/known\.stale \|\| touch \/etc\/postfix\/known\.stale$/m);
  const plain = fragmentOf(config, null).fragment;
  assert.ok(plain !== null);
  assert.doesNotMatch(formatFragment(plain).main, /relay_|etrn/);
});

test('formatFragment() lets a backup MX stay one when Sluice is taken away', () => {
  const { bypass, removal } = formatFragment(made());
  for (const text of [bypass, removal])
    assert.deepEqual(
      [...text.matchAll(/^postconf -X (.*)$/gm)].map(([, name]) => name),
      ['content_filter', 'scan_destination_concurrency_failed_cohort_limit'],
    );
  assert.match(removal, /\n# relay_domains and .* stays: /);
});

test('docs/postfix.md shows what a backup adds to main.cf', () => {
  const doc = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'postfix.md'), 'utf8');
  const blocks = [...doc.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
  const backup = configOf('role: backup');
  const { fragment } = fragmentOf(backup, null, {
    policies: policiesOf('recipients: { example.com: {} }', 'backup'),
    primary: '192.0.2.10',
  });
  assert.ok(fragment !== null);
  assert.ok(blocks.includes(formatFragment(fragment).main), formatFragment(fragment).main);
});

test('staleTable() lets those go on whom the map knows, and tells everybody else in their domains to come back', () => {
  const source = `# people
Anna@Example.com   x
"odd name"@example.com OK
bob+list@other.example
  continued
@all.example any
no-address ignored
`;
  const rows = staleTable(source, ['empty.example', 'all.example'], 26)
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/ 450 4\.1\.1 .*over 26 h old.*/, ' later'));
  assert.deepEqual(rows, [
    'anna@example.com DUNNO',
    '"odd name"@example.com DUNNO',
    'bob+list@other.example DUNNO',
    'all.example DUNNO',
    'empty.example later',
    'example.com later',
    'other.example later',
  ]);
  assert.match(freshTable(), /^# [^\n]+\n$/);
});

test('staleTable() leaves alone what is delivered here, below a domain of the primary: a line holds for all below it', () => {
  const here = [
    '!mx2.example.com',
    '!localhost.example.com',
    '!lists.other.example',
    '!localhost',
    '!all.example',
  ];
  const rows = (listed: string[]) =>
    staleTable('anna@example.com x\nb@other.example x\n', listed, 26)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/ 450 .*/, ' later'));
  assert.deepEqual(rows(here), [
    'anna@example.com DUNNO',
    'b@other.example DUNNO',
    'mx2.example.com DUNNO',
    'localhost.example.com DUNNO',
    'lists.other.example DUNNO',
    'example.com later',
    'other.example later',
  ]);
  // Postfix delivers here what stands in both (postconf(5), mydestination).
  assert.deepEqual(rows(['!example.com']), [
    'anna@example.com DUNNO',
    'b@other.example DUNNO',
    'example.com DUNNO',
    'other.example later',
  ]);
});

test('tableState() knows the two tables, and nothing else', () => {
  const found = [staleTable('a@b.example x\n', [], 26), freshTable(), '', 'b.example 450 later\n'];
  assert.deepEqual(found.map(tableState), ['stale', 'fresh', null, null]);
});

test('retryDaysOf() outlives the queue of the role', () => {
  assert.deepEqual([retryDaysOf({ role: 'primary' }), retryDaysOf({ role: 'backup' })], [6, 15]);
});

/** A stock Postfix with the fragment of a backup pasted in. */
function pastedBackup(): { main: string; master: string } {
  const { main, master, commands } = formatFragment(made());
  const size = 'message_size_limit = 20480000\n';
  const flush = 'flush     unix  n       -       y       1000?   0       flush\n';
  const { main: m, master: s } = postconf(
    texts(stockMain + main + size, stockMaster + flush + master),
    commands,
  );
  return { main: m.text, master: s.text };
}

const findings = (main: string, master: string, yaml = config) => {
  const site: PostfixTexts = texts(main, master);
  return checkPostfix(site, yaml, policies).filter(({ level }) => level !== 'ok');
};

test('checkPostfix() has nothing to say against the fragment of a backup, and says so', () => {
  const { main, master } = pastedBackup();
  assert.deepEqual(findings(main, master), []);
  const all = checkPostfix(texts(main, master), config, policies);
  assert.ok(all.some(({ level, what }) => level === 'ok' && what === 'Postfix is set up as a backup MX'));
  // The same files on a primary: only that the ledger there forgets sooner.
  const primary = findings(main, master, configOf(''));
  assert.deepEqual(
    primary.map(({ what }) => what.replace(/:.*/, '')),
    ['maximal_queue_lifetime = 14d'],
  );
});

const set = (name: string, value: string) => (main: string) =>
  main.replace(new RegExp(`^${name} = .*$`, 'm'), `${name} = ${value}`);
const drop = (name: string) => (main: string) => main.replace(new RegExp(`^${name} = .*\\n`, 'm'), '');

const mistakes: readonly {
  plant: (main: string) => string;
  master?: (master: string) => string;
  level: 'warn' | 'fail';
  what: RegExp;
  remedy: RegExp;
}[] = [
  {
    plant: drop('relay_domains'),
    level: 'fail',
    what: /^relay_domains =  \(default\): it is empty/,
    remedy: /^postconf -e 'relay_domains = a\.example, b\.example, c\.example'$/,
  },
  {
    plant: set('relay_domains', 'domains-of-the-primary.invalid'),
    level: 'fail',
    what: /domains-of-the-primary\.invalid has yet to be filled in/,
    remedy: /relay_domains/,
  },
  {
    plant: drop('relay_recipient_maps'),
    level: 'fail',
    what: /^relay_recipient_maps = .*bounces to forged senders/,
    remedy: /postconf -e 'relay_recipient_maps = \$\{default_database_type\}:\/etc\/postfix\/known'/,
  },
  {
    plant: set('relay_recipient_maps', 'hash:/etc/postfix/other'),
    level: 'warn',
    what: /\/etc\/postfix\/known, which comes with each sync, is not among them/,
    remedy: /known/,
  },
  {
    plant: set('relay_transport', 'relay:[primary.invalid]'),
    level: 'fail',
    what: /primary\.invalid has yet to be filled in: the primary's mail stays here/,
    remedy: /--primary ADDRESS/,
  },
  {
    plant: set('relay_transport', 'relay:mx.example.com'),
    level: 'warn',
    what: /without a host in brackets/,
    remedy: /--primary/,
  },
  {
    plant: drop('relay_transport'),
    level: 'warn',
    what: /^relay_transport = relay \(default\): without a host in brackets/,
    remedy: /--primary/,
  },
  {
    plant: drop('smtpd_recipient_restrictions'),
    level: 'warn',
    what: /known\.stale: it is missing: over 26 h without a sync/,
    remedy: /^write first: check_recipient_access \$\{default_database_type\}:\/etc\/postfix\/known\.stale$/,
  },
  {
    plant: set(
      'smtpd_recipient_restrictions',
      'reject_unlisted_recipient, check_recipient_access hash:/etc/postfix/known.stale',
    ),
    level: 'warn',
    what: /it does not stand first/,
    remedy: /, and then yours$/,
  },
  {
    plant: (main) => `${main}smtpd_reject_unlisted_recipient = no\n`,
    level: 'fail',
    what: /^smtpd_reject_unlisted_recipient = no: mail to nobody/,
    remedy: /^postconf -e 'smtpd_reject_unlisted_recipient = yes'$/,
  },
  {
    plant: (main) => `${main}unknown_relay_recipient_reject_code = 450\n`,
    level: 'warn',
    what: /never refused: senders try for days/,
    remedy: /550/,
  },
  {
    plant: set('fast_flush_domains', ''),
    level: 'warn',
    what: /no domain can be flushed/,
    remedy: /postconf -e 'fast_flush_domains = \$relay_domains'/,
  },
  {
    plant: drop('smtpd_etrn_restrictions'),
    level: 'warn',
    what: /anybody may have the queue flushed/,
    remedy: /smtpd_etrn_restrictions/,
  },
  {
    plant: set('smtpd_etrn_restrictions', 'permit_mynetworks'),
    level: 'warn',
    what: /does not end in reject/,
    remedy: /smtpd_etrn_restrictions/,
  },
  {
    plant: set('smtpd_etrn_restrictions', 'check_client_access inline:{ { primary.invalid = OK } }, reject'),
    level: 'fail',
    what: /the primary may not say ETRN/,
    remedy: /smtpd_etrn_restrictions/,
  },
  ...['connection', 'message', 'recipient'].map((what) => ({
    plant: drop(`smtpd_client_${what}_rate_limit`),
    level: 'warn' as const,
    what: new RegExp(`^smtpd_client_${what}_rate_limit = 0 \\(default\\): one client may keep`),
    remedy: /^postconf -e 'smtpd_client_\w+_rate_limit = \d+'$/,
  })),
  {
    plant: set('maximal_queue_lifetime', '5d'),
    level: 'warn',
    what: /mail bounces before a primary/,
    remedy: /'maximal_queue_lifetime = 14d'/,
  },
  {
    plant: drop('bounce_queue_lifetime'),
    level: 'warn',
    what: /delivery reports for your users are dropped/,
    remedy: /'bounce_queue_lifetime = 14d'/,
  },
  {
    plant: set('maximal_queue_lifetime', '20d'),
    level: 'warn',
    what: /ledger forgets after 15 days/,
    remedy: /'maximal_queue_lifetime = 14d'/,
  },
  {
    plant: drop('message_size_limit'),
    level: 'warn',
    what: /whether the primary has the same nobody can tell/,
    remedy: /postconf -h message_size_limit there/,
  },
  {
    plant: (main) => `${main}mydestination = localhost, b.example\n`,
    level: 'fail',
    what: /^b\.example stands in mydestination and in relay_domains/,
    remedy: /take b\.example out of mydestination/,
  },
  {
    plant: (main) => main,
    master: (master) => master.replace(/^relay .*\n(?:\s+.*\n|#.*\n)*/m, ''),
    level: 'fail',
    what: /relay_transport names relay, which master\.cf does not have/,
    remedy: /entry relay/,
  },
  {
    plant: (main) => main,
    master: (master) => master.replace(/^flush .*\n/m, ''),
    level: 'warn',
    what: /no flush\(8\): ETRN is refused/,
    remedy: /entry flush/,
  },
];

for (const { plant, master: spoil = (text: string) => text, level, what, remedy } of mistakes) {
  test(`checkPostfix() on a backup finds ${what.source}`, () => {
    const good = pastedBackup();
    const [main, master] = [plant(good.main), spoil(good.master)];
    assert.notDeepEqual([main, master], [good.main, good.master], 'planted');
    const found = findings(main, master);
    assert.equal(found.length, 1, JSON.stringify(found));
    assert.equal(found[0]?.level, level);
    assert.match(found[0]?.what ?? '', what);
    assert.match(found[0]?.remedy ?? '', remedy);
    assert.match(found[0]?.where ?? '', /^(?:main|master)\.cf(?::\d+)?$/);
  });
}

test('checkPostfix() of a backup without bayes.recipients says that nobody looks how old its map is', () => {
  const { main, master } = pastedBackup();
  const blind = configOf('role: backup');
  const at = main.replaceAll('/etc/postfix/known', '/etc/postfix/relay_recipients');
  const [found, ...others] = findings(at, master, blind);
  assert.deepEqual(others, []);
  assert.match(found?.what ?? '', /^bayes\.recipients is null: .*nobody looks how old/);
  assert.match(found?.remedy ?? '', /recipients: \/etc\/postfix\/relay_recipients/);
});
