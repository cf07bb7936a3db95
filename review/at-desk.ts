/**
 * at-desk — the desk of the command line: quarantine, audit, return smtpd and spam scanner of this site.
 *
 * Works beside a running filter and without one: both referee state changes through the same index. Never creates what
 * is not there: a wrong --config must not look like an empty quarantine.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { openStateQuarantine } from '../filter/memory.ts';
import { createReinjector } from '../filter/reinject.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import { createScannerClients } from '../workers/clients.ts';
import { PermFail } from '../workers/fail.ts';
import { silentLog } from '../workers/log.ts';
import { openQueue, type Queue } from '../workers/queue.ts';
import type { Site } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import { type Audit, openAudit } from './audit.ts';
import type { Invocation } from './invocation.ts';
import { createJournal } from './journal.ts';
import { printable } from './table.ts';
import type { Actor, Desk } from './verbs.ts';

/** Opens the desk for one command, as its user, and closes it whatever happens; `become` makes us the state's owner. */
export async function atDesk(
  invocation: Invocation,
  act: (desk: Desk, actor: Actor, site: Site) => Promise<number>,
  become: typeof becomeOwner = becomeOwner,
): Promise<number> {
  const site = siteWithState(invocation, become);
  // A large index that has to be made again takes its time.
  invocation.status.say(`opening the quarantine in ${site.config.state}`);
  const { state, reinject: address } = site.config;
  await using opened = new AsyncDisposableStack();
  const closing = <T extends { close(): Promise<unknown> }>(one: T): T =>
    opened.adopt(one, async () => void (await one.close()));
  const log = { ...silentLog, error: complain };
  // What keeps a database from answering is told by the command that asked it.
  const quarantine = closing(await openStateQuarantine(state, silentLog));
  const audit = closing(await openStateAudit(site.config));
  const host = hostname();
  const reinjector = closing(
    createReinjector({ address, hostname: host, connectionsMax: 1, log: silentLog }),
  );
  const learning = closing(createLearning(site.config));
  const journal = site.config.role === 'backup' ? createJournal(state) : null;
  const marker = { scanner: `Sluice ${version}`, hostname: host };
  const { reinject } = reinjector;
  invocation.status.say('');
  return await act(
    { quarantine, audit, reinject, marker, learn: learning.learn, journal, log },
    actorOf(invocation),
    site,
  );
}

/** Opened when somebody teaches: no other command needs a scanner, or Redis. */
function createLearning(config: Config): { learn: Desk['learn']; close(): Promise<void> } {
  let opened: Promise<Queue> | null = null;
  const clients = createScannerClients(config, silentLog);
  return {
    async learn(...message) {
      opened ??= openQueue(config, { spool: null, clients, log: silentLog });
      return (await opened).learn(...message);
    },
    async close() {
      await (await opened)?.close();
    },
  };
}

/** The audit of a site. */
export function openStateAudit({ state, history: { retentionDays } }: Config): Promise<Audit> {
  return openAudit({ file: join(state, 'review.db'), log: silentLog, keepDays: retentionDays });
}

/** The site, whose state folder is there; this process works as its owner from here on. */
export function siteWithState({ site }: Invocation, become: typeof becomeOwner = becomeOwner): Site {
  const read = site();
  const { state } = read.config;
  if (!existsSync(state))
    throw new PermFail(
      `Cannot open the quarantine: there is no ${state}: is this the configuration that the filter runs with?`,
    );
  become(state, silentLog);
  return read;
}

/** The command line's actor: may everything. */
export function actorOf({ user }: Invocation): Actor {
  return { name: `cli:${user}` };
}

/** What goes wrong beside the answer, as a line for people. */
function complain(fields: object, message: string): void {
  const why = 'err' in fields && fields.err instanceof Error ? `: ${fields.err.message}` : '';
  process.stderr.write(`sluice: ${printable(`${message}${why}`)}\n`);
}
