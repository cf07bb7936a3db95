/**
 * author — the one address in a From: field (RFC 5322 §3.4), found in one pass.
 *
 * Knows display names, quoted strings, nested comments, groups and source routes. Several different addresses give null:
 * what counts for an allowed sender must not depend on which of them a reader shows.
 */

const addressCharactersMax = 512;

/** A special character outside of quotes and comments, or any other text. */
type Token = { readonly kind: 'special' | 'text'; readonly text: string };

/** The address in lower case, or null where there is none, where it can't be read, or where there are several. */
export function authorOf(value: string): string | null {
  const tokens = tokensOf(value);
  const found = new Set<string>();
  for (const mailbox of mailboxesOf(tokens ?? [])) {
    const address = addressOf(mailbox);
    if (address !== null) found.add(address.toLowerCase());
  }
  const [only, ...others] = found;
  return others.length > 0 ? null : (only ?? null);
}

/** `value` less its comments; null where a quote or a comment is left open. Quoted text keeps its quotes. */
function tokensOf(value: string): Token[] | null {
  const tokens: Token[] = [];
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < value.length; at++) {
    const character = value.charAt(at);
    const escaped = character === '\\' && (quoted || depth > 0);
    const text = escaped ? value.slice(at, ++at + 1) : character;
    if (depth > 0) depth += text === '(' ? 1 : text === ')' ? -1 : 0;
    else if (text === '(' && !quoted) depth = 1;
    else {
      if (text === '"') quoted = !quoted;
      tokens.push({ kind: !quoted && isSpecial(text) ? 'special' : 'text', text });
    }
  }
  return quoted || depth > 0 ? null : tokens;
}

const specials = new Set('<>,;: \t\r\n\v\f');

/** Called for every character of a From: field, so that the usual ones don't cost a regular expression each. */
function isSpecial(character: string): boolean {
  return specials.has(character) || (character > '\x7f' && /\s/.test(character));
}

/** What stands between top-level commas; the name of a group is dropped at its colon (RFC 5322 §3.4). */
function mailboxesOf(tokens: readonly Token[]): Token[][] {
  let mailbox: Token[] = [];
  const mailboxes = [mailbox];
  let inAngle = false;
  for (const token of tokens) {
    const special = token.kind === 'special' ? token.text : '';
    if (special === '<') inAngle = true;
    if (special === '>') inAngle = false;
    if (!inAngle && special === ':') mailbox.length = 0;
    else if (!inAngle && (special === ',' || special === ';')) mailboxes.push((mailbox = []));
    else mailbox.push(token);
  }
  return mailboxes;
}

/** The last text in angle brackets; where there are none, the only word with an @. */
function addressOf(mailbox: readonly Token[]): string | null {
  const isSpecial = (token: Token, text: string) => token.kind === 'special' && token.text === text;
  const from = mailbox.findLastIndex((token) => isSpecial(token, '<'));
  if (from !== -1) {
    const to = mailbox.findIndex((token, at) => at > from && isSpecial(token, '>'));
    return to === -1 ? null : checked(withoutRoute(textOf(mailbox.slice(from + 1, to)).trim()));
  }
  const words = textOf(mailbox.map((token) => (token.kind === 'special' ? { ...token, text: '\n' } : token)));
  const [only, ...others] = words.split('\n').filter((word) => word.includes('@'));
  return only === undefined || others.length > 0 ? null : checked(only);
}

function textOf(tokens: readonly Token[]): string {
  return tokens.map(({ text }) => text).join('');
}

/** RFC 5321 §4.1.2: a source route "@a,@b:" says nothing of the author. */
function withoutRoute(path: string): string {
  return path.startsWith('@') ? path.slice(path.indexOf(':') + 1) : path;
}

/** `text` where it has the form of an address, else null. */
function checked(text: string): string | null {
  const at = text.lastIndexOf('@');
  const domain = text.slice(at + 1);
  if (at < 1 || domain === '' || text.length > addressCharactersMax || /\p{Cc}/u.test(text)) return null;
  return domain.startsWith('[') || !/[\s<>()",;:\\]/.test(domain) ? text : null;
}
