/**
 * policy-fields — what each field of policies.yaml may hold, and how addresses, senders and virus names are written there.
 *
 * Hides ranges and spellings: keys come out in the canonical form of recipient.ts, so that looking up is a plain
 * comparison. What can't be meant is refused here with its remedy: a delivered virus, a pattern that matches every name.
 */
import { choiceField, foundText, nullableField, numberField, scalarField, textField } from './fields.ts';
import type { Reader, Refuse } from './fields.ts';
import type { PolicyFieldName, PolicyFields } from './policy-for.ts';
import { canonicalAddress, canonicalDomain } from './recipient.ts';

/** A reader for every field. */
export type FieldReaders = { readonly [K in PolicyFieldName]: Reader<PolicyFields[K]> };

const scoreMax = 1000;
const off = 'to switch it off';
const transientField = choiceField('deliver', 'quarantine', 'defer');
const thresholdField = nullableField(numberField({ min: 0, max: scoreMax }), off);

/** Every field of a policy, in the order of policies.yaml. */
export const readers: FieldReaders = {
  // Below zero for those who want score headers on every message.
  'thresholds.tag': nullableField(numberField({ min: -scoreMax, max: scoreMax }), off),
  'thresholds.spam': thresholdField,
  'thresholds.quarantine': thresholdField,
  'thresholds.discard': thresholdField,
  virus: holdField(),
  'onUnchecked.virus': transientField,
  'onUnchecked.spam': transientField,
  'onUnchecked.encrypted': lastingField(),
  'onUnchecked.overLimit': lastingField(),
  'onUnchecked.ambiguous': lastingField(),
  'onUnchecked.poison': lastingField(),
  'deferAtMost.attempts': nullableField(numberField({ min: 1, max: 1000, whole: true }), 'for no such limit'),
  'deferAtMost.hours': numberField({ min: 0.1, max: 120 }),
  virusAsSpam: recordField(
    'a map from patterns of virus names to points',
    virusPattern,
    numberField({ min: 0, max: scoreMax }),
  ),
  subjectTag: nullableField(textField('a short text', 50), off),
  'senders.allow': senderSetField(),
  'senders.block': senderSetField(),
  'senders.score': recordField(
    'a map from senders to points',
    senderKey,
    numberField({ min: -scoreMax, max: scoreMax }),
  ),
  retentionDays: numberField({ min: 1, max: 3650, whole: true }),
  'outbound.thresholds.alarm': thresholdField,
  'outbound.virus': holdField(),
};
const { 'outbound.thresholds.alarm': alarm, 'outbound.virus': outboundVirus, ...inbound } = readers;
/** What the section `default` may hold. */
export const defaultReaders = inbound;
/** What the section `outbound` may hold. */
export const outboundReaders = { 'outbound.thresholds.alarm': alarm, 'outbound.virus': outboundVirus };
/** What a role may cap. */
export const capReaders = {
  'thresholds.tag': readers['thresholds.tag'],
  'thresholds.spam': readers['thresholds.spam'],
  'thresholds.quarantine': readers['thresholds.quarantine'],
  'thresholds.discard': readers['thresholds.discard'],
};

/** A key under `recipients` in canonical form: an address, a domain, or `.domain` for every subdomain of it. */
export function recipientKey(written: string, refuse: Refuse): string | undefined {
  if (written.startsWith('@')) return refuse(`a domain is written without @: write "${written.slice(1)}"`);
  if (written.includes('*'))
    return refuse('no wildcards here: write user@domain, domain, or .domain for its subdomains');
  if (written.includes('@')) return checkedAddress(written, refuse);
  const dot = written.startsWith('.') ? '.' : '';
  const domain = checkedDomain(written.slice(dot.length));
  if (domain === null)
    return refuse('no address and no domain: write user@domain, domain, or .domain for its subdomains');
  return dot + domain;
}

/** A sender in canonical form: `user@domain`, `@domain`, or `.domain` for every subdomain of it. */
function senderKey(written: string, refuse: Refuse): string | undefined {
  const forms = 'write user@domain, @domain, or .domain for its subdomains';
  if (written.includes('*')) return refuse(`no wildcards here: ${forms}`);
  if (/^.+@/s.test(written)) return checkedAddress(written, refuse);
  const sign = /^[@.]/.exec(written)?.[0];
  const domain = checkedDomain(sign === undefined ? written : written.slice(1));
  if (domain === null) return refuse(`${JSON.stringify(written)} is no sender: ${forms}`);
  if (sign === undefined) return refuse(`a sender's domain is written with @: write "@${written}"`);
  return sign + domain;
}

function checkedAddress(written: string, refuse: Refuse): string | undefined {
  const canonical = canonicalAddress(written);
  const ofDomain = checkedDomain(written.slice(written.lastIndexOf('@') + 1));
  if (canonical !== null && ofDomain !== null && !/[\s\p{Cc}]/u.test(canonical)) return canonical;
  return refuse(`${JSON.stringify(written)} is no mail address: write user@domain`);
}

/** A canonical domain whose labels can be in a mail address (RFC 5321 §4.1.2, underscores allowed), or an address literal. */
function checkedDomain(written: string): string | null {
  const domain = canonicalDomain(written);
  if (domain === null) return null;
  const isLiteral = /^\[[0-9a-f.:]+\]$|^\[ipv6:[0-9a-f.:]+\]$/.test(domain);
  const isName = domain
    .split('.')
    .every((label) => label.length <= 63 && /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/.test(label));
  return isLiteral || isName ? domain : null;
}

/** Never a pattern that would turn every virus into points. */
function virusPattern(written: string, refuse: Refuse): string | undefined {
  if (written.length > 200) return refuse('longer than 200 characters: write a shorter pattern');
  if (/\p{Cc}/u.test(written))
    return refuse('contains control characters: write a pattern like "Heuristics.Phishing.*"');
  const literal = written.replaceAll(/[^A-Za-z0-9]/g, '').length;
  return literal >= 4
    ? written
    : refuse(
        'would match almost any virus: write at least four letters or digits, like "Heuristics.Phishing.*"',
      );
}

/** What may become of a virus. */
function holdField(): Reader<'quarantine' | 'discard'> {
  return scalarField('quarantine or discard', (value, refuse) => {
    if (value === 'deliver') return refuse('a virus is never delivered: write quarantine or discard');
    return value === 'quarantine' || value === 'discard' ? value : undefined;
  });
}

/** What may become of what never clears up by waiting. */
function lastingField(): Reader<'deliver' | 'quarantine'> {
  return scalarField('deliver or quarantine', (value, refuse) => {
    if (value === 'defer') return refuse('waiting never clears this up: write deliver or quarantine');
    return value === 'deliver' || value === 'quarantine' ? value : undefined;
  });
}

/** A list of senders as a set of canonical keys; null is the empty one. */
function senderSetField(): Reader<Readonly<Record<string, true>>> {
  const expects = 'a list of senders: user@domain, @domain, .domain';
  return {
    expects,
    read(node, report) {
      if (node.kind === 'scalar' && node.value === null && !node.empty) return {};
      if (node.kind !== 'list') return report(node, `${foundText(node)}: write ${expects}`);
      const senders: Record<string, true> = {};
      for (const item of node.items) {
        const reader = scalarField('a sender: user@domain, @domain, .domain', (value, refuse) =>
          typeof value === 'string' ? senderKey(value, refuse) : undefined,
        );
        const key = reader.read(item, report);
        if (key !== undefined) senders[key] = true;
      }
      return senders;
    },
  };
}

/** A map whose keys are checked one by one; null is the empty one. */
function recordField<T>(
  expects: string,
  keyOf: (written: string, refuse: Refuse) => string | undefined,
  reader: Reader<T>,
): Reader<Readonly<Record<string, T>>> {
  return {
    expects,
    read(node, report) {
      if (node.kind === 'scalar' && node.value === null && !node.empty) return {};
      if (node.kind !== 'map') return report(node, `${foundText(node)}: write ${expects}`);
      const record: Record<string, T> = {};
      for (const [written, entry] of node.entries) {
        const key = keyOf(written, (message) => report(entry.key, message));
        const value = reader.read(entry.value, report);
        if (key !== undefined && Object.hasOwn(record, key)) {
          report(entry.key, `the same as another key here: remove one of the two`);
        }
        if (key !== undefined && value !== undefined) record[key] = value;
      }
      return record;
    },
  };
}
