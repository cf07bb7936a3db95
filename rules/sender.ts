/**
 * sender — what a policy's `senders` section says of one message: allowed, blocked, points.
 *
 * Hides under which names a sender is looked up (envelope sender, the address inside prvs= and SRS, header From), which
 * entry wins, and what vouches for an address. Anybody may write any sender: an `allow` counts only where the scanner
 * saw proof of the very domain that the entry matched. Facts in, finding out; it cannot fail.
 */
import type { MailFacts, RuleHit } from './mail.ts';
import type { EffectivePolicy } from './policy-for.ts';
import { canonicalAddress, domainOf, lookupKeysOf, unwrapSender } from './recipient.ts';

export type SenderFinding = {
  /** Spam thresholds do not apply. Never true together with `blocked`. */
  readonly allowed: boolean;
  /** 100 points, which never discard by themselves. */
  readonly blocked: boolean;
  /** Points of `senders.score`, to be added to the spam score. */
  readonly points: number;
  /** What was found, or found and ignored, in words for `why`. */
  readonly notes: readonly string[];
};

type Match = { readonly key: string; readonly rank: number };

/** What the policy says of the sender of a message; `tests` are the rule hits that count. */
export function judgeSender(
  mail: MailFacts,
  tests: readonly RuleHit[],
  policy: EffectivePolicy,
): SenderFinding {
  const addresses = sendersOf(mail);
  const allow = policy['senders.allow'];
  const block = policy['senders.block'];
  const proven = provenDomains(mail, tests);
  const allowed = best(
    addresses.filter((address) => proven.has(domainOf(address))).map((a) => match(a, allow.value)),
  );
  const blocked = best(addresses.map((address) => match(address, block.value)));
  // The entry that says more wins; between equals the block, because a held message is not lost.
  const isBlocked = blocked !== null && (allowed === null || blocked.rank >= allowed.rank);
  const isAllowed = allowed !== null && !isBlocked;
  const scored = scoreOf(addresses, policy);
  const notes = [...scored.notes];
  if (isAllowed) notes.push(`sender allowed by "${allowed.key}" (${allow.origin})`);
  if (isBlocked) notes.push(`sender blocked by "${blocked.key}" (${block.origin})`);
  const unproven = allowed === null ? best(addresses.map((address) => match(address, allow.value))) : null;
  if (unproven !== null) {
    notes.push(
      `allow "${unproven.key}" ignored: no DKIM_VALID_AU or SPF_PASS for its domain (${allow.origin})`,
    );
  }
  return { allowed: isAllowed, blocked: isBlocked, points: scored.points, notes };
}

/** Envelope sender, what it was before BATV or SRS wrapped it, and header From: canonical, each once. */
function sendersOf(mail: MailFacts): readonly string[] {
  const envelope = canonicalAddress(mail.envelope.sender);
  const from = mail.from === null ? null : canonicalAddress(mail.from);
  const found = [envelope, envelope === null ? null : unwrapSender(envelope), from];
  return [...new Set(found.filter((address) => address !== null))];
}

/**
 * The domains that the scanner saw proof of. SPF speaks of the envelope sender's domain as it came in, not of the one
 * inside an SRS address; DKIM_VALID_AU of header From's. Either vouches for its own domain only: with SPF_PASS for
 * evil.example anybody could write From: friend@partner.example.
 */
function provenDomains(mail: MailFacts, tests: readonly RuleHit[]): ReadonlySet<string> {
  const proven = new Set<string>();
  const envelope = canonicalAddress(mail.envelope.sender);
  const from = mail.from === null ? null : canonicalAddress(mail.from);
  if (envelope !== null && tests.some((hit) => hit.name === 'SPF_PASS')) proven.add(domainOf(envelope));
  if (from !== null && tests.some((hit) => hit.name === 'DKIM_VALID_AU')) proven.add(domainOf(from));
  return proven;
}

/** Each address brings the points of its most telling entry; an entry that two addresses match counts once. */
function scoreOf(addresses: readonly string[], policy: EffectivePolicy): { points: number; notes: string[] } {
  const { value: scores, origin } = policy['senders.score'];
  const keys = new Set(
    addresses.map((address) => match(address, scores)?.key).filter((key) => key !== undefined),
  );
  let points = 0;
  const notes: string[] = [];
  for (const key of [...keys].toSorted()) {
    const value = scores[key] ?? 0;
    points += value;
    notes.push(`${value < 0 ? '' : '+'}${value} for sender "${key}" (${origin})`);
  }
  return { points, notes };
}

/** The most telling entry for an address: the address, the address without its extension, `@domain`, `.parent` nearest first. */
function match(address: string, entries: Readonly<Record<string, unknown>>): Match | null {
  for (const key of lookupKeysOf(address)) {
    const entry = key.includes('@') || key.startsWith('.') ? key : `@${key}`;
    if (Object.hasOwn(entries, entry)) return { key: entry, rank: rankOf(entry) };
  }
  return null;
}

/** How much an entry says: an address more than a domain, a domain more than its parents, a long parent more than a short one. */
function rankOf(entry: string): number {
  if (!entry.startsWith('.') && !entry.startsWith('@')) return 2000;
  return entry.startsWith('@') ? 1000 : entry.split('.').length;
}

function best(matches: readonly (Match | null)[]): Match | null {
  return matches.reduce(
    (top, next) => (next !== null && (top === null || next.rank > top.rank) ? next : top),
    null,
  );
}
