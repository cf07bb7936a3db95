#!/usr/bin/env node
/**
 * sluice — the command. Finds a Node that is new enough and the program: dist/ when packaged, the .ts sources otherwise.
 *
 * Plain JavaScript that old Nodes can read, so that they can say what is wrong. Exit 69 where no Node is new enough.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const top = dirname(dirname(self));
const wanted = /\d+\.\d+\.\d+/.exec(
  JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')).engines.node,
)[0];

if (isAtLeast(process.versions.node, wanted)) await run();
else goOnWith(packagedNode());

async function run() {
  // Node strips no types inside node_modules, so that there only dist/ can run.
  const sources = join(top, 'review', 'cli.ts');
  const fromSources = !top.includes(`${sep}node_modules${sep}`) && existsSync(sources);
  const { main } = await import(fromSources ? '../review/cli.ts' : '../dist/review/cli.js');
  // Who reads may have had enough ("| head"): what is being done is done to its end all the same. A full disk is told of.
  let failure = null;
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error) => (failure ??= error.code === 'EPIPE' ? null : error));
  const code = await main(process.argv.slice(2));
  // A pipe takes what it has room for, and exit would cut off the rest.
  for (const stream of [process.stdout, process.stderr]) await new Promise((done) => stream.write('', done));
  if (failure !== null) console.error(`sluice: cannot write what was to be printed: ${failure.message}`);
  // When a command is over the process is: a filter that could not start must not live on with half of its listeners.
  process.exit(failure === null ? code : code || 69);
}

/** Runs the same command under another Node; signals and the exit code pass through. */
function goOnWith(node) {
  if (node === null) {
    console.error(`sluice: needs Node ${wanted} or newer, this is ${process.versions.node}`);
    console.error('sluice: install it from nodejs.org, or run npm ci (npm install) without --omit=optional');
    process.exit(69);
  }
  const child = spawn(node, [self, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`sluice: cannot run ${node}: ${error.message}`);
    process.exit(69);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** The Node that npm installed beside us (optionalDependencies), or null. */
function packagedNode() {
  try {
    const description = createRequire(self).resolve(`node-linux-${process.arch}/package.json`);
    const node = join(dirname(description), 'bin', 'node');
    const version = JSON.parse(readFileSync(description, 'utf8')).version;
    return existsSync(node) && isAtLeast(version, wanted) ? node : null;
  } catch {
    return null; // Not installed: no package for this machine, or --omit=optional.
  }
}

function isAtLeast(version, least) {
  const [a, b] = [version, least].map((text) => text.split('.').map(Number));
  const at = b.findIndex((part, index) => part !== a[index]);
  return at === -1 || a[at] > b[at];
}
