/**
 * postfix-fragment — what `sluice postfix` prints, pasted into the configuration that Debian ships, works as it stands.
 *
 * A private Postfix from the package's own master.cf (chroot and all), with submission and a smtpd behind postscreen, the
 * printed lines appended, the printed commands run by the real postconf(1), mail through the real Sluice; then the printed
 * removal. Ports 25 and 587 belong to the machine, so these two smtpd have other names. Scanners are off: what is tested is the way.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import { type Delivered, readMaildir } from '../../demo/maildir.ts';
import { createReachableFolder, makeFolders, userIds } from '../../demo/postfix-folders.ts';
import { parseQueue, waitForEmpty } from '../../demo/postfix-queue.ts';
import { sendMessage } from '../../demo/samples.ts';
import { checkPostfix } from '../../rules/postfix-check.ts';
import { configOf } from '../rules/postfix-texts.ts';
import { top } from './site.ts';

const sizeLimit = 1_000_000;
const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
type Printed = { text: { main: string; master: string; commands: string; removal: string } };

for (const feed of ['lmtp', 'smtp'] as const) {
  suite(`the printed text, ${feed} feed`, () => {
    let folder = '';
    let etc = '';
    let yaml = '';
    let feedPort = 0;
    let submissionPort = 0;
    let printed: Printed;
    let stock: readonly string[] = [];
    let sluice: Daemon | null = null;

    before(async () => {
      folder = await createReachableFolder('sluice-fragment');
      etc = join(folder, 'etc');
      await makeFolders(folder, await userIds('nobody'));
      yaml = await siteText(folder);
      await writeFile(join(folder, 'sluice.yaml'), yaml);
      [feedPort, submissionPort] = [await freePort(), await freePort()];
      printed = await print(folder, feed);
      const shipped = await readFile('/usr/share/postfix/master.cf.dist', 'utf8');
      const here = shipped
        .replace(/^smtp( +inet)/m, `127.0.0.1:${feedPort}$1`)
        .replace(/^#submission( +inet)/m, `127.0.0.1:${submissionPort}$1`)
        .replace(/^#(smtpd +pass)/m, '$1');
      await writeFile(join(etc, 'main.cf'), await mainText(folder));
      await writeFile(join(etc, 'master.cf'), here);
      stock = await asPostconfSees(etc);
      await appendFile(join(etc, 'master.cf'), printed.text.master);
      await appendFile(join(etc, 'main.cf'), printed.text.main);
    });
    after(async () => {
      await run('postfix', ['-c', etc, 'stop']).catch(() => ''); // It may not have come up.
      await sluice?.stop();
      await rm(folder, { recursive: true, force: true });
    });

    /** Printed commands for this instance. */
    const here = (commands: string): string =>
      commands
        .replaceAll("'smtp/inet/", `'127.0.0.1:${feedPort}/inet/`)
        .replaceAll("'submission/inet/", `'127.0.0.1:${submissionPort}/inet/`)
        .replaceAll(/^(postconf|postfix|postsuper|postkick) /gm, `$1 -c ${etc} `)
        .replaceAll('&& postfix ', `&& postfix -c ${etc} `);

    test('postconf and postfix check have nothing to say but that services are missing', async () => {
      const commands = here(printed.text.commands).replaceAll(' reload', ' check');
      const { stdout, stderr } = await promisify(execFile)('sh', ['-ec', commands], { env });
      const said = (stdout + stderr)
        .split('\n')
        .filter((line) => !line.startsWith('postconf: warning: unmatched'));
      assert.deepEqual(said, ['']);
      const known = await promisify(execFile)('postconf', ['-c', etc, '-Mf'], { env });
      assert.equal(known.stderr, '', 'this Postfix knows every parameter');
    });

    test('sluice check finds these files in order, as the real postconf left them', async () => {
      const text = async (file: string) => {
        const found = await readFile(join(etc, file), 'utf8');
        return { file, text: found.replace(`127.0.0.1:${submissionPort}`, 'submission') };
      };
      const findings = checkPostfix(
        { main: await text('main.cf'), master: await text('master.cf') },
        configOf(yaml),
      );
      assert.deepEqual(
        findings.filter(({ level }) => level !== 'ok'),
        [],
      );
    });

    test('mail from outside, submission and pickup passes its own feed of the filter once, aliases expand once', async () => {
      sluice = await startSluice(folder, yaml);
      const aMinuteAgo = Date.now() / 1000 - 60;
      for (const name of ['main.cf', 'master.cf']) await utimes(join(etc, name), aMinuteAgo, aMinuteAgo);
      await run('postfix', ['-c', etc, 'start']);
      const bytes = Buffer.from('Subject: outside\r\n\r\ngrüße\r\n');
      await sendMessage(feedPort, { sender: 'a@example.net', recipients: ['alias@site.example'], bytes });
      await submit(etc, 'Subject: pickup\n\nhello\n', 'b@site.example');
      const own = Buffer.from('Subject: submitted\r\n\r\nhello\r\n');
      await sendMessage(submissionPort, {
        sender: 'b@site.example',
        recipients: ['c@site.example'],
        bytes: own,
      });
      const delivered = await untilDelivered(folder, etc);
      const recipients = (subject: string) =>
        delivered
          .filter((one) => one.bytes.includes(`Subject: ${subject}`))
          .map(({ recipient }) => recipient)
          .toSorted();
      assert.deepEqual(
        recipients('outside'),
        ['archive', 'one', 'two'].map((name) => `${name}@site.example`),
      );
      assert.deepEqual(
        recipients('pickup'),
        ['archive', 'b'].map((name) => `${name}@site.example`),
      );
      assert.deepEqual(
        recipients('submitted'),
        ['archive', 'c'].map((name) => `${name}@site.example`),
      );
      const log = await readFile(join(folder, 'log', 'maillog'), 'utf8');
      const hops = [
        ...log.matchAll(/postfix\/(\w+)\[\d+\]: \w+: to=<([^>]+)>, (?:orig_to=<\S+>, )?relay=127\S*:(\d+)/g),
      ];
      const { lmtp, smtp, outbound } = portsOf(yaml);
      assert.deepEqual(
        hops.map(([, client, to, port]) => `${client} ${to} ${port}`).toSorted(),
        [
          `${feed} alias@site.example ${feed === 'lmtp' ? lmtp : smtp}`,
          `smtp b@site.example ${outbound}`,
          `smtp c@site.example ${outbound}`,
        ].toSorted(),
      );
      assert.match(
        log,
        /client=localhost\[127\.0\.0\.1\], orig_queue_id=/,
        'the return smtpd takes XFORWARD',
      );
      assert.doesNotMatch(log, /fatal|panic|warning: (?!.*(?:symlink|hash:\/etc))/);
    });

    test('the largest message that Postfix takes comes through: there is headroom behind the filter', async () => {
      let accepted = 0;
      for (let size = sizeLimit; accepted === 0; size -= 50) {
        const bytes = Buffer.from(`Subject: large\r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(size / 78)}`);
        const rest = Buffer.from(`${'y'.repeat((size % 78) + 1)}\r\n`);
        const message = {
          sender: 'a@example.net',
          recipients: ['large@site.example'],
          bytes: Buffer.concat([bytes, rest]),
        };
        accepted = await sendMessage(feedPort, message).then(
          () => size,
          (error: unknown) => {
            assert.match(String(error), /552 5\.3\.4/);
            return 0;
          },
        );
      }
      assert.ok(accepted > sizeLimit - 2000, `the first accepted was ${accepted}`);
      const delivered = await untilDelivered(folder, etc);
      const large = delivered.filter(({ recipient }) => recipient === 'large@site.example');
      assert.equal(large.length, 1);
      assert.ok(!delivered.some(({ sender }) => sender === ''), 'no bounce');
    });

    test('the printed removal leaves what postconf saw before; aliases expand, of what waited for Sluice too', async () => {
      await sluice?.stop();
      sluice = null;
      const send = (subject: string, port: number) =>
        sendMessage(port, {
          sender: 'a@site.example',
          recipients: ['alias@site.example'],
          bytes: Buffer.from(`Subject: ${subject}\r\n\r\nhello\r\n`),
        });
      await send('waited', feedPort);
      await send('waited too', submissionPort);
      const script = here(printed.text.removal);
      const { stdout } = await promisify(execFile)('sh', ['-ec', script], { env });
      assert.equal(stdout, '');
      assert.deepEqual(await asPostconfSees(etc), stock);
      await send('afterwards', feedPort);
      await send('submitted afterwards', submissionPort);
      const delivered = await untilDelivered(folder, etc);
      for (const subject of ['waited', 'waited too', 'afterwards', 'submitted afterwards'])
        assert.deepEqual(
          delivered
            .filter(({ bytes }) => bytes.includes(`Subject: ${subject}\n`))
            .map(({ recipient }) => recipient)
            .toSorted(),
          ['archive', 'one', 'two'].map((name) => `${name}@site.example`),
          subject,
        );
      assert.ok(!delivered.some(({ sender }) => sender === ''), 'no bounce');
    });
  });
}

/** main.cf and master.cf as postconf(1) reads them: parameters, services, options of services. */
async function asPostconfSees(etc: string): Promise<readonly string[]> {
  const [n, m, p] = await Promise.all(['-n', '-M', '-P'].map((flag) => run('postconf', ['-c', etc, flag])));
  // postconf(1) writes the columns of an entry that it has edited anew.
  const words = (text = '') => text.split('\n').map((line) => line.replaceAll(/\s+/g, ' '));
  return [...words(n), ...words(m), ...words(p).toSorted()];
}

function portsOf(yaml: string): Readonly<Record<string, number>> {
  const found = yaml.matchAll(/(lmtp|smtp|outbound): "127\.0\.0\.1:(\d+)"/g);
  return Object.fromEntries([...found].map(([, name = '', port]) => [name, Number(port)]));
}

/** An outbound listener as well, so that every entry that can be printed is. */
async function siteText(folder: string): Promise<string> {
  const [lmtp, smtp, outbound, back] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  return `listen: { lmtp: "127.0.0.1:${lmtp}", smtp: "127.0.0.1:${smtp}", outbound: "127.0.0.1:${outbound}" }
reinject: 127.0.0.1:${back}
scan: { virus: false, spam: false }
state: ${join(folder, 'state')}
review: { listen: null }
health: { filter: null, worker: null, review: null }
`;
}

/** What Debian asks at installation, and what makes this instance private; nothing that concerns the filter. */
async function mainText(folder: string): Promise<string> {
  const { uid, gid } = await userIds('nobody');
  return `compatibility_level = 3.6
queue_directory = ${folder}/queue
data_directory = ${folder}/data
maillog_file = ${folder}/log/maillog
maillog_file_prefixes = ${folder}/log
myhostname = mail.site.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
message_size_limit = ${sizeLimit}
always_bcc = archive@site.example
virtual_alias_domains =
virtual_alias_maps = inline:{ { alias@site.example = one@site.example, two@site.example } }
default_transport = virtual
local_transport = virtual
local_recipient_maps =
alias_maps =
alias_database =
virtual_mailbox_domains =
virtual_mailbox_base = ${folder}/mail
virtual_mailbox_maps = static:Maildir/
virtual_minimum_uid = 1
virtual_uid_maps = static:${uid}
virtual_gid_maps = static:${gid}
`;
}

async function print(folder: string, feed: string): Promise<Printed> {
  const config = join(folder, 'sluice.yaml');
  const args = [join(top, 'bin', 'sluice.js'), 'postfix', '--feed', feed, '--json', '--config', config];
  return JSON.parse((await promisify(execFile)(process.execPath, args)).stdout) as Printed;
}

function startSluice(folder: string, yaml: string): Promise<Daemon> {
  return startDaemon({
    command: process.execPath,
    args: [join(top, 'bin', 'sluice.js'), 'run', 'filter', '--config', join(folder, 'sluice.yaml')],
    logFile: join(folder, 'sluice.log'),
    isUp: async () => (await Promise.all(Object.values(portsOf(yaml)).map(accepts))).every(Boolean),
  });
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    // Nobody listens yet.
    return false;
  } finally {
    socket.destroy();
  }
}

/** Submits as a program on this machine does: sendmail(1), maildrop, pickup. */
async function submit(etc: string, text: string, recipient: string): Promise<void> {
  const child = spawn('/usr/sbin/sendmail', ['-C', etc, '-f', 'root@site.example', recipient], { env });
  child.stdin.end(text);
  const [code] = (await once(child, 'close')) as [number];
  assert.equal(code, 0);
}

/** What was delivered once nothing is in the queue any more, maildrop included. */
async function untilDelivered(folder: string, etc: string): Promise<Delivered[]> {
  await waitForEmpty(async () => parseQueue(await run('postqueue', ['-c', etc, '-j'])), 30_000);
  return readMaildir(join(folder, 'mail', 'Maildir'));
}

/** Its end counts, not that of its pipes: `postfix start` leaves master behind. */
async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(`/usr/sbin/${command}`, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const said: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => said.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
  const [code] = (await once(child, command === 'postfix' ? 'exit' : 'close')) as [number];
  const text = Buffer.concat(said).toString();
  if (code !== 0) throw new Error(`Cannot run ${command} ${args.join(' ')}: ${text}`);
  return text;
}
