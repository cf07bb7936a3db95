/**
 * policy — policies.yaml, shipped and the site's, into one immutable `Policies`; or every problem with its line.
 *
 * Hides the form of the file: which keys there are, what each may hold, how an address or a sender is written there.
 * A text with any problem gives no policies at all, so that the caller keeps the ones it has. It never throws.
 */
import { inReadingOrder, parseDocument } from './document.ts';
import type { Place, Problem, SourceNode, SourceText } from './document.ts';
import { mapOf, membersOf, readFields } from './fields.ts';
import type { Reader, Report } from './fields.ts';
import { capReaders, defaultReaders, outboundReaders, readers, recipientKey } from './policy-fields.ts';
import type { FieldReaders } from './policy-fields.ts';
import { policyForKeys } from './policy-for.ts';
import type { EffectivePolicy, Layer, Policies, PolicyFieldName, Sourced } from './policy-for.ts';
import { lookupKeysOf } from './recipient.ts';

export type { SourceText } from './document.ts';
export type { Policies } from './policy-for.ts';

/** What one file says, layer by layer. */
type PolicyFile = {
  readonly defaults: Layer;
  readonly roles: Readonly<Record<Policies['role'], Layer>>;
  readonly recipients: Readonly<Record<string, Layer>>;
};

/** The site's policies over the shipped ones, deeply frozen, for a node in this role; or null and every problem. */
export function parsePolicies(
  shipped: SourceText,
  site: SourceText | null,
  role: Policies['role'],
): { policies: Policies | null; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const places = new Map<Sourced<unknown>, Place>();
  const report: Report = ({ file, line, column, path }, message) => {
    problems.push({ file, line, column, path, message });
    return undefined;
  };
  const files = [readFile(shipped, true, places, report)];
  if (site !== null) files.push(readFile(site, false, places, report));
  const policies = merged(files, role);
  const missing = Object.keys(readers).filter((field) => !Object.hasOwn(policies.defaults, field));
  for (const path of missing) {
    report(
      { file: shipped.file, line: null, column: null, path },
      'missing in the shipped policies: restore them',
    );
  }
  // An incomplete base has no combinations to check.
  if (missing.length === 0) checkOrders(policies, places, report);
  if (problems.length > 0) return { policies: null, problems: inReadingOrder(problems) };
  return { policies: frozen(policies), problems };
}

/** Later files over earlier ones, per field. */
function merged(files: readonly PolicyFile[], role: Policies['role']): Policies {
  const defaults = Object.assign({}, ...files.map((file) => file.defaults)) as EffectivePolicy;
  const caps = Object.assign({}, ...files.map((file) => file.roles[role])) as Layer;
  const recipients: Record<string, Layer> = Object.create(null);
  for (const file of files) {
    for (const [key, layer] of Object.entries(file.recipients))
      recipients[key] = { ...recipients[key], ...layer };
  }
  return { role, defaults: inOrder(defaults), caps, recipients };
}

function readFile(
  { file, text }: SourceText,
  isShipped: boolean,
  places: Map<Sourced<unknown>, Place>,
  report: Report,
): PolicyFile {
  const { root, problems } = parseDocument(text, file);
  for (const problem of problems) report(problem, problem.message);
  const defaults: Layer[] = [];
  const roles = { primary: {}, backup: {} };
  let recipients: Readonly<Record<string, Layer>> = {};
  const originOf = (where: string) => (place: Place) =>
    isShipped ? `shipped ${where}` : `${place.file}:${place.line} ${where}`;
  const layer = (node: SourceNode, table: Partial<FieldReaders>, where: string, prefix = '') =>
    layerOf(node, table, originOf(where), places, report, prefix);

  const members =
    root === null ? [] : membersOf(root, ['default', 'outbound', 'roles', 'recipients'], report);
  for (const [section, node] of members) {
    if (section === 'default') defaults.push(layer(node, defaultReaders, 'default'));
    else if (section === 'outbound') defaults.push(layer(node, outboundReaders, 'outbound', 'outbound.'));
    else if (section === 'recipients') {
      recipients = readRecipients(node, report, (value, key) => layer(value, readers, `recipients: ${key}`));
    } else {
      for (const [role, value] of membersOf(node, ['primary', 'backup'], report)) {
        if (role === 'primary' || role === 'backup') roles[role] = layer(value, capReaders, `roles: ${role}`);
      }
    }
  }
  return { defaults: Object.assign({}, ...defaults) as Layer, roles, recipients };
}

function layerOf(
  section: SourceNode,
  table: Partial<FieldReaders>,
  originOf: (place: Place) => string,
  places: Map<Sourced<unknown>, Place>,
  report: Report,
  prefix: string,
): Layer {
  const layer: Record<string, Sourced<unknown>> = {};
  const found = readFields(section, table as Readonly<Record<string, Reader<unknown>>>, report, prefix);
  for (const [field, entry] of Object.entries(found)) {
    if (entry === undefined) continue;
    const sourced = { value: entry.value, origin: originOf(entry.node) };
    places.set(sourced, entry.node);
    layer[field] = sourced;
  }
  return layer as Layer;
}

function readRecipients(
  node: SourceNode,
  report: Report,
  read: (value: SourceNode, key: string) => Layer,
): Readonly<Record<string, Layer>> {
  const recipients: Record<string, Layer> = Object.create(null);
  const places = new Map<string, Place>();
  for (const [written, { key: place, value }] of mapOf(node, 'addresses and domains under it', report)
    ?.entries ?? []) {
    const key = recipientKey(written, (message) => report(place, message));
    const before = key === undefined ? undefined : places.get(key);
    if (before !== undefined) report(place, `the same as line ${before.line}: remove one of the two`);
    const layer = read(value, written);
    if (key === undefined) continue;
    places.set(key, place);
    recipients[key] = layer;
  }
  return recipients;
}

/** tag <= spam <= quarantine <= discard on every combination that a recipient can get, each mistake told once. */
function checkOrders(policies: Policies, places: ReadonlyMap<Sourced<unknown>, Place>, report: Report): void {
  const told = new Set<string>();
  for (const key of [null, ...Object.keys(policies.recipients)]) {
    const policy = policyForKeys(key === null ? [] : lookupKeysOf(key), policies);
    const names = [
      'thresholds.tag',
      'thresholds.spam',
      'thresholds.quarantine',
      'thresholds.discard',
    ] as const;
    const set = names.filter((name) => policy[name].value !== null);
    for (const [at, name] of set.entries()) {
      const next = set[at + 1];
      if (next === undefined) continue;
      const [low, high] = [policy[name], policy[next]];
      if (low.value === null || high.value === null || low.value <= high.value) continue;
      const what = `${name} ${low.value} (${low.origin}) is above ${next} ${high.value} (${high.origin})`;
      if (told.has(what)) continue;
      told.add(what);
      report(
        placeOf(name, next, policy, policies, places),
        `${what}: make tag <= spam <= quarantine <= discard`,
      );
    }
  }
}

/** Where the later written of two thresholds stands: in the site's file rather than the shipped one. */
function placeOf(
  low: keyof typeof capReaders,
  high: keyof typeof capReaders,
  policy: EffectivePolicy,
  policies: Policies,
  places: ReadonlyMap<Sourced<unknown>, Place>,
): Place {
  const found = [low, high].map((name) => {
    const cap = policies.caps[name];
    const sourced = places.has(policy[name]) || cap === undefined ? policy[name] : cap;
    return { place: places.get(sourced), shipped: sourced.origin.startsWith('shipped ') };
  });
  const best = found.find(({ shipped }) => !shipped) ?? found[0];
  return best?.place ?? { file: '', line: null, column: null, path: low };
}

/** The fields in the order of the table, which is the order of policies.yaml: `explain` shows them so. */
function inOrder(policy: EffectivePolicy): EffectivePolicy {
  const names = (Object.keys(readers) as PolicyFieldName[]).filter((name) => Object.hasOwn(policy, name));
  return Object.fromEntries(names.map((name) => [name, policy[name]])) as unknown as EffectivePolicy;
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const member of Object.values(value)) frozen(member);
  return value;
}
