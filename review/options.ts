/**
 * options — every option there is, once: how it is parsed, what its value is called, and what may stand there.
 *
 * Parser, help, man page and shell completions are all made from this table and from the commands' manuals.
 */

/** What a word or an option's value may be; a list is all there is to choose from. */
export type Takes = 'text' | 'file' | 'folder' | 'quarantineId' | 'user' | readonly string[];

type OptionType = {
  readonly type: 'string' | 'boolean';
  readonly multiple?: boolean;
  readonly short?: string;
  /** What its value is called in a usage line. */
  readonly value?: string;
  readonly takes?: Takes;
};

/** As `parseArgs` of node:util wants them; `value` and `takes` are for people and shells. */
export const optionTypes = {
  config: { type: 'string', value: 'FILE', takes: 'file' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  to: { type: 'string', multiple: true, value: 'RCPT' },
  from: { type: 'string', value: 'SENDER' },
  force: { type: 'boolean' },
  again: { type: 'boolean' },
  all: { type: 'boolean' },
  limit: { type: 'string', value: 'N' },
  before: { type: 'string', value: 'ID', takes: 'quarantineId' },
  output: { type: 'string', value: 'FILE', takes: 'file' },
  'all-matching': { type: 'string', value: 'QUERY' },
  confirm: { type: 'string', value: 'N' },
  scanners: { type: 'string', value: 'virus,spam', takes: ['virus', 'spam', 'virus,spam'] },
  feed: { type: 'string', value: 'lmtp|smtp', takes: ['lmtp', 'smtp'] },
  part: { type: 'string', value: 'PART', takes: ['master', 'main', 'commands', 'bypass', 'removal'] },
  role: { type: 'string', value: 'primary|backup', takes: ['primary', 'backup'] },
  primary: { type: 'string', value: 'HOST' },
  recipient: { type: 'string', multiple: true, value: 'RCPT' },
  probe: { type: 'string', value: 'ADDRESS' },
  'clamd-config': { type: 'string', value: 'FILE', takes: 'file' },
  'postfix-config': { type: 'string', value: 'FOLDER', takes: 'folder' },
  'spamd-user': { type: 'string', value: 'USER', takes: 'user' },
  'spamd-config': { type: 'string', value: 'FOLDER', takes: 'folder' },
  sql: { type: 'string', multiple: true, value: 'DUMP', takes: 'file' },
  write: { type: 'string', value: 'FILE', takes: 'file' },
  now: { type: 'boolean' },
  node: { type: 'string', value: 'NODE' },
  keys: { type: 'boolean' },
  outbound: { type: 'boolean' },
} as const satisfies Readonly<Record<string, OptionType>>;

export type OptionName = keyof typeof optionTypes;

/** One option as a command's manual tells of it. */
export type OptionManual = {
  readonly name: OptionName;
  /** Null where it has no value. */
  readonly value: string | null;
  readonly takes: Takes;
  readonly isMany: boolean;
  readonly about: string;
};

/** An option and what it means for one command; `value` and `takes` where they differ from what they mean elsewhere. */
export function option(
  name: OptionName,
  about: string,
  { value, takes }: { value?: string; takes?: Takes } = {},
): OptionManual {
  const type: OptionType = optionTypes[name];
  return {
    name,
    value: value ?? type.value ?? null,
    takes: takes ?? type.takes ?? 'text',
    isMany: type.multiple === true,
    about,
  };
}

/** Those that every command takes. */
export const commonOptions: readonly OptionManual[] = [
  option(
    'config',
    'the configuration; default: what SLUICE_CONFIG names, then /etc/sluice/sluice.yaml, then the embedded defaults',
  ),
  option('json', 'one JSON value on standard output, for programs'),
  option('help', 'tell about the command, and do nothing'),
];

/** Those that need no command. */
export const bareOptions: readonly OptionManual[] = [option('version', 'print the version')];
