/**
 * peers — amavisd-new and clamsmtpd out of Debian, each with a private configuration beside the machine's own.
 *
 * They ask the same clamd by the same socket; amavisd-new runs SpamAssassin in its own children, as it does, with the
 * rules and settings of our spamd. Debian's defaults hold but for what stands below, all of it in the peer's favour or
 * for like work. Missing packages are installed, and nothing is removed for them.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, startDaemon } from '../../demo/daemon.ts';
import { userIds } from '../../demo/postfix-folders.ts';
import type { Contestant } from './contestants.ts';
import { accepts, type Rig, spamChildren } from './rig.ts';

const commands = { 'amavisd-new': '/usr/sbin/amavisd', clamsmtp: '/usr/sbin/clamsmtpd' } as const;

/** Installs what is missing of the peers by apt-get; no service is started. */
async function install(name: keyof typeof commands): Promise<string> {
  if (!existsSync(commands[name])) {
    const setup = join(import.meta.dirname, '..', '..', 'demo', 'setup.sh');
    process.stderr.write(`bench: installing Debian's ${name}\n`);
    await promisify(execFile)('sh', [setup, '--install', name]);
  }
  return commands[name];
}

/** amavisd-new with two children, as the user of spamd's children, so that both see the same Bayes database. */
export async function startAmavis(rig: Rig): Promise<Contestant> {
  const command = await install('amavisd-new');
  const folder = join(rig.folder, 'amavis');
  const home = join(folder, 'home');
  const { uid, gid } = await userIds('nobody');
  await mkdir(folder);
  for (const path of [home, ...['var', 'db', 'quarantine'].map((name) => join(home, name))]) {
    await mkdir(path);
    await chown(path, uid, gid);
  }
  const port = await freePort();
  // Beside its home: it refuses a configuration in a folder that it may write to.
  const config = join(folder, 'amavisd.conf');
  await writeFile(config, amavisConfig(rig, home, port));
  await writeFile(join(home, 'user_prefs'), '');
  const daemon = await startDaemon({
    command,
    args: ['-c', config, 'foreground'],
    logFile: join(folder, 'stderr.log'),
    isUp: () => accepts(port),
  });
  const { pid } = daemon;
  const logFile = join(home, 'amavis.log');
  return { name: 'amavis', target: { kind: 'lmtp', port }, pid, logFile, stop: () => daemon.stop() };
}

function amavisConfig(rig: Rig, home: string, port: number): string {
  const forward = `smtp:[127.0.0.1]:${rig.sinkPort}`;
  return `use strict;
include_config_files('/etc/amavis/conf.d/01-debian', '/etc/amavis/conf.d/20-debian_defaults');
$daemon_user = 'nobody'; $daemon_group = 'nogroup';
$mydomain = 'bench.example'; $myhostname = 'bench.example';
$MYHOME = '${home}'; $TEMPBASE = '${rig.temporary.folder}'; $helpers_home = '${home}/var';
$QUARANTINEDIR = '${home}/quarantine'; $db_home = '${home}/db';
$pid_file = '${home}/amavisd.pid'; $lock_file = '${home}/amavisd.lock';
$max_servers = ${spamChildren}; $max_requests = 1000;
$inet_socket_bind = '127.0.0.1'; $inet_socket_port = ${port}; $unix_socketname = undef;
$forward_method = '${forward}'; $notify_method = '${forward}';
# Less to do than by default: no databases of its own, no syslog, nothing kept, nothing refused.
$enable_db = 0; $enable_global_cache = 0;
$DO_SYSLOG = 0; $LOGFILE = '${home}/amavis.log'; $log_level = 0;
$final_virus_destiny = D_PASS; $final_banned_destiny = D_PASS; $final_spam_destiny = D_PASS;
$final_bad_header_destiny = D_PASS;
$virus_quarantine_to = undef; $banned_quarantine_to = undef; $spam_quarantine_to = undef;
$bad_header_quarantine_to = undef; $virus_admin = undef;
# The work of our spamd: the same rules, local tests only, messages up to the same size.
$sa_local_tests_only = 1; $sa_mail_body_size_limit = 512*1024;
$sa_configpath = '/usr/share/spamassassin'; $sa_siteconfigpath = '${rig.spamd.siteFolder}';
$sa_userprefs_file = '${home}/user_prefs';
@av_scanners = (['ClamAV-clamd', \\&ask_daemon, ["CONTSCAN {}\\n", '${rig.clamd.unix.path}'],
  qr/\\bOK$/m, qr/\\bFOUND$/m, qr/^.*?: (?!Infected Archive)(.*) FOUND$/m ]);
@av_scanners_backup = ();
1;
`;
}

/** clamsmtpd with as many connections as clamd has threads. */
export async function startClamsmtp(rig: Rig): Promise<Contestant> {
  const command = await install('clamsmtp');
  const folder = join(rig.folder, 'clamsmtp');
  const { uid, gid } = await userIds('nobody');
  await mkdir(folder);
  await chown(folder, uid, gid);
  const port = await freePort();
  const config = join(folder, 'clamsmtpd.conf');
  const lines = [
    `OutAddress: 127.0.0.1:${rig.sinkPort}`,
    `Listen: 127.0.0.1:${port}`,
    `ClamAddress: ${rig.clamd.unix.path}`,
    `TempDirectory: ${rig.temporary.folder}`,
    'MaxConnections: 64',
    'User: nobody',
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const daemon = await startDaemon({
    command,
    // Level 1 logs errors only, and stays in the foreground.
    args: ['-d', '1', '-f', config],
    logFile: join(folder, 'clamsmtpd.log'),
    isUp: () => accepts(port),
  });
  const { pid, logFile } = daemon;
  return { name: 'clamsmtp', target: { kind: 'smtp', port }, pid, logFile, stop: () => daemon.stop() };
}
