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
import { productionPackages } from '../../packaging/stage.ts';
import { partEnvironment, partNodeOptions } from '../../review/supervisor.ts';
import { version } from '../../workers/version.ts';
import { type BuiltImage, openWorkshop, type Workshop } from './image.ts';
import { type Jail, type Jailed, startJail } from './jail.ts';
import { assertFilters, startSurroundings, type Surroundings } from './message.ts';

const user = 10_001;

suite('the image', () => {
  let workshop: Workshop;
  let image: BuiltImage;
  let around: Surroundings;
  let state: string;
  let filter: Jailed;

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

  /** Runs a part of Sluice in it. */
  function start(words: readonly string[], more: Pick<Jail, 'env' | 'writable' | 'isUp'>): Promise<Jailed> {
    const { Entrypoint, Env } = image.config as { Entrypoint: string[]; Env: string[] };
    const own = Object.fromEntries(Env.map((line) => line.split(/=(.*)/s, 2)));
    const env = { ...own, ...more.env };
    const command = [...Entrypoint, 'run', ...words];
    return startJail({ folder: around.folder, root: image.root, user, command, ...more, env });
  }
  const startFilter = (env: Jail['env'] & object): Promise<Jailed> =>
    start(['filter'], { env, writable: { '/var/lib/sluice': state }, isUp: around.isUp });
  const heldItems = () => globSync('quarantine/*/*/item.json', { cwd: state }).length;

  const healthCommand = () => (image.config['Healthcheck'] as { Test: string[] }).Test.slice(1);

  /** What HEALTHCHECK would say where nothing else runs. */
  function healthcheck(): number | null {
    const command = healthCommand();
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
    const environment = { ...partEnvironment, NODE_OPTIONS: partNodeOptions.join(' ') };
    for (const [name, value] of Object.entries(environment))
      assert.ok((image.config['Env'] as string[]).includes(`${name}=${value}`), name);
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
    filter = await startFilter(around.env);
    await assertFilters(around);
    assertHarmless(filter);
    assert.equal(heldItems(), 1);
    assert.equal(filter.exec(...healthCommand()).code, 0);
  });

  test('ends in order by SIGTERM and leaves no spool behind', async () => {
    await filter.stop();
    assert.deepEqual(readdirSync(join(state, 'spool')), []);
    assert.equal(healthcheck(), 1);
  });

  test('a worker out of the same image scans for a filter that has no scanner; it has neither state nor Postfix', async () => {
    const worker = await start(['worker', '--scanners', 'virus,spam'], {
      env: around.workerEnv,
      isUp: around.isWorkerUp,
    });
    filter = await startFilter(around.filterEnv);
    await assertFilters(around);
    assert.equal(heldItems(), 2);
    assertHarmless(worker);
    assert.equal(worker.exec(...healthCommand()).code, 0);
    const { stdout } = worker.exec(
      'sh',
      '-c',
      'find /var/lib/sluice /var/spool/sluice; touch /var/lib/sluice/x || true',
    );
    assert.equal(stdout, '/var/lib/sluice\n/var/spool/sluice\n');
    await worker.stop();
    assert.match(readFileSync(worker.logFile, 'utf8'), /Stopping: finishing what is in flight/);
    await filter.stop();
  });
});

/** What runs in there is an ordinary user without any right to become more. */
function assertHarmless({ exec }: Jailed): void {
  // The first process of its own process ids.
  const status = exec('cat', '/proc/1/status').stdout;
  assert.match(status, /^Name:\t(?:node|MainThread)$/m);
  assert.match(status, /^Uid:\t10001\t10001\t10001\t10001$/m);
  assert.match(status, /^CapEff:\t0+$/m);
  assert.match(status, /^CapBnd:\t0+$/m);
  assert.match(status, /^NoNewPrivs:\t1$/m);
}
