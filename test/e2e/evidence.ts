/**
 * evidence — what became of mail at a test site, from every witness: Postfix's log, the sink, the quarantine, our log.
 *
 * Hides the form of log lines. Nothing here waits for a fixed time: `until` looks again and again, and fails with what
 * it was waiting for.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ItemRow } from '../../filter/quarantine.ts';
import type { SunkMessage } from '../fakes/sink.ts';
import type { TestSite } from './site.ts';

/** Looks every 100 ms until `look` gives something that is neither undefined nor false, and gives that. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > end) throw new Error(`Not seen within ${timeoutMs} ms: ${what}`);
    await delay(100);
  }
}

/**
 * As `until`, and has Postfix try what it deferred every second: a retry that found the queue file still locked by the
 * try before is put off for a minute, whatever the back-off is ("skipped, still being delivered").
 */
export async function flushUntil<T>(
  site: TestSite,
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
): Promise<T> {
  let flushedAt = 0;
  return until(
    what,
    async () => {
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen;
      if (Date.now() - flushedAt > 1000) {
        flushedAt = Date.now();
        await site.postfix.flush();
      }
      return undefined;
    },
    timeoutMs,
  );
}

/** Resolves when Postfix's queue is empty. */
export async function emptied(site: TestSite, timeoutMs = 60_000): Promise<void> {
  await flushUntil(site, 'an empty queue', async () => (await site.postfix.queue()).length === 0, timeoutMs);
  await site.postfix.waitForQueueEmpty(timeoutMs);
}

/** Sends into the feed, gives Postfix's queue id. */
export async function post(
  site: TestSite,
  mail: { from?: string; to: readonly string[]; bytes: Uint8Array },
): Promise<string> {
  const rcpt = mail.to.map((to) => (to.startsWith('<') ? to : `<${to}>`));
  const reply = await site.send({ mail: mail.from ?? '<anna@partner.example>', rcpt, bytes: mail.bytes });
  const queueId = /^250 2\.0\.0 Ok: queued as (\w+)$/.exec(reply)?.[1];
  if (queueId === undefined) throw new Error(`Feed said "${reply}" to the dot`);
  return queueId;
}

/** One line of Postfix's delivery agents about one recipient. */
export type Delivery = {
  readonly recipient: string;
  readonly dsn: string;
  readonly status: string;
  readonly text: string;
};

/** Every try of Postfix to deliver what it queued under this id, in order. */
export async function deliveriesOf(site: TestSite, queueId: string): Promise<Delivery[]> {
  const pattern = new RegExp(`: ${queueId}: to=<(.*?)>, .*\\bdsn=([\\d.]+), status=(\\w+) \\((.*)\\)$`, 'gm');
  return [...(await maillog(site)).matchAll(pattern)].map(
    ([, recipient = '', dsn = '', status = '', text = '']) => ({ recipient, dsn, status, text }),
  );
}

/** The first try for each of so many recipients, once they are all in the log. */
export function firstDeliveries(site: TestSite, queueId: string, count = 1): Promise<Delivery[]> {
  return flushUntil(site, `${count} deliveries of ${queueId}`, async () => {
    const firsts = Map.groupBy(await deliveriesOf(site, queueId), ({ recipient }) => recipient);
    return firsts.size >= count && [...firsts.values()].flatMap(([first]) => first ?? []);
  });
}

/** The try that ended the matter for a recipient of this message. */
export function settled(site: TestSite, queueId: string, recipient: string): Promise<Delivery> {
  return flushUntil(site, `end of ${queueId} for ${recipient}`, async () =>
    (await deliveriesOf(site, queueId)).find(
      (one) => one.recipient === recipient && one.status !== 'deferred',
    ),
  );
}

/** Queue ids that the return smtpd gave to what came in under `queueId`: who was handed off at all. */
export async function handOffsOf(site: TestSite, queueId: string): Promise<string[]> {
  const pattern = new RegExp(`smtpd\\[\\d+\\]: (\\w+): client=.*, orig_queue_id=${queueId}\\b`, 'g');
  return [...(await maillog(site)).matchAll(pattern)].map(([, id = '']) => id);
}

/** Lines of Postfix's log. */
export async function maillog(site: TestSite): Promise<string> {
  return readFile(site.postfix.maillog, 'latin1');
}

/** Lines that say that Postfix bounced something. */
export async function bouncesOf(site: TestSite): Promise<string[]> {
  return (await maillog(site)).split('\n').filter((line) => line.includes('status=bounced'));
}

/** What reached the sink for this address. */
export function copiesFor(site: TestSite, address: string): SunkMessage[] {
  return (site.sink?.messages ?? []).filter(({ rcpt }) =>
    rcpt.some((line) => line.startsWith(`RCPT TO:<${address}>`)),
  );
}

/** Resolves when the first copy has reached the sink. */
export function arrived(site: TestSite, address: string, timeoutMs?: number): Promise<SunkMessage> {
  return flushUntil(site, `copy for ${address}`, () => copiesFor(site, address)[0], timeoutMs);
}

/** What reached the sink from the null sender. */
export function notificationsIn(site: TestSite): SunkMessage[] {
  return (site.sink?.messages ?? []).filter(({ mail }) => mail.startsWith('MAIL FROM:<>'));
}

/** Fields of the header block, unfolded, in order: `[name in lower case, value]`. */
export function fieldsOf(bytes: Buffer): (readonly [string, string])[] {
  const head = bytes.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
  const lines = head.replaceAll(/\r\n[ \t]+/g, ' ').split('\r\n');
  return lines.map((line) => {
    const at = line.indexOf(':');
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
  });
}

/** The fields that Sluice adds, and those that it must not let through. */
export function marksOf(bytes: Buffer): Record<string, string[]> {
  const marks: Record<string, string[]> = {};
  for (const [name, value] of fieldsOf(bytes))
    if (/^x-(?:spam-|virus-scanned|quarantine-|sluice-)/.test(name)) (marks[name] ??= []).push(value);
  return marks;
}

/** Everything in the quarantine, newest first. */
export async function quarantineOf(site: TestSite): Promise<ItemRow[]> {
  const { code, stdout, stderr } = await site.cli('quarantine', 'list', '--all', '--limit', '1000', '--json');
  if (code !== 0) throw new Error(`quarantine list ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as ItemRow[];
}

/** Events of Sluice, parsed; those of all its processes at this site. */
export async function eventsOf(site: TestSite): Promise<Record<string, unknown>[]> {
  const lines = (await readFile(join(site.folder, 'sluice.log'), 'utf8')).split('\n');
  return lines
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Message files that are still in a spool under this state folder. */
export async function spooled(state: string): Promise<string[]> {
  const names = await readdir(join(state, 'spool'), { recursive: true });
  return names.filter((name) => /(?:^|\/)[0-9a-f]{32}$/.test(name));
}
