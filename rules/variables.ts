/**
 * variables — the environment as a source of configuration: `SLUICE_LISTEN_SMTP` stands for the key `listen.smtp`.
 *
 * Hides how a variable is named and that its value is YAML (`null`, `[a, b]`, `100MB`); what is no YAML counts as plain
 * text. The environment is an argument. A variable that means nothing is a problem: it is a spelling mistake.
 */
import { parseDocument } from './document.ts';
import type { Place, SourceEntry, SourceNode } from './document.ts';
import { suggestion } from './fields.ts';
import type { Report } from './fields.ts';

/** Variables that are no keys: where the file is, and what tests and demonstration tell their own programs. */
const otherVariables = /^SLUICE_(?:CONFIG$|TEST_|DEMO_)/;

/** Every key as its environment variable. */
export function variableOf(key: string): string {
  return `SLUICE_${key.replaceAll('.', '_').toUpperCase()}`;
}

/** The variables that stand for keys, each as a node whose place is the variable. */
export function variableNodes(
  environment: Readonly<Record<string, string | undefined>>,
  keys: readonly string[],
  report: Report,
): ReadonlyMap<string, SourceNode> {
  const known = new Map(keys.map((key) => [variableOf(key), key]));
  const nodes = new Map<string, SourceNode>();
  for (const [variable, text] of Object.entries(environment)) {
    if (text === undefined || !variable.startsWith('SLUICE_') || otherVariables.test(variable)) continue;
    const place: Place = { file: 'environment', line: null, column: null, path: variable };
    const key = known.get(variable);
    if (key === undefined) report(place, `unknown variable: ${suggestion(variable, [...known.keys()])}`);
    else nodes.set(key, variableNode(text, place));
  }
  return nodes;
}

/** The value as YAML; what is no YAML is plain text, as `[::1]:10024` without quotes. */
function variableNode(text: string, place: Place): SourceNode {
  const { root } = parseDocument(`value: ${text}`, place.file);
  const value =
    root?.kind === 'map' && root.entries.size === 1 ? root.entries.get('value')?.value : undefined;
  return value === undefined
    ? { ...place, kind: 'scalar', value: text, empty: false }
    : placedAt(value, place);
}

/** A node and all under it, said to stand at one place. */
function placedAt(node: SourceNode, place: Place): SourceNode {
  const where = { file: place.file, line: null, column: null, path: place.path };
  if (node.kind === 'scalar') return { ...node, ...where };
  if (node.kind === 'list')
    return { ...where, kind: 'list', items: node.items.map((item) => placedAt(item, place)) };
  const entries = new Map<string, SourceEntry>();
  for (const [key, entry] of node.entries)
    entries.set(key, { key: where, value: placedAt(entry.value, place) });
  return { ...where, kind: 'map', entries };
}
