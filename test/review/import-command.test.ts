/**
 * import-command — `sluice import amavis` as an administrator runs it: files, folders, dumps, exit codes.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { differingFields } from '../rules/policy-texts.ts';

const sluice = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');
const folder = mkdtempSync(join(tmpdir(), 'sluice-import-'));
after(() => rmSync(folder, { recursive: true, force: true }));

type Ended = { readonly code: number | null; readonly out: string; readonly err: string };

function run(...words: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [sluice, 'import', 'amavis', ...words], {
    encoding: 'utf8',
    cwd: folder,
    // No configuration is needed, not even a good one.
    env: { ...process.env, SLUICE_CONFIG: join(folder, 'not-there.yaml') },
    timeout: 60_000,
  });
  return { code: status, out: stdout, err: stderr };
}

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content);
  return name;
}

const clean = file(
  'clean.conf',
  'use strict;\n$final_spam_destiny = D_DISCARD;\n$sa_tag2_level_deflt = 6;\n$sa_kill_level_deflt = 8;\n1;  # ensure a defined return\n',
);

/** Debian's split configuration, in short. */
function debian(): string {
  mkdirSync(join(folder, 'conf.d'), { recursive: true });
  const parts: Record<string, string> = {
    '05-domain_id':
      'use strict;\nchomp($mydomain = `head -n 1 /etc/mailname`);\n@local_domains_acl = ( ".$mydomain" );\n1;  # ensure a defined return\n',
    '15-content_filter_mode':
      'use strict;\n#@bypass_virus_checks_maps = (\n#   \\%bypass_virus_checks, \\@bypass_virus_checks_acl, \\$bypass_virus_checks_re);\n@bypass_spam_checks_maps = (\n   \\%bypass_spam_checks, \\@bypass_spam_checks_acl, \\$bypass_spam_checks_re);\n1;\n',
    '20-defaults':
      "use strict;\n$QUARANTINEDIR = \"$MYHOME/virusmails\";\n$inet_socket_port = 10024;   # default listening socket\n$sa_spam_subject_tag = '***SPAM*** ';\n$sa_tag_level_deflt  = 2.0;\n$sa_tag2_level_deflt = 6.31;\n$sa_kill_level_deflt = 6.31;\n$final_virus_destiny = D_DISCARD;\n$final_spam_destiny = D_PASS;\n$virus_admin = \"postmaster\\@$mydomain\";\n$banned_filename_re = new_RE(\n  qr'\\.[^./]*\\.(exe|vbs|pif)\\.?$'i,\n# qr'^message/partial$'i,\n);\n@score_sender_maps = ({\n  '.' => [ new_RE([qr'^(bulkmail|offers)@'i => 5.0]), { 'example.net' => -3.0, }, ],\n});\n1;\n",
    '50-user':
      "use strict;\n$final_spam_destiny = D_BOUNCE;\n$sa_kill_level_deflt = 10;\n@spam_kill_level_maps = ( { '.example.com' => 12 }, \\$sa_kill_level_deflt );\n#------------ Do not modify anything below this line -------------\n1;  # ensure a defined return\n",
    '50-user.dpkg-old': '$sa_kill_level_deflt = 1;\n',
  };
  for (const [name, text] of Object.entries(parts)) file(join('conf.d', name), text);
  return 'conf.d';
}

test('import amavis prints policies to standard output and the report to standard error', () => {
  const { code, out, err } = run(clean);
  assert.equal(code, 0, err);
  assert.match(out, /^# policies\.yaml from amavisd-new \(1 file\)/);
  assert.match(
    out,
    /quarantine: 8 # clean\.conf:4 \$sa_kill_level_deflt, held: \$final_spam_destiny is D_DISCARD\n/,
  );
  assert.match(
    err,
    /^Everything was carried over\.\nGood to know:\n {2}amavisd-new's built-in list of virus names.*\n {6}by hand: .*\n$/,
  );
  assert.deepEqual(differingFields(out, 'x@example.org'), { spam: 6, quarantine: 8 });
});

test('import amavis takes a folder like /etc/amavis/conf.d, and exits with 1 where something is lost', () => {
  const { code, out, err } = run(debian());
  assert.equal(code, 1, err);
  assert.deepEqual(differingFields(out, 'x@example.org'), {
    spam: 6.31,
    subjectTag: '***SPAM*** ',
    'senders.score': { '@example.net': -3 },
  });
  assert.deepEqual(differingFields(out, 'x@a.example.com').quarantine, 12);
  for (const line of [
    /^Can't be carried over:\n {2}conf\.d\/20-defaults:16: @score_sender_maps: the regular expression \^\(bulkmail\|offers\)@\n {6}by hand: /m,
    /^What amavisd-new does and Sluice never does:\n/m,
    /^ {2}conf\.d\/20-defaults:11: banned file names and types: \$banned_filename_re$/m,
    /^ {2}conf\.d\/50-user:2: bounces and rejections: \$final_spam_destiny D_BOUNCE$/m,
    /^For sluice\.yaml:\n {2}conf\.d\/20-defaults:3: \$inet_socket_port\n {6}write: listen: \{ smtp: 127\.0\.0\.1:10024 \}$/m,
  ])
    assert.match(err, line);
  assert.match(out, /# {3}listen: \{ smtp: 127\.0\.0\.1:10024 \}/);
});

test('import amavis takes SQL dumps with and without a configuration', () => {
  const dump = file(
    'dump.sql',
    "-- MariaDB dump\nINSERT INTO `policy` (`id`,`spam_tag2_level`,`spam_kill_level`) VALUES (1,5,7);\nINSERT INTO `users` VALUES (1,7,1,'u@example.com',NULL);\n",
  );
  const pg = file(
    'pg.sql',
    '-- PostgreSQL database dump\nCOPY public.policy (id, spam_tag2_level, spam_kill_level) FROM stdin;\n1\t5.5\t\\N\n\\.\nCOPY public.users (id, priority, policy_id, email) FROM stdin;\n1\t7\t1\t\\\\x75406578616d706c652e636f6d\n\\.\n',
  );
  const alone = run('--sql', dump);
  assert.equal(alone.code, 0, alone.err);
  assert.deepEqual(differingFields(alone.out, 'u@example.com'), { spam: 5, quarantine: 7 });
  const both = run(clean, '--sql', pg);
  assert.equal(both.code, 0, both.err);
  assert.deepEqual(differingFields(both.out, 'u@example.com'), { spam: 5.5, quarantine: 8 });
});

test('import amavis --write makes a new file that policy check takes, and never overwrites', () => {
  const written = run(debian(), '--write', 'policies.yaml');
  assert.equal(written.code, 1);
  assert.match(written.out, /^policies\.yaml: written \(2 recipients and domains\)\n$/);
  const text = readFileSync(join(folder, 'policies.yaml'), 'utf8');
  const again = run(clean, '--write', 'policies.yaml');
  assert.equal(again.code, 69);
  assert.match(again.err, /Cannot write policies\.yaml: it is there already/);
  assert.equal(readFileSync(join(folder, 'policies.yaml'), 'utf8'), text);
  file('sluice.yaml', 'policies: policies.yaml\n');
  const check = [sluice, 'policy', 'check', '--config', join(folder, 'sluice.yaml')];
  assert.match(execFileSync(process.execPath, check, { encoding: 'utf8' }), /policies\.yaml: ok/);
});

test('import amavis --json prints one value', () => {
  const { code, out } = run(debian(), '--json');
  const value = JSON.parse(out) as {
    written: null;
    recipients: number;
    policies: string;
    notes: { kind: string; file: string; line: number }[];
  };
  assert.equal(code, 1);
  assert.equal(value.recipients, 2);
  assert.match(value.policies, /^# policies\.yaml from/);
  assert.ok(
    value.notes.some(
      ({ kind, file: name, line }) => kind === 'lost' && name === 'conf.d/20-defaults' && line === 16,
    ),
  );
});

test('import amavis refuses what it cannot read, in one line', () => {
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  file('binary', Buffer.from([0x24, 0, 1, 2]));
  file('latin1', Buffer.from("$sa_spam_subject_tag = '[K\xe4se] ';\n", 'latin1'));
  const dump = file('as-conf.sql', '-- MySQL dump 10.13\nINSERT INTO users VALUES (1);\n');
  const table: [label: string, words: string[], code: number, message: RegExp][] = [
    ['nothing named', [], 64, /name amavisd\.conf, or a dump with --sql/],
    ['a dump as configuration', [dump], 64, /is a SQL dump: write --sql as-conf\.sql/],
    ['unknown option', [clean, '--to', 'x@y'], 64, /no option --to/],
    ['missing file', ['missing.conf'], 69, /Cannot read missing\.conf: ENOENT/],
    ['missing dump', [clean, '--sql', 'missing.sql'], 69, /Cannot read missing\.sql: ENOENT/],
    ['no text', ['binary'], 69, /Cannot read binary: it is no text/],
    ['a pipe', ['pipe'], 69, /Cannot read pipe: it is no regular file/],
    ['a device', ['/dev/zero'], 69, /it is no regular file/],
    [
      'a folder to write in',
      [clean, '--write', 'no/such/folder'],
      69,
      /Cannot write no\/such\/folder: ENOENT/,
    ],
  ];
  for (const [label, words, code, message] of table) {
    const ended = run(...words);
    assert.equal(ended.code, code, `${label}: ${ended.err}`);
    assert.match(ended.err, message, label);
    assert.equal(ended.out, '', label);
  }
  assert.match(run('latin1').out, /subjectTag: "?\[Käse\] "?/);
});

test('import amavis runs nothing of what it reads', () => {
  const marks = ['one', 'two', 'three', 'four'].map((name) => join(folder, `mark-${name}`));
  file(
    'hostile.conf',
    `BEGIN { system("touch ${marks[0]}"); }\n$x = \`touch ${marks[1]}\`;\nsystem('touch', '${marks[2]}');\n$y = qx{touch ${marks[3]}};\ninclude_config_files('${join(folder, clean)}');\n@whitelist_sender_maps = (read_hash('/etc/passwd'));\n$sa_spam_subject_tag = "\\e[31m";\n`,
  );
  const { code, out, err } = run('hostile.conf');
  assert.equal(code, 1);
  for (const mark of marks) assert.throws(() => statSync(mark), /ENOENT/);
  assert.doesNotMatch(out + err, /root:/, 'no file that a configuration names is opened');
  assert.ok(!(out + err).includes('\x1b'), 'no escape sequences');
  assert.match(err, /include_config_files/);
});

test('import amavis --help names its options', () => {
  const { code, out } = run('--help');
  assert.equal(code, 0);
  assert.match(out, /--sql DUMP[^]*--write FILE[^]*\n {2}0 +all was carried over\n {2}1 +something was not/);
});
