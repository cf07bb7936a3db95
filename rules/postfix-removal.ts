/**
 * postfix-removal — the commands that undo a pasted fragment: mail goes past Sluice first, then the entries go.
 *
 * Hides the order. Nothing in it may leave a message without a way, or an alias unexpanded: options of master.cf count from the
 * next reload on, main.cf counts for each process that starts, and a message in the queue keeps the filter it came with. Settings
 * of a backup MX stay: without them it refuses its mail.
 */
import { existingSettings, type Fragment, type Setting } from './postfix-fragment.ts';

/** Two texts for the shell, each ending in a newline. `removal` does what `bypass` does as well; both may be run again. */
export type RemovalText = { readonly bypass: string; readonly removal: string };

/** The commands for this fragment, each under its reason. */
export function formatRemoval(fragment: Fragment): RemovalText {
  const { services } = fragment;
  const entries = services.map(({ name, type }) => `postconf -MX '${name}/${type}'`);
  const needed =
    'The ways to Sluice and back. Before this decide what is held: a release needs the way back.';
  return {
    bypass: lines([...pastSluice(fragment), ...requeue]),
    removal: lines([
      ...pastSluice(fragment),
      `# ${needed}`,
      ...entries,
      'postfix reload',
      ...requeue,
      ...(fragment.backup === null
        ? []
        : [
            '# relay_domains and what else main.cf has of a backup MX stays: without it mail for its domains is refused.',
          ]),
    ]),
  };
}

const requeue: readonly string[] = [
  '# What is in the queue remembers its filter, and has unexpanded aliases: it comes in again, and forgets both.',
  '# First a moment for processes of before the reload to end: pickup is one of them.',
  'sleep 2',
  'postsuper -r ALL',
  '# By itself pickup looks once a minute.',
  'postkick public pickup W',
];

/**
 * Overrides first, and in force: a process that has lost its filter but not no_address_mappings would bounce mail to aliases.
 * The other way round aliases expand twice for a moment, which changes nothing.
 */
function pastSluice(fragment: Fragment): string[] {
  const existing = existingSettings(fragment);
  const own = (name: string): string[] => existing.filter((one) => one.name === name).map(withoutOption);
  const kept = new Set(fragment.backup?.names);
  const main = fragment.settings.filter(({ file, name }) => file === 'main.cf' && !kept.has(name));
  return [
    '# Aliases expand before the queue again. First, and in force: without a filter nobody expands them behind it.',
    ...own('receive_override_options'),
    'postfix reload',
    '# No filter for what comes in from now on.',
    ...main.map(({ name }) => `postconf -X ${name}`),
    '# And no word of their own for your own users and programs.',
    ...own('content_filter'),
    'postfix reload',
  ];
}

function withoutOption({ service, name }: Setting): string {
  return `postconf -PX '${service}/${name}'`;
}

function lines(each: readonly string[]): string {
  return `${each.join('\n')}\n`;
}
