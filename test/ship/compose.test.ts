/**
 * compose — compose.yaml and the files it mounts agree with each other and with what this Sluice says of itself.
 *
 * Read as Docker reads it (compose-file.ts); compose-run.ts also builds its images and sends mail through them, each in
 * networks of its own.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { type Config, parseConfig } from '../../rules/config.ts';
import { fragmentOf } from '../../rules/postfix-fragment.ts';
import { formatFragment } from '../../rules/postfix-text.ts';
import {
  addressOf,
  compose,
  dockerfileOf,
  mountsOf,
  neededBy,
  networksOf,
  serviceOf,
} from './compose-file.ts';
import { top } from './debian.ts';

const { services, networks, volumes } = compose;
const names = Object.keys(services);
const read = (file: string) => readFileSync(join(top, file), 'utf8');
const folder = 'packaging/compose';
const parts = ['filter', 'worker', 'review'];

suite('compose.yaml', () => {
  test('has every part, and two workers', () => {
    const wanted = ['clamav', 'filter', 'postfix', 'redis', 'review', 'spamassassin', 'worker'];
    assert.deepEqual(names.toSorted(), wanted);
    assert.equal(serviceOf('worker').deploy?.replicas, 2);
    for (const part of parts) assert.deepEqual(serviceOf(part).command?.slice(0, 2), ['run', part]);
  });

  for (const part of parts) {
    test(`${part} is started by default exactly where this Sluice has it`, () => {
      const args = [join(top, 'bin/sluice.js'), 'run', part, '--config', '/nowhere/sluice.yaml'];
      // A part that it knows reads its configuration first: 78. Of another one it knows nothing: 64.
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      assert.equal(status, serviceOf(part).profiles === undefined ? 78 : 64, stderr);
    });
  }

  test('names nothing that is not there', () => {
    const mounted = names.flatMap((name) => mountsOf(name).map(({ source }) => source));
    for (const source of mounted)
      assert.ok(source.startsWith('./') ? existsSync(join(top, source)) : source in volumes, source);
    assert.deepEqual(Object.keys(volumes).toSorted(), [
      ...new Set(mounted.filter((source) => !source.startsWith('./')).toSorted()),
    ]);
    for (const name of names) {
      for (const network of networksOf(name).keys()) assert.ok(network in networks, `${name}: ${network}`);
      for (const needed of neededBy(name)) assert.ok(needed in services, `${name}: ${needed}`);
      const dockerfile = dockerfileOf(name);
      assert.ok(dockerfile === null ? name === 'redis' : existsSync(join(top, dockerfile)), name);
    }
    assert.deepEqual(
      new Set(names.flatMap((name) => [...networksOf(name).keys()])),
      new Set(Object.keys(networks)),
    );
  });

  test('fixed addresses lie in their networks, each once', () => {
    const fixed = names.flatMap((name) => [...networksOf(name)].filter(([, address]) => address !== null));
    for (const [network, address] of fixed) {
      const [{ subnet } = { subnet: '' }] = networks[network]?.ipam?.config ?? [];
      assert.match(subnet, /\.0\/24$/);
      assert.ok(address?.startsWith(subnet.replace('0/24', '')), `${address} in ${subnet}`);
    }
    assert.equal(new Set(fixed.map(([, address]) => address)).size, fixed.length);
  });

  test('nobody has more rights than needed', () => {
    for (const [name, service] of Object.entries(services)) {
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
      if (name === 'postfix') continue;
      assert.equal(service.read_only, true, name);
      assert.equal(service.cap_add, undefined, name);
    }
  });

  test('a worker sees neither the quarantine nor Postfix, and only reads the spool', () => {
    const spool = { source: 'spool', target: '/var/spool/sluice' };
    assert.ok(mountsOf('filter').some((mount) => mount.source === spool.source && !mount.readOnly));
    const settings = { source: './packaging/compose/sluice', target: '/etc/sluice' };
    assert.deepEqual(mountsOf('worker'), [
      { ...settings, readOnly: true },
      { ...spool, readOnly: true },
    ]);
    assert.ok(!networksOf('worker').has('mail'));
  });

  test('Redis is reached by filter and workers alone, and has no way out', () => {
    const [network, ...others] = networksOf('redis').keys();
    assert.deepEqual(others, []);
    assert.equal(networks[network ?? '']?.internal, true);
    const inside = names.filter((name) => networksOf(name).has(network ?? ''));
    assert.deepEqual(inside.toSorted(), ['filter', 'redis', 'worker']);
  });

  test('Redis keeps nothing and evicts nothing', () => {
    const [program, ...words] = serviceOf('redis').command ?? [];
    assert.equal(program, 'redis-server');
    const settings = Object.fromEntries(
      words.flatMap((word, at) => (word.startsWith('--') ? [[word.slice(2), words[at + 1]]] : [])),
    ) as Record<string, string>;
    assert.equal(settings['maxmemory-policy'], 'noeviction');
    assert.deepEqual([settings['save'], settings['appendonly']], ['', 'no']);
    assert.match(settings['maxmemory'] ?? '', /^\d+mb$/);
  });

  test('every service has a healthcheck, its own or that of its image', () => {
    for (const name of names) {
      const dockerfile = dockerfileOf(name);
      const inImage = dockerfile !== null && /^HEALTHCHECK .*CMD /m.test(read(dockerfile));
      assert.ok(inImage !== (serviceOf(name).healthcheck !== undefined), name);
    }
  });

  test('publishes port 25, and the review on loopback only', () => {
    const published = names.flatMap((name) => (serviceOf(name).ports ?? []).map((port) => `${name} ${port}`));
    assert.deepEqual(published.toSorted(), ['postfix ${SMTP_PORT:-25}:25', 'review 127.0.0.1:8025:8025']);
  });

  test('sluice.yaml is right, and names the addresses that compose.yaml gives', () => {
    const config = siteConfig();
    assert.deepEqual(config.listen.trustedClients, [addressOf('postfix')]);
    assert.deepEqual(config.listen.lmtp, { kind: 'tcp', host: addressOf('filter'), port: 10_023 });
    assert.deepEqual(config.reinject, { kind: 'tcp', host: addressOf('postfix'), port: 10_025 });
    const hosts = [...config.clamd, ...config.spamd].map((one) => (one.kind === 'tcp' ? one.host : ''));
    for (const host of hosts) assertShare(host, ['filter', 'worker']);
    assert.equal(config.redis?.url, 'redis://redis:6379/0');
    assertShare('redis', ['filter', 'worker']);
    assert.ok(mountsOf('worker').some(({ target }) => target === config.spool));
    for (const part of parts)
      assert.ok(Number.parseInt(serviceOf(part).stop_grace_period ?? '', 10) > config.limits.deadlineSeconds);
  });

  test('spamd takes whom its network has, and nobody else', () => {
    const subnet = networks['scan']?.ipam?.config[0]?.subnet;
    assert.ok(read(`${folder}/spamassassin/start.sh`).includes(`--allowed-ips=127.0.0.1,${subnet} `));
  });

  test('Postfix is configured as `sluice postfix` says, and lets the review release', () => {
    const { fragment } = fragmentOf(siteConfig(), 'lmtp');
    assert.ok(fragment !== null);
    const { main, master } = formatFragment(fragment);
    const rest = 'print it with: node bin/sluice.js postfix --config packaging/compose/sluice/sluice.yaml';
    assert.equal(read(`${folder}/postfix/main.cf.add`).trim(), main.trim(), rest);
    assert.equal(read(`${folder}/postfix/master.cf.add`).trim(), master.trim(), rest);
    const trusted = `mynetworks=${addressOf('filter')},${addressOf('review')}`;
    assert.ok(read(`${folder}/postfix/Dockerfile`).includes(trusted), trusted);
  });

  test('clamd takes what Sluice takes', () => {
    const limit = `${siteConfig().limits.messageBytes / 1024 ** 2}M`;
    const clamd = read(`${folder}/clamav/clamd.conf`);
    for (const line of [
      `StreamMaxLength ${limit}`,
      `MaxFileSize ${limit}`,
      'AlertExceedsMax yes',
      'AlertEncrypted yes',
    ])
      assert.ok(clamd.includes(`\n${line}\n`), line);
  });
});

/** These services reach that one: there is a network that all of them are in. */
function assertShare(name: string, others: readonly string[]): void {
  for (const other of others) {
    const shared = [...networksOf(name).keys()].filter((network) => networksOf(other).has(network));
    assert.ok(shared.length > 0, `${other} and ${name} share no network`);
  }
}

function siteConfig(): Config {
  const file = join(top, folder, 'sluice', 'sluice.yaml');
  const { config, problems } = parseConfig({ file, text: readFileSync(file, 'utf8') }, {});
  if (config === null) throw new Error(JSON.stringify(problems));
  return config;
}
