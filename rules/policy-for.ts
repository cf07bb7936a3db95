/**
 * policy-for — which policy holds for one recipient (or outbound sender), and where each of its fields was set.
 *
 * Hides the order of the layers and the role caps. `Policies` is plain frozen JSON, made by `parsePolicies`; nothing
 * here can fail: an address that no layer speaks of gets the defaults, which are complete.
 */
import { canonicalAddress, lookupKeysOf } from './recipient.ts';

export type ThresholdName = 'tag' | 'spam' | 'quarantine' | 'discard';
export type Unscanned = 'deliver' | 'quarantine';

/** Every field of a policy under its dotted name, as it is written in policies.yaml. Null switches off. */
export type PolicyFields = {
  'thresholds.tag': number | null;
  'thresholds.spam': number | null;
  'thresholds.quarantine': number | null;
  'thresholds.discard': number | null;
  virus: 'quarantine' | 'discard';
  'onUnchecked.virus': Unscanned | 'defer';
  'onUnchecked.spam': Unscanned | 'defer';
  'onUnchecked.encrypted': Unscanned;
  'onUnchecked.overLimit': Unscanned;
  'onUnchecked.ambiguous': Unscanned;
  'onUnchecked.poison': Unscanned;
  'deferAtMost.attempts': number | null;
  'deferAtMost.hours': number;
  /** Pattern of virus names → points. */
  virusAsSpam: Readonly<Record<string, number>>;
  subjectTag: string | null;
  /** Keys `user@dom`, `@dom`, `.dom`, in canonical form (recipient.ts). */
  'senders.allow': Readonly<Record<string, true>>;
  'senders.block': Readonly<Record<string, true>>;
  /** The same keys → points. */
  'senders.score': Readonly<Record<string, number>>;
  retentionDays: number;
  'outbound.thresholds.alarm': number | null;
  'outbound.virus': 'quarantine' | 'discard';
};
export type PolicyFieldName = keyof PolicyFields;

/** A value and where it was set: `shipped default`, or `policies.yaml:12 recipients: example.com`. */
export type Sourced<T> = { readonly value: T; readonly origin: string };

/** What one place in a file says: only the fields that stand there. */
export type Layer = { readonly [K in PolicyFieldName]?: Sourced<PolicyFields[K]> };

/** All fields, each with its origin, for one recipient or sender. */
export type EffectivePolicy = { readonly [K in PolicyFieldName]: Sourced<PolicyFields[K]> };

/** What the site wants: one immutable value, plain data, swapped whole at a reload. */
export type Policies = {
  readonly role: 'primary' | 'backup';
  /** Site default over shipped default, the `outbound` section included; complete. */
  readonly defaults: EffectivePolicy;
  /** Upper bounds of this role; only thresholds. */
  readonly caps: Layer;
  /** By canonical address, domain, or `.domain`. */
  readonly recipients: Readonly<Record<string, Layer>>;
};

/** The policy for an address as it stands in the envelope: nearest layer first, per field; then the role caps. */
export function policyFor(recipient: string, policies: Policies): EffectivePolicy {
  return policyForKeys(policyKeysOf(recipient, policies), policies);
}

/** The policy for what `sender` sends from the site: `outbound` fields looked up by sender, everything else from `default`, uncapped. */
export function outboundPolicyFor(sender: string, policies: Policies): EffectivePolicy {
  const layers = layersOf(policyKeysOf(sender, policies), policies);
  const nearest = Object.assign({}, ...layers.toReversed()) as Layer;
  const { defaults } = policies;
  const outboundVirus = nearest['outbound.virus'] ?? defaults['outbound.virus'];
  return {
    ...defaults,
    'outbound.thresholds.alarm':
      nearest['outbound.thresholds.alarm'] ?? defaults['outbound.thresholds.alarm'],
    'outbound.virus': policies.role === 'backup' ? held(outboundVirus) : outboundVirus,
  };
}

/** The keys under `recipients` that speak of this address, nearest first. Equal keys mean an equal policy. */
export function policyKeysOf(address: string, policies: Policies): readonly string[] {
  const canonical = canonicalAddress(address);
  if (canonical === null) return [];
  return lookupKeysOf(canonical).filter((key) => Object.hasOwn(policies.recipients, key));
}

/** The policy that the layers under these keys make over the defaults. */
export function policyForKeys(keys: readonly string[], policies: Policies): EffectivePolicy {
  // Later ones win: farthest first. A field that a layer does not have leaves the farther one's.
  const layers = layersOf(keys, policies).toReversed();
  const resolved = Object.assign({}, policies.defaults, ...layers) as EffectivePolicy;
  const { caps, role } = policies;
  const cappedPolicy = {
    ...resolved,
    'thresholds.tag': capped(resolved['thresholds.tag'], caps['thresholds.tag']),
    'thresholds.spam': capped(resolved['thresholds.spam'], caps['thresholds.spam']),
    'thresholds.quarantine': capped(resolved['thresholds.quarantine'], caps['thresholds.quarantine']),
    'thresholds.discard': capped(resolved['thresholds.discard'], caps['thresholds.discard']),
  };
  return role === 'backup' ? withoutDiscard(cappedPolicy) : cappedPolicy;
}

/** A backup drops nothing: what it would, it holds or hands on, and the primary, whose signatures are newer, decides. */
function withoutDiscard(policy: EffectivePolicy): EffectivePolicy {
  return {
    ...policy,
    'thresholds.discard': undone(policy['thresholds.discard'], null),
    virus: held(policy.virus),
  };
}

function held(virus: Sourced<'quarantine' | 'discard'>): Sourced<'quarantine' | 'discard'> {
  return virus.value === 'discard' ? undone(virus, 'quarantine') : virus;
}

function undone<T extends string | number | null>(sourced: Sourced<T>, value: T): Sourced<T> {
  if (sourced.value === value) return sourced;
  return { value, origin: `role: backup, which drops nothing, over ${sourced.value} of ${sourced.origin}` };
}

function layersOf(keys: readonly string[], policies: Policies): Layer[] {
  return keys
    .map((key) => (Object.hasOwn(policies.recipients, key) ? policies.recipients[key] : undefined))
    .filter((layer) => layer !== undefined);
}

/** The lower of two thresholds. A threshold that is off counts as infinitely high, so a cap switches it on. */
function capped(
  resolved: Sourced<number | null>,
  cap: Sourced<number | null> | undefined,
): Sourced<number | null> {
  if (cap === undefined || cap.value === null) return resolved;
  if (resolved.value !== null && resolved.value <= cap.value) return resolved;
  return {
    value: cap.value,
    origin: `${cap.origin}, which caps ${resolved.value ?? 'null'} of ${resolved.origin}`,
  };
}

/** What a held item keeps of the policy that held it: its thresholds and days, each with its origin. */
export type HeldUnder = {
  readonly thresholds: Readonly<Record<ThresholdName, Sourced<number | null>>>;
  readonly retentionDays: Sourced<number>;
};

/** Thresholds and retention of a policy, for `item.json`: plain data. */
export function thresholdsOf(policy: EffectivePolicy): HeldUnder {
  return {
    thresholds: {
      tag: policy['thresholds.tag'],
      spam: policy['thresholds.spam'],
      quarantine: policy['thresholds.quarantine'],
      discard: policy['thresholds.discard'],
    },
    retentionDays: policy.retentionDays,
  };
}

export type ExplainRow = {
  readonly field: PolicyFieldName;
  readonly value: unknown;
  readonly origin: string;
};

/** Rows for `policy explain`: every field that matters in this direction, with its origin, in the order of policies.yaml. */
export function explain(
  policy: EffectivePolicy,
  direction: 'inbound' | 'outbound' = 'inbound',
): readonly ExplainRow[] {
  const onlyInbound = ['thresholds', 'virus', 'senders', 'subjectTag'];
  const matters = (field: string) =>
    direction === 'inbound'
      ? !field.startsWith('outbound.')
      : !onlyInbound.includes(field.split('.')[0] ?? '');
  return (Object.keys(policy) as PolicyFieldName[])
    .filter(matters)
    .map((field) => ({ field, value: policy[field].value, origin: policy[field].origin }));
}

/** The patterns of virus names that are spam for at least one of these recipients, or for what the site sends. */
export function virusAsSpamPatterns(
  recipients: readonly { readonly address: string }[],
  policies: Policies,
): string[] {
  const patterns = new Set(Object.keys(policies.defaults.virusAsSpam.value));
  for (const { address } of recipients) {
    // Only the keys: resolving the whole policy 2,000 times for this one field would be waste.
    const nearest = layersOf(policyKeysOf(address, policies), policies).find(
      (layer) => layer.virusAsSpam !== undefined,
    );
    for (const pattern of Object.keys(nearest?.virusAsSpam?.value ?? {})) patterns.add(pattern);
  }
  return [...patterns].toSorted();
}
