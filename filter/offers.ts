/**
 * offers — what the return smtpd says in its EHLO reply, as far as it concerns us.
 *
 * Hides keywords and their parameters (RFC 5321 §4.1.1.1). Pure; an unknown keyword or a parameter that makes no sense
 * is passed over, because EHLO is an offer, not a demand.
 */

/** What concerns the way in as well: our listener offers no more. `sizeBytes` null means no limit is known (RFC 1870). */
export type Offers = {
  readonly dsn: boolean;
  readonly smtputf8: boolean;
  readonly eightBitMime: boolean;
  readonly sizeBytes: number | null;
};

/** Everything we understand of an EHLO reply; `xforward` holds attribute names in upper case. */
export type PeerOffers = Offers & {
  readonly size: boolean;
  readonly pipelining: boolean;
  readonly enhancedStatusCodes: boolean;
  readonly xforward: readonly string[];
};

/** Before the first contact: nothing is held back from the way in, and the hand-off finds out. */
export const permissiveOffers: Offers = { dsn: true, smtputf8: true, eightBitMime: true, sizeBytes: null };

/** Parses the text of an EHLO reply, lines joined by '\n'; the first line is the peer's name. */
export function parseOffers(text: string): PeerOffers {
  const keywords = new Map<string, string>();
  for (const line of text.split('\n').slice(1)) {
    const [keyword = '', ...parameters] = line.trim().split(/\s+/);
    keywords.set(keyword.toUpperCase(), parameters.join(' '));
  }
  return {
    dsn: keywords.has('DSN'),
    smtputf8: keywords.has('SMTPUTF8'),
    eightBitMime: keywords.has('8BITMIME'),
    sizeBytes: parseSize(keywords.get('SIZE')),
    size: keywords.has('SIZE'),
    pipelining: keywords.has('PIPELINING'),
    enhancedStatusCodes: keywords.has('ENHANCEDSTATUSCODES'),
    xforward: (keywords.get('XFORWARD') ?? '').toUpperCase().split(' ').filter(Boolean),
  };
}

/** RFC 1870 §4: no parameter, or 0, means that no limit is told. */
function parseSize(parameter: string | undefined): number | null {
  if (parameter === undefined || !/^\d{1,15}$/.test(parameter)) return null;
  return Number(parameter) || null;
}
