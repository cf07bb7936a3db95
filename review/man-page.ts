/**
 * man-page — sluice(8), made from the manuals of the commands: what --help says and what the parser takes, on one page.
 *
 * Only what belongs to no command is told here: files, environment, what to read next.
 */
import { commands } from './commands.ts';
import { type Block, type CommandManual, exitCodes, signature, usageOf } from './manual.ts';
import { bareOptions, commonOptions } from './options.ts';
import { literal, paragraph, request, usage } from './roff.ts';

/** The day of the last change to what this page tells. */
const dated = '2026-11-22';

type Terms = readonly (readonly [string, string])[];

const description = [
  'Sluice is an after-queue content filter for Postfix. Postfix hands it every message; it asks ClamAV and SpamAssassin, decides for each recipient by thresholds that are set per domain, tags or holds, and gives the rest back to a return smtpd byte for byte. It never bounces spam, and says 250 only when a message is with Postfix again or on disk in the quarantine.',
  'Started as root, it becomes the owner of the state folder.',
];

const files: Terms = [
  ['/etc/sluice/sluice.yaml', 'the configuration; every key is optional'],
  ['policies.yaml', 'thresholds per domain and recipient, beside sluice.yaml; overlays the shipped policy'],
  ['/var/lib/sluice', 'the state folder: quarantine/ with a folder for each held message, and the databases'],
  ['/etc/spamassassin/sluice.cf', 'what SpamAssassin must be told; comes with Sluice as rules/sluice.cf'],
];

const environment: Terms = [
  ['SLUICE_CONFIG', 'the configuration, where there is no --config'],
  [
    'SLUICE_...',
    'any key of sluice.yaml, in capitals and with _ between its parts: SLUICE_LISTEN_SMTP is listen.smtp',
  ],
  ['COLUMNS', 'how wide tables may be; default: as wide as the terminal, and without bounds elsewhere'],
  ['SUDO_USER', 'stands in the audit as who did it'],
];

const seeAlso = [
  ['clamd', 8],
  ['master', 5],
  ['postconf', 5],
  ['postfix', 1],
  ['sa-learn', 1],
  ['spamd', 8],
] as const;

/** The page in man(7), for version `version`. */
export function manPage(version: string): string {
  const lines = [
    '.\\" Made by "npm run manual" from review/*-manuals.ts: change it there.',
    `.TH SLUICE 8 ${dated} "${literal(`Sluice ${version}`)}" "System Administration"`,
    // Nothing broken at hyphens or spread out: options are copied from here.
    '.nh',
    '.ad l',
    '.SH NAME',
    'sluice \\- after-queue content filter for Postfix',
    '.SH SYNOPSIS',
    '\\fBsluice\\fR \\fICOMMAND\\fR [\\fIWORDS\\fR] [\\fIOPTIONS\\fR]',
    '.SH DESCRIPTION',
    ...description.flatMap((text, at) => [...(at === 0 ? [] : ['.PP']), ...paragraph(text)]),
    '.SH COMMANDS',
    ...commands.flatMap(commandLines),
    '.SH OPTIONS',
    'Every command takes these:',
    ...[...commonOptions, ...bareOptions].flatMap((one) => term(usage(signature(one)), one.about)),
    '.SH FILES',
    ...files.flatMap(([name, about]) => term(`\\fI${literal(name)}\\fR`, about)),
    '.SH ENVIRONMENT',
    ...environment.flatMap(([name, about]) => term(`\\fB${literal(name)}\\fR`, about)),
    '.SH EXIT STATUS',
    ...exitCodes.flatMap(([code, about]) => term(String(code), about)),
    '.SH EXAMPLES',
    ...commands.flatMap(({ examples }) => examples).flatMap(exampleLines),
    '.SH SEE ALSO',
    ...seeAlso.map(([name, section], at) => reference(name, section, at === seeAlso.length - 1)),
  ];
  return `${lines.join('\n')}\n`;
}

function commandLines(manual: CommandManual): string[] {
  const { name, about, options, notes = [], exits = [] } = manual;
  return [
    request('SS', name),
    ...usageOf(manual).flatMap((parts, at) => [...(at === 0 ? [] : ['.br']), ...parts.map(usage)]),
    ...about.flatMap(blockLines),
    ...options.flatMap((one) => term(usage(signature(one)), one.about)),
    ...notes.flatMap(blockLines),
    ...(exits.length === 0 ? [] : ['.PP', 'Exit status:']),
    ...exits.flatMap(([code, meaning]) => term(String(code), meaning, '5n')),
  ];
}

function blockLines(block: Block): string[] {
  if (typeof block === 'string') return ['.PP', ...paragraph(block)];
  if ('terms' in block)
    return block.terms.flatMap(([name, about]) => term(`\\fB${literal(name)}\\fR`, about));
  return ['.RS 4', '.nf', ...block.lines.map(literal), '.fi', '.RE'];
}

function term(name: string, about: string, width = ''): string[] {
  return [width === '' ? '.TP' : `.TP ${width}`, name, ...paragraph(about)];
}

function exampleLines([line, about]: readonly [string, string], at: number): string[] {
  const typed = `\\fBsluice ${literal(line)}\\fR`;
  return [...(at === 0 ? [] : ['.PP']), typed, '.RS', ...paragraph(about), '.RE'];
}

function reference(name: string, section: number, isLast: boolean): string {
  return `.BR ${literal(name)} (${section})${isLast ? '' : ','}`;
}
