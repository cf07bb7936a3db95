/**
 * build — makes sluice-mail_VERSION_ARCHITECTURE.deb with dpkg-deb alone: `npm run deb`.
 *
 * usage: node packaging/deb/build.ts [--output FOLDER] [--compress xz|gzip|none]   (after npm ci)
 *
 * Program and Node lie in /usr/lib/sluice. Man page and completions are taken along where docs/ has them. Files belong to
 * root and have the time of SOURCE_DATE_EPOCH (else now). Prints the path of the package.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { productionPackages, stage } from '../stage.ts';

const top = join(import.meta.dirname, '..', '..');
const name = 'sluice-mail';
const documents = `usr/share/doc/${name}`;

const { values } = parseArgs({
  options: { output: { type: 'string', default: '.' }, compress: { type: 'string', default: 'xz' } },
});
const tree = mkdtempSync(join(tmpdir(), 'sluice-deb-'));
try {
  console.log(build(resolve(values.output), values.compress));
} finally {
  rmSync(tree, { recursive: true });
}

function build(output: string, compression: string): string {
  chmodSync(tree, 0o755);
  putProgram();
  putUnits();
  putDocuments();
  putCompletions();
  putConfiguration();
  execFileSync('chmod', ['-R', 'go-w,a+rX', tree]);
  putControl();
  const architecture = architectureName();
  const file = join(output, `${name}_${debianVersion()}_${architecture}.deb`);
  mkdirSync(output, { recursive: true });
  execFileSync('dpkg-deb', ['--root-owner-group', `-Z${compression}`, '--build', tree, file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return file;
}

function putProgram(): void {
  const home = path('usr/lib/sluice');
  stage(home);
  renameSync(join(home, 'docs'), path(`${documents}/docs`));
  for (const file of ['README.md', 'CHANGELOG.md'])
    renameSync(join(home, file), path(`${documents}/${file}`));
  rmSync(join(home, 'LICENSE'));
  rmSync(join(home, 'packaging'), { recursive: true, force: true });
  // Not the script itself: the machine's own Node, which `env node` would find, may be missing or another program's.
  put('usr/bin/sluice', '#!/bin/sh\nexec /usr/lib/sluice/node /usr/lib/sluice/bin/sluice.js "$@"\n', 0o755);
}

function putUnits(): void {
  for (const unit of globSync('packaging/systemd/*.service', { cwd: top }))
    copy(unit, `lib/systemd/system/${basename(unit)}`);
  copy('packaging/systemd/sluice.sysusers.conf', 'usr/lib/sysusers.d/sluice.conf');
  copy('packaging/systemd/sluice.tmpfiles.conf', 'usr/lib/tmpfiles.d/sluice.conf');
}

function putDocuments(): void {
  for (const file of ['policies.yaml', 'sluice.cf']) copy(`rules/${file}`, `${documents}/${file}`);
  put(`${documents}/copyright`, copyright());
  put(`${documents}/changelog.gz`, gzipSync(debianChangelog(), { level: 9 }));
  copy('packaging/deb/lintian-overrides', `usr/share/lintian/overrides/${name}`);
  for (const page of globSync('docs/*.[1-8]', { cwd: top })) {
    rmSync(path(`${documents}/docs/${basename(page)}`));
    const compressed = gzipSync(readFileSync(join(top, page)), { level: 9 });
    put(`usr/share/man/man${page.at(-1)}/${basename(page)}.gz`, compressed);
  }
}

/** Where each shell looks for them. */
function putCompletions(): void {
  for (const file of globSync('docs/completions/*', { cwd: top })) {
    const target = file.endsWith('.fish')
      ? 'usr/share/fish/vendor_completions.d/sluice.fish'
      : file.endsWith('.bash')
        ? 'usr/share/bash-completion/completions/sluice'
        : 'usr/share/zsh/vendor-completions/_sluice';
    copy(file, target);
  }
  rmSync(path(`${documents}/docs/completions`), { recursive: true, force: true });
}

function putConfiguration(): void {
  for (const file of ['sluice.yaml', 'policies.yaml']) copy(`packaging/deb/${file}`, `etc/sluice/${file}`);
}

function putControl(): void {
  const [size = ''] = execFileSync('du', ['-sk', '--apparent-size', tree], { encoding: 'utf8' }).split('\t');
  const control = readFileSync(join(top, 'packaging/deb/control'), 'utf8')
    .replace('@VERSION@', debianVersion())
    .replace('@ARCHITECTURE@', architectureName())
    .replace('@SIZE@', size);
  put('DEBIAN/md5sums', md5sums());
  put('DEBIAN/control', control);
  put('DEBIAN/conffiles', '/etc/sluice/policies.yaml\n/etc/sluice/sluice.yaml\n');
  for (const script of ['postinst', 'prerm', 'postrm'])
    put(`DEBIAN/${script}`, readFileSync(join(top, 'packaging/deb', script)), 0o755);
}

function md5sums(): string {
  const script = 'find . -type f ! -path "./DEBIAN/*" -printf "%P\\0" | LC_ALL=C sort -z | xargs -0 md5sum';
  return execFileSync('sh', ['-c', script], { cwd: tree, encoding: 'utf8' });
}

/** 1.2.3-rc.1 is older than 1.2.3: a tilde in Debian's order. */
function debianVersion(): string {
  return packageJson('').version.replace('-', '~');
}

function architectureName(): string {
  return execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
}

function debianChangelog(): string {
  const seconds = process.env['SOURCE_DATE_EPOCH'];
  const date = seconds === undefined ? new Date() : new Date(Number(seconds) * 1000);
  return `${name} (${debianVersion()}) unstable; urgency=medium

  * Version ${packageJson('').version}; CHANGELOG.md beside this file tells what is new.

 -- The Sluice authors <sluice@packages.invalid>  ${date.toUTCString().replace('GMT', '+0000')}
`;
}

/** debian/copyright, with what each package inside says of itself. */
function copyright(): string {
  const licence = readFileSync(join(top, 'LICENSE'), 'utf8');
  const inside = productionPackages()
    .map((folder) => ({ folder, ...packageJson(folder) }))
    .map(({ folder, name: title, version, license }) => {
      const file = existsSync(join(top, folder, 'LICENSE')) ? `, see /usr/lib/sluice/${folder}/LICENSE` : '';
      return `  ${title} ${version}: ${license ?? 'see its folder'}${file}`;
    });
  return `Sluice, an after-queue content filter for Postfix.\n\n${licence}
Packages inside /usr/lib/sluice/node_modules, each under its own licence:

${inside.join('\n')}

The text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0 on Debian systems.
`;
}

function packageJson(folder: string): { name: string; version: string; license?: string } {
  return JSON.parse(readFileSync(join(top, folder, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
}

function copy(from: string, to: string): void {
  cpSync(join(top, from), path(to));
  chmodSync(path(to), 0o644);
}

function put(to: string, content: string | Uint8Array, mode = 0o644): void {
  writeFileSync(path(to), content, { mode });
}

/** A path in the tree, its folder made. */
function path(inside: string): string {
  const full = join(tree, inside);
  mkdirSync(dirname(full), { recursive: true });
  return full;
}
