/**
 * compose — compose.yaml and the files it mounts agree with each other and with what this Sluice says of itself.
 *
 * Read as Docker reads it (YAML with merge keys); `npm run image:test` also builds its other images and sends mail through
 * them, each in a network of its own (compose-run.ts).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parse } from 'yaml';
import { type Config, parseConfig } from '../../rules/config.ts';
import { fragmentOf } from '../../rules/postfix-fragment.ts';
import { formatFragment } from '../../rules/postfix-text.ts';
import { top } from './debian.ts';

type Service = {
  readonly command?: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
  readonly ports?: readonly string[];
  readonly deploy?: { readonly replicas: number };
  readonly networks: readonly string[] | { readonly mail: { readonly ipv4_address: string } };
};

/** False as long as rules/config.ts refuses `redis:`; delete it, and what it excuses below, when it no longer does. */
const knowsRedis = false;

const read = (file: string) => readFileSync(join(top, file), 'utf8');
const folder = 'packaging/compose';
const { services } = parse(read('compose.yaml'), { merge: true }) as { services: Record<string, Service> };
const parts = ['filter', 'worker', 'review'];

suite('compose.yaml', () => {
  test('has every part, and two workers', () => {
    assert.deepEqual(Object.keys(services).toSorted(), [
      'clamav',
      'filter',
      'postfix',
      'redis',
      'review',
      'spamassassin',
      'worker',
    ]);
    assert.equal(services['worker']?.deploy?.replicas, 2);
    for (const part of parts) assert.deepEqual(services[part]?.command?.slice(0, 2), ['run', part]);
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

  test('publishes port 25, and the review on loopback only', () => {
    const published = Object.entries(services).flatMap(([name, { ports = [] }]) =>
      ports.map((port) => `${name} ${port}`),
    );
    assert.deepEqual(published.toSorted(), ['postfix ${SMTP_PORT:-25}:25', 'review 127.0.0.1:8025:8025']);
  });

  test('sluice.yaml is right, and names the addresses that compose.yaml gives', () => {
    const config = siteConfig();
    assert.deepEqual(config.listen.trustedClients, [addressOf('postfix')]);
    assert.deepEqual(config.listen.lmtp, { kind: 'tcp', host: addressOf('filter'), port: 10_023 });
    assert.deepEqual(config.reinject, { kind: 'tcp', host: addressOf('postfix'), port: 10_025 });
    const hosts = [...config.clamd, ...config.spamd].map((one) => (one.kind === 'tcp' ? one.host : ''));
    for (const host of hosts) assert.ok(host in services, host);
    assert.match(read(`${folder}/sluice/sluice.yaml`), /^redis: redis:\/\/redis:6379/m);
    for (const part of parts)
      assert.ok(Number.parseInt(services[part]?.stop_grace_period ?? '', 10) > config.limits.deadlineSeconds);
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

function siteConfig(): Config {
  const file = join(top, folder, 'sluice', 'sluice.yaml');
  const text = readFileSync(file, 'utf8');
  if (!knowsRedis)
    assert.match(JSON.stringify(parseConfig({ file, text }, {}).problems), /no Redis queue yet/);
  const known = knowsRedis ? text : text.replace(/^redis:.*$/m, '');
  const { config, problems } = parseConfig({ file, text: known }, {});
  if (config === null) throw new Error(JSON.stringify(problems));
  return config;
}

function addressOf(service: string): string {
  const { networks } = services[service] ?? {};
  assert.ok(networks !== undefined && 'mail' in networks, service);
  return networks.mail.ipv4_address;
}
