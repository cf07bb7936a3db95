/**
 * image — builds the Dockerfile with buildah, without a container engine and without a registry of images.
 *
 * Hides the storage (driver vfs, kept between runs), the stand-ins for the two images that the Dockerfile begins with, and
 * the npm configuration that the build gets as a secret. Needs root, and the npm registry of this machine.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { baseArchive, cache, release, top } from './debian.ts';

export type BuiltImage = {
  /** Its file system, as a container would see it. */
  readonly root: string;
  /** Its configuration, in Docker's form. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly remove: () => void;
};

export type Workshop = {
  /** Builds a Dockerfile of this checkout. */
  readonly build: (dockerfile: string) => BuiltImage;
  readonly close: () => void;
};

const certificates = '/etc/ssl/certs/ca-certificates.crt';
const base = `localhost/sluice-base:${release}`;
const node = `localhost/sluice-node:${release}-${process.versions.node}`;
const storage = ['--root', join(cache, 'images'), '--runroot', join(cache, 'run'), '--storage-driver', 'vfs'];

/** Prepares the two images to begin with, where they are not there yet: Debian, and Debian with Node and npm. */
export function openWorkshop(): Workshop {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-image-'));
  removeAbandoned();
  if (!isThere(base)) commit('scratch', base, [[baseArchive(), '/']]);
  if (!isThere(node)) {
    commit(base, node, [
      [withNpm(folder), '/usr/local'],
      [certificates, certificates],
    ]);
  }
  const settings = join(folder, 'npmrc');
  writeFileSync(settings, npmSettings(), { mode: 0o600 });
  return {
    build: (dockerfile) => build(dockerfile, settings),
    close: () => rmSync(folder, { recursive: true }),
  };
}

function build(dockerfile: string, settings: string): BuiltImage {
  const tag = `localhost/sluice-built:${process.pid}-${Date.now()}`;
  const args = ['--build-arg', `BASE=${base}`, '--build-arg', `NODE=${node}`];
  const secret = ['--secret', `id=npmrc,src=${settings}`];
  // What npm has fetched for this checkout before need not be fetched again.
  const fetched = ['--volume', `${npm('config', 'get', 'cache')}:${npmCache}:rw`];
  const form = ['--isolation', 'chroot', '--format', 'docker', '--tag', tag];
  buildah('build', ...form, ...secret, ...args, ...fetched, '--file', join(top, dockerfile), top);
  const container = buildah('from', tag);
  const inspected = JSON.parse(buildah('inspect', '--type', 'image', tag)) as { Docker: { config: object } };
  return {
    root: buildah('mount', container),
    config: inspected.Docker.config as Record<string, unknown>,
    remove() {
      buildah('rm', container);
      buildah('rmi', tag);
    },
  };
}

function buildah(...args: readonly string[]): string {
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  return execFileSync('buildah', [...storage, ...args], { encoding: 'utf8', stdio: [...stdio] }).trim();
}

/** What a test left that was killed: the tag names its process. */
function removeAbandoned(): void {
  for (const image of buildah('images', '--format', '{{.Name}}:{{.Tag}}').split('\n')) {
    const pid = /sluice-built:(\d+)-/.exec(image)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) buildah('rmi', '--force', image);
  }
}

function isThere(image: string): boolean {
  return spawnSync('buildah', [...storage, 'inspect', '--type', 'image', image]).status === 0;
}

/** A new image: `from` with files added; archives are unpacked. */
function commit(
  from: string,
  to: string,
  additions: readonly (readonly [source: string, target: string])[],
): void {
  const container = buildah('from', from);
  for (const [source, target] of additions) buildah('add', '--quiet', container, source, target);
  buildah('commit', '--quiet', '--rm', container, to);
}

/** A folder that every image has: nothing of it is left in the image. */
const npmCache = '/mnt';

/** What the image `node:24` has in /usr/local: this Node and npm. */
function withNpm(folder: string): string {
  const local = join(folder, 'local');
  const home = join(local, 'lib/node_modules/npm');
  mkdirSync(home, { recursive: true });
  mkdirSync(join(local, 'bin'));
  cpSync(process.execPath, join(local, 'bin/node'), { dereference: true });
  const archive = npm('pack', '--silent', '--pack-destination', folder, 'npm@11');
  execFileSync('tar', ['-xzf', join(folder, archive), '-C', home, '--strip-components=1']);
  chmodSync(join(home, 'bin/npm-cli.js'), 0o755);
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
  return local;
}

/** The npm configuration of whoever runs the test: `docker build --secret id=npmrc,src=$HOME/.npmrc` gives it likewise. */
function npmSettings(): string {
  const own = join(homedir(), '.npmrc');
  const lines = [
    existsSync(own) ? readFileSync(own, 'utf8') : '',
    `registry=${npm('config', 'get', 'registry')}`,
    `cafile=${certificates}`,
    `cache=${npmCache}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** The machine's own npm, not under the Node of this checkout: an old npm can't run on it. */
function npm(...args: readonly string[]): string {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((one) => !one.includes('node_modules'));
  const env = { ...process.env, PATH: path.join(delimiter), NODE_NO_WARNINGS: '1' };
  return execFileSync('npm', args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}
