/**
 * image — the Dockerfile is really built, and mail really goes through what came out of it.
 *
 * Built by buildah from a Debian made here (image.ts); run by crun from the image's file system with a read-only root, an
 * ordinary user, no capabilities and no new privileges (jail.ts), as compose.yaml runs it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Daemon } from '../../demo/daemon.ts';
import { productionPackages } from '../../packaging/stage.ts';
import { version } from '../../workers/version.ts';
import { type BuiltImage, openWorkshop, type Workshop } from './image.ts';
import { startJail } from './jail.ts';
import { assertFilters, startSurroundings, type Surroundings } from './message.ts';

const user = 10_001;

suite('the image', () => {
  let workshop: Workshop;
  let image: BuiltImage;
  let around: Surroundings;
  let state: string;
  let filter: Daemon;

  before(async () => {
    workshop = openWorkshop();
    image = workshop.build('Dockerfile');
    around = await startSurroundings();
    state = join(around.folder, 'state');
    mkdirSync(state, { mode: 0o700 });
    chownSync(state, user, user);
  });
  after(async () => {
    await around?.stop();
    image?.remove();
    workshop?.close();
  });

  /** Runs the image's command in it. */
  function start(command: readonly string[], isUp: () => Promise<boolean>): Promise<Daemon> {
    return startJail({
      folder: around.folder,
      root: image.root,
      user,
      command,
      env: around.env,
      writable: { '/var/lib/sluice': state },
      isUp,
    });
  }

  /** What HEALTHCHECK would say now. */
  function healthcheck(): number | null {
    const [, ...command] = (image.config['Healthcheck'] as { Test: string[] }).Test;
    const inside = ['--reuid', String(user), '--regid', String(user), '--clear-groups', ...command];
    const env = { PATH: '/usr/local/bin:/usr/bin:/usr/sbin', ...around.env };
    return spawnSync('chroot', [image.root, 'setpriv', ...inside], { env }).status;
  }

  test('runs as a numbered user, stops by SIGTERM, knows its health, keeps its state in a volume', () => {
    const { User, StopSignal, Healthcheck, Volumes, Entrypoint, Cmd } = image.config;
    assert.deepEqual(
      [User, StopSignal, Entrypoint, Cmd],
      ['10001:10001', 'SIGTERM', ['sluice'], ['run', 'all']],
    );
    assert.deepEqual(Object.keys(Volumes as object), ['/var/lib/sluice']);
    assert.deepEqual((Healthcheck as { Test: string[] }).Test, ['CMD', 'node', '/opt/sluice/healthcheck.js']);
  });

  test('holds what it needs at run time and nothing else', () => {
    const home = join(image.root, 'opt/sluice');
    const inside = [...globSync('node_modules/{*,@*/*}/package.json', { cwd: home })]
      .map((file) => file.replace('/package.json', ''))
      .toSorted();
    const wanted = productionPackages().filter((folder) => folder.lastIndexOf('node_modules/') === 0);
    assert.deepEqual(inside, wanted.toSorted());
    for (const room of ['rules', 'review', 'test', 'demo', 'tsconfig.json'])
      assert.ok(!existsSync(join(home, room)), room);
    for (const trace of ['root/.npmrc', 'root/.npm', 'usr/local/bin/npm', 'build'])
      assert.ok(!existsSync(join(image.root, trace)), trace);
    const { status, stdout } = spawnSync('chroot', [image.root, 'sluice', '--version'], { encoding: 'utf8' });
    assert.deepEqual([status, stdout.includes(version)], [0, true]);
  });

  test('filters with a read-only root, no capabilities and no new privileges', async () => {
    assert.equal(healthcheck(), 1);
    // A worker and the review are run in the same way, once `sluice run` knows them.
    filter = await start([...(image.config['Entrypoint'] as string[]), 'run', 'filter'], around.isUp);
    await assertFilters(around);
    const status = processStatus(['run', 'filter']);
    assert.match(status, /^Uid:\t10001\t10001\t10001\t10001$/m);
    assert.match(status, /^CapEff:\t0+$/m);
    assert.match(status, /^CapBnd:\t0+$/m);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.equal(globSync('quarantine/*/*/item.json', { cwd: state }).length, 1);
    assert.equal(healthcheck(), 0);
  });

  test('ends in order by SIGTERM and leaves no spool behind', async () => {
    await filter.stop();
    assert.deepEqual(readdirSync(join(state, 'spool')), []);
    assert.equal(healthcheck(), 1);
  });
});

/** /proc/PID/status of the newest process whose command line ends with these words. */
function processStatus(words: readonly string[]): string {
  const end = `${words.join('\0')}\0`;
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .toSorted((a, b) => Number(b) - Number(a))
    .filter((pid) => commandLine(pid).startsWith('node\0') && commandLine(pid).endsWith(end));
  return found[0] === undefined ? '' : readFileSync(`/proc/${found[0]}/status`, 'utf8');
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    // The process is gone.
    return '';
  }
}
