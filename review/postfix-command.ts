/**
 * postfix-command — `sluice postfix`: what to add to main.cf and master.cf for this configuration, and how to undo it.
 *
 * Only prints: no file of Postfix is read or written. What Postfix can't be told is a problem of
 * sluice.yaml: each on a line, exit 78.
 */
import { type Feed, fragmentOf } from '../rules/postfix-fragment.ts';
import { type FragmentText, formatFragment } from '../rules/postfix-text.ts';
import { ConfigurationError } from '../workers/site.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { optionTypes } from './options.ts';
import { printable } from './table.ts';

/** Prints the fragment: master.cf, main.cf, and commands for the services that are there already; or one part alone. */
export async function printPostfix({ options, site, print, printJson }: Invocation): Promise<number> {
  const feed = feedOf(options.feed);
  const part = partOf(options.part);
  const { config, configFile, policies } = site();
  const role = roleOf(options.role) ?? config.role;
  const primary = primaryOf(options.primary, role);
  const backup = role === 'backup' ? { policies, primary } : null;
  const { fragment, problems } = fragmentOf(config, feed, backup);
  if (fragment === null) {
    const file = configFile ?? 'embedded defaults';
    throw new ConfigurationError(
      problems.map((message) => ({ file, line: null, column: null, path: '', message })),
    );
  }
  const text = formatFragment(fragment);
  if (options.json === true) printJson({ ...fragment, text });
  else if (part !== null) print(text[part].trimEnd());
  else print(printable(titleOf(fragment.feed, configFile, role)) + blocksOf(text));
  return 0;
}

function feedOf(word: string | undefined): Feed | null {
  if (word === undefined || word === 'lmtp' || word === 'smtp') return word ?? null;
  throw new UsageError(`--feed: "${word}" is no feed: write lmtp or smtp`);
}

function roleOf(word: string | undefined): 'primary' | 'backup' | null {
  if (word === undefined || word === 'primary' || word === 'backup') return word ?? null;
  throw new UsageError(`--role: "${word}" is no role: write primary or backup`);
}

/** An address or a host's name: it stands in main.cf, in brackets and in a table. */
function primaryOf(word: string | undefined, role: 'primary' | 'backup'): string | null {
  if (word === undefined) return null;
  if (role !== 'backup') throw new UsageError('--primary: this is no backup: write --role backup as well');
  if (/^[a-z0-9][a-z0-9.:-]{0,252}$/i.test(word)) return word;
  throw new UsageError(`--primary: "${word}" is no host: write an address or a name`);
}

/** One text alone, so that it can be appended to its file, or run. */
function partOf(word: string | undefined): keyof FragmentText | null {
  if (word === undefined) return null;
  const part = optionTypes.part.takes.find((one) => one === word);
  if (part !== undefined) return part;
  throw new UsageError(`--part: "${word}" is no part: write master, main, commands, bypass or removal`);
}

function titleOf(feed: Feed, configFile: string | null, role: 'primary' | 'backup'): string {
  const what = role === 'backup' ? "A backup MX's Postfix" : 'Postfix';
  return `# ${what} for ${configFile ?? "Sluice's embedded defaults"}, fed over ${feed.toUpperCase()}.`;
}

/** The blocks under headings that are comments in every one of them. */
function blocksOf({ main, master, commands }: FragmentText): string {
  return [
    '',
    '',
    '##### master.cf: add this at the end, then run "postfix reload"',
    master,
    '##### main.cf: add this, once that is done',
    main,
    '##### Then run this',
    commands.trimEnd(),
  ].join('\n');
}
