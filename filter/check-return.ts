/**
 * check-return — whether the return smtpd takes mail from us as it must: reachable, trusting, with all its keywords.
 *
 * Speaks SMTP with it up to RCPT and takes everything back; no message is sent. Never throws: what could not be found
 * out is a finding.
 */
import { formatAddress } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { headroomBytes } from '../rules/postfix-fragment.ts';
import type { PeerReply } from '../rules/replies.ts';
import { commandLine } from './client-commands.ts';
import type { PeerOffers } from './offers.ts';
import { quoteReply } from './outcome.ts';
import { type ConnectionFail, openConnection, type SmtpConnection } from './smtp-client.ts';

/** RFC 2606: nobody's domain, so that only a server that relays for us says yes. */
const strangers = { sender: 'check@sluice-check.invalid', recipient: 'postmaster@sluice-check.invalid' };

/** Findings on the return smtpd of this configuration; `hostname` is our name in EHLO. */
export async function checkReturn(
  { reinject, limits }: Pick<Config, 'reinject' | 'limits'>,
  hostname: string,
): Promise<Finding[]> {
  const where = formatAddress(reinject);
  const options = { address: reinject, hostname, connectTimeoutMs: 10_000, commandTimeoutMs: 20_000 };
  try {
    const connection = await openConnection(options, []);
    try {
      const keywords = judgeOffers(where, connection.offers, limits.messageBytes);
      return [ok('Return smtpd answers', where), ...keywords, ...(await checkRelaying(where, connection))];
    } finally {
      connection.quit();
    }
  } catch (error) {
    return [unreachable(where, error)];
  }
}

function unreachable(where: string, error: unknown): Finding {
  const { reply = null, message } = error as Partial<ConnectionFail>;
  const what = `Return smtpd does not answer as it must: ${message ?? String(error)}`;
  const start =
    'add the return smtpd to master.cf (sluice postfix prints it) and run "postfix reload", or correct reinject in sluice.yaml';
  const trust = 'set mynetworks and smtpd_client_restrictions of the return smtpd so that Sluice may connect';
  return fail(what, where, reply === null ? start : trust);
}

type Keyword = {
  readonly name: string;
  readonly offered: boolean;
  readonly price: string;
  readonly remedy: string;
};

/** What is offered to us; what is not, Sluice does not offer to Postfix either. */
function judgeOffers(where: string, offers: PeerOffers, messageBytes: number): Finding[] {
  const discarded = (name: string) => `take ${name} out of smtpd_discard_ehlo_keywords of the return smtpd`;
  const xforward = 'set smtpd_authorized_xforward_hosts of the return smtpd to the address of Sluice';
  const keywords: readonly Keyword[] = [
    {
      name: 'XFORWARD with IDENT',
      offered: offers.xforward.includes('IDENT'),
      price: 'the log loses who the client was, and a content_filter loop is not recognised',
      remedy: xforward,
    },
    {
      name: 'DSN',
      offered: offers.dsn,
      price: 'delivery status requests of senders end here',
      remedy: discarded('dsn'),
    },
    {
      name: 'SMTPUTF8',
      offered: offers.smtputf8,
      price: 'Postfix bounces internationalised mail',
      remedy: `set smtputf8_enable=yes, and ${discarded('smtputf8')}`,
    },
    {
      name: '8BITMIME',
      offered: offers.eightBitMime,
      price: '8-bit mail may be converted, which breaks DKIM signatures',
      remedy: discarded('8bitmime'),
    },
    {
      name: 'PIPELINING',
      offered: offers.pipelining,
      price: 'each hand-off takes more round trips',
      remedy: discarded('pipelining'),
    },
  ];
  const lacking = keywords.filter(({ offered }) => !offered);
  const offered = keywords.filter((keyword) => keyword.offered).map(({ name }) => name);
  return [
    ...(offered.length === 0 ? [] : [ok(`Return smtpd offers ${offered.join(', ')}`, where)]),
    ...lacking.map(({ name, price, remedy }) =>
      warn(`Return smtpd does not offer ${name}: ${price}`, where, remedy),
    ),
    judgeSize(where, offers, messageBytes),
  ];
}

function judgeSize(where: string, { sizeBytes }: PeerOffers, messageBytes: number): Finding {
  const wanted = messageBytes + headroomBytes;
  if (sizeBytes === null) return ok('Return smtpd tells no limit of size', where);
  if (sizeBytes >= wanted) return ok(`Return smtpd takes ${sizeBytes} octets, header lines included`, where);
  const what = `Return smtpd takes ${sizeBytes} octets, Sluice ${messageBytes} (limits.messageBytes) and then adds header lines`;
  const room = sizeBytes - headroomBytes;
  const lower = room >= 1024 ? `, or limits.messageBytes: ${Math.floor(room / 1024)}KB in sluice.yaml` : '';
  const remedy = `set message_size_limit=${wanted} for the return smtpd${lower}`;
  return fail(`${what}: mail near the limit bounces`, where, remedy);
}

/** Two envelopes, each taken back: a bounce, and mail between strangers. */
async function checkRelaying(where: string, connection: SmtpConnection): Promise<Finding[]> {
  const refused: { line: string; reply: PeerReply }[] = [];
  for (const sender of ['', strangers.sender]) {
    for (const line of [`MAIL FROM:<${sender}>`, `RCPT TO:<${strangers.recipient}>`]) {
      await connection.write(commandLine(line), 1);
      const reply = await connection.reply();
      if (reply.code < 200 || reply.code > 299) {
        refused.push({ line, reply });
        break;
      }
    }
    await connection.reset();
    connection.check();
  }
  const [first] = refused;
  if (first === undefined) return [ok('Return smtpd relays for Sluice, whoever sends to whom', where)];
  return [judgeRefusal(where, first.line, first.reply)];
}

function judgeRefusal(where: string, line: string, reply: PeerReply): Finding {
  const what = `Return smtpd said ${quoteReply(reply)} to ${line}`;
  const isTrust = line.startsWith('RCPT') && reply.code >= 500;
  const recipients =
    'set mynetworks=127.0.0.0/8 (where Sluice runs), smtpd_client_restrictions and smtpd_recipient_restrictions=permit_mynetworks,reject for the return smtpd';
  const second =
    'empty smtpd_helo_restrictions and smtpd_sender_restrictions of the return smtpd, and set smtpd_recipient_restrictions=permit_mynetworks,reject: it must check nothing a second time';
  return fail(`${what}: mail is deferred`, where, isTrust ? recipients : second);
}
