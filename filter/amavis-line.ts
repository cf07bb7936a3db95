/**
 * amavis-line — a message's outcome in the form of amavisd-new's default log template, for parsers that know it.
 *
 * `(02415-01) Passed CLEAN {RelayedInbound}, [192.0.2.7] <a@x> -> <b@y>, Queue-ID: 4c7Yx1, Message-ID: <1@x>, Hits: 1.2,
 * size: 1234, queued_as: 5d8Zy2, 123 ms`: one line per group of recipients with one outcome. Hides which of amavisd's
 * words each of ours becomes. What comes from outside can't end the line or begin a field of a script's.
 */
import type { Account, RecipientAccount } from './account.ts';

/** Lines for one account after the other, without line ends; the number in parentheses is `pid` and a running count. */
export function createAmavisLines(pid: number): (account: Account) => string[] {
  let count = 0;
  return (account) => {
    // Digits and a hyphen: there are parsers that take nothing else. The queue id has a field of its own.
    const id = `(${digits(pid, 5)}-${digits(++count, 2)})`;
    const groups = Map.groupBy(account.recipients, groupOf);
    return [...groups.values()].map((group) => `${id} ${formatGroup(account, group)}`);
  };
}

function digits(value: number, least: number): string {
  return String(value).padStart(least, '0');
}

/** Recipients on one line have one outcome for one reason. */
function groupOf({ outcome, verdict, score, queueIdOut, quarantineId }: RecipientAccount): string {
  return JSON.stringify([outcome, verdict, score, queueIdOut, quarantineId]);
}

function formatGroup(account: Account, group: readonly RecipientAccount[]): string {
  const [first] = group;
  if (first === undefined) return '';
  const { queueId, messageId, sizeBytes, sender, client, ms } = account;
  const { quarantineId, queueIdOut, score } = first;
  const from = client === null ? '' : `[${printable(client)}] `;
  const to = group.map(({ recipient }) => `<${printable(recipient)}>`).join(',');
  return [
    `${wordOf(account, first)} {${actionsOf(account, first)}}`,
    `${from}<${printable(sender)}> -> ${to}`,
    ...field('quarantine', quarantineId),
    ...field('Queue-ID', queueId),
    ...field('Message-ID', messageId),
    `Hits: ${score ?? '-'}`,
    `size: ${sizeBytes}`,
    ...field('queued_as', queueIdOut),
    `${Math.round(ms.receive + ms.total)} ms`,
  ].join(', ');
}

function field(name: string, value: string | null): string[] {
  return value === null ? [] : [`${name}: ${printable(value)}`];
}

/** Passed or Blocked, and amavisd's contents category. */
function wordOf(account: Account, one: RecipientAccount): string {
  switch (one.outcome) {
    case 'delivered':
      return `Passed ${categoryOf(account, one, 'SPAMMY')}`;
    case 'held':
    case 'discarded':
      return `Blocked ${categoryOf(account, one, 'SPAM')}`;
    case 'refused':
      return 'Blocked MTA-BLOCKED';
    case 'deferred':
      return one.verdict === 'unchecked' ? 'Blocked UNCHECKED' : 'Blocked TEMPFAIL';
    default:
      return one.outcome satisfies never;
  }
}

function categoryOf({ report }: Account, { verdict }: RecipientAccount, spam: 'SPAMMY' | 'SPAM'): string {
  switch (verdict) {
    case 'virus':
      return `INFECTED (${report?.virus.kind === 'infected' ? printable(report.virus.name) : ''})`;
    case 'spam':
      return spam;
    case 'unchecked':
      return 'UNCHECKED'; // amavisd has UNCHECKED-ENCRYPTED too, which logwatch does not know.
    case 'clean':
      return 'CLEAN';
    case null:
      return 'OTHER'; // Told from an earlier try: nothing was looked at now.
    default:
      return verdict satisfies never;
  }
}

const actions = {
  delivered: 'Relayed',
  held: 'Discarded',
  discarded: 'Discarded',
  refused: 'Rejected',
  deferred: 'TempFailed',
} as const;

function actionsOf({ direction }: Account, one: RecipientAccount): string {
  const tagged = one.outcome === 'delivered' && one.verdict === 'spam' ? 'Tagged' : '';
  const where = direction === 'inbound' ? 'Inbound' : 'Outbound';
  return `${actions[one.outcome]}${tagged}${where}${one.outcome === 'held' ? ',Quarantined' : ''}`;
}

/** Printable ASCII; a backslash, and each octet of anything else, as amavisd writes it: `\xE4`. */
function printable(text: string): string {
  const safe = text
    .toWellFormed()
    .replaceAll(/[^\x20-\x5b\x5d-\x7e]/gu, (character) =>
      [...new TextEncoder().encode(character)]
        .map((octet) => `\\x${octet.toString(16).toUpperCase().padStart(2, '0')}`)
        .join(''),
    );
  return safe.length > charactersMax ? `${safe.slice(0, charactersMax)}...` : safe;
}

const charactersMax = 500;
