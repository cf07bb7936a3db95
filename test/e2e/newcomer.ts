/**
 * newcomer — `npm run newcomer`: docs/install.md done block by block on a Debian 12 that is made for it, packages and all.
 *
 * usage: node test/e2e/newcomer.ts [--keep]
 *
 * Takes some minutes, 1 GB under /var/tmp, Debian's archive and the registry of npm. Tells how long each section took, and
 * compares what the packages write with test/e2e/stock, on which the short form in `npm test` stands. Needs root and debootstrap.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertFiltered, assertGone, letOneWait, startInside, startNewcomer } from './newcomer-site.ts';

const stock = join(import.meta.dirname, 'stock');
const certificates = '/etc/ssl/certs/ca-certificates.crt';

/** Makes the system in `folder`: what debootstrap gives, and what a machine knows of its network. */
function makeSystem(folder: string): void {
  if (!existsSync('/usr/sbin/debootstrap')) {
    console.error('newcomer: there is no debootstrap here: apt-get install debootstrap');
    process.exit(69);
  }
  const [mirror = ''] = archives().filter((site) => !site.includes('security'));
  const options = ['--include=ca-certificates', 'bookworm', folder, mirror];
  execFileSync('debootstrap', options, { stdio: ['ignore', 'ignore', 'inherit'] });
  for (const file of ['/etc/resolv.conf', certificates]) copyFileSync(file, join(folder, file));
  writeFileSync(join(folder, 'etc/hosts'), '127.0.0.1 localhost\n127.0.1.1 mx.example.com mx\n');
  writeFileSync(join(folder, 'etc/hostname'), 'mx\n');
  // invoke-rc.d(8): there is no init to start what is installed; section 1 of the page starts it.
  writeFileSync(join(folder, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const sources = ['bookworm', 'bookworm-updates'].map((suite) => `deb ${mirror} ${suite} main\n`);
  writeFileSync(join(folder, 'etc/apt/sources.list'), sources.join(''));
  writeFileSync(join(folder, 'etc/apt/apt.conf.d/99here'), proxies());
  writeFileSync(join(folder, 'root/.npmrc'), `registry=${registry()}\ncafile=${certificates}\n`);
}

/** Where this machine's packages come from. */
function archives(): string[] {
  const words = ['indextargets', '--format', '$(SITE)', 'Identifier: Packages'];
  return execFileSync('apt-get', words, { encoding: 'utf8' }).split('\n').filter(Boolean);
}

/** The way to the archive that this machine takes. */
function proxies(): string {
  const all = execFileSync('apt-config', ['dump'], { encoding: 'utf8' }).split('\n');
  return all.filter((line) => /^Acquire::https?::Proxy /i.test(line)).join('\n');
}

function registry(): string {
  const words = ['config', 'get', 'registry'];
  return execFileSync('npm', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}

/** What Debian wrote must be what the short form takes for it. */
function compareStock(there: (file: string) => string): void {
  const files = {
    'main.cf': '/etc/postfix/main.cf',
    'clamd.conf': '/etc/clamav/clamd.conf',
    spamd: '/etc/default/spamd',
  };
  for (const [name, file] of Object.entries(files)) {
    const settings = (path: string) =>
      readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => /^[^#\s]/.test(line) && !/^(?:relay_domains|transport_maps)/.test(line))
        .toSorted();
    assert.deepEqual(settings(there(file)), settings(join(stock, name)), `${file} is as in test/e2e/stock`);
  }
}

const work = mkdtempSync('/var/tmp/sluice-newcomer-');
const system = join(work, 'system');
const startedAt = Date.now();
const say = (text: string): void =>
  console.log(`newcomer: ${((Date.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${text}`);
try {
  makeSystem(system);
  say('Debian 12 is there');
  const site = await startNewcomer(work, system);
  try {
    for (const section of site.sections) {
      const isLast = section === site.sections.at(-1);
      if (isLast) await letOneWait(site, 'Waiting');
      await site.walk(section);
      say(section.title);
      if (section.title.startsWith('1.')) {
        compareStock(site.machine.path);
        await startInside(site.machine);
      }
      if (section.title.startsWith('7.')) await assertFiltered(site);
      if (isLast) await assertGone(site);
    }
  } finally {
    await site.stop();
  }
  say('all of docs/install.md is as it says');
} finally {
  if (!process.argv.includes('--keep')) rmSync(work, { recursive: true, force: true });
}
