/**
 * recipient — the names under which a policy may speak of an address.
 *
 * Hides how addresses are compared: lower case, quotes and source route taken off, U-labels as A-labels (RFC 5891, with
 * punycode of RFC 3492), extension after `+`, parent domains, and for senders the wrappings of BATV (`prvs=`) and SRS.
 * It only looks up: the envelope itself stays verbatim. It never throws; an address without a domain has no names.
 */

/** Longest domain looked at, in characters (RFC 1035 §2.3.4 allows 255 octets): longer ones would cost quadratic time. */
const domainCharactersMax = 255;

/** An address in the form in which it is compared, `local@domain`; null where it has no domain or no local part. */
export function canonicalAddress(address: string): string | null {
  // RFC 5321 §4.1.1.3: a source route is ignored.
  const path = address.startsWith('@') ? address.slice(address.indexOf(':') + 1) : address;
  const at = path.lastIndexOf('@');
  if (at <= 0) return null;
  const domain = canonicalDomain(path.slice(at + 1));
  const local = canonicalLocal(path.slice(0, at));
  return domain === null || local === '' ? null : `${local}@${domain}`;
}

/** A domain in A-labels and lower case, without a final dot; null where it is empty or longer than a domain can be. */
export function canonicalDomain(domain: string): string | null {
  if (domain === '' || domain.length > domainCharactersMax) return null;
  const labels = lowerCase(domain.normalize('NFKC')).normalize('NFKC').split(/[.。]/);
  if (labels.at(-1) === '') labels.pop();
  if (labels.includes('')) return null;
  const ascii = labels.map((label) => (isAscii(label) ? label : `xn--${punycode(label)}`)).join('.');
  return ascii === '' || ascii.length > domainCharactersMax ? null : ascii;
}

/** The part after the @ of a canonical address. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}

/**
 * The keys that speak of `key`, itself first, the nearest next: `u+x@d.example` → `u+x@d.example`, `u@d.example`,
 * `d.example`, `.example`. Takes a canonical address, a canonical domain, or `.domain` for every subdomain.
 */
export function lookupKeysOf(key: string): readonly string[] {
  const at = key.lastIndexOf('@');
  const keys: string[] = [];
  if (at >= 0) {
    keys.push(key);
    // As Postfix: the first delimiter, and never an empty name before it.
    const plus = key.indexOf('+', 1);
    if (plus > 0 && plus < at) keys.push(key.slice(0, plus) + key.slice(at));
  }
  const domain = key.slice(at + 1);
  keys.push(domain);
  for (let dot = domain.indexOf('.', 1); dot > 0; dot = domain.indexOf('.', dot + 1)) {
    keys.push(domain.slice(dot));
  }
  return keys;
}

/** The address that a sender was before a mail system wrapped it: BATV `prvs=`, SRS0, SRS1; else the address itself. */
export function unwrapSender(canonical: string): string {
  const at = canonical.lastIndexOf('@');
  const local = canonical.slice(0, at);
  const domain = canonical.slice(at + 1);
  // draft-levine-smtp-batv: prvs=TAG=local; older systems write prvs=local/TAG.
  const batv = /^prvs=(?:[0-9a-f]{4,16}=([^=].*)|([^/=]+)\/[0-9a-f]{4,16})$/s.exec(local);
  if (batv !== null) return `${batv[1] ?? batv[2] ?? ''}@${domain}`;
  const parts = local.split('=');
  // SRS0=hash=time=domain=local, and SRS1=hash=forwarder==hash=time=domain=local; the first separator may be + or -.
  const start = /^srs0[=+-]/.test(local) ? 0 : /^srs1[=+-]/.test(local) ? parts.indexOf('') : -1;
  const skip = start === 0 ? (local.startsWith('srs0=') ? 3 : 2) : start + 3;
  if (start < 0) return canonical;
  const original = canonicalDomain(parts[skip] ?? '');
  const name = parts.slice(skip + 1).join('=');
  return original === null || name === '' ? canonical : `${name}@${original}`;
}

/** RFC 5321 §4.1.2: quotes are no part of the name. */
function canonicalLocal(local: string): string {
  const quoted = local.length >= 2 && local.startsWith('"') && local.endsWith('"');
  const name = quoted ? local.slice(1, -1).replaceAll(/\\(.)/gs, '$1') : local;
  return lowerCase(name.normalize('NFC'));
}

/** Lower case one character at a time: a final sigma must not depend on its neighbours (UTS #46). */
function lowerCase(text: string): string {
  return isAscii(text) ? text.toLowerCase() : Array.from(text, (letter) => letter.toLowerCase()).join('');
}

function isAscii(text: string): boolean {
  return !/[^\0-\x7f]/.test(text);
}

/** RFC 3492 §6.3: the label's code points as ASCII, without the prefix `xn--`. */
function punycode(label: string): string {
  const points = Array.from(label, (letter) => letter.codePointAt(0) ?? 0);
  const basic = points.filter((point) => point < 0x80);
  let output = String.fromCharCode(...basic);
  if (basic.length > 0) output += '-';
  let [next, delta, bias, handled] = [0x80, 0, 72, basic.length];
  while (handled < points.length) {
    const smallest = Math.min(...points.filter((point) => point >= next));
    delta += (smallest - next) * (handled + 1);
    next = smallest;
    for (const point of points) {
      if (point < next) delta++;
      if (point !== next) continue;
      output += variableInteger(delta, bias);
      bias = adaptBias(delta, handled + 1, handled === basic.length);
      delta = 0;
      handled++;
    }
    delta++;
    next++;
  }
  return output;
}

/** RFC 3492 §3.3: a number in digits whose weights depend on the bias. */
function variableInteger(value: number, bias: number): string {
  let [output, rest] = ['', value];
  for (let k = 36; ; k += 36) {
    const threshold = Math.min(Math.max(k - bias, 1), 26);
    if (rest < threshold) return output + digit(rest);
    output += digit(threshold + ((rest - threshold) % (36 - threshold)));
    rest = Math.floor((rest - threshold) / (36 - threshold));
  }
}

/** RFC 3492 §6.1. */
function adaptBias(delta: number, points: number, first: boolean): number {
  let scaled = Math.floor(delta / (first ? 700 : 2));
  scaled += Math.floor(scaled / points);
  let k = 0;
  for (; scaled > 455; k += 36) scaled = Math.floor(scaled / 35);
  return k + Math.floor((36 * scaled) / (scaled + 38));
}

function digit(value: number): string {
  return 'abcdefghijklmnopqrstuvwxyz0123456789'.charAt(value);
}
