/**
 * stack — everything that a demonstration or an end-to-end test needs, in one folder: clamd, spamd, a private Postfix
 * on both sides, and Sluice with its embedded defaults between them.
 *
 * Hides ports and sluice.yaml. `stop` ends whatever has come up so far, also half way through `start`, in the order in
 * which no mail can be caught between two pieces.
 */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Address, formatAddress } from '../rules/config.ts';
import { startClamd } from './clamd.ts';
import { type Daemon, freePort, startDaemon } from './daemon.ts';
import { type PostfixInstance, type PostfixOptions, startPostfix } from './postfix.ts';
import type { Owner } from './postfix-folders.ts';
import { startSpamd } from './spamd.ts';

export type Stack = {
  readonly postfix: PostfixInstance;
  readonly sluice: Daemon;
  /** Path of sluice.yaml. */
  readonly config: string;
  /** Logs of the pieces, by name. */
  readonly logs: Readonly<Record<string, string>>;
};

/** The signature database that this stack scans with: the machine's own, where there is one. */
export function signaturesOfMachine(): 'system' | 'test' {
  try {
    return readdirSync('/var/lib/clamav').some((name) => /\.c[lv]d$/.test(name)) ? 'system' : 'test';
  } catch {
    return 'test'; // No such folder, or not ours to read.
  }
}

export const sluiceCommand = join(import.meta.dirname, '..', 'bin', 'sluice.js');

/** Runs `sluice` with these arguments and the stack's configuration; resolves to its standard output. */
export async function askSluice(stack: Stack, ...args: string[]): Promise<string> {
  const command = [sluiceCommand, ...args, '--config', stack.config];
  return (await promisify(execFile)(process.execPath, command)).stdout;
}

export type StackOptions = {
  readonly folder: string;
  readonly signatures: 'system' | 'test';
  /** Who owns delivered mail; default nobody. */
  readonly mailOwner?: Owner;
};

type Stoppable = { stop(): Promise<void> };

/** A stack in `folder`, which must be reachable for the postfix user; nothing runs before `start`. */
export function createStack(options: { folder: string; signatures: 'system' | 'test'; mailOwner?: Owner }): {
  start(): Promise<Stack>;
  stop(): Promise<void>;
} {
  const { folder } = options;
  const pieces: { readonly name: string; readonly piece: Promise<Stoppable>; isUp: boolean }[] = [];
  let ending = false;
  const keep = async <Piece extends Stoppable>(name: string, piece: Promise<Piece>) => {
    const entry = { name, piece, isUp: false };
    pieces.push(entry);
    const started = await piece;
    entry.isUp = true;
    return started;
  };
  return {
    async start() {
      const config = join(folder, 'sluice.yaml');
      const port = await freePort();
      const [postfix, clamd, spamd] = await Promise.all([
        keep('postfix', startPostfix(postfixOptions(options, port))),
        keep('clamd', startClamd({ folder: join(folder, 'clamd'), signatures: options.signatures })),
        keep('spamd', startSpamd({ folder: join(folder, 'spamd') })),
      ]);
      if (ending) throw new Error('Cannot start Sluice: interrupted');
      await writeFile(config, configText(folder, port, postfix.returnPort, clamd.unix, spamd.unix));
      const sluice = await keep('sluice', startSluice(folder, config, port));
      const logs = Object.entries({ sluice, clamd, spamd }).map(([name, { logFile }]) => [name, logFile]);
      return { postfix, sluice, config, logs: { postfix: postfix.maillog, ...Object.fromEntries(logs) } };
    },
    async stop() {
      ending = true;
      // Postfix first: what it has not handed over stays in its queue. Then Sluice, then what Sluice asks.
      for (const name of ['postfix', 'sluice', 'clamd', 'spamd']) {
        const entry = pieces.find((each) => each.name === name);
        // Postfix outlives us, so it is waited for; a daemon still on its way up ends with this process (daemon.ts).
        if (entry === undefined || (name !== 'postfix' && !entry.isUp)) continue;
        await entry.piece.then(
          (started) => started.stop(),
          () => undefined, // It failed to start and stopped itself; `start` has told.
        );
      }
    },
  };
}

function postfixOptions(options: StackOptions, port: number): PostfixOptions {
  const { folder, mailOwner } = options;
  return {
    folder,
    feedProtocol: 'lmtp',
    sluice: `127.0.0.1:${port}`,
    sink: 'maildir',
    ...(mailOwner === undefined ? {} : { mailOwner }),
  };
}

function startSluice(folder: string, config: string, port: number): Promise<Daemon> {
  return startDaemon({
    command: process.execPath,
    args: [sluiceCommand, 'run', 'filter', '--config', config],
    logFile: join(folder, 'log', 'sluice'),
    isUp: () => accepts(port),
  });
}

/** Addresses only: everything else is the embedded default. */
function configText(
  folder: string,
  port: number,
  returnPort: number,
  clamd: Address,
  spamd: Address,
): string {
  return [
    '# Written by the demonstration: addresses only, everything else is the default.',
    `listen: { lmtp: "127.0.0.1:${port}", smtp: null }`,
    `reinject: "127.0.0.1:${returnPort}"`,
    `clamd: "${formatAddress(clamd)}"`,
    `spamd: "${formatAddress(spamd)}"`,
    `state: "${join(folder, 'state')}"`,
    // Its default port may be another Sluice's on this machine.
    'health: { filter: null }',
    '',
  ].join('\n');
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
