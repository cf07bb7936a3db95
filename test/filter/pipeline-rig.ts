/**
 * pipeline-rig — a world for filterMessage: what it may touch, as literals that remember everything and outlive a
 * "process", so that a retry meets what the try before it left behind.
 *
 * Every call of an effect passes two points, before and after it acts. A fault fails it there, or the process dies
 * there: the message is abandoned and only what the world remembers is left.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Account } from '../../filter/account.ts';
import { createDecisionLog } from '../../filter/decision-log.ts';
import type { HandOff, Outcome } from '../../filter/reinject.ts';
import type { History, OutcomeRow, ScanRow } from '../../filter/history.ts';
import { createInFlight, type Ledger, type LedgerEntry } from '../../filter/ledger.ts';
import type { Transaction } from '../../filter/listener.ts';
import { filterMessage } from '../../filter/pipeline.ts';
import type { NewItem } from '../../filter/quarantine.ts';
import type { Effects } from '../../filter/walk.ts';
import type { Recipient, ScanReport } from '../../rules/mail.ts';
import { type Policies, parsePolicies } from '../../rules/policy.ts';
import type { Reply } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';
import type { Log } from '../../workers/log.ts';
import type { Spool, SpooledMessage } from '../../workers/spool.ts';

export const plainMessage = Buffer.from(
  [
    'Received: from client.example (client.example [192.0.2.7])',
    '\tby mx.example (Postfix) with ESMTP id 4c7Yx1;',
    '\tTue, 14 Nov 2023 22:13:20 +0000 (UTC)',
    'From: <sender@partner.example>',
    'Subject: order',
    'Message-ID: <1@partner.example>',
    '',
    'An ordinary line.',
    '',
  ].join('\r\n'),
);
/** 100 s after the top Received line of `plainMessage`. */
export const nowMs = Date.UTC(2023, 10, 14, 22, 15, 0);

/** By domain, what becomes of a score of 12 or 25, of an unchecked message, and of a virus. */
export const policies = policiesOf(`
default: { thresholds: { tag: null, spam: null, quarantine: null, discard: null }, onUnchecked: { spam: deliver, virus: deliver } }
recipients:
  flag.test: { thresholds: { spam: 6.5 } }
  hold.test: { thresholds: { quarantine: 10 }, onUnchecked: { spam: quarantine } }
  discard.test: { thresholds: { discard: 20 }, virus: discard }
  defer.test: { onUnchecked: { spam: defer, virus: defer } }
`);

/** The shipped policies with this text over them. */
export function policiesOf(site: string): Policies {
  const shipped = readFileSync(join(import.meta.dirname, '../../rules/policies.yaml'), 'utf8');
  const parsed = parsePolicies(
    { file: 'shipped', text: shipped },
    { file: 'policies.yaml', text: site },
    'primary',
  );
  if (parsed.policies === null) throw new Error(JSON.stringify(parsed.problems));
  return parsed.policies;
}

export function scored(score: number): ScanReport {
  return {
    virus: { kind: 'clean' },
    spam: { kind: 'scored', score, tests: [], truncated: false, ignored: [] },
    virusMs: 1,
    spamMs: 1,
  };
}

export const infected: ScanReport = { ...scored(0), virus: { kind: 'infected', name: 'Eicar-Test' } };

export function unchecked(reason: 'timeout' | 'unreachable' = 'timeout'): ScanReport {
  return { ...scored(0), spam: { kind: 'unchecked', reason, detail: 'says the test' } };
}

export function to(address: string, more: Partial<Recipient> = {}): Recipient {
  return { address, notify: null, orcpt: null, ...more };
}

/** One recipient over several tries, whose objects differ: address and DSN parameters. */
export function nameOf({ address, notify, orcpt }: Recipient): string {
  return [address, notify ?? '', orcpt ?? ''].join(' ').trim();
}

export type EffectName =
  | 'scan'
  | 'put'
  | 'find'
  | 'reinject'
  | 'recall'
  | 'check'
  | 'commit'
  | 'noteAttempt'
  | 'record';
export type When = 'before' | 'after';

/** What the return smtpd says: to a recipient of the message, or to one of a notification. */
export type Answer = (recipient: Recipient, job: HandOff) => Outcome;

/** Called at each point that an effect passes; throws, or says 'die'. */
export type Point = (name: EffectName, when: When, args: readonly unknown[]) => 'die' | undefined;

export type TryOptions = {
  readonly protocol?: 'smtp' | 'lmtp';
  readonly direction?: 'inbound' | 'outbound';
  readonly recipients?: readonly Recipient[];
  readonly sender?: string;
  /** XFORWARD ADDR. */
  readonly client?: string;
  /** XFORWARD IDENT; null: none. */
  readonly ident?: string | null;
  readonly bytes?: Uint8Array;
  /** In place of `bytes`. */
  readonly message?: SpooledMessage;
  readonly report?: ScanReport;
  readonly answer?: Answer;
  readonly signal?: AbortSignal;
  readonly policies?: Policies;
  readonly at?: Point | undefined;
  readonly effects?: Partial<Effects>;
};

/** What there is outside of the process. */
export class World {
  readonly ledger = new Map<string, LedgerEntry>();
  readonly attempts = new Map<string, number>();
  readonly items: { readonly quarantineId: string; readonly item: NewItem }[] = [];
  readonly accepted: { readonly name: string; readonly job: HandOff; readonly text: string }[] = [];
  readonly notifications: { readonly job: HandOff; readonly text: string }[] = [];
  /** `accepted NAME` and `held NAME`, in order. */
  readonly events: string[] = [];
  /** Names that the return smtpd refused at some time. */
  readonly refused = new Set<string>();
  /** Addresses that a notification speaks of which the return smtpd took, or refused for good. */
  readonly told = new Set<string>();
  readonly rows: { scan: ScanRow; outcomes: readonly OutcomeRow[]; durable: boolean }[] = [];
  /** What log and metrics were told of each message. */
  readonly accounts: Account[] = [];
  readonly tempfails: string[] = [];
  readonly lines: { level: string; fields: Record<string, unknown>; message: string }[] = [];
  /** Names of effects called, in order. */
  readonly calls: EffectName[] = [];
  readonly #spool: Spool;
  /** Of the process that runs now. */
  inFlight = createInFlight();

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  /** One try of Postfix: the replies, or null where the process died on the way. */
  async attempt(options: TryOptions): Promise<readonly Reply[] | null> {
    const writer = this.#spool.open();
    await writer.write(options.bytes ?? plainMessage);
    const message = await writer.finish();
    const ident = options.ident === undefined ? '4c7Yx1' : options.ident;
    const transaction: Transaction = {
      direction: options.direction ?? 'inbound',
      protocol: options.protocol ?? 'lmtp',
      envelope: {
        sender: options.sender ?? 'sender@partner.example',
        body: '8BITMIME',
        smtputf8: false,
        ret: null,
        envid: 'QQ314',
        recipients: options.recipients ?? [to('one@deliver.test')],
        xforward: { ADDR: options.client ?? '192.0.2.7', ...(ident === null ? {} : { IDENT: ident }) },
      },
      message: options.message ?? message,
      remoteAddress: '127.0.0.1',
      receivedAt: nowMs,
      signal: options.signal ?? new AbortController().signal,
      receiveMs: 3,
      clientGone: false,
    };
    const death = Promise.withResolvers<null>();
    const replies = await Promise.race([
      filterMessage(
        transaction,
        this.#effects(options, () => death.resolve(null)),
      ),
      death.promise,
    ]);
    if (replies === null) this.inFlight = createInFlight();
    await message.remove();
    return replies;
  }

  timesAccepted(name: string): number {
    return this.accepted.filter((one) => one.name === name).length;
  }

  timesHeld(name: string): number {
    return this.items.flatMap(({ item }) => item.slots).filter(({ recipient }) => nameOf(recipient) === name)
      .length;
  }

  isDiscarded(address: string): boolean {
    const durable = this.rows.filter((row) => row.durable).flatMap(({ outcomes }) => outcomes);
    return durable.some(({ recipient, outcome }) => outcome === 'discarded' && recipient === address);
  }

  /** Whether anything was ever done for this address. */
  knows(address: string): boolean {
    const names = [
      ...this.events.map((event) => event.split(' ')[1]),
      ...[...this.refused].map((name) => name.split(' ')[0]),
    ];
    return names.includes(address) || this.isDiscarded(address);
  }

  #effects(options: TryOptions, die: () => void): Effects {
    const pass = async (name: EffectName, when: When, args: readonly unknown[]): Promise<void> => {
      if (options.at?.(name, when, args) !== 'die') return;
      die();
      await new Promise(() => undefined);
    };
    const through =
      <Arguments extends unknown[], Result>(name: EffectName, act: (...args: Arguments) => Result) =>
      async (...args: Arguments): Promise<Awaited<Result>> => {
        this.calls.push(name);
        await pass(name, 'before', args);
        const result = await act(...args);
        await pass(name, 'after', args);
        return result;
      };
    const log = this.#log();
    const tellLog = createDecisionLog({ format: 'json', level: 'info' }, log, { write: () => undefined });
    return {
      scan: through('scan', () => options.report ?? scored(0)),
      quarantine: {
        put: through('put', (item) => this.#put(item)),
        find: through('find', (keys) => this.#find(keys)),
      },
      reinject: through('reinject', (job) => this.#reinject(job, options.answer ?? accepts)),
      ledger: this.#ledger(through),
      inFlight: this.inFlight,
      history: { record: through('record', (...row) => this.#record(...row)) },
      policies: () => options.policies ?? policies,
      now: () => nowMs,
      marker: { scanner: 'Sluice 0', hostname: 'filter.example' },
      log,
      tell: (account) => {
        this.accounts.push(account);
        tellLog(account);
      },
      tempfail: (reason) => this.tempfails.push(reason),
      ...options.effects,
    };
  }

  #ledger(
    through: <Arguments extends unknown[], Result>(
      name: EffectName,
      act: (...args: Arguments) => Result,
    ) => (...args: Arguments) => Promise<Awaited<Result>>,
  ): Effects['ledger'] {
    return {
      recall: through('recall', (keys, queueId) => ({
        entries: new Map(keys.flatMap((key) => this.#entry(key))),
        attempts: this.attempts,
        queueIdsOut: [...this.ledger.values()].flatMap((entry) =>
          entry.queueId === queueId ? (entry.queueIdOut ?? []) : [],
        ),
      })),
      check: through('check', () => undefined),
      commit: through('commit', (entries) => this.#commit(entries)),
      noteAttempt: through('noteAttempt', (keys) => {
        for (const key of keys) this.attempts.set(key, (this.attempts.get(key) ?? 0) + 1);
      }),
    } satisfies Partial<Ledger>;
  }

  #entry(key: string): [string, LedgerEntry][] {
    const entry = this.ledger.get(key);
    return entry === undefined ? [] : [[key, entry]];
  }

  #commit(entries: readonly LedgerEntry[]): void {
    for (const entry of entries) {
      if (!this.ledger.has(entry.key)) this.ledger.set(entry.key, entry);
      this.attempts.delete(entry.key);
    }
  }

  #put(item: NewItem): string {
    const quarantineId = (this.items.length + 1).toString(16).padStart(32, '0');
    this.items.push({ quarantineId, item });
    for (const { recipient } of item.slots) this.events.push(`held ${nameOf(recipient)}`);
    return quarantineId;
  }

  #find(keys: readonly string[]): Map<string, { quarantineId: string }> {
    const held = this.items.flatMap(({ quarantineId, item }) =>
      item.slots.map(({ ledgerKey }) => [ledgerKey ?? '', { quarantineId }] as const),
    );
    return new Map(held.filter(([key]) => keys.includes(key)));
  }

  async #reinject(job: HandOff, answer: Answer): Promise<readonly Outcome[]> {
    const outcomes = job.recipients.map((recipient) => answer(recipient, job));
    const deferred = job.allOrNothing && outcomes.some(({ kind }) => kind === 'tempfail');
    const told = deferred ? outcomes.map(() => tempfail) : outcomes;
    if (isNotification(job)) return this.#notify(job, told);
    for (const [at, recipient] of job.recipients.entries()) {
      const outcome = told[at];
      if (outcome?.kind === 'refused') this.refused.add(nameOf(recipient));
      if (outcome?.kind !== 'accepted') continue;
      this.accepted.push({ name: nameOf(recipient), job, text: await textOf(job) });
      this.events.push(`accepted ${nameOf(recipient)}`);
    }
    return told;
  }

  async #notify(job: HandOff, outcomes: readonly Outcome[]): Promise<readonly Outcome[]> {
    const text = await textOf(job);
    if (outcomes[0]?.kind === 'tempfail') return outcomes;
    for (const [, address = ''] of text.matchAll(/^Final-Recipient: rfc822; (.*)\r$/gm))
      this.told.add(address);
    if (outcomes[0]?.kind === 'accepted') this.notifications.push({ job, text });
    return outcomes;
  }

  #record(...[scan, outcomes, { durable }]: Parameters<History['record']>): boolean {
    this.rows.push({ scan, outcomes, durable });
    return true;
  }

  #log(): Log {
    const write = (level: string) => (fields: object, message: string) =>
      void this.lines.push({ level, fields: { ...fields }, message });
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  }
}

async function textOf(job: HandOff): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of job.bytes()) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export const accepts: Answer = (recipient) => ({
  kind: 'accepted',
  reply: { code: 250, enhanced: '2.0.0', text: 'Ok: queued as B1' },
  queueIdOut: `B${nameOf(recipient).length}`,
});

/** A notification of ours, and no message: nobody else hands over NOTIFY=NEVER from the null sender alone. */
export function isNotification({ envelope, recipients }: HandOff): boolean {
  return envelope.sender === '' && envelope.xforward.ADDR === undefined && recipients.length === 1;
}

export const refused: Outcome = {
  kind: 'refused',
  reply: { code: 550, enhanced: '5.1.1', text: 'No such user' },
};

export const tempfail: Outcome = {
  kind: 'tempfail',
  outcome: 'returnUnavailable',
  reply: { code: 451, enhanced: '4.3.0', text: 'Later' },
  detail: 'says the test',
};

/** Fails the effect at this point. */
export function failing(wanted: EffectName, when: When = 'before', times = 1): Point {
  let left = times;
  return (name, at) => {
    if (name !== wanted || at !== when || left-- <= 0) return undefined;
    throw new TempFail(`${name} fails ${when} it acts`);
  };
}

/** The process dies at this point. */
export function dying(wanted: EffectName, when: When): Point {
  return (name, at) => (name === wanted && at === when ? 'die' : undefined);
}
