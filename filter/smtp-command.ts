/**
 * smtp-command — one command line of a client into a tagged union, or into the reply that refuses it.
 *
 * Hides the grammar: quoted local parts with brackets and blanks in them, ESMTP parameters, XFORWARD. Addresses, DSN
 * values and attributes stay verbatim (case, quotes, source routes, xtext, octets that are no UTF-8): what Postfix can
 * name, Sluice can carry. 5xx here only for malformed protocol (RELIABILITY R6). Pure, never throws.
 */
import { decodeWire } from '../rules/mail.ts';
import type { Reply } from '../rules/replies.ts';
import type { Offers } from './offers.ts';

/** What a session may ask for: what EHLO offered, or null after HELO (RFC 5321 §2.2.1: no extensions). */
export type Extensions = Offers | null;

/** XFORWARD attributes that we know (XFORWARD_README of Postfix). */
export const xforwardNames = ['NAME', 'ADDR', 'PORT', 'PROTO', 'HELO', 'IDENT', 'SOURCE'] as const;

/** The arguments of MAIL, ready for the envelope; `sizeBytes` is what the client declared (RFC 1870), or null. */
export type MailCommand = {
  readonly kind: 'mail';
  readonly sender: string;
  readonly sizeBytes: number | null;
  readonly body: '7BIT' | '8BITMIME' | null;
  readonly smtputf8: boolean;
  readonly ret: string | null;
  readonly envid: string | null;
};

export type Command =
  | MailCommand
  | {
      readonly kind: 'rcpt';
      readonly address: string;
      readonly notify: string | null;
      readonly orcpt: string | null;
    }
  | { readonly kind: 'greeting'; readonly verb: 'EHLO' | 'HELO' | 'LHLO' }
  | { readonly kind: 'xforward'; readonly attributes: ReadonlyMap<string, string> }
  | { readonly kind: 'data' | 'rset' | 'noop' | 'quit' | 'vrfy' }
  | { readonly kind: 'refused'; readonly reply: Reply; readonly hangUp: boolean };

type Parameters = ReadonlyMap<string, string | null>;

const simpleKinds = { DATA: 'data', RSET: 'rset', NOOP: 'noop', QUIT: 'quit', VRFY: 'vrfy' } as const;
const notOffered = ['AUTH', 'STARTTLS', 'BDAT', 'EXPN', 'HELP', 'ETRN', 'TURN', 'XCLIENT'];

/** The command in a line without its CRLF. */
export function parseCommand(octets: Uint8Array, extensions: Extensions): Command {
  if (octets.includes(0) || octets.includes(0x0d)) return refuse(500, '5.5.2', 'Syntax: NUL or bare CR');
  const line = decodeWire(octets);
  const blank = line.indexOf(' ');
  const verb = (blank === -1 ? line : line.slice(0, blank)).toUpperCase();
  const rest = blank === -1 ? '' : line.slice(blank + 1);
  switch (verb) {
    case 'EHLO':
    case 'HELO':
    case 'LHLO':
      return { kind: 'greeting', verb };
    case 'MAIL':
      return parseMail(rest, extensions);
    case 'RCPT':
      return parseRcpt(rest, extensions);
    case 'XFORWARD':
      return parseXforward(rest);
    case 'DATA':
    case 'RSET':
    case 'NOOP':
    case 'QUIT':
    case 'VRFY':
      return { kind: simpleKinds[verb] };
    case 'BDAT':
      // Its octets follow unasked (RFC 3030 §2): hang up, or they would be read as commands.
      return { ...refuse(502, '5.5.1', 'BDAT is not offered'), hangUp: true };
    default:
      if (notOffered.includes(verb)) return refuse(502, '5.5.1', `${verb} is not offered`);
      return refuse(500, '5.5.2', 'Command not recognised');
  }
}

function parseMail(rest: string, extensions: Extensions): Command {
  const argument = splitArgument(/^FROM: */i, rest);
  if (argument === null) return refuse(501, '5.5.4', 'Syntax: MAIL FROM:<address>');
  const parameters = parseParameters(argument.parameters);
  if (parameters === null) return refuse(501, '5.5.4', 'Syntax of a MAIL parameter');
  const unknown = unknownParameter(parameters, mailParameters(extensions));
  if (unknown !== null) return refuse(555, '5.5.4', `Unsupported MAIL parameter: ${unknown.slice(0, 64)}`);
  const size = parameters.get('SIZE') ?? null;
  const body = parameters.get('BODY')?.toUpperCase() ?? null;
  if (body !== null && body !== '7BIT' && body !== '8BITMIME') return refuse(501, '5.5.4', 'Syntax of BODY');
  return {
    kind: 'mail',
    sender: argument.path,
    sizeBytes: size === null ? null : Number(size),
    body,
    smtputf8: parameters.has('SMTPUTF8'),
    ret: parameters.get('RET') ?? null,
    envid: parameters.get('ENVID') ?? null,
  };
}

function parseRcpt(rest: string, extensions: Extensions): Command {
  const argument = splitArgument(/^TO: */i, rest);
  if (argument === null || argument.path === '') return refuse(501, '5.5.4', 'Syntax: RCPT TO:<address>');
  const parameters = parseParameters(argument.parameters);
  if (parameters === null) return refuse(501, '5.5.4', 'Syntax of an RCPT parameter');
  const unknown = unknownParameter(parameters, extensions?.dsn === true ? ['NOTIFY', 'ORCPT'] : []);
  if (unknown !== null) return refuse(555, '5.5.4', `Unsupported RCPT parameter: ${unknown.slice(0, 64)}`);
  const notify = parameters.get('NOTIFY') ?? null;
  return { kind: 'rcpt', address: argument.path, notify, orcpt: parameters.get('ORCPT') ?? null };
}

function parseXforward(rest: string): Command {
  const attributes = new Map<string, string>();
  for (const word of words(rest)) {
    const equals = word.indexOf('=');
    const name = word.slice(0, Math.max(equals, 0)).toUpperCase();
    // The value may hold '=' itself: a client says what it likes in its HELO.
    if (!isXforwardName(name)) return refuse(501, '5.5.4', 'Syntax: XFORWARD attribute=value...');
    attributes.set(name, word.slice(equals + 1));
  }
  if (attributes.size === 0) return refuse(501, '5.5.4', 'Syntax: XFORWARD attribute=value...');
  return { kind: 'xforward', attributes };
}

/** `FROM:<path> parameters` with the path verbatim; null where it isn't of that form. */
function splitArgument(prefix: RegExp, rest: string): { path: string; parameters: string } | null {
  const start = prefix.exec(rest)?.[0].length;
  if (start === undefined || rest[start] !== '<') return null;
  const end = closingBracket(rest, start + 1) ?? firstEnd(rest, start + 1);
  return end === null ? null : { path: rest.slice(start + 1, end), parameters: rest.slice(end + 1) };
}

/** Where the path ends: a bracket outside of quoted strings (RFC 5321 §4.1.2), followed by a blank or nothing. */
function closingBracket(text: string, from: number): number | null {
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    if (quoted && text[at] === '\\') at++;
    else if (text[at] === '"') quoted = !quoted;
    else if (!quoted && text[at] === '>' && (at + 1 === text.length || text[at + 1] === ' ')) return at;
  }
  return null;
}

/** The same for a path whose quotes don't pair: no address is worth a bounce for its looks. */
function firstEnd(text: string, from: number): number | null {
  const end = text.slice(from).search(/>(?: |$)/);
  return end === -1 ? null : from + end;
}

/** Keyword → value (null: no `=`), or null where a word is malformed, given twice or has a value that can't be one. */
function parseParameters(text: string): Parameters | null {
  const parameters = new Map<string, string | null>();
  for (const word of words(text)) {
    const equals = word.indexOf('=');
    const keyword = (equals === -1 ? word : word.slice(0, equals)).toUpperCase();
    const value = equals === -1 ? null : word.slice(equals + 1);
    if (!/^[A-Z0-9][A-Z0-9-]*$/.test(keyword) || parameters.has(keyword)) return null;
    if (!isValue(keyword, value)) return null;
    parameters.set(keyword, value);
  }
  return parameters;
}

/** What the return smtpd would refuse for ever as a syntax error is refused here at once: waiting can't cure it. */
function isValue(keyword: string, value: string | null): boolean {
  if (keyword === 'SMTPUTF8') return value === null;
  const known = valueForms[keyword];
  return known === undefined || (value !== null && known.test(value));
}

const valueForms: Readonly<Record<string, RegExp>> = {
  SIZE: /^\d{1,20}$/,
  BODY: /./,
  RET: /^(?:FULL|HDRS)$/i,
  ENVID: /^[!-~\u{80}-\u{10ffff}]+$/u,
  NOTIFY: /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)$/i,
  ORCPT: /^[!-:<-~]+;[!-~\u{80}-\u{10ffff}]+$/u,
};

function mailParameters(extensions: Extensions): string[] {
  if (extensions === null) return [];
  const keywords = ['SIZE'];
  if (extensions.eightBitMime) keywords.push('BODY');
  if (extensions.smtputf8) keywords.push('SMTPUTF8');
  if (extensions.dsn) keywords.push('RET', 'ENVID');
  return keywords;
}

function unknownParameter(parameters: Parameters, known: readonly string[]): string | null {
  return [...parameters.keys()].find((keyword) => !known.includes(keyword)) ?? null;
}

function isXforwardName(name: string): boolean {
  return xforwardNames.some((known) => known === name);
}

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

function refuse(code: number, enhanced: string, text: string): Command & { kind: 'refused' } {
  return { kind: 'refused', reply: { code, enhanced, text }, hangUp: false };
}
