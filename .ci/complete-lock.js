#!/usr/bin/env node
/**
 * complete-lock — adds to package-lock.json the optional packages of other platforms that it lacks.
 *
 * usage: node .ci/complete-lock.js   (after every npm install that changed package-lock.json)
 *
 * npm leaves them out where the registry it asked does not serve them; npm ci then refuses the file everywhere. It
 * never fetches them on a platform they are not for, so their names, versions and platforms are enough.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const file = join(import.meta.dirname, '..', 'package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8'));
const packages = { ...lock.packages };
const added = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(path === '' ? {} : (entry.optionalDependencies ?? {}))) {
    if (`node_modules/${name}` in packages || `${path}/node_modules/${name}` in packages) continue;
    packages[`node_modules/${name}`] = entryFor(name, version, entry.dev === true);
    added.push(name);
  }
}
const sorted = Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1));
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
console.log(added.length === 0 ? 'package-lock.json was complete' : `added: ${added.join(' ')}`);

/** An entry of which npm needs no more than the platform, read from names like binding-linux-x64-musl. */
function entryFor(name, version, dev) {
  const words = name.split(/[/-]/);
  const os = words.find((word) => /^(?:aix|android|darwin|freebsd|linux|openharmony|win32)$/.test(word));
  const cpu = words.find((word) => /^(?:arm|arm64|ia32|loong64|ppc64|riscv64|s390x|x64)$/.test(word));
  if (os === undefined || cpu === undefined)
    throw new Error(`Cannot tell the platform of ${name}: add it by hand`);
  return { version, cpu: [cpu], ...(dev ? { dev: true } : {}), optional: true, os: [os] };
}
