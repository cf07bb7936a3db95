/**
 * scan-command — `sluice scan FILE`: what the filter would make of one message, without moving anything.
 *
 * The same scanners, the same cleaning of line ends, the same decision as on the mail path; the message lives in a spool of
 * its own that is gone afterwards. Explained as `quarantine show` does. Exit: 0 clean, 1 spam or virus for somebody, 75 a scanner could not tell.
 */
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decide, policyFor, thresholdsOf, virusAsSpamPatterns } from '../rules/decide.ts';
import type { HeldUnder, Policies } from '../rules/decide.ts';
import { parseFacts } from '../rules/headers.ts';
import type { Disposition, Envelope, Recipient, ScanReport } from '../rules/mail.ts';
import { createScannerClients } from '../workers/clients.ts';
import { PermFail } from '../workers/fail.ts';
import { silentLog } from '../workers/log.ts';
import { openQueue } from '../workers/queue.ts';
import { createSpool, type SpooledMessage } from '../workers/spool.ts';
import { cleanLines } from '../filter/line-ends.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { formatExplanation } from './report-text.ts';

const headBytesMax = 256 * 1024;
/** Stands for a recipient whom no policy names: without a domain it has none of its own. */
const anybody = 'anybody';

/** Scans the file, prints verdict and explanation. */
export async function scanFile(invocation: Invocation): Promise<number> {
  const { words, options, columns, status, print, printJson } = invocation;
  const stray = options.to?.find((address) => !/[^@]@[^@]+$/.test(address));
  if (stray !== undefined) throw new UsageError(`--to: "${stray}" is no address: write user@domain`);
  const site = invocation.site();
  const log = silentLog;
  const folder = await mkdtemp(join(tmpdir(), 'sluice-scan-'));
  const spool = await createSpool({ folder, log });
  const clients = createScannerClients(site.config, log);
  const queue = await openQueue(site.config, { spool, clients, log });
  try {
    const message = await spoolFile(spool, words[0] ?? '');
    const envelope = envelopeOf(options.from ?? '', options.to ?? [anybody]);
    const virusAsSpam = virusAsSpamPatterns(envelope.recipients, site.policies);
    const { spoolId, sizeBytes, sha256 } = message;
    status.say(`asking the scanners about ${sizeBytes} bytes`);
    const ticket = { spoolId, sizeBytes, sha256, queueId: null, sender: envelope.sender, virusAsSpam };
    const report = await queue.scan(ticket, AbortSignal.timeout(site.config.limits.deadlineSeconds * 1000));
    const { from, subject, messageId } = parseFacts(await message.head(headBytesMax));
    const facts = {
      envelope,
      direction: 'inbound' as const,
      from,
      subject,
      messageId,
      waitedMs: 0,
      failedAttempts: 0,
    };
    const dispositions = decide(facts, report, site.policies);
    const policies = policiesOf(envelope.recipients, site.policies);
    if (options.json === true)
      printJson({
        sizeBytes,
        from,
        subject,
        messageId,
        report,
        dispositions,
        policies: policies.map(({ values }) => values),
        slots: slotsOf(envelope.recipients, dispositions, policies),
      });
    else print(formatExplanation({ report, dispositions, policies }, columns).join('\n'));
    return exitCodeOf(report, dispositions);
  } finally {
    await queue.close();
    await spool.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function spoolFile(
  spool: Awaited<ReturnType<typeof createSpool>>,
  file: string,
): Promise<SpooledMessage> {
  const writer = spool.open();
  try {
    const source: AsyncIterable<Buffer> = file === '-' ? process.stdin : createReadStream(file);
    for await (const octets of cleanLines(source)) await writer.write(octets);
    return await writer.finish();
  } catch (cause) {
    await writer.abort();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PermFail(`Cannot scan ${file}: ${reason}`, { cause });
  }
}

function envelopeOf(sender: string, addresses: readonly string[]): Envelope {
  const recipients: Recipient[] = addresses.map((address) => ({ address, notify: null, orcpt: null }));
  return { sender, body: null, smtputf8: false, ret: null, envid: null, recipients, xforward: {} };
}

type PolicyOfSome = { readonly values: HeldUnder; readonly recipients: readonly string[] };

/** The policies of these recipients, each once: what differs in no threshold is one. */
function policiesOf(recipients: readonly Recipient[], policies: Policies): readonly PolicyOfSome[] {
  const found = recipients.map(({ address }) => ({
    address,
    values: thresholdsOf(policyFor(address, policies)),
  }));
  const same = Map.groupBy(found, ({ values }) => JSON.stringify(values));
  return [...same.values()].flatMap((some) =>
    some.slice(0, 1).map(({ values }) => ({ values, recipients: some.map(({ address }) => address) })),
  );
}

/** Each recipient with the place of its disposition and policy, as `quarantine show` has them. */
function slotsOf(
  recipients: readonly Recipient[],
  dispositions: readonly Disposition[],
  policies: readonly PolicyOfSome[],
) {
  return recipients.map((recipient) => ({
    recipient: recipient.address,
    disposition: dispositions.findIndex((one) => one.recipients.includes(recipient)),
    policy: policies.findIndex((one) => one.recipients.includes(recipient.address)),
  }));
}

function exitCodeOf(report: ScanReport, dispositions: readonly Disposition[]): number {
  if (dispositions.some(({ verdict }) => verdict === 'spam' || verdict === 'virus')) return 1;
  const unsure = report.virus.kind === 'unchecked' || report.spam.kind === 'unchecked';
  return unsure ? 75 : 0;
}
