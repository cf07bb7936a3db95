/**
 * compose-run — what `docker compose up` would start, without Docker: every image of compose.yaml built, each container
 * in a network of its own at compose.yaml's address, mail from a client into Postfix and through to a mailbox.
 *
 * usage: node --test test/ship/compose-run.ts   (part of npm run image:test; some minutes)
 *
 * clamd gets the signature of EICAR alone. Redis and workers join once `sluice run worker` is there: `parts` below.
 */
import assert from 'node:assert/strict';
import {
  chownSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';
import type { Daemon } from '../../demo/daemon.ts';
import { top } from './debian.ts';
import { type BuiltImage, openWorkshop, type Workshop } from './image.ts';
import { type Jail, startJail } from './jail.ts';
import { createNetwork, type Network } from './network.ts';

const addresses = {
  postfix: '10.77.0.2',
  filter: '10.77.0.10',
  clamav: '10.77.0.20',
  spamassassin: '10.77.0.21',
  client: '10.77.0.100',
};
/** What compose.yaml adds for Postfix. */
const postfixRights = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'NET_BIND_SERVICE', 'SETGID', 'SETUID'];
const mailboxes = {
  POSTFIX_myhostname: 'mail.example.com',
  POSTFIX_virtual_mailbox_domains: 'example.com',
  POSTFIX_virtual_mailbox_base: '/mailboxes',
  POSTFIX_virtual_mailbox_maps: 'static:Maildir/',
  POSTFIX_virtual_uid_maps: 'static:10001',
  POSTFIX_virtual_gid_maps: 'static:10001',
};

suite('compose.yaml, running', () => {
  let workshop: Workshop;
  let network: Network;
  let folder: string;
  const images: BuiltImage[] = [];
  const daemons: Daemon[] = [];

  before(async () => {
    workshop = openWorkshop();
    folder = mkdtempSync(join(tmpdir(), 'sluice-compose-'));
    network = createNetwork(folder, addresses);
    const signatures = volume('signatures');
    const hex = Buffer.from(eicar(), 'latin1').toString('hex');
    writeFileSync(join(signatures, 'test.ndb'), `Eicar-Test-Signature:0:*:${hex}\n`, { mode: 0o644 });
    await start('clamav', 'packaging/compose/clamav/Dockerfile', {
      writable: { '/var/lib/clamav': signatures },
      isUp: probe('clamdscan', '--ping', '1'),
    });
    await start('spamassassin', 'packaging/compose/spamassassin/Dockerfile', {
      writable: { '/var/lib/spamassassin': volume('rules') },
      isUp: probe('spamc', '-d', '127.0.0.1', '-p', '1783', '-K'),
    });
    // Without redis, which this Sluice refuses still: the filter scans itself.
    const settings = join(folder, 'sluice');
    cpSync(join(top, 'packaging/compose/sluice'), settings, { recursive: true });
    const file = join(settings, 'sluice.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^redis:.*$/m, ''));
    await start('filter', 'Dockerfile', {
      command: ['run', 'filter'],
      readable: { '/etc/sluice': settings },
      writable: { '/var/lib/sluice': volume('state', 10_001), '/var/spool/sluice': volume('spool', 10_001) },
      isUp: probe('node', '/opt/sluice/healthcheck.js'),
    });
    await start('postfix', 'packaging/compose/postfix/Dockerfile', {
      writable: { '/mailboxes': volume('mailboxes', 10_001) },
      env: mailboxes,
      capabilities: postfixRights.map((name) => `CAP_${name}`),
      rootWritable: true,
      isUp: () => succeeds('client', 'bash', '-c', `exec 3<>/dev/tcp/${addresses.postfix}/25`),
    });
  });
  after(async () => {
    for (const daemon of daemons.toReversed()) await daemon.stop();
    network?.remove();
    for (const image of images) image.remove();
    workshop?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  type Probe = (host: string, root: string) => boolean;
  type Part = Pick<Jail, 'writable'> &
    Partial<Pick<Jail, 'command' | 'env' | 'readable' | 'capabilities' | 'rootWritable'>> & {
      readonly isUp: Probe;
    };

  /** Whether a command succeeds in a host's network; startDaemon asks again until it does. */
  function succeeds(host: string, command: string, ...args: readonly string[]): boolean {
    try {
      network.run(host, command, ...args);
      return true;
    } catch {
      // Not yet.
      return false;
    }
  }

  /** A command of the image, as HEALTHCHECK runs it. */
  function probe(...command: readonly [string, ...string[]]): Probe {
    return (host, root) => succeeds(host, 'chroot', root, ...command);
  }

  function volume(name: string, owner?: number): string {
    const path = join(folder, name);
    mkdirSync(path, { mode: 0o755 });
    if (owner !== undefined) chownSync(path, owner, owner);
    return path;
  }

  async function start(host: keyof typeof addresses, dockerfile: string, part: Part): Promise<void> {
    const image = workshop.build(dockerfile);
    images.push(image);
    const { root, config } = image;
    const { Entrypoint = [], User = '' } = config as { Entrypoint?: string[]; User?: string };
    const [user, group] = idsOf(root, User);
    for (const path of Object.values(part.writable ?? {})) chownSync(path, user === 0 ? 10_001 : user, group);
    const daemon = await startJail({
      ...part,
      folder,
      root,
      user,
      group,
      command: [...Entrypoint, ...(part.command ?? [])],
      env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...part.env },
      readable: { '/etc/hosts': network.hostsFile, ...part.readable },
      network: network.pathOf(host),
      isUp: async () => part.isUp(host, root),
    });
    daemons.push(daemon);
  }

  /** One message from the client's host to Postfix's port 25. */
  function send(to: string, message: string): void {
    const file = join(folder, 'message');
    writeFileSync(file, message);
    network.run(
      'client',
      'smtp-source',
      '-c',
      '-F',
      file,
      '-f',
      'anna@partner.example',
      '-t',
      to,
      `${addresses.postfix}:25`,
    );
  }

  async function until<T>(what: () => T | undefined | false): Promise<T> {
    for (let tries = 0; tries < 300; tries++) {
      const found = what();
      if (found !== undefined && found !== false) return found;
      await delay(100);
    }
    throw new Error(`Not within 30 s; logs:\n${logsOf(folder)}`);
  }

  test('a good message goes through all of it into its mailbox', async () => {
    send('bob@example.com', 'Subject: an order\r\n\r\nTwelve, please.\r\n');
    const mailbox = join(folder, 'mailboxes/Maildir/new');
    const [file] = await until(() => {
      const files = globSync('*', { cwd: mailbox });
      return files.length > 0 && files;
    });
    const text = readFileSync(join(mailbox, file ?? ''), 'utf8');
    assert.match(text, /^X-Virus-Scanned: yes \(Sluice /m);
    assert.match(text, /^X-Spam-Status: No, score=/m);
    assert.match(text, /Twelve, please\./);
  });

  test('a virus is held', async () => {
    send('bob@example.com', `Subject: a gift\r\n\r\n${eicar()}\r\n`);
    await until(() => globSync('state/quarantine/*/*/item.json', { cwd: folder }).length === 1);
    assert.equal(globSync('mailboxes/Maildir/new/*', { cwd: folder }).length, 1);
  });

  test('nobody else may relay through the return smtpd', () => {
    const relay = `${addresses.postfix}:10025`;
    assert.throws(() =>
      network.run('client', 'smtp-source', '-f', 'anna@partner.example', '-t', 'bob@example.com', relay),
    );
  });
});

/** User and group that an image's USER names. */
function idsOf(root: string, user: string): [number, number] {
  if (user === '') return [0, 0];
  const [name = '', group] = user.split(':');
  if (group !== undefined) return [Number(name), Number(group)];
  const entry = readFileSync(join(root, 'etc/passwd'), 'utf8')
    .split('\n')
    .find((line) => line.startsWith(`${name}:`))
    ?.split(':');
  return [Number(entry?.[2]), Number(entry?.[3])];
}

function logsOf(folder: string): string {
  return globSync('jail-*/log', { cwd: folder })
    .map((log) => readFileSync(join(folder, log), 'utf8').slice(-2000))
    .join('\n---\n');
}
