/**
 * amavis — what amavisd-new's settings become, and that nobody's mail is treated more strictly than amavisd-new treated it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { importAmavis, type NoteKind } from '../../rules/amavis.ts';
import { policyFor } from '../../rules/decide.ts';
import { judgeSender } from '../../rules/sender.ts';
import { differingFields, hit, mailTo, policiesOf, shipped } from './policy-texts.ts';

type Imported = { readonly text: string; readonly notes: readonly string[] };

/** Imports one configuration; notes as `kind line: what`. */
function imported(conf: string | readonly string[], dump?: string): Imported {
  const files = (typeof conf === 'string' ? [conf] : conf).map((text, at) => ({ file: `${at}.conf`, text }));
  const dumps = dump === undefined ? [] : [{ file: 'dump.sql', text: dump }];
  const { text, notes } = importAmavis({ files: conf === '' ? [] : files, dumps }, shipped);
  assert.ok(text !== null);
  return { text, notes: notes.map(({ kind, line, what }) => `${kind} ${line}: ${what}`) };
}

const discard = '$final_spam_destiny = D_DISCARD; $sa_tag2_level_deflt = 6; $sa_kill_level_deflt = 8;\n';
const set = { spam: 6, quarantine: 8 };
const yes = true;

test('importAmavis() carries over levels, destinies and quarantines', () => {
  const table: [label: string, conf: string, fields: Record<string, unknown>][] = [
    ['nothing', '1;', {}],
    ['tag', '$sa_tag_level_deflt = 3;', { tag: 3 }],
    ['tag every message', '$sa_tag_level_deflt = undef;', { tag: -1000 }],
    ['tag every message, another way', '$sa_tag_level_deflt = -9999;', { tag: -1000 }],
    ['tag2', '$sa_tag2_level_deflt = 7;', { spam: 7 }],
    ['tag2 off', '$sa_tag2_level_deflt = undef;', { spam: null }],
    ['tag2 above every score', '$sa_tag2_level_deflt = 9999;', { spam: null }],
    ['kill is held', discard, set],
    ['kill off', '$final_spam_destiny = D_DISCARD; $sa_kill_level_deflt = undef;', { quarantine: null }],
    [
      'passed: nothing is held',
      '$final_spam_destiny = D_PASS; $sa_kill_level_deflt = 8;',
      { quarantine: null },
    ],
    ['destiny not set: passed', '$sa_kill_level_deflt = 8;', { quarantine: null }],
    ['bounced: held', discard.replace('D_DISCARD', 'D_BOUNCE'), set],
    ['rejected: held', discard.replace('D_DISCARD', 'D_REJECT'), set],
    ['later files win', `${discard}$sa_kill_level_deflt = 9;`, { ...set, quarantine: 9 }],
    ['dropped without a copy: held', `${discard}$spam_quarantine_to = undef;`, set],
    [
      'quarantine method off: held',
      `${discard}$spam_quarantine_method = undef; $sa_quarantine_cutoff_level = 20;`,
      set,
    ],
    ['cutoff', `${discard}$sa_quarantine_cutoff_level = 20;`, { ...set, discard: 20 }],
    ['cutoff below kill', `${discard}$sa_quarantine_cutoff_level = 3;`, { ...set, discard: 8 }],
    [
      'cutoff, rejected: nobody would be told',
      `${discard.replace('D_DISCARD', 'D_REJECT')}$sa_quarantine_cutoff_level = 20;`,
      set,
    ],
    [
      'cutoff, bounced up to another level',
      `${discard.replace('D_DISCARD', 'D_BOUNCE')}$sa_quarantine_cutoff_level = 20; $sa_dsn_cutoff_level = 25;`,
      { ...set, discard: 25 },
    ],
    [
      'cutoff, always bounced',
      `${discard.replace('D_DISCARD', 'D_BOUNCE')}$sa_quarantine_cutoff_level = 20;`,
      set,
    ],
    [
      'cutoff, passed',
      `${discard.replace('D_DISCARD', 'D_PASS')}$sa_quarantine_cutoff_level = 20;`,
      { spam: 6, quarantine: null },
    ],
    ['kill below tag2: raised', `${discard}$sa_kill_level_deflt = 5;`, { spam: 6, quarantine: 6 }],
    ['tag above tag2: lowered', `${discard}$sa_tag_level_deflt = 7;`, { ...set, tag: 5.5 }],
    [
      'tag2 above our default of quarantine: raised',
      '$sa_tag2_level_deflt = 12;',
      { spam: 12, quarantine: 12 },
    ],
    ['negative level', `${discard}$sa_tag2_level_deflt = -1;`, { tag: 0, spam: 0, quarantine: 8 }],
    ['subject', "$sa_spam_subject_tag = '***SPAM*** ';", { subjectTag: '***SPAM*** ' }],
    ['subject off', "$sa_spam_subject_tag = '***SPAM*** '; $sa_spam_modifies_subj = 0;", {}],
    ['subject with macros', "$sa_spam_subject_tag = 'SPAM(_SCORE_) ';", {}],
    ['viruses held', '$final_virus_destiny = D_DISCARD;', {}],
    [
      'viruses dropped',
      '$final_virus_destiny = D_DISCARD; $virus_quarantine_to = undef;',
      { virus: 'discard' },
    ],
    ['viruses bounced: held', '$final_virus_destiny = D_BOUNCE; $virus_quarantine_to = undef;', {}],
    ['viruses passed: held', '$final_virus_destiny = D_PASS;', {}],
    ['unchecked held', '$final_unchecked_destiny = D_DISCARD;', { 'onUnchecked.encrypted': 'quarantine' }],
    [
      'unchecked passed',
      '$final_unchecked_destiny = D_PASS;',
      { 'onUnchecked.overLimit': 'deliver', 'onUnchecked.ambiguous': 'deliver' },
    ],
    [
      'virus names',
      "@virus_name_to_spam_score_maps = (new_RE([qr'^(Heuristics\\.)?Phishing\\.' => 0.1]));",
      { virusAsSpam: { 'Heuristics.Phishing.*': 0.1, 'Phishing.*': 0.1 } },
    ],
    [
      'virus names kept',
      "@virus_name_to_spam_score_maps = (new_RE([qr'^Sane\\.Malware' => undef], [qr'^Sane\\.' => 0.1], [qr'^Other' => 1]));",
      { virusAsSpam: { 'Other*': 1 } },
    ],
    [
      'white list',
      "@whitelist_sender_maps = (['.a.example', 'u@b.example']);",
      { 'senders.allow': { '@a.example': yes, '.a.example': yes, 'u@b.example': yes } },
    ],
    [
      'white list, older way',
      '@whitelist_sender_acl = qw( a.example );',
      { 'senders.allow': { '@a.example': yes } },
    ],
    [
      'black list',
      "%blacklist_sender = ('a.example' => 1, 'b.example' => 0);",
      { 'senders.block': { '@a.example': yes } },
    ],
    [
      'points',
      "@score_sender_maps = ({ '.' => [ { 'u@a.example' => -3, '.b.example' => 2 }, new_RE([qr'@c\\.example$'i => 5]) ] });",
      { 'senders.score': { 'u@a.example': -3, '.b.example': 2, '@b.example': 2, '@c.example': 5 } },
    ],
  ];
  assert.ok(table.length >= 30);
  for (const [label, conf, fields] of table) {
    assert.deepEqual(differingFields(imported(conf).text, 'x@nowhere.invalid'), fields, label);
  }
});

test('importAmavis() carries over what holds for some recipients', () => {
  const maps = (text: string) => `${discard}${text}`;
  const off = { tag: null, spam: null, quarantine: null };
  const table: [label: string, conf: string, recipient: string, fields: Record<string, unknown>][] = [
    [
      'an address',
      maps("@spam_kill_level_maps = ({'u@a.example' => 20}, \\$sa_kill_level_deflt);"),
      'u@a.example',
      { ...set, quarantine: 20 },
    ],
    [
      'an address, others',
      maps("@spam_kill_level_maps = ({'u@a.example' => 20}, \\$sa_kill_level_deflt);"),
      'v@a.example',
      set,
    ],
    [
      'a domain',
      maps("@spam_kill_level_maps = ({'a.example' => 20, '.' => 9});"),
      'v@a.example',
      { ...set, quarantine: 20 },
    ],
    [
      'a domain, not below it',
      maps("@spam_kill_level_maps = ({'a.example' => 20, '.' => 9});"),
      'v@b.a.example',
      { ...set, quarantine: 9 },
    ],
    [
      '.domain: the domain too',
      maps("@spam_kill_level_maps = ({'.a.example' => 20}, 9);"),
      'v@a.example',
      { ...set, quarantine: 20 },
    ],
    [
      '.domain: below it',
      maps("@spam_kill_level_maps = ({'.a.example' => 20}, 9);"),
      'v@c.b.a.example',
      { ...set, quarantine: 20 },
    ],
    [
      'a reference to a hash',
      maps("%h = ('a.example' => 20); @spam_kill_level_maps = (\\%h, \\$sa_kill_level_deflt);"),
      'v@a.example',
      { ...set, quarantine: 20 },
    ],
    [
      'the hash of the level',
      maps("%sa_kill_level_maps = ('a.example' => 20);"),
      'v@a.example',
      { ...set, quarantine: 20 },
    ],
    [
      'set after the reference',
      '@spam_kill_level_maps = (\\$sa_kill_level_deflt);\n' + discard,
      'v@a.example',
      set,
    ],
    [
      'undef asks the next table',
      maps("@spam_kill_level_maps = ({'u@a.example' => undef, 'a.example' => 30}, 9);"),
      'u@a.example',
      { ...set, quarantine: 9 },
    ],
    [
      'undef and no next table',
      maps("@spam_kill_level_maps = ({'u@a.example' => undef, 'a.example' => 30});"),
      'u@a.example',
      { spam: 6, quarantine: null },
    ],
    [
      'the first table wins, though wider',
      maps("@spam_kill_level_maps = ({'.example' => 20}, {'u@a.example' => 30});"),
      'u@a.example',
      { ...set, quarantine: 20 },
    ],
    ['a lover', maps("%spam_lovers = ('u@a.example' => 1);"), 'u@a.example', { spam: 6, quarantine: null }],
    ['a lover, others', maps("%spam_lovers = ('u@a.example' => 1);"), 'v@a.example', set],
    ['lovers but one', maps('@spam_lovers_acl = qw( !u@a.example .a.example );'), 'u@a.example', set],
    [
      'lovers but one, others',
      maps('@spam_lovers_acl = qw( !u@a.example .a.example );'),
      'v@b.a.example',
      { spam: 6, quarantine: null },
    ],
    [
      'lovers by expression',
      maps("$spam_lovers_re = new_RE(qr'[@.]a\\.example$'i);"),
      'v@b.a.example',
      { spam: 6, quarantine: null },
    ],
    ['no check', maps("@bypass_spam_checks_maps = (['u@a.example']);"), 'u@a.example', off],
    [
      'a check for one domain',
      maps("@bypass_spam_checks_maps = ({'a.example' => 0, '.' => 1});"),
      'u@a.example',
      set,
    ],
    [
      'no check elsewhere',
      maps("@bypass_spam_checks_maps = ({'a.example' => 0, '.' => 1});"),
      'u@b.example',
      off,
    ],
    ['no check anywhere: thresholds stay', maps('@bypass_spam_checks_maps = (1);'), 'u@b.example', set],
    [
      'a check in an unchecked domain',
      '@bypass_spam_checks_maps = ({"u@a.example" => 0, "a.example" => 1});',
      'u@a.example',
      {},
    ],
    [
      'a copy for one recipient',
      maps(
        "@spam_quarantine_to_maps = ({'a.example' => undef, '.' => 'q'}); $sa_quarantine_cutoff_level = 20;",
      ),
      'u@b.example',
      { ...set, discard: 20 },
    ],
    [
      'subject per recipient',
      maps("@spam_subject_tag2_maps = ({'a.example' => '[S] ', '.' => ''});"),
      'u@a.example',
      { ...set, subjectTag: '[S] ' },
    ],
    [
      'points add up',
      "@score_sender_maps = ({'u@a.example' => [{'x.example' => 2}], '.' => [{'x.example' => 1, 'y.example' => 4}]});",
      'u@a.example',
      { 'senders.score': { '@x.example': 3, '@y.example': 4 } },
    ],
    [
      'points for others',
      "@score_sender_maps = ({'u@a.example' => [{'x.example' => 2}], '.' => [{'x.example' => 1, 'y.example' => 4}]});",
      'v@a.example',
      { 'senders.score': { '@x.example': 1, '@y.example': 4 } },
    ],
    [
      'the first table of senders',
      "@score_sender_maps = ({'.' => [{'.x.example' => 1}, {'u@x.example' => 9}]});",
      'v@a.example',
      { 'senders.score': { '@x.example': 1, '.x.example': 1, 'u@x.example': 1 } },
    ],
    [
      'own white list beside the common one',
      "@whitelist_sender_acl = qw(x.example); $per_recip_whitelist_sender_lookup_tables = { 'u@a.example' => {'y.example' => 1} };",
      'u@a.example',
      { 'senders.allow': { '@y.example': yes, '@x.example': yes } },
    ],
  ];
  for (const [label, conf, recipient, fields] of table) {
    assert.deepEqual(differingFields(imported(conf).text, recipient), fields, label);
  }
});

const sqlTables = `
CREATE TABLE users (id int, priority int, policy_id int, email varbinary(255), fullname varchar(255));
CREATE TABLE mailaddr (id int, priority int, email varbinary(255));
CREATE TABLE wblist (rid int, sid int, wb varchar(10));
INSERT INTO policy (id, policy_name, spam_lover, bypass_spam_checks, spam_tag2_level, spam_kill_level, spam_quarantine_cutoff_level, spam_subject_tag2) VALUES
 (1,'normal',NULL,NULL,6,8,NULL,NULL), (2,'lover','Y',NULL,NULL,NULL,NULL,NULL), (3,'none','N','Y',NULL,NULL,NULL,NULL),
 (4,'tags','N','N',5,NULL,NULL,'[S] '), (5,'harsh','N','N',4,5,20,NULL);
`;

test('importAmavis() carries over the SQL tables of README.sql', () => {
  const rows = `${sqlTables}
INSERT INTO users VALUES (1,0,1,'@.','all'), (2,5,2,'@a.example',NULL), (3,7,3,'u@a.example',NULL), (4,5,4,'@.b.example',NULL),
 (5,9,5,'u@b.example',NULL), (6,7,99,'v@a.example','no such policy'), (7,6,1,'bare',NULL);
INSERT INTO mailaddr VALUES (1,5,'@x.example'), (2,9,'u@x.example'), (3,5,'@.y.example'), (4,0,'@.');
INSERT INTO wblist VALUES (2,1,'W'), (2,2,'B'), (2,3,'-2.5'), (5,1,'N '), (5,3,'4'), (1,3,'1'), (6,4,'W'), (6,9,'W');
`;
  const common = { 'senders.score': { '@y.example': 1, '.y.example': 1 } };
  const table: [label: string, recipient: string, fields: Record<string, unknown>][] = [
    ['everybody', 'x@c.example', { spam: 6, quarantine: 8, ...common }],
    [
      'lover, NULL passes on',
      'x@a.example',
      {
        spam: 6,
        quarantine: null,
        'senders.allow': { '@x.example': yes },
        'senders.block': { 'u@x.example': yes },
        'senders.score': { '@y.example': -1.5, '.y.example': -1.5 },
      },
    ],
    [
      'no check',
      'u@a.example',
      {
        tag: null,
        spam: null,
        quarantine: null,
        'senders.allow': { '@x.example': yes },
        'senders.block': { 'u@x.example': yes },
        'senders.score': { '@y.example': -1.5, '.y.example': -1.5 },
      },
    ],
    [
      '@. before a domain is the domain too',
      'x@b.example',
      { spam: 5, quarantine: 8, subjectTag: '[S] ', ...common },
    ],
    ['and below it', 'x@c.b.example', { spam: 5, quarantine: 8, subjectTag: '[S] ', ...common }],
    [
      'levels of its own',
      'u@b.example',
      {
        spam: 4,
        quarantine: 5,
        discard: 20,
        subjectTag: '[S] ',
        'senders.block': { '@x.example': yes },
        'senders.score': { '@y.example': 5, '.y.example': 5 },
      },
    ],
  ];
  const { text, notes } = imported('', rows);
  for (const [label, recipient, fields] of table)
    assert.deepEqual(differingFields(text, recipient), fields, label);
  for (const wanted of [
    /lost \d+: users: "bare"/,
    /lost \d+: wblist: every sender is white-listed/,
    /lost \d+: wblist: sid 9/,
  ]) {
    assert.ok(
      notes.some((note) => wanted.test(note)),
      `${wanted} in ${notes.join('\n')}`,
    );
  }
  const asked = imported(`@lookup_sql_dsn = (['DBI:mysql:database=mail', 'user', 'secret']);\n${discard}`);
  assert.ok(asked.notes.some((note) => /lost 1: @lookup_sql_dsn/.test(note)));
  assert.ok(!JSON.stringify(asked).includes('secret'), 'a password is never repeated');
  assert.deepEqual(
    differingFields(imported(discard, rows).text, 'x@c.example'),
    { ...common, ...set },
    'both together',
  );
});

test('importAmavis() names what it cannot carry over, with its line', () => {
  const table: [label: string, conf: string, kind: NoteKind, line: number | null, what: RegExp][] = [
    ['mailbox name', `\n%spam_lovers = (\n'u@' => 1);`, 'lost', 3, /one mailbox name in every domain/],
    ['null sender', "%whitelist_sender = ('' => 1);", 'lost', 1, /null sender/],
    ['wildcard', '@whitelist_sender_acl = qw( *@a.example );', 'lost', 1, /no wildcards/],
    [
      'expression',
      "\n$blacklist_sender_re = new_RE(\n  qr'^bulk@'i );",
      'lost',
      3,
      /regular expression \^bulk@/,
    ],
    [
      'part of an expression',
      "$blacklist_sender_re = new_RE(qr'^(bulk@|u@a\\.example$)');",
      'changed',
      1,
      /only u@a\.example/,
    ],
    [
      'only Perl knows',
      '@local_domains_maps = (1); $sa_kill_level_deflt = $x;',
      'lost',
      1,
      /\$sa_kill_level_deflt/,
    ],
    ['no number', "$sa_kill_level_deflt = 'high';", 'lost', 1, /"high", which is no number/],
    ['destiny', '$final_spam_destiny = D_FOO;', 'lost', 1, /\$final_spam_destiny/],
    [
      'code',
      '\nif ($x) { $sa_kill_level_deflt = 3 }',
      'lost',
      2,
      /only Perl could run.*\$sa_kill_level_deflt/,
    ],
    [
      'missing list',
      "@whitelist_sender_maps = (read_hash('/etc/amavis/white'));",
      'lost',
      1,
      /the list in \/etc\/amavis\/white/,
    ],
    ['virus lover', "%virus_lovers = ('u@a.example' => 1);", 'lost', 1, /u@a\.example gets viruses/],
    [
      'no virus check',
      "@bypass_virus_checks_acl = ('a.example');",
      'lost',
      1,
      /a\.example has no virus check/,
    ],
    [
      'policy bank',
      "\n$policy_bank{'MYNETS'} = { log_level => 2, final_spam_destiny => D_PASS };",
      'lost',
      2,
      /policy bank MYNETS: final_spam_destiny$/,
    ],
    ['LDAP', '$enable_ldap = 1;', 'lost', 1, /\$enable_ldap/],
    ['tag3', '$sa_tag3_level_deflt = 9;', 'lost', 1, /second or third tag level/],
    [
      'SpamAssassin users',
      "@sa_username_maps = ({'.' => 'x'});",
      'lost',
      1,
      /SpamAssassin settings per recipient/,
    ],
    [
      'exception from a list',
      '@whitelist_sender_acl = qw( !u@a.example .a.example );',
      'lost',
      1,
      /u@a\.example is an exception/,
    ],
    [
      'points for every sender',
      "@score_sender_maps = ({'.' => [{'.' => 1}]});",
      'lost',
      1,
      /1 points for every sender/,
    ],
    ['everybody white-listed', '@whitelist_sender_maps = (1);', 'lost', 1, /every sender is white-listed/],
    [
      'virus name',
      "@virus_name_to_spam_score_maps = (new_RE([qr'^A\\d' => 1]));",
      'lost',
      1,
      /virus_name_to_spam_score_maps/,
    ],
    [
      'subject macro',
      "$sa_spam_subject_tag = 'SPAM(_SCORE_) ';",
      'lost',
      1,
      /subject tag "SPAM\(_SCORE_\) "/,
    ],
    ['delimiter', "$recipient_delimiter = '-';", 'lost', 1, /\$recipient_delimiter -/],
    ['included', "include_config_files('/etc/x');", 'lost', 1, /include_config_files\(\)/],
    [
      'white list needs proof',
      '@whitelist_sender_acl = qw( a.example );',
      'changed',
      1,
      /SPF_PASS or DKIM_VALID_AU/,
    ],
    ['black list holds', '@blacklist_sender_acl = qw( a.example );', 'changed', 1, /adds 100 points/],
    [
      'dropped without a copy',
      `${discard}$spam_quarantine_to = undef;`,
      'changed',
      1,
      /without a copy \(a\.conf:2 \$spam_quarantine_to\); it is held/,
    ],
    [
      'passed with a copy',
      '$final_spam_destiny = D_PASS; $sa_kill_level_deflt = 8;',
      'changed',
      1,
      /kept a copy/,
    ],
    [
      'mended',
      `${discard}$sa_kill_level_deflt = 5;`,
      'changed',
      2,
      /quarantine 5 for everybody is below spam 6: raised to 6/,
    ],
    ['passed viruses', '$final_virus_destiny = D_PASS;', 'changed', 1, /Sluice never does/],
    [
      'bounces',
      `${discard.replace('D_DISCARD', 'D_BOUNCE')}`,
      'never',
      1,
      /bounces and rejections: \$final_spam_destiny D_BOUNCE/,
    ],
    [
      'banned',
      '\n$banned_filename_re = new_RE(qr"a"); %banned_rules = (a => 1);',
      'never',
      2,
      /banned file names and types: \$banned_filename_re, %banned_rules/,
    ],
    ['sanitised', '$defang_virus = 1;', 'never', 1, /sanitised/],
    ['notices', '$virus_admin = "postmaster\\@a.example";', 'never', 1, /notices/],
    ['DKIM', "dkim_key('a.example', 'sel', '/x');", 'never', 1, /DKIM signing: dkim_key\(\)/],
    [
      'other scanner',
      "@av_scanners = (['Sophie', \\&ask_daemon, ['{}', '/x']]);",
      'never',
      1,
      /other than clamd: Sophie/,
    ],
    ['port', '$inet_socket_port = [10024, 10026];', 'elsewhere', 1, /\$inet_socket_port/],
    ['way back', "$forward_method = 'smtp:[127.0.0.1]:10025';", 'elsewhere', 1, /\$forward_method/],
    ['size', '$sa_mail_body_size_limit = 400*1024;', 'elsewhere', 1, /\$sa_mail_body_size_limit/],
    [
      'scanner',
      "@av_scanners = (['ClamAV-clamd', \\&ask_daemon, ['CONTSCAN {}\\n', '/run/clamd.sock']]);",
      'elsewhere',
      1,
      /@av_scanners/,
    ],
    ['no spam check', '@bypass_spam_checks_maps = (1);', 'elsewhere', 1, /no spam check for anybody/],
    [
      'the rest',
      '$log_level = 5; $MYHOME = "/x";',
      'told',
      null,
      /2 settings have no counterpart .*\$log_level \$MYHOME/,
    ],
  ];
  for (const [label, conf, kind, line, what] of table) {
    const { notes } = importAmavis({ files: [{ file: 'a.conf', text: conf }], dumps: [] }, shipped);
    const found = notes.filter((note) => note.kind === kind && what.test(note.what));
    assert.deepEqual(
      found.map((note) => note.line),
      [line],
      `${label}: ${JSON.stringify(notes, null, 1)}`,
    );
    assert.ok(
      found.every(({ remedy }) => remedy !== ''),
      label,
    );
  }
  const names = '@virus_name_to_spam_score_maps = ();';
  assert.deepEqual(imported(discard + names).notes, [], 'what is carried over is no news');
  assert.match(imported(discard).notes.join('\n'), /^told null: amavisd-new's built-in list of virus names/);
});

test('importAmavis() reads the lists that read_hash names, when they are given', () => {
  const conf =
    "read_hash(\\%whitelist_sender, '/etc/amavis/white');\n@score_sender_maps = ({'.' => [ read_hash('/etc/amavis/points') ]});";
  const files = [
    { file: '50-user', text: conf },
    {
      file: '/etc/amavis/white',
      text: '# ours\na.example\n\n"quoted # name"@b.example  # why\n.c.example 1\n',
    },
    { file: './points', text: 'x.example -2.5\nu@' },
  ];
  const { text, notes } = importAmavis({ files, dumps: [] }, shipped);
  assert.deepEqual(differingFields(text ?? '', 'x@y.example'), {
    'senders.allow': { '@a.example': yes, '@c.example': yes, '.c.example': yes },
    'senders.score': { '@x.example': -2.5 },
  });
  const lost = notes.filter(({ kind }) => kind === 'lost').map(({ file, line }) => `${file}:${line}`);
  assert.deepEqual(lost, ['/etc/amavis/white:4', './points:2']);
});

test('importAmavis() says behind each value where it comes from', () => {
  const { text } = imported([
    discard,
    "\n@spam_kill_level_maps = ({\n  'a.example' => 20,\n});\n@whitelist_sender_acl = qw(x.example);",
  ]);
  for (const line of [
    'spam: 6 # 0.conf:1 $sa_tag2_level_deflt',
    'quarantine: 20 # 1.conf:3 @spam_kill_level_maps, held: $final_spam_destiny is D_DISCARD',
    '- "@x.example" # 1.conf:5 @whitelist_sender_acl',
  ])
    assert.ok(text.includes(line), `${line} in\n${text}`);
  const evil = imported([`$sa_spam_subject_tag = "[S] ";`], undefined);
  const { text: hostile } = importAmavis(
    { files: [{ file: 'a\nvirus: deliver\u2028x\r', text: '$sa_tag2_level_deflt = 7;' }], dumps: [] },
    shipped,
  );
  assert.ok(evil.text.includes('subjectTag: "[S] "'));
  assert.ok(
    !/^virus/m.test(hostile ?? '') && !/[\r\u2028]/.test(hostile ?? ''),
    'a file name stays inside its comment',
  );
});

// An independent amavisd-new: README.lookups and do_kill of 2.13, for real addresses.
type Value = number | null;
type Tables = readonly (Readonly<Record<string, Value>> | number)[];
const addresses = ['u@a.example', 'v@a.example', 'u@b.a.example', 'v@c.b.a.example', 'u@other.test'];

function amavisLookup(tables: Tables, address: string): Value {
  const domain = address.slice(address.indexOf('@') + 1);
  const parts = domain.split('.');
  const keys = [address, domain, ...parts.map((_, at) => `.${parts.slice(at).join('.')}`), '.'];
  for (const table of tables) {
    if (typeof table === 'number') return table;
    const key = keys.find((one) => Object.hasOwn(table, one));
    const value = key === undefined ? null : (table[key] ?? null);
    if (value !== null) return value;
  }
  return null;
}

const keys = fc.constantFrom(
  'u@a.example',
  'v@a.example',
  'a.example',
  '.a.example',
  'b.a.example',
  '.b.a.example',
  'u@b.a.example',
  '.example',
  '.',
);
const levels = (values: fc.Arbitrary<Value>): fc.Arbitrary<Tables> =>
  fc
    .tuple(
      fc.array(fc.dictionary(keys, values, { maxKeys: 4 }), { maxLength: 3 }),
      fc.integer({ min: 0, max: 20 }),
    )
    .map(([hashes, last]) => [...hashes, last]);
const level = fc.option(fc.integer({ min: 0, max: 20 }), { freq: 5 });
const flag = fc.option(fc.constantFrom(0, 1), { freq: 5 });
const flags: fc.Arbitrary<Tables> = fc.array(fc.dictionary(keys, flag, { maxKeys: 3 }), { maxLength: 2 });

function perl(name: string, tables: Tables): string {
  const shown = (table: Tables[number]) =>
    typeof table === 'number'
      ? String(table)
      : `{${Object.entries(table)
          .map(([key, value]) => `'${key}' => ${value ?? 'undef'}`)
          .join(', ')}}`;
  return `@${name} = (${tables.map(shown).join(', ')});\n`;
}

test('importAmavis() treats nobody more strictly than amavisd-new, and stops what it stopped', () => {
  const site = fc.record({
    tag: levels(level),
    tag2: levels(level),
    kill: levels(level),
    cutoff: levels(level),
    lovers: flags,
    bypass: flags,
    destiny: fc.constantFrom('D_PASS', 'D_DISCARD', 'D_BOUNCE', 'D_REJECT'),
    copies: fc.boolean(),
    dsnCutoff: level,
  });
  fc.assert(
    fc.property(site, ({ tag, tag2, kill, cutoff, lovers, bypass, destiny, copies, dsnCutoff }) => {
      const conf = [
        perl('spam_tag_level_maps', tag),
        perl('spam_tag2_level_maps', tag2),
        perl('spam_kill_level_maps', kill),
        perl('spam_quarantine_cutoff_level_maps', cutoff),
        perl('spam_lovers_maps', lovers),
        perl('bypass_spam_checks_maps', bypass),
        `$final_spam_destiny = ${destiny}; $sa_dsn_cutoff_level = ${dsnCutoff ?? 'undef'};\n`,
        copies ? '' : '$spam_quarantine_to = undef;\n',
      ].join('');
      const { text, notes } = imported(conf);
      const everywhere = notes.some((note) => note.includes('no spam check for anybody'));
      const policies = policiesOf(text);
      for (const address of addresses) {
        const policy = policyFor(address, policies);
        const at = (name: 'tag' | 'spam' | 'quarantine' | 'discard') =>
          policy[`thresholds.${name}`].value ?? Number.POSITIVE_INFINITY;
        const of = (tables: Tables) => amavisLookup(tables, address) ?? Number.POSITIVE_INFINITY;
        const isBypassed = amavisLookup(bypass, address) === 1 && !everywhere;
        for (let score = -1; score <= 22; score += 0.5) {
          const stopped =
            !isBypassed && score >= of(kill) && amavisLookup(lovers, address) !== 1 && destiny !== 'D_PASS';
          const told =
            destiny === 'D_REJECT' ||
            (destiny === 'D_BOUNCE' && score < (dsnCutoff ?? Number.POSITIVE_INFINITY));
          const lostForGood = stopped && !told && (!copies || score >= of(cutoff));
          const where = `${address} at ${score}:\n${conf}`;
          if (score >= at('discard')) assert.ok(lostForGood, `discarded: ${where}`);
          if (score >= at('quarantine')) assert.ok(stopped, `held: ${where}`);
          if (stopped && of(tag2) <= of(kill))
            assert.ok(score >= Math.min(at('quarantine'), at('discard')), `not stopped: ${where}`);
          if (!isBypassed) assert.equal(score >= at('spam'), score >= of(tag2), `flagged: ${where}`);
          if (isBypassed)
            assert.ok(
              score < Math.min(at('tag'), at('spam'), at('quarantine'), at('discard')),
              `not left alone: ${where}`,
            );
        }
      }
    }),
    { numRuns: 100 },
  );
});

test('importAmavis() gives senders the points and verdicts that amavisd-new gave them', () => {
  const senders = ['u@a.example', 'v@a.example', 'u@b.a.example', 'v@c.b.a.example', 'u@other.test'];
  const points = fc.array(
    fc.dictionary(
      keys.filter((key) => key !== '.'),
      fc.integer({ min: -9, max: 9 }),
      { maxKeys: 3 },
    ),
    { minLength: 1, maxLength: 3 },
  );
  const scores = fc.dictionary(keys, points, { maxKeys: 3 });
  const list = fc.array(
    fc.dictionary(
      keys.filter((key) => key !== '.'),
      fc.constant(1),
      { maxKeys: 3 },
    ),
    { maxLength: 2 },
  );
  fc.assert(
    fc.property(scores, list, list, (byRecipient, white, black) => {
      const of = Object.entries(byRecipient).map(
        ([key, tables]) =>
          `'${key}' => [${tables.map((table) => perl('', [table]).slice(5, -3)).join(', ')}]`,
      );
      const conf = `@score_sender_maps = ({${of.join(', ')}});\n${perl('whitelist_sender_maps', white)}${perl('blacklist_sender_maps', black)}`;
      const policies = policiesOf(imported(conf).text);
      for (const recipient of addresses) {
        const matching = Object.keys(byRecipient).filter(
          (key) => amavisLookup([{ [key]: 1 }], recipient) === 1,
        );
        for (const sender of senders) {
          const policy = policyFor(recipient, policies);
          const found = judgeSender(mailTo([recipient], { sender }), [hit('SPF_PASS')], policy);
          const expected = matching.reduce(
            (sum, key) => sum + (amavisLookup(byRecipient[key] ?? [], sender) ?? 0),
            0,
          );
          const isWhite = amavisLookup(white, sender) === 1;
          const isBlack = amavisLookup(black, sender) === 1 && !isWhite;
          assert.deepEqual(
            [found.points, found.allowed, found.blocked],
            [expected, isWhite, isBlack],
            `${sender} to ${recipient}:\n${conf}`,
          );
        }
      }
    }),
    { numRuns: 100 },
  );
});

test('importAmavis() notes names that policies.yaml can not hold, instead of refusing its own text', () => {
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    for (const key of [name, `.${name}`]) {
      const levels = imported(`$sa_kill_level_deflt = { '${key}' => 7 };`);
      assert.ok(levels.notes.some((note) => note.startsWith('lost 1: ') && note.includes(name)));
    }
    const viruses = imported(`@virus_name_to_spam_score_maps = (new_RE([ qr'^${name}$' => 3 ]));`);
    assert.ok(viruses.notes.some((note) => note.startsWith('lost 1: ') && note.includes(name)));
  }
});

test('importAmavis() is bounded and never refuses its own text, whatever the files hold', () => {
  const piece = fc.constantFrom(
    '$sa_kill_level_deflt = ',
    '@spam_kill_level_maps = ',
    '@whitelist_sender_maps = ',
    '@score_sender_maps = ',
    '$final_spam_destiny = ',
    "{ 'a.example' => ",
    "'u@' ",
    '5',
    '-99999',
    'undef',
    '1e999',
    'D_PASS',
    'D_REJECT',
    ', ',
    '; ',
    '( ',
    ') ',
    '} ',
    '[ ',
    '] ',
    "qr'^a.*@b'",
    'new_RE(',
    '\\%x ',
    '\\@spam_kill_level_maps ',
    '%x = ',
    "'__proto__' => ",
    '"\u0000\ud800" => ',
    "'.' => ",
    "'*' ",
    '$sa_spam_subject_tag = ',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.string(), (pieces, sql) => {
      importAmavis(
        { files: [{ file: 'x.conf', text: pieces.join('') }], dumps: [{ file: 'x.sql', text: sql }] },
        shipped,
      );
    }),
    { numRuns: 100 },
  );
  const users = Array.from({ length: 3000 }, (_, at) => `(${at},7,1,'u${at}@d${at % 100}.example')`).join(
    ',',
  );
  const began = performance.now();
  const { recipients } = importAmavis(
    {
      files: [],
      dumps: [
        {
          file: 'big.sql',
          text: `${sqlTables}INSERT INTO users (id,priority,policy_id,email) VALUES ${users};`,
        },
      ],
    },
    shipped,
  );
  assert.equal(recipients, 3000);
  assert.ok(performance.now() - began < 60_000, `${performance.now() - began} ms`);
  const many = `%spam_lovers = map { "u$_\\@a.example" => 1 } (${Array.from({ length: 60_000 }, (_, at) => at).join(',')});`;
  assert.equal(importAmavis({ files: [{ file: 'many.conf', text: many }], dumps: [] }, shipped).text, null);
});
