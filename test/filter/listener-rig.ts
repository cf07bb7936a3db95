/**
 * listener-rig — a real listener over a real spool in a folder of its own, with an `onMessage` that remembers.
 *
 * Only for tests of the listener. `taken` holds every transaction with its octets; `idle` resolves when nothing is in
 * flight any more, which is how a test waits for a client's sudden death to be noticed.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createListener,
  type Listener,
  type ListenerOptions,
  type Transaction,
} from '../../filter/listener.ts';
import { permissiveOffers } from '../../filter/offers.ts';
import { type Reply, replyFor } from '../../rules/replies.ts';
import { createSpool } from '../../workers/spool.ts';
import { openDialog, type SmtpDialog } from '../fakes/smtp-dialog.ts';

export type Taken = { readonly transaction: Transaction; readonly octets: Buffer };
export type LogLine = { readonly level: string; readonly fields: object; readonly message: string };

export type Rig = {
  readonly listener: Listener;
  readonly taken: Taken[];
  readonly lines: LogLine[];
  readonly folder: string;
  /** Connects and takes the banner. */
  dial(): Promise<SmtpDialog>;
  /** Connects, takes the banner and greets as the protocol wants it. */
  greet(): Promise<SmtpDialog>;
  /** Resolves when every place in flight is free again. */
  idle(): Promise<void>;
  /** Names of files left in the spool. */
  spooled(): Promise<string[]>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** One reply per slot of this transaction, all the same. */
export function replies(transaction: Transaction, reply: Reply = replyFor('delivered')): Reply[] {
  const slots = transaction.protocol === 'lmtp' ? transaction.envelope.recipients.length : 1;
  return Array.from({ length: slots }, () => reply);
}

/** Starts a listener on a free loopback port unless `options` say otherwise. */
export async function startRig(options: Partial<ListenerOptions> = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-listener-'));
  const taken: Taken[] = [];
  const lines: LogLine[] = [];
  const note = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  const log = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') };
  const spool = await createSpool({ folder: join(folder, 'spool'), memoryBytesMax: 0, log });
  let inFlight = 0;
  let onIdle: () => void = () => undefined;
  const clear = async () => {
    await spool.close();
    await rm(folder, { recursive: true, force: true });
  };
  const listener = await createListener({
    protocol: 'smtp',
    direction: 'inbound',
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    hostname: 'filter.example.org',
    spool,
    trustedClients: [],
    sizeBytesMax: 100 * 1024 * 1024,
    deadlineMs: 300_000,
    offers: () => permissiveOffers,
    log,
    ...options,
    admit() {
      const release = options.admit === undefined ? () => undefined : options.admit();
      if (release === null) return null;
      inFlight++;
      return () => {
        inFlight--;
        release();
        if (inFlight === 0) onIdle();
      };
    },
    async onMessage(transaction) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of transaction.message.read()) chunks.push(chunk);
      taken.push({ transaction, octets: Buffer.concat(chunks) });
      return options.onMessage === undefined ? replies(transaction) : options.onMessage(transaction);
    },
  }).catch(async (error: unknown) => {
    await clear();
    throw error;
  });
  const rig: Rig = {
    listener,
    taken,
    lines,
    folder,
    async dial() {
      const dialog = await openDialog(listener.address);
      await dialog.reply();
      return dialog;
    },
    async greet() {
      const dialog = await rig.dial();
      await dialog.ask(options.protocol === 'lmtp' ? 'LHLO mx.example.org' : 'EHLO mx.example.org');
      return dialog;
    },
    async idle() {
      if (inFlight === 0) return;
      await new Promise<void>((resolve) => {
        onIdle = resolve;
      });
    },
    async spooled() {
      const found = await readdir(join(folder, 'spool'), { recursive: true, withFileTypes: true });
      return found
        .filter((entry) => entry.isFile() && /^[0-9a-f]{32}$/.test(entry.name))
        .map((entry) => entry.name);
    },
    async [Symbol.asyncDispose]() {
      await listener.close(0);
      await clear();
    },
  };
  return rig;
}
