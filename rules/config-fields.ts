/**
 * config-fields — what each key of sluice.yaml may hold.
 *
 * Hides ranges and spellings: sizes (`100MB`, KB = 1024), addresses, the two forms of `redis`. Defaults and what keys mean together
 * are in config.ts.
 */
import { addressField, networkField } from './address.ts';
import type { Address } from './address.ts';
import {
  choiceField,
  flagField,
  foundText,
  listField,
  nullableField,
  numberField,
  readFields,
  scalarField,
  textField,
} from './fields.ts';
import type { Reader } from './fields.ts';
import { nodeField, timeOfDayField, zoneField } from './node-fields.ts';
import { parseRedisUrl } from './redis-url.ts';

/** Where the queues are, and how the octets of messages get to the workers. */
export type RedisConfig = {
  /** As parseRedisUrl takes it, credentials included. */
  readonly url: string;
  /** Not empty: they are asked where the master is, and host and port of the URL mean nothing. */
  readonly sentinels: readonly Address[];
  /** The name under which Sentinel knows it. */
  readonly master: string;
  /** What Sentinel itself asks for; null: nothing. */
  readonly sentinelUser: string | null;
  readonly sentinelPassword: string | null;
  readonly tls: boolean;
  /** Certificates (PEM) that the server's must come from; null: the system's. */
  readonly caFile: string | null;
  /** What every key of ours begins with. */
  readonly prefix: string;
  /** Larger messages do not go through Redis. */
  readonly messageBytesMax: number;
  /** Where workers that share no spool fetch what is larger; null: nowhere. */
  readonly fetch: Address | null;
  /** IP addresses and networks that may fetch; empty: those of listen.trustedClients. */
  readonly fetchClients: readonly string[];
};

const listenField = nullableField(addressField('listen'), 'for no such listener');
const scannersField = nullableField(listField(addressField('connect')), 'for none here');

/** It says nothing of what it found: that may hold a password. */
const urlField: Reader<string> = {
  expects: 'a URL like redis://127.0.0.1:6379/0 or unix:/run/redis/redis.sock',
  read(node, report) {
    const value = node.kind === 'scalar' ? node.value : null;
    if (typeof value === 'string' && parseRedisUrl(value) !== null) return value;
    return report(node, `found no such URL: write ${urlField.expects}`);
  },
};

/** It says nothing of what it found, as above. */
const passwordField: Reader<string> = {
  expects: 'a password in quotation marks',
  read(node, report) {
    const value = node.kind === 'scalar' ? node.value : null;
    if (typeof value === 'string' && value !== '') return value;
    return report(node, `found none: write ${passwordField.expects}`);
  },
};

/** Keys under `redis`. A colon ends the name of a queue in Redis, braces choose a node of a cluster. */
const redisMembers = {
  url: urlField,
  sentinels: listField(addressField('connect')),
  master: textField('the name that Sentinel knows the master by', 100),
  sentinelUser: nullableField(textField('the name of a user', 100), 'for the default user'),
  sentinelPassword: nullableField(passwordField, 'for none'),
  tls: flagField,
  caFile: nullableField(textField('the path of a file', 4000), "for the system's certificates"),
  prefix: scalarField('up to 50 letters, digits, dots, dashes and underscores', (value) =>
    typeof value === 'string' && /^[\w.-]{1,50}$/.test(value) ? value : undefined,
  ),
  messageBytesMax: sizeField(1024, 512 * 1024 ** 2),
  fetch: nullableField(addressField('listen'), 'for no such listener'),
  fetchClients: listField(networkField),
};

/** Every key of sluice.yaml. */
export const readers = {
  role: choiceField('primary', 'backup'),
  'listen.smtp': listenField,
  'listen.lmtp': listenField,
  'listen.outbound': listenField,
  'listen.trustedClients': listField(networkField),
  mode: choiceField('filter', 'observe'),
  reinject: addressField('connect'),
  'scan.virus': flagField,
  'scan.spam': flagField,
  clamd: scannersField,
  spamd: scannersField,
  spamdUser: nullableField(textField('the name of a user', 100), "for spamd's own"),
  redis: nullableField(redisField(), 'for scans in this process'),
  state: textField('the path of a folder', 4000),
  spool: nullableField(textField('the path of a folder', 4000), 'for the folder spool under state'),
  policies: nullableField(textField('the path of a file', 4000), 'for the shipped policies only'),
  'review.listen': listenField,
  'health.filter': listenField,
  'health.worker': listenField,
  'health.review': listenField,
  'health.bayes': listenField,
  'worker.virus': numberField({ min: 1, max: 1000, whole: true }),
  'worker.spam': numberField({ min: 1, max: 1000, whole: true }),
  'limits.messageBytes': sizeField(1024, 4 * 1024 ** 3),
  // R5: after Postfix's data_done_timeout (1200 s) less the 30 s that we stop before it, an answer makes duplicates.
  'limits.deadlineSeconds': numberField({ min: 1, max: 1170 }),
  'limits.inFlight': numberField({ min: 1, max: 10_000, whole: true }),
  'limits.spamBytes': sizeField(1024, 256 * 1024 ** 2),
  'history.retentionDays': numberField({ min: 1, max: 3650, whole: true }),
  'bayes.user': nullableField(textField('the name of a user', 100), "for spamd's"),
  'bayes.siteFolder': nullableField(textField('the path of a folder', 4000), "for spamd's"),
  'bayes.keep': numberField({ min: 1, max: 1000, whole: true }),
  'bayes.sizeMax': sizeField(1024 ** 2, 4 * 1024 ** 3),
  'bayes.redisScratch': nullableField(numberField({ min: 0, max: 65_535, whole: true }), 'for none'),
  'bayes.nodes': listField(nodeField),
  'bayes.primary': nullableField(nodeField, 'for one that comes by itself'),
  'bayes.ssh.key': textField('the path of a file', 4000),
  'bayes.ssh.knownHosts': textField('the path of a file', 4000),
  'bayes.ssh.connectSeconds': numberField({ min: 1, max: 300, whole: true }),
  'bayes.ssh.deadlineSeconds': numberField({ min: 10, max: 86_400, whole: true }),
  'bayes.sync.at': nullableField(timeOfDayField, 'for never by itself'),
  'bayes.sync.zone': nullableField(zoneField, "for the machine's"),
  'bayes.sync.jitterMinutes': numberField({ min: 0, max: 240, whole: true }),
  'bayes.sample': numberField({ min: 0, max: 10_000, whole: true }),
  'bayes.recipients': nullableField(textField('the path of a file', 4000), 'for none'),
  'bayes.alarm.hours': numberField({ min: 1, max: 8760, whole: true }),
  'bayes.alarm.mail': nullableField(textField('a mail address', 320), 'for no mail'),
  'log.format': choiceField('json', 'amavis'),
  'log.level': choiceField('debug', 'info', 'warn', 'error'),
};

/** A size in octets: a number, or a number with B, KB, MB or GB behind it; KB = 1024. */
function sizeField(min: number, max: number): Reader<number> {
  const expects = `a size from ${formatSize(min)} to ${formatSize(max)}, like 512KB or 100MB`;
  return scalarField(expects, (value) => {
    const text = /^(\d{1,15}(?:\.\d{1,3})?)\s?(|[kmg]i?)b?$/i.exec(String(value));
    if (text === null || typeof value === 'boolean') return undefined;
    const unit = ['', 'k', 'm', 'g'].indexOf((text[2] ?? '').slice(0, 1).toLowerCase());
    const octets = Math.floor(Number(text[1]) * 1024 ** unit);
    return octets >= min && octets <= max ? octets : undefined;
  });
}

function formatSize(octets: number): string {
  const unit = Math.min(3, Math.floor(Math.log2(octets) / 10));
  return `${octets / 1024 ** unit}${['B', 'KB', 'MB', 'GB'][unit]}`;
}

/** A URL, or a map with more; what stands there is never repeated in a problem, because it may hold a password. */
function redisField(): Reader<RedisConfig> {
  const expects =
    'a URL like redis://127.0.0.1:6379/0, or a map { url, sentinels, master, sentinelUser, sentinelPassword, tls, caFile, prefix, messageBytesMax, fetch, fetchClients }';
  return {
    expects,
    read(node, report) {
      if (node.kind === 'list') return report(node, `${foundText(node)}: write ${expects}`);
      const found = node.kind === 'map' ? readFields(node, redisMembers, report) : {};
      const url = node.kind === 'map' ? found.url?.value : urlField.read(node, report);
      if (node.kind === 'map' && !node.entries.has('url'))
        report(node, `found no url: write ${urlField.expects}`);
      if (url === undefined) return undefined;
      return {
        url,
        sentinels: found.sentinels?.value ?? [],
        master: found.master?.value ?? 'mymaster',
        sentinelUser: found.sentinelUser?.value ?? null,
        sentinelPassword: found.sentinelPassword?.value ?? null,
        tls: found.tls?.value ?? url.startsWith('rediss:'),
        caFile: found.caFile?.value ?? null,
        prefix: found.prefix?.value ?? 'sluice',
        messageBytesMax: found.messageBytesMax?.value ?? 32 * 1024 ** 2,
        fetch: found.fetch?.value ?? null,
        fetchClients: found.fetchClients?.value ?? [],
      };
    },
  };
}
