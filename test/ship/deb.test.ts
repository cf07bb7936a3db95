/**
 * deb — the Debian package is built, installed into a plain Debian, run as its unit runs it, upgraded, removed, purged.
 *
 * Nothing of this machine's dpkg is touched. No systemd runs in the tree, so services are neither started nor stopped;
 * instead the unit's own restrictions (user, read-only root, system calls, socket families) are put round the process.
 * `npm run deb:test` builds it as users get it, and asks lintian.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { version } from '../../workers/version.ts';
import { createTree, isLong, top, type Tree } from './debian.ts';
import { type Jail, type Jailed, startJail } from './jail.ts';
import { assertFilters, startSurroundings, type Surroundings } from './message.ts';
import { readUnit } from './unit-file.ts';

suite('the Debian package', () => {
  let around: Surroundings;
  let tree: Tree;
  let file: string;

  before(async () => {
    around = await startSurroundings();
    file = build(around.folder);
    tree = createTree();
    linkSync(file, join(tree.root, 'tmp', basename(file)));
  });
  after(async () => {
    tree?.remove();
    await around?.stop();
  });

  /** Runs it in the tree; it must succeed. */
  function inside(...command: string[]): string {
    const { code, stdout, stderr } = tree.run(...command);
    assert.equal(code, 0, `${command.join(' ')}: ${stdout}${stderr}`);
    return stdout + stderr;
  }

  const at = (path: string) => join(tree.root, path);
  /** Owner, group and mode of a path in the tree, by the tree's names. */
  const ownership = (path: string) => inside('stat', '-c', '%U:%G %a', path).trim();
  const heldItems = () => globSync('var/lib/sluice/quarantine/*/*/item.json', { cwd: tree.root }).length;
  const install = () => inside('dpkg', '--force-unsafe-io', '-i', `/tmp/${basename(file)}`);

  test('installs: user, state folder, configuration, command', () => {
    install();
    assert.equal(ownership('/var/lib/sluice'), 'sluice:sluice 700');
    assert.equal(ownership('/etc/sluice'), 'root:sluice 750');
    assert.equal(ownership('/etc/sluice/sluice.yaml'), 'root:sluice 640');
    assert.equal(ownership('/etc/sluice/policies.yaml'), 'root:sluice 640');
    // In a sticky folder root could not, where fs.protected_regular is 2 as in Debian.
    inside('sh', '-c', 'echo "# changed by root" >> /etc/sluice/policies.yaml');
    assert.match(inside('sluice', '--version'), new RegExp(version.replaceAll('.', String.raw`\.`)));
    assert.match(inside('sluice', 'policy', 'check'), /./);
    // The commands that docs/deploy.md goes on with.
    for (const said of ['/usr/share/doc/sluice-mail/sluice.cf', '/etc/sluice/policies.yaml']) {
      assert.ok(chapter('One machine, Debian package').includes(said), said);
      assert.ok(existsSync(at(said)), said);
    }
    assert.match(inside('sluice', 'postfix'), /^content_filter = scan:/m);
    for (const unit of globSync('packaging/systemd/*.service', { cwd: top }))
      assert.ok(existsSync(at(`/lib/systemd/system/${basename(unit)}`)), unit);
    const enabled = readdirSync(at('/etc/systemd/system/multi-user.target.wants'));
    assert.deepEqual(
      enabled.filter((unit) => unit.startsWith('sluice')),
      ['sluice.service'],
    );
  });

  test('`sluice check` runs in it and names what is missing around it', () => {
    const { code, stdout } = tree.run('sluice', 'check', '--json');
    assert.equal(code, 1, stdout);
    assert.match(stdout, /clamd/);
  });

  /** Starts what a unit starts, under its restrictions. */
  function startUnit(name: string, more: Pick<Jail, 'env' | 'writable' | 'isUp'>): Promise<Jailed> {
    const unit = readUnit(at(`/lib/systemd/system/${name}.service`));
    const { uid } = statSync(at('/var/lib/sluice'));
    const own = Object.fromEntries(unit.all('Environment').map((line) => line.split(/=(.*)/s, 2)));
    const command = unit
      .one('ExecStart')
      .replace('${SCANNERS}', own['SCANNERS'] ?? '')
      .split(' ');
    const state = unit.one('StateDirectory');
    const writable = state === '' ? {} : { [`/var/lib/${state}`]: at(`/var/lib/${state}`) };
    return startJail({
      folder: around.folder,
      root: tree.root,
      user: uid,
      command,
      allowed: unit.allowed(),
      env: { ...own, ...more.env },
      writable: { ...writable, ...more.writable },
      isUp: more.isUp,
    });
  }

  test('filters under the restrictions of sluice-filter.service', async () => {
    const { calls } = readUnit(at('/lib/systemd/system/sluice-filter.service')).allowed();
    assert.ok(calls.length > 200 && !calls.includes('chown') && !calls.includes('setuid'));
    const filter = await startUnit('sluice-filter', { env: around.env, isUp: around.isUp });
    await assertFilters(around);
    await filter.stop();
    assert.deepEqual(readdirSync(at('/var/lib/sluice/spool')), []);
    assert.equal(heldItems(), 1);
  });

  test('the same over Redis: a worker under the restrictions of sluice-worker@.service', async () => {
    const worker = await startUnit('sluice-worker@', { env: around.workerEnv, isUp: around.isWorkerUp });
    const filter = await startUnit('sluice-filter', { env: around.filterEnv, isUp: around.isUp });
    await assertFilters(around);
    await filter.stop();
    await worker.stop();
    assert.equal(heldItems(), 2);
  });

  test('the Bayes part runs under the restrictions of sluice-bayes.service, and can work as other users', async () => {
    const unit = readUnit(at('/lib/systemd/system/sluice-bayes.service'));
    const [port, state] = [await freePort(), '/var/lib/sluice'];
    const before = ownership(state);
    const part = await startJail({
      folder: around.folder,
      root: tree.root,
      user: 0,
      command: unit.one('ExecStart').split(' '),
      allowed: unit.allowed(),
      capabilities: unit.one('CapabilityBoundingSet').split(' '),
      env: { SLUICE_ROLE: 'backup', SLUICE_HEALTH_BAYES: `127.0.0.1:${port}` },
      writable: { [state]: at(state) },
      isUp: () =>
        fetch(`http://127.0.0.1:${port}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        ),
    });
    // As sa-learn is run, and as what belongs to the mail's side is done.
    const become =
      'process.setgroups([1]); process.setgid(1); process.setuid(1); console.log(process.getuid())';
    assert.equal(part.exec('/usr/lib/sluice/node', '-e', become).stdout, '1\n');
    assert.equal(ownership(state), before);
    assert.equal(ownership(`${state}/bayes`), 'root:root 700');
    await part.stop();
  });

  test('a unix socket as docs/deploy.md tells it: for Postfix alone, and without chown', async () => {
    const [, line = '', address = ''] =
      /echo '(d [^']+)'[^]*?lmtp: '(unix:[^']+)'/.exec(chapter('What the units allow')) ?? [];
    const rule = join(around.folder, 'sluice-postfix.conf');
    writeFileSync(rule, `d /run/sluice 0755 sluice sluice\n${line}\n`);
    inside('useradd', '--system', '--user-group', 'postfix');
    execFileSync('systemd-tmpfiles', ['--create', `--root=${tree.root}`, rule]);
    assert.equal(ownership('/run/sluice/postfix'), 'sluice:postfix 750');
    const path = address.replace(/^unix:| .*/g, '');
    const start = (lmtp: string): Promise<Jailed> =>
      startUnit('sluice-filter', {
        env: { ...around.env, SLUICE_LISTEN_LMTP: lmtp },
        writable: { '/run/sluice': at('/run/sluice') },
        isUp: async () => existsSync(at(path)),
      });
    const greeted = (user: string) =>
      tree.run(
        'setpriv',
        '--reuid',
        user,
        '--regid',
        user,
        '--clear-groups',
        '/usr/lib/sluice/node',
        '-e',
        greet(path),
      );
    const filter = await start(address);
    assert.match(greeted('postfix').stdout, /^220 /);
    assert.match(greeted('daemon').stdout, /^EACCES/);
    await filter.stop();
    // With an owner in its address it would need chown, which the unit forbids: it says so and ends.
    await assert.rejects(start(`unix:${path} (0660, postfix)`), /mode and owner: EPERM/);
  });

  test('the backup that docs/deploy.md tells copies every database and what is held', () => {
    const said = inside('sh', '-ec', /```\n([^]*?)```/.exec(chapter('Backup'))?.[1] ?? 'exit 1');
    assert.match(said, /history\.db ledger\.db quarantine\.db/);
    const copies = readdirSync(at('/var/backups/sluice'));
    assert.deepEqual(copies.filter((name) => !name.endsWith('.db')).toSorted(), ['quarantine.tar']);
    const listed = inside('tar', '-tf', '/var/backups/sluice/quarantine.tar');
    assert.equal(listed.match(/\/item\.json$/gm)?.length, 2);
  });

  test('an upgrade over itself keeps configuration, policies and what is held', () => {
    writeFileSync(at('/etc/sluice/sluice.yaml'), 'mode: observe\n');
    install();
    assert.equal(readFileSync(at('/etc/sluice/sluice.yaml'), 'utf8'), 'mode: observe\n');
    assert.equal(ownership('/etc/sluice/policies.yaml'), 'root:sluice 640');
    assert.equal(heldItems(), 2);
    assert.match(inside('sluice', '--version'), /./);
  });

  test('removed, it leaves configuration and state; purged, held mail alone, and says so', () => {
    inside('dpkg', '--remove', 'sluice-mail');
    for (const gone of ['/usr/bin/sluice', '/usr/lib/sluice', '/lib/systemd/system/sluice.service'])
      assert.ok(!existsSync(at(gone)), gone);
    for (const kept of ['/etc/sluice/sluice.yaml', '/var/lib/sluice/quarantine'])
      assert.ok(existsSync(at(kept)), kept);
    const said = inside('dpkg', '--purge', 'sluice-mail');
    assert.match(said, /\/var\/lib\/sluice is kept, its quarantine holds messages \(2\)/);
    assert.equal(heldItems(), 2);
    assert.ok(!existsSync(at('/etc/sluice')));
  });

  test('purged with an empty quarantine, it leaves nothing but its user', () => {
    inside('rm', '-r', '/var/lib/sluice');
    install();
    inside('dpkg', '--purge', 'sluice-mail');
    for (const gone of ['/etc/sluice', '/var/lib/sluice', '/usr/lib/sluice'])
      assert.ok(!existsSync(at(gone)), gone);
  });

  if (isLong) {
    test('lintian finds no error (needs the package lintian)', () => {
      const { status, stdout } = spawnSync('lintian', ['--fail-on', 'error', '--allow-root', file], {
        encoding: 'utf8',
      });
      console.log(stdout);
      assert.equal(status, 0, stdout);
    });
  }
});

/** A chapter of docs/deploy.md. */
function chapter(title: string): string {
  const text = readFileSync(join(top, 'docs', 'deploy.md'), 'utf8');
  return text.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? '';
}

/** A program that prints what somebody listening there says first, or the error's code. */
function greet(path: string): string {
  return `require("node:net").connect("${path}").once("data", (said) => { console.log(String(said)); process.exit(); })
    .on("error", (error) => console.log(error.code));`;
}

/** Builds it out of a copy: the build writes dist/, and a checkout under test stays as it is. */
function build(folder: string): string {
  const source = join(folder, 'source');
  mkdirSync(source);
  cpSync(top, source, {
    recursive: true,
    filter: (path) => !/\/(?:node_modules|\.git|dist)(?:\/|$)/.test(path.slice(top.length)),
  });
  symlinkSync(join(top, 'node_modules'), join(source, 'node_modules'));
  const args = ['packaging/deb/build.ts', '--output', folder, '--compress', isLong ? 'xz' : 'none'];
  return execFileSync(process.execPath, args, { cwd: source, encoding: 'utf8' }).trim();
}
