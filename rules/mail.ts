/**
 * mail — the vocabulary that every room speaks: envelope, facts, scan report, disposition.
 *
 * Nothing here does anything but name things. All values are plain readonly JSON data, so that they pass unchanged
 * through a queue, a database and a browser. The one pair of functions turns wire octets into strings and back
 * without loss, because an address is sacred even where it is not valid UTF-8.
 */

/** One RCPT TO as Postfix sent it. Two recipients may be equal in every field: identity is the object, never the address. */
export type Recipient = {
  /** The path without its angle brackets, verbatim: case, quotes, source route and all (RFC 5321 §4.1.2). */
  readonly address: string;
  /** Value of NOTIFY= verbatim (RFC 3461 §4.1), or null where it was not given. */
  readonly notify: string | null;
  /** Value of ORCPT= verbatim, still xtext (RFC 3461 §4.2), or null. */
  readonly orcpt: string | null;
};

/** XFORWARD attributes of this transaction, names in upper case, values verbatim (still xtext), in the order received. */
export type XForward = Readonly<Record<string, string>>;

/** The SMTP envelope of one transaction, verbatim (RFC 5321 §2.3.1). */
export type Envelope = {
  /** MAIL FROM path without its angle brackets, verbatim; '' is the null sender. */
  readonly sender: string;
  /** Value of BODY= (RFC 6152) in upper case, or null. */
  readonly body: '7BIT' | '8BITMIME' | null;
  readonly smtputf8: boolean;
  /** RET= (RFC 3461 §4.3) verbatim, or null. */
  readonly ret: string | null;
  /** ENVID= verbatim, still xtext, or null. */
  readonly envid: string | null;
  readonly recipients: readonly Recipient[];
  readonly xforward: XForward;
};

/**
 * Why a scanner could not tell. The first group may clear up by waiting; the second never does.
 * `unreachable`: nobody answered the connect, or the daemon is away (the scanner is down). `busy`: it was there and
 * had no capacity. `timeout`: the deadline passed. `protocol`: an answer we do not recognise, or cut short.
 * `failed`: the daemon itself reports an error. `cancelled`: we stopped asking (client gone, other verdict sufficed).
 */
export type TransientReason = 'unreachable' | 'busy' | 'timeout' | 'protocol' | 'failed' | 'cancelled';
export type LastingReason = 'encrypted' | 'overLimit' | 'ambiguous' | 'poison';
export type Reason = TransientReason | LastingReason;

export type Unchecked = { readonly kind: 'unchecked'; readonly reason: Reason; readonly detail: string };

export type VirusResult =
  | { readonly kind: 'clean' }
  | { readonly kind: 'infected'; readonly name: string }
  | Unchecked
  | { readonly kind: 'off' };

/** One rule that hit: exact score (rounded to 0.001), description where the scanner gave one. */
export type RuleHit = { readonly name: string; readonly score: number; readonly description: string | null };

export type SpamResult =
  | {
      readonly kind: 'scored';
      /** Sum that counts: SpamAssassin's total, less the hits in `ignored`. */
      readonly score: number;
      readonly tests: readonly RuleHit[];
      /** True where only the first `spamBytes` octets were scanned. */
      readonly truncated: boolean;
      /** Hits taken out of the score because a cut body fails its DKIM hash (FACTS.md); empty where not truncated. */
      readonly ignored: readonly RuleHit[];
    }
  | Unchecked
  | { readonly kind: 'off' };

/** What the scanners said of one message: facts, no judgement. */
export type ScanReport = {
  readonly virus: VirusResult;
  readonly spam: SpamResult;
  /** How long each scanner took, milliseconds. */
  readonly virusMs: number;
  readonly spamMs: number;
};

/** What `decide` may know of a message besides the report. */
export type MailFacts = {
  readonly envelope: Envelope;
  /** Which listener took it: `outbound` is what the site itself sends. */
  readonly direction: 'inbound' | 'outbound';
  /** Address of the From: header field in lower case, or null where there is none or it can't be parsed. */
  readonly from: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  /** How long the message has been waiting since its top Received line, milliseconds; 0 where that is unknown. */
  readonly waitedMs: number;
  /** How often a living scanner has failed on this message before this attempt (deferAtMost.attempts). */
  readonly failedAttempts: number;
};

export type Verdict = 'clean' | 'spam' | 'virus' | 'unchecked';
export type DispositionKind = 'deliver' | 'quarantine' | 'discard' | 'defer';

/** What the added header lines shall say of a delivered (or released) copy; `headersFor` in headers.ts writes them. */
export type Marks = {
  /**
   * `none`: no X-Spam line (below tag, off, or outbound); `score`: X-Spam-Score, -Level, -Status: No;
   * `flag`: the same with X-Spam-Flag: YES and Status: Yes; `unchecked`: only X-Spam-Status: unchecked (reason).
   */
  readonly spam: 'none' | 'score' | 'flag' | 'unchecked';
  /** Score after the policy's adjustments (senders, virusAsSpam); null where spam was not scored. */
  readonly score: number | null;
  /** The spam threshold of these recipients ("required="); null where switched off. */
  readonly required: number | null;
  readonly tests: readonly RuleHit[];
  /** Reason that stands in "unchecked (reason)"; null where the spam scanner answered or is off. */
  readonly spamReason: Reason | null;
  /**
   * `clean`: X-Virus-Scanned: yes; a reason: X-Virus-Scanned: no (reason); `none`: scanner off, no line. A name, only in
   * `mode: observe`, where an infected copy is delivered: X-Virus-Status: Infected (name).
   */
  readonly virus: 'clean' | 'none' | Reason | { readonly infected: string };
  /** Text put in front of Subject, or null: the only change to the message's own bytes, off by default. */
  readonly subjectTag: string | null;
};

/** One decision for a group of recipients who get identical copies. */
export type Disposition = {
  readonly kind: DispositionKind;
  readonly verdict: Verdict;
  /** The very objects of `envelope.recipients`; over all dispositions each appears exactly once. */
  readonly recipients: readonly Recipient[];
  /** One sentence for log, history and reviewer: value, threshold and where it was set. */
  readonly why: string;
  readonly marks: Marks;
  /** Outbound mail over its alarm threshold: delivered all the same, and logged as an alarm. */
  readonly alarm: boolean;
};

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Wire octets → string, losslessly: valid UTF-8 as itself, any other octet b as the lone surrogate U+DC00+b (the
 * "surrogateescape" of PEP 383). `encodeWire` gives the same octets back.
 */
export function decodeWire(octets: Uint8Array): string {
  let text = '';
  for (let at = 0; at < octets.length; ) {
    const valid = utf8Size(octets, at);
    text += decoder.decode(octets.subarray(at, at + valid));
    at += valid;
    if (at < octets.length) text += String.fromCharCode(0xdc00 + (octets[at++] ?? 0));
  }
  return text;
}

/** The octets of a string that `decodeWire` made; for every other string its UTF-8. */
export function encodeWire(text: string): Uint8Array {
  if (text.isWellFormed()) return encoder.encode(text);
  const octets: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) octets.push(code - 0xdc00);
    else octets.push(...encoder.encode(character));
  }
  return Uint8Array.from(octets);
}

/** How many octets from `from` on are valid UTF-8, all sequences complete. */
function utf8Size(octets: Uint8Array, from: number): number {
  let at = from;
  for (let size = 1; at < octets.length && size > 0; at += size) size = sequenceSize(octets, at);
  return at - from;
}

/** Size in octets of the valid UTF-8 sequence at `at`, or 0 where there is none (table of RFC 3629 §4). */
function sequenceSize(octets: Uint8Array, at: number): number {
  const first = octets[at] ?? 0;
  const second = octets[at + 1] ?? 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const rest = octets.subarray(at + 2, at + size);
  return rest.length === size - 2 && rest.every((octet) => (octet & 0xc0) === 0x80) ? size : 0;
}
