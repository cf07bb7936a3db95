/**
 * units — what systemd itself says of our units: no mistake in them, and how exposed they leave the process.
 *
 * That Sluice works under these restrictions is shown by deb.test.ts, which runs it with the same system call filter.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { partEnvironment, partNodeOptions } from '../../review/supervisor.ts';
import { top } from './debian.ts';
import { readUnit } from './unit-file.ts';

const folder = join(top, 'packaging', 'systemd');
const units = globSync('*.service', { cwd: folder }).toSorted();
/** Exposure of the best units that listen on the network is about 1; 10 is no protection at all. */
const exposureMax = (unit: string): number => (unit === asRoot ? 3 : 1.5);
/** It works as spamd's user, with a key that is root's. */
const asRoot = 'sluice-bayes.service';

suite('systemd units', () => {
  let root: string;
  before(() => {
    root = mkdtempSync(join(tmpdir(), 'sluice-units-'));
    const inside = join(root, 'usr/lib/systemd/system');
    mkdirSync(inside, { recursive: true });
    mkdirSync(join(root, 'usr/bin'));
    symlinkSync('usr/bin', join(root, 'bin'));
    for (const unit of units) copyFileSync(join(folder, unit), join(inside, unit));
    for (const program of ['sluice', 'kill']) copyFileSync('/bin/true', join(root, 'usr/bin', program));
    // Targets that the units name; a unit that is missing is a complaint of verify.
    const system = '/lib/systemd/system';
    for (const target of globSync('*.{target,slice,mount,path,socket}', { cwd: system }))
      copyFileSync(join(system, target), join(inside, target));
  });
  after(() => rmSync(root, { recursive: true }));

  /** What it complains of in our units. */
  function verify(name: string): string {
    const args = ['verify', '--man=no', `--root=${root}`, name];
    const { stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
    return stderr
      .split('\n')
      .filter((line) => /sluice|spoiled/.test(line))
      .join('\n');
  }

  for (const unit of units) {
    // A template is judged as one of its instances.
    const name = unit.replace('@.', '@1.');
    test(`${unit}: systemd-analyze verify finds nothing wrong`, () => {
      assert.equal(verify(name), '');
    });

    test(`${unit}: exposure of at most ${exposureMax(unit)} (systemd-analyze security)`, () => {
      const args = [
        'security',
        '--offline=true',
        `--threshold=${exposureMax(unit) * 10}`,
        `--root=${root}`,
        name,
      ];
      const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
      const verdict = stdout.split('\n').findLast((line) => line.includes('Overall exposure')) ?? stderr;
      console.log(verdict.trim());
      assert.equal(status, 0, verdict);
    });
  }

  test('systemd-analyze verify would find a misspelt setting', () => {
    const spoiled = readFileSync(join(folder, 'sluice.service'), 'utf8').replace(
      'ProtectHome=',
      'ProtectHom=',
    );
    writeFileSync(join(root, 'usr/lib/systemd/system/spoiled.service'), spoiled);
    assert.match(verify('spoiled.service'), /Unknown key (?:name )?'ProtectHom'/);
  });

  test('all units protect the machine by the same lines', () => {
    const protection = (unit: string) => {
      const { service } = readUnit(join(folder, unit));
      return service.slice(service.indexOf('User=sluice'));
    };
    for (const unit of units.filter((one) => one !== asRoot))
      assert.deepEqual(protection(unit), protection('sluice.service'), unit);
    assert.ok(protection('sluice.service').length > 25);
  });

  test('sluice-bayes.service differs from them only in what it takes to work as two other users', () => {
    const [root, other] = [asRoot, 'sluice.service'].map((unit) => {
      const { service } = readUnit(join(folder, unit));
      return service.slice(service.findIndex((line) => line.startsWith('User=')));
    });
    const own = root?.filter((line) => other?.includes(line) !== true);
    assert.deepEqual(own, [
      'User=root',
      'Group=root',
      'CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_PTRACE',
      'PrivateUsers=no',
      'SystemCallFilter=~@resources',
      'SystemCallFilter=setpriority',
    ]);
    const missing = other?.filter((line) => root?.includes(line) !== true).map((line) => line.split('=')[0]);
    const wanted = [
      'User',
      'Group',
      'CapabilityBoundingSet',
      'PrivateUsers',
      'RemoveIPC',
      'SystemCallFilter',
    ];
    assert.deepEqual(missing, wanted);
    assert.ok(
      readUnit(join(folder, asRoot)).allowed().calls.includes('setpriority'),
      'nice -n 10 of its spamd',
    );
    // It would give the state folder, and the mail in it, to root.
    assert.equal(readUnit(join(folder, asRoot)).one('StateDirectory'), '');
  });

  test('a unit waits longer for its end than a message may take, and does not try bad configuration again', () => {
    for (const unit of units.filter((one) => one !== 'sluice-review.service' && one !== asRoot))
      assert.ok(Number(readUnit(join(folder, unit)).one('TimeoutStopSec')) > 300, unit);
    for (const unit of units)
      assert.equal(readUnit(join(folder, unit)).one('RestartPreventExitStatus'), '64 78', unit);
  });

  test('a unit that starts a part starts Node as `sluice run` would', () => {
    for (const unit of units) {
      const options = readUnit(join(folder, unit))
        .all('Environment')
        .filter((line) => /^(NODE_OPTIONS|MALLOC_)/.test(line));
      const environment = { NODE_OPTIONS: partNodeOptions.join(' '), ...partEnvironment };
      const wanted = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      // `sluice run all` tells its parts itself.
      assert.deepEqual(options, unit === 'sluice.service' ? [] : wanted, unit);
    }
  });

  test('a worker writes nowhere and does not see the quarantine', () => {
    const worker = readUnit(join(folder, 'sluice-worker@.service'));
    for (const setting of ['StateDirectory', 'ReadWritePaths', 'RuntimeDirectory'])
      assert.equal(worker.one(setting), '', setting);
    assert.equal(worker.one('InaccessiblePaths'), '-/var/lib/sluice/quarantine');
    assert.equal(worker.one('ExecStart'), '/usr/bin/sluice run worker --scanners ${SCANNERS}');
  });

  test('the npm installation that docs/deploy.md tells puts units, user and folder in their places', () => {
    const place = join(root, 'npm');
    const at = (path: string) => join(place, path);
    for (const made of ['etc/sysusers.d', 'etc/tmpfiles.d', 'etc/systemd/system', 'usr/local/bin'])
      mkdirSync(at(made), { recursive: true });
    copyFileSync('/bin/true', at('usr/local/bin/sluice'));
    const chapter =
      readFileSync(join(top, 'docs/deploy.md'), 'utf8').split('\n## One machine, npm\n')[1] ?? '';
    const [, block = 'exit 1'] = /^```\n([^]*?)^```/m.exec(chapter) ?? [];
    // What npm and systemctl do is left out; the rest is done to a folder in place of this machine.
    const script = block
      .split('\n')
      .filter((line) => !/^(?:npm|systemctl) /.test(line))
      .join('\n')
      .replace('"$(npm root --global)/sluice/packaging/systemd"', folder)
      .replaceAll(' /etc/', ` ${place}/etc/`)
      .replace(/systemd-(?:sysusers|tmpfiles)/g, `$& --root=${place}`);
    const path = `${at('usr/local/bin')}:/usr/sbin:/usr/bin:/bin`;
    execFileSync('sh', ['-ec', script], { env: { PATH: path }, stdio: 'pipe' });
    for (const unit of units)
      assert.match(
        readUnit(at(`etc/systemd/system/${unit}`)).one('ExecStart'),
        /\/usr\/local\/bin\/sluice run /,
      );
    assert.equal(statSync(at('var/lib/sluice')).mode & 0o7777, 0o700);
  });

  test('sysusers.d and tmpfiles.d make the user and the state folder', () => {
    const etc = join(root, 'etc');
    mkdirSync(etc, { recursive: true });
    const [users, files] = ['sysusers', 'tmpfiles'].map((kind) => join(folder, `sluice.${kind}.conf`));
    execFileSync('systemd-sysusers', [`--root=${root}`, users ?? '']);
    const entry = execFileSync('grep', ['^sluice:', join(etc, 'passwd')], { encoding: 'utf8' }).split(':');
    execFileSync('systemd-tmpfiles', ['--create', `--root=${root}`, files ?? '']);
    const { uid, mode } = statSync(join(root, 'var/lib/sluice'));
    assert.deepEqual([String(uid), mode & 0o7777], [entry[2], 0o700]);
    assert.equal(basename(entry[6]?.trim() ?? ''), 'nologin');
  });
});
