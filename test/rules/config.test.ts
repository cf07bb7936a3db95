/**
 * config — defaults, spellings, the environment, and which mistakes are found where.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, formatAddress, parseConfig } from '../../rules/config.ts';
import { formatProblem } from '../../rules/document.ts';

type Environment = Record<string, string | undefined>;
const file = '/etc/sluice/sluice.yaml';

function configOf(text: string | null, environment: Environment = {}): Config {
  const { config, problems } = parseConfig(text === null ? null : { file, text }, environment);
  assert.deepEqual(problems.map(formatProblem), [], text ?? '(no file)');
  assert.ok(config !== null);
  return config;
}

function problemsOf(text: string | null, environment: Environment = {}): string[] {
  const { config, problems } = parseConfig(text === null ? null : { file: 'sluice.yaml', text }, environment);
  assert.equal(config === null, problems.length > 0);
  return problems.map(formatProblem);
}

const tcp = (host: string, port: number) => ({ kind: 'tcp', host, port });
const unix = (path: string, mode: number | null = null, owner: string | null = null) => ({
  kind: 'unix',
  path,
  mode,
  owner,
});

/** DESIGN's section "Configuration". */
const documentedDefaults = {
  role: 'primary',
  listen: {
    smtp: tcp('127.0.0.1', 10024),
    lmtp: tcp('127.0.0.1', 10023),
    outbound: null,
    trustedClients: [],
  },
  mode: 'filter',
  reinject: tcp('127.0.0.1', 10025),
  scan: { virus: true, spam: true },
  clamd: [unix('/run/clamav/clamd.ctl')],
  spamd: [tcp('127.0.0.1', 783)],
  spamdUser: null,
  redis: null,
  worker: { virus: 16, spam: 4 },
  state: '/var/lib/sluice',
  spool: '/var/lib/sluice/spool',
  policies: null,
  policiesNamed: false,
  review: { listen: tcp('127.0.0.1', 8025) },
  health: {
    filter: tcp('127.0.0.1', 9025),
    worker: tcp('127.0.0.1', 9026),
    review: tcp('127.0.0.1', 9027),
    bayes: tcp('127.0.0.1', 9028),
  },
  limits: { messageBytes: 100 * 1024 * 1024, deadlineSeconds: 300, inFlight: 100, spamBytes: 512 * 1024 },
  history: { retentionDays: 180 },
  bayes: {
    user: null,
    siteFolder: null,
    keep: 7,
    sizeMax: 256 * 1024 * 1024,
    redisScratch: null,
    nodes: [],
    primary: null,
    ssh: {
      key: '/etc/sluice/bayes_key',
      knownHosts: '/etc/sluice/bayes_known_hosts',
      connectSeconds: 10,
      deadlineSeconds: 1800,
    },
    sync: { at: null, zone: null, jitterMinutes: 10 },
    sample: 0,
    recipients: null,
    alarm: { hours: 26, mail: null },
  },
  log: { format: 'json', level: 'info' },
};

test('parseConfig() has a default for every key', () => {
  assert.deepEqual(configOf(null), documentedDefaults);
  for (const text of ['', '# nothing', 'listen:\nlimits:\n', '{}']) {
    assert.deepEqual(configOf(text), { ...documentedDefaults, policies: '/etc/sluice/policies.yaml' }, text);
  }
});

test('parseConfig() takes what DESIGN shows', () => {
  const config = configOf(`role: primary                    # or backup
listen: { smtp: 127.0.0.1:10024, lmtp: 127.0.0.1:10023, outbound: null, trustedClients: [] }
mode: filter
reinject: 127.0.0.1:10025
scan: { virus: true, spam: true }
clamd: unix:/run/clamav/clamd.ctl     # or host:port, or a list; null: none here
spamd: 127.0.0.1:783
redis: null
worker: { virus: 16, spam: 4 }
state: /var/lib/sluice
spool: null
policies: policies.yaml
review: { listen: 127.0.0.1:8025 }
health: { filter: 127.0.0.1:9025, worker: 127.0.0.1:9026, review: 127.0.0.1:9027 }
limits: { messageBytes: 100MB, deadlineSeconds: 300, inFlight: 100, spamBytes: 512KB }
history: { retentionDays: 180 }
log: { format: json, level: info }
`);
  assert.deepEqual(config, {
    ...documentedDefaults,
    policies: '/etc/sluice/policies.yaml',
    policiesNamed: true,
  });
});

test('parseConfig() reads addresses', () => {
  const table: [text: string, address: unknown, formatted: string][] = [
    ['127.0.0.2:1', tcp('127.0.0.2', 1), '127.0.0.2:1'],
    ['localhost:0', tcp('localhost', 0), 'localhost:0'],
    ['"[::1]:10024"', tcp('::1', 10024), '[::1]:10024'],
    ['unix:/run/s.sock', unix('/run/s.sock'), 'unix:/run/s.sock'],
    [
      'unix:/run/s.sock (0660, postfix)',
      unix('/run/s.sock', 0o660, 'postfix'),
      'unix:/run/s.sock (0660, postfix)',
    ],
    [
      'unix:/run/s.sock (0660 postfix:mail)',
      unix('/run/s.sock', 0o660, 'postfix:mail'),
      'unix:/run/s.sock (0660, postfix:mail)',
    ],
    ['unix:/run/s.sock (600)', unix('/run/s.sock', 0o600), 'unix:/run/s.sock (0600)'],
    ['unix:/run/s.sock(postfix)', unix('/run/s.sock', null, 'postfix'), 'unix:/run/s.sock (postfix)'],
    ['unix:s.sock', unix('/etc/sluice/s.sock'), 'unix:/etc/sluice/s.sock'],
    ['unix:../../run/./s.sock', unix('/run/s.sock'), 'unix:/run/s.sock'],
  ];
  for (const [text, address, formatted] of table) {
    const { smtp } = configOf(`listen:\n  smtp: ${text}\n`).listen;
    assert.deepEqual(smtp, address, text);
    assert.ok(smtp !== null);
    assert.equal(formatAddress(smtp), formatted);
  }
});

test('parseConfig() takes one scanner, several, or none', () => {
  assert.deepEqual(configOf('clamd: [unix:/a, b.test:3310]').clamd, [unix('/a'), tcp('b.test', 3310)]);
  assert.deepEqual(configOf('spamd: 10.0.0.1:783').spamd, [tcp('10.0.0.1', 783)]);
  assert.deepEqual(configOf('clamd: null\nscan: { virus: false }').clamd, []);
});

test('parseConfig() reads where Redis is, with nothing but a URL or all there is to say', () => {
  const defaults = {
    sentinels: [],
    master: 'mymaster',
    sentinelUser: null,
    sentinelPassword: null,
    tls: false,
    caFile: null,
    prefix: 'sluice',
    messageBytesMax: 32 * 1024 ** 2,
    fetch: null,
    fetchClients: [],
  };
  const url = 'redis://u:p%40@redis.test:6380/3';
  assert.deepEqual(configOf(`redis: ${url}`).redis, { url, ...defaults });
  assert.deepEqual(configOf(null, { SLUICE_REDIS: url }).redis, { url, ...defaults });
  assert.deepEqual(configOf('redis: rediss://h').redis, { url: 'rediss://h', ...defaults, tls: true });
  const all = `redis:
  url: rediss://h
  sentinels: [a.test:26379, "[::1]:26379"]
  master: mail
  sentinelUser: sluice
  sentinelPassword: 'pass: word'
  caFile: ca.pem
  prefix: mail-1
  messageBytesMax: 1MB
  fetch: 10.0.0.1:10027
  fetchClients: 10.0.0.0/24
worker: { virus: 8, spam: 2 }
clamd: null
`;
  const { redis, worker } = configOf(all);
  assert.deepEqual(worker, { virus: 8, spam: 2 });
  assert.deepEqual(redis, {
    url: 'rediss://h',
    sentinels: [tcp('a.test', 26379), tcp('::1', 26379)],
    master: 'mail',
    sentinelUser: 'sluice',
    sentinelPassword: 'pass: word',
    tls: true,
    caFile: '/etc/sluice/ca.pem',
    prefix: 'mail-1',
    messageBytesMax: 1024 ** 2,
    fetch: tcp('10.0.0.1', 10027),
    fetchClients: ['10.0.0.0/24'],
  });
  const trusted = 'listen: { trustedClients: 10.0.0.2 }\nredis: { url: redis://h, fetch: 10.0.0.1:10027 }';
  assert.deepEqual(configOf(trusted).redis?.fetchClients, []);
});

test('parseConfig() reads sizes with KB = 1024', () => {
  const table: [text: string, bytes: number][] = [
    ['65536', 65_536],
    ['"65536"', 65_536],
    ['64KB', 65_536],
    ['64 kb', 65_536],
    ['64KiB', 65_536],
    ['64K', 65_536],
    ['1.5MB', 1_572_864],
    ['1GB', 1_073_741_824],
    ['2048B', 2048],
  ];
  for (const [text, bytes] of table)
    assert.equal(configOf(`limits: { messageBytes: ${text} }`).limits.messageBytes, bytes, text);
});

test('parseConfig() makes paths relative to the file, and spool to state', () => {
  const config = configOf('state: state\npolicies: ../p.yaml\n');
  assert.deepEqual(
    [config.state, config.spool, config.policies],
    ['/etc/sluice/state', '/etc/sluice/state/spool', '/etc/p.yaml'],
  );
  assert.equal(configOf('spool: /dev/shm/sluice/').spool, '/dev/shm/sluice');
  assert.deepEqual(
    [configOf('policies: null').policies, configOf('policies: null').policiesNamed],
    [null, true],
  );
  const here = parseConfig({ file: 'sluice.yaml', text: 'state: ./a/../b' }, {}).config;
  assert.deepEqual([here?.state, here?.policies], ['b', 'policies.yaml']);
  const above = parseConfig({ file: 'conf/sluice.yaml', text: 'state: ../../b' }, {}).config;
  assert.deepEqual([above?.state, above?.policies], ['../b', 'conf/policies.yaml']);
});

test('parseConfig() lets the environment win over the file', () => {
  const environment = {
    SLUICE_LISTEN_SMTP: '[::1]:2024',
    SLUICE_LISTEN_LMTP: 'null',
    SLUICE_LISTEN_OUTBOUND: 'unix:/run/o.sock (0660, postfix)',
    SLUICE_LISTEN_TRUSTEDCLIENTS: '[10.0.0.1, "2001:db8::/32"]',
    SLUICE_SCAN_VIRUS: 'false',
    SLUICE_CLAMD: 'null',
    SLUICE_SPAMD: '[127.0.0.1:783, 127.0.0.1:784]',
    SLUICE_SPAMDUSER: 'debian-spamd',
    SLUICE_LIMITS_MESSAGEBYTES: '10MB',
    SLUICE_STATE: 'var',
    SLUICE_LOG_FORMAT: 'amavis',
    SLUICE_LOG_LEVEL: 'warn',
    SLUICE_CONFIG: '/etc/other.yaml',
    SLUICE_TEST_ANYTHING: 'x',
    SLUICE_DEMO_FOLDER: 'x',
    SLUICE_MODE: undefined,
    PATH: '/bin',
    SLUICED: 'x',
  };
  const config = configOf('listen: { smtp: 127.0.0.1:1, lmtp: 127.0.0.1:2 }\nstate: /s\n', environment);
  assert.deepEqual(config.listen, {
    smtp: tcp('::1', 2024),
    lmtp: null,
    outbound: unix('/run/o.sock', 0o660, 'postfix'),
    trustedClients: ['10.0.0.1', '2001:db8::/32'],
  });
  assert.deepEqual([config.scan, config.clamd, config.spamd.length], [{ virus: false, spam: true }, [], 2]);
  assert.deepEqual([config.spamdUser, config.limits.messageBytes], ['debian-spamd', 10 * 1024 * 1024]);
  assert.deepEqual([config.state, config.spool], ['/etc/sluice/var', '/etc/sluice/var/spool']);
  assert.deepEqual(config.log, { format: 'amavis', level: 'warn' });
});

test('parseConfig() freezes all of it', () => {
  const config = configOf('');
  assert.throws(() => Object.assign(config.listen, { smtp: null }), TypeError);
  assert.throws(() => Object.assign(config.clamd[0] ?? {}, { path: '' }), TypeError);
});

/** Each text has one mistake, or as many as there are expected lines. */
const mistakes: [text: string, ...problems: RegExp[]][] = [
  ['lisen: {}', /^sluice\.yaml:1:1: lisen: unknown key: did you mean "listen"\?$/],
  ['listen:\n  stmp: 127.0.0.1:1', /^sluice\.yaml:2:3: listen\.stmp: unknown key: did you mean "smtp"\?$/],
  ['banana: 1', /unknown key: known here: role, listen, mode/],
  ['role: secondary', /^sluice\.yaml:1:7: role: found "secondary": write primary or backup$/],
  ['mode: observer', /found "observer": write filter or observe/],
  [
    'listen: 127.0.0.1:10024',
    /^sluice\.yaml:1:9: listen: found "127\.0\.0\.1:10024": write the keys smtp, lmtp/,
  ],
  [
    'listen: { smtp: 10024 }',
    /^sluice\.yaml:1:17: listen\.smtp: found 10024: write a host too, like 127\.0\.0\.1:10024$/,
  ],
  ['listen: { smtp: ":10024" }', /without a host: write 127\.0\.0\.1:10024/],
  ['listen: { smtp: 127.0.0.1 }', /found "127\.0\.0\.1" without a port/],
  ['listen: { smtp: 127.0.0.1:65536 }', /found port 65536: write one from 1 to 65535/],
  ['listen: { smtp: 127.0.0.256:1 }', /found "127\.0\.0\.256", which is no IP address and no host name/],
  ['listen: { smtp: "::1:10024" }', /write an IPv6 address in brackets/],
  [
    'listen: { smtp: "[::1:10024" }',
    /found "\[::1:10024": write host:port, \[v6\]:port or unix:path, or null/,
  ],
  ['listen: { smtp: [::1]:10024 }', /^sluice\.yaml:1:22: Missing .*put the value in quotes$/],
  ['listen: { smtp: /run/s.sock }', /without a port|write unix:\/run\/s\.sock/],
  ['listen: { smtp: "unix:" }', /found "unix:": write host:port/],
  ['listen: { smtp: "unix:/s (0999)" }', /found "\(0999\)": write the mode in octal and the owner/],
  [
    'listen: { smtp: "unix:/s (0660, a, b)" }',
    /write the mode in octal and the owner, like \(0660, postfix\)/,
  ],
  [
    'listen: { smtp: unix:/s (0660, postfix) }',
    /put it in quotes, because a comma ends it/,
    /"postfix\)": unknown key/,
  ],
  [`listen: { smtp: "unix:/${'x'.repeat(107)}" }`, /longer than 107 octets/],
  [
    'listen:\n  smtp:\n  lmtp: 127.0.0.1:1',
    /^sluice\.yaml:2:\d+: listen\.smtp: found nothing: write host:port.*, or null for no such listener$/,
  ],
  [
    'listen: { smtp: 0.0.0.0:10024 }',
    /^sluice\.yaml:1:17: listen\.smtp: 0\.0\.0\.0:10024 is no loopback address and listen\.trustedClients is empty: name/,
  ],
  [
    'listen: { lmtp: mx.test:24, outbound: "[2001:db8::1]:25" }',
    /^sluice\.yaml:1:17: listen\.lmtp/,
    /^sluice\.yaml:1:39: listen\.outbound/,
  ],
  [
    'listen: { trustedClients: [mx.test] }',
    /:1:28: listen\.trustedClients\[0\]: found "mx\.test": write an IP address or a network/,
  ],
  [
    'listen: { trustedClients: [10.0.0.0/33, 10.0.0.1/, 1.2.3.4/8/8, 10.0.0] }',
    /\[0\]/,
    /\[1\]/,
    /\[2\]/,
    /\[3\]/,
  ],
  ['listen: { trustedClients: [0.0.0.0/0] }', /trusts everybody: name the hosts/],
  [
    'listen: { trustedClients: null }',
    /found null: write an IP address or a network like 10\.0\.0\.0\/8, or a list of such/,
  ],
  ['listen: { smtp: null, lmtp: null }', /^sluice\.yaml:1:17: listen\.smtp: all listeners are null/],
  ['listen: { smtp: 127.0.0.1:10023 }', /^sluice\.yaml: listen\.lmtp: taken by listen\.smtp already/],
  [
    'listen: { smtp: unix:/s, lmtp: "unix:/s (0600)" }',
    /^sluice\.yaml:1:32: listen\.lmtp: taken by listen\.smtp/,
  ],
  [
    'reinject: 127.0.0.1:10024',
    /^sluice\.yaml:1:11: reinject: the same as listen\.smtp, a loop: write that of the return smtpd$/,
  ],
  ['reinject: localhost:10023', /the same as listen\.lmtp, a loop/],
  [
    'reinject: 127.0.0.1:24\nlisten: { smtp: 0.0.0.0:24, trustedClients: 10.0.0.1 }',
    /the same as listen\.smtp, a loop/,
  ],
  ['reinject: null', /found null: write host:port/],
  ['reinject: 127.0.0.1:0', /found port 0: write one from 1/],
  ['reinject: "unix:/s (0600)"', /mode and owner belong to a socket that Sluice makes: write unix:\/s$/],
  ['scan: { virus: yes }', /found "yes": write true or false/],
  [
    'clamd: null',
    /^sluice\.yaml:1:8: clamd: clamd is null and there is no redis, but scan\.virus is true: write the address of clamd, or scan\.virus: false$/,
  ],
  ['spamd: []', /^sluice\.yaml:1:8: spamd: spamd is null and there is no redis, but scan\.spam is true/],
  ['clamd:\n  - unix:/a\n  - b', /^sluice\.yaml:3:5: clamd\[1\]: found "b" without a port/],
  ['clamd: { socket: /a }', /^sluice\.yaml:1:8: clamd: found a map: write host:port/],
  ['spamdUser: ""', /found "": write the name of a user, or null/],
  ['redis: http://127.0.0.1:6379', /^sluice\.yaml:1:8: redis: found no such URL: write a URL like redis:/],
  ['redis: redis://h/x', /found no such URL/],
  ['redis: redis://:100%@h', /found no such URL/],
  ['redis: unix:redis.sock', /found no such URL/],
  ['redis: { url: redis://h, prefix: "a:b" }', /found "a:b": write up to 50 letters/],
  ['redis: { url: redis://h, messageBytesMax: 1GB }', /write a size from 1KB to 512MB/],
  ['redis: { url: redis://h, caFile: ca.pem }', /caFile without TLS: write tls: true/],
  ['redis: { url: "unix:/r", sentinels: a:1 }', /sentinels name a master elsewhere/],
  ['redis: { url: redis://h, sentinelPassword: x }', /sentinelPassword without sentinels: write the addr/],
  ['redis: { url: redis://h, sentinels: a:1, sentinelPassword: 123 }', /write a password in quotation marks/],
  ['redis: { url: redis://h, sentinels: "unix:/s" }', /sentinels hold the path of a socket/],
  [
    'redis: { url: redis://h, fetch: 0.0.0.0:1 }',
    /fetch is 0\.0\.0\.0:1: write the address at which workers/,
  ],
  [
    'redis: { url: redis://h, fetch: 10.0.0.1:1 }',
    /fetch is 10\.0\.0\.1:1, no loopback address, and fetchClients is empty: name the hosts of the workers/,
  ],
  ['redis: { url: redis://h, fetch: 127.0.0.1:10023 }', /taken by listen\.lmtp already/],
  ['worker: { virus: 0 }', /worker\.virus: found 0: write a whole number from 1 to 1000/],
  ['redis: { sentinels: [x], prefx: 1 }', /found no url/, /"x" without a port/, /did you mean "prefix"\?/],
  ['state: ""', /^sluice\.yaml:1:8: state: found "": write the path of a folder$/],
  ['state: "/a\\0b"', /contains control characters: write the path of a folder/],
  ['state: null', /found null: write the path of a folder$/],
  [
    'limits: { messageBytes: 10XB }',
    /^sluice\.yaml:1:25: limits\.messageBytes: found "10XB": write a size from 1KB to 4GB, like 512KB or 100MB$/,
  ],
  ['limits: { messageBytes: -1 }', /found -1: write a size/],
  ['limits: { spamBytes: 1023 }', /found 1023: write a size from 1KB to 256MB/],
  ['limits: { deadlineSeconds: 1171 }', /found 1171: write a number from 1 to 1170/],
  ['limits: { inFlight: 0.5 }', /found 0\.5: write a whole number from 1 to 10000/],
  ['bayes: { keep: 0 }', /found 0: write a whole number from 1 to 1000/],
  ['bayes: { redisScratch: x }', /write a whole number from 0 to 65535/],
  ['bayes: { nodes: [mx2 example] }', /found "mx2 example": write host, user@host or user@host:port/],
  ['bayes: { nodes: [-oProxyCommand=x] }', /found "-oProxyCommand=x": write host, user@host/],
  ['bayes: { nodes: [mx2:70000] }', /found "mx2:70000": write host, user@host/],
  ['bayes: { nodes: [mx2, root@mx2] }', /mx2:22 stands twice: name each node once/],
  ['role: backup\nbayes: { nodes: [mx2] }', /^sluice\.yaml:2:17: bayes\.nodes: stands on a backup/],
  ['bayes: { primary: mx1 }', /bayes\.primary: stands on the primary/],
  ['bayes: { sync: { at: "24:00" } }', /found "24:00": write a time of day like "03:15"/],
  [
    'bayes: { sync: { zone: Europe/Nowhere } }',
    /found "Europe\/Nowhere": write a time zone like Europe\/Berlin/,
  ],
  ['history: { retentionDays: -3 }', /found -3: write a whole number from 1 to 3650/],
  ['log: { format: syslog }', /^sluice\.yaml:1:16: log\.format: found "syslog": write json or amavis$/],
  ['log: { level: trace }', /found "trace": write debug, info, warn or error$/],
  ['log: json', /found "json": write the keys format, level under it/],
  ['health: { filter: 8080 }', /write a host too, like 127\.0\.0\.1:8080/],
  ['mode: filter\nmode: observe', /^sluice\.yaml:2:1: mode: stands twice, first in line 1/],
  ['__proto__: { role: backup }', /__proto__ is not allowed/],
  ['- role', /found a list: write the keys role, listen/],
  ['a: &a [*a]', /contains itself/],
  [
    'rol: backup\nmode: x\nlisten: { smtp: 0.0.0.0:1, lmtp: 5 }\nlimits: { inFlight: 0 }\n',
    /^sluice\.yaml:1:1: /,
    /^sluice\.yaml:2:7: /,
    /^sluice\.yaml:3:17: /,
    /^sluice\.yaml:3:34: /,
    /^sluice\.yaml:4:21: /,
  ],
];

test('parseConfig() finds every planted mistake in its line, and nothing else', () => {
  assert.ok(mistakes.length > 50);
  for (const [text, ...expected] of mistakes) {
    const problems = problemsOf(text);
    assert.equal(problems.length, expected.length, `${text}\n${problems.join('\n')}`);
    for (const [at, pattern] of expected.entries()) assert.match(problems[at] ?? '', pattern, text);
  }
});

test('parseConfig() names the variable that is wrong', () => {
  const table: [environment: Environment, ...problems: RegExp[]][] = [
    [
      { SLUICE_LISTEN_SMPT: 'x' },
      /^environment: SLUICE_LISTEN_SMPT: unknown variable: did you mean "SLUICE_LISTEN_SMTP"\?$/,
    ],
    [{ SLUICE_LIMITS_MESSAGE_BYTES: '1MB' }, /did you mean "SLUICE_LIMITS_MESSAGEBYTES"\?/],
    [{ SLUICE_TESTS: 'x' }, /unknown variable/],
    [{ SLUICE_ROLE: 'x' }, /^environment: SLUICE_ROLE: found "x": write primary or backup$/],
    [{ SLUICE_ROLE: '' }, /^environment: SLUICE_ROLE: found nothing/],
    [{ SLUICE_ROLE: 'backup\nmode: observe' }, /^environment: SLUICE_ROLE: found "backup\\nmode: observe"/],
    [{ SLUICE_CLAMD: '[a:1, b]' }, /^environment: SLUICE_CLAMD: found "b" without a port/],
    [
      { SLUICE_LISTEN_SMTP: '0.0.0.0:1' },
      /^environment: SLUICE_LISTEN_SMTP: 0\.0\.0\.0:1 is no loopback address/,
    ],
    [{ SLUICE_MODE: 'x', SLUICE_ROLE: 'y' }, /SLUICE_(?:MODE|ROLE)/, /SLUICE_(?:MODE|ROLE)/],
  ];
  for (const [environment, ...expected] of table) {
    const problems = problemsOf(null, environment);
    assert.equal(problems.length, expected.length, problems.join('\n'));
    for (const [at, pattern] of expected.entries()) assert.match(problems[at] ?? '', pattern);
  }
});

test('parseConfig() never shows a password', () => {
  for (const redis of [
    'redis://:hunter2@h:6379/x',
    'redsi://:hunter2@h',
    '{ url: "http://hunter2@h" }',
    '[redis://:hunter2@h]',
    '{ url: "http://h", sentinels: a:1, sentinelPassword: [hunter2] }',
  ]) {
    const problems = [...problemsOf(`redis: ${redis}`), ...problemsOf(null, { SLUICE_REDIS: redis })];
    assert.ok(problems.length >= 2);
    assert.ok(!problems.join('\n').includes('hunter2'), problems.join('\n'));
  }
});
