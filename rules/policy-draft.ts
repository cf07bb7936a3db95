/**
 * policy-draft — imported layers as the tree of a policies.yaml, each value with its source behind it.
 *
 * Hides the order and nesting of the file: `thresholds` before `virus`, recipients by domain, senders as lists. It only
 * puts together; nothing is judged here and nothing fails.
 */
import { plain, sourceText } from './amavis-notes.ts';
import type { ImportNote, Source } from './amavis-notes.ts';
import type { SenderLists } from './amavis-senders.ts';
import type { VirusPoints } from './amavis-virus-names.ts';
import type { Change, Draft } from './document.ts';

/** A value of one field, and where it comes from. */
export type DraftValue = { readonly value: string | number | boolean | null; readonly comment: string };
/** What is written for one recipient, domain or, with '', for everybody. */
export type DraftLayer = {
  readonly scope: string;
  /** By dotted field name. */
  readonly values: ReadonlyMap<string, DraftValue>;
  readonly lists: Partial<SenderLists>;
};

type Entry = readonly [key: string, draft: Draft];

/** In the order of policies.yaml; virusAsSpam stands between the last two. */
const order = [
  'thresholds.tag',
  'thresholds.spam',
  'thresholds.quarantine',
  'thresholds.discard',
  'virus',
  'onUnchecked.encrypted',
  'onUnchecked.overLimit',
  'onUnchecked.ambiguous',
  'subjectTag',
];

/** The changes that make a policies.yaml of an empty one. */
export function policyDraft(layers: readonly DraftLayer[], virusNames: VirusPoints): readonly Change[] {
  const changes: Change[] = [];
  const everybody = layers.find(({ scope }) => scope === '');
  const defaults = entriesOf(everybody ?? { scope: '', values: new Map(), lists: {} }, virusNames);
  if (defaults.length > 0) changes.push({ path: ['default'], draft: { kind: 'map', entries: defaults } });
  const recipients = layers
    .filter(({ scope }) => scope !== '')
    .toSorted((a, b) => compare(sortKey(a.scope), sortKey(b.scope)))
    .map((layer): Entry => [layer.scope, { kind: 'map', entries: entriesOf(layer, new Map()) }]);
  if (recipients.length > 0)
    changes.push({ path: ['recipients'], draft: { kind: 'map', entries: recipients } });
  return changes;
}

/** What the file says of itself, and what belongs into the other file. */
export function headerText(notes: readonly ImportNote[], files: number, dumps: number): string {
  const open = notes.filter(({ kind }) => kind === 'lost' || kind === 'changed' || kind === 'never').length;
  const elsewhere = notes.filter(({ kind }) => kind === 'elsewhere');
  const from = [
    files > 0 ? `${files} file${files === 1 ? '' : 's'}` : '',
    dumps > 0 ? `${dumps} SQL dump${dumps === 1 ? '' : 's'}` : '',
  ];
  const lines = [
    `policies.yaml from amavisd-new (${from.filter((text) => text !== '').join(', ')}), by sluice import amavis. Lies on top of the shipped policies:`,
    "what does not stand here keeps Sluice's default. tag is amavisd-new's tag, spam its tag2, quarantine its kill level,",
    'discard its quarantine cutoff. Behind each value stands where it comes from.',
    open === 0
      ? 'Everything could be carried over.'
      : `${open} things were not carried over as they were: the import's report names each.`,
    ...(elsewhere.length > 0 ? ['', 'For sluice.yaml:'] : []),
    ...elsewhere.map(
      ({ file, line, what, remedy }) => `  ${remedy}   (${file === null ? what : `${file}:${line} ${what}`})`,
    ),
  ];
  return `${lines.map((line) => `# ${plain(line)}`.trimEnd()).join('\n')}\n`;
}

function entriesOf({ values, lists }: DraftLayer, virusNames: VirusPoints): readonly Entry[] {
  const entries: Entry[] = [];
  const sections = new Map<string, Entry[]>();
  for (const name of order) {
    const found = values.get(name);
    if (name === 'subjectTag' && virusNames.size > 0) entries.push(['virusAsSpam', pointsDraft(virusNames)]);
    if (found === undefined) continue;
    const scalar: Draft = { kind: 'scalar', value: found.value, comment: found.comment };
    const [section = '', key] = name.split('.');
    if (key === undefined) entries.push([name, scalar]);
    else {
      const members = sections.get(section) ?? [];
      if (members.length === 0) entries.push([section, { kind: 'map', entries: members }]);
      members.push([key, scalar]);
      sections.set(section, members);
    }
  }
  const senders = senderEntries(lists);
  return senders.length === 0 ? entries : [...entries, ['senders', { kind: 'map', entries: senders }]];
}

function senderEntries({ allow, block, score }: Partial<SenderLists>): readonly Entry[] {
  const entries: Entry[] = [];
  if (allow !== undefined) entries.push(['allow', listDraft(allow)]);
  if (block !== undefined) entries.push(['block', listDraft(block)]);
  if (score !== undefined) entries.push(['score', pointsDraft(score)]);
  return entries;
}

function listDraft(senders: ReadonlyMap<string, Source>): Draft {
  const items = [...senders].map(
    ([value, source]): Draft => ({ kind: 'scalar', value, comment: sourceText(source) }),
  );
  return { kind: 'list', items };
}

function pointsDraft(
  points: ReadonlyMap<string, { readonly points: number; readonly source: Source }>,
): Draft {
  const entries = [...points].map(
    ([key, { points: value, source }]): Entry => [
      key,
      { kind: 'scalar', value, comment: sourceText(source) },
    ],
  );
  return { kind: 'map', entries };
}

/** By domain, the domain before its subdomains before its addresses. */
function sortKey(scope: string): string {
  const at = scope.lastIndexOf('@');
  if (at >= 0) return `${scope.slice(at + 1)}\t2${scope}`;
  return scope.startsWith('.') ? `${scope.slice(1)}\t1` : `${scope}\t0`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
