/**
 * replies — the one table from outcome to SMTP reply; the only reply text that Sluice writes itself.
 *
 * The stranger gets a line from here, the log gets the cause. The class of the enhanced code is derived from the
 * code, so that the two can't disagree (RFC 3463 §2). `judgeReply` is rule R6 of RELIABILITY.md: which refusals of the
 * return smtpd speak of this message and may be relayed, and which are a mistake in a configuration.
 */

/** An SMTP reply as it goes on the wire: `code` 3 digits, `enhanced` like '4.3.0' (RFC 3463), `text` one line of ASCII. */
export type Reply = { readonly code: number; readonly enhanced: string; readonly text: string };

/** A reply received from a peer; `enhanced` is null where the peer gave none; `text` without codes, lines joined by '\n'. */
export type PeerReply = { readonly code: number; readonly enhanced: string | null; readonly text: string };

const outcomes = {
  ok: [250, '0.0', 'Ok'],
  delivered: [250, '0.0', 'Ok: handed to the return smtpd'],
  held: [250, '0.0', 'Ok: held in quarantine'],
  discarded: [250, '0.0', 'Ok: discarded by policy'],
  repeated: [250, '0.0', 'Ok: already handed off'],
  scanUnavailable: [451, '3.0', 'Content scan unavailable, try again later'],
  deadline: [451, '4.2', 'Time is up before the hand-off, try again later'],
  returnUnavailable: [451, '4.1', 'Return smtpd unavailable, try again later'],
  returnMisconfigured: [451, '3.5', 'Return smtpd refuses the content filter, see the log of Sluice'],
  outcomeUnknown: [451, '4.2', 'Outcome of the hand-off unknown, try again later'],
  quarantineUnavailable: [451, '3.0', 'Quarantine unavailable, try again later'],
  ledgerUnavailable: [451, '3.0', 'Ledger unavailable, try again later'],
  inFlight: [451, '5.0', 'The same hand-off is in flight, try again later'],
  loop: [451, '4.6', 'Content filter loop: the return smtpd must not filter, see the log of Sluice'],
  spoolUnavailable: [452, '3.1', 'Insufficient storage, try again later'],
  overloaded: [451, '3.2', 'Too many messages in flight, try again later'],
  shuttingDown: [421, '3.2', 'Service shutting down'],
  internal: [451, '3.0', 'Internal error, try again later'],
  tooLarge: [552, '3.4', 'Message size exceeds fixed limit'],
} as const satisfies Record<string, readonly [number, string, string]>;

/** Name of an outcome that Sluice answers in its own words. */
export type OutcomeName = keyof typeof outcomes;

/** The outcomes that are answered 4xx: the client tries again. */
export const temporaryOutcomes: readonly OutcomeName[] = (Object.keys(outcomes) as OutcomeName[]).filter(
  (outcome) => firstDigit(replyFor(outcome)) === 4,
);

/** The reply for an outcome; `detail` (for example "queued as 4c7Yx1") is appended after a colon, made safe. */
export function replyFor(outcome: OutcomeName, detail?: string): Reply {
  const [code, subject, text] = outcomes[outcome];
  const line = detail === undefined ? text : `${text}: ${detail}`;
  return { code, enhanced: `${Math.floor(code / 100)}.${subject}`, text: safeText(line) };
}

/** A peer's reply in our own form: one line, printable ASCII, its enhanced code or a general one of the code's class. */
export function relayReply(peer: PeerReply): Reply {
  const [enhanced = `${firstDigit(peer)}.0.0`] = /^[245]\.\d{1,3}\.\d{1,3}$/.exec(peer.enhanced ?? '') ?? [];
  if (!enhanced.startsWith(`${firstDigit(peer)}.`)) return relayReply({ ...peer, enhanced: null });
  return { code: peer.code, enhanced, text: safeText(peer.text) };
}

/** Stage of the conversation with the return smtpd in which a reply came. */
export type Stage = 'greeting' | 'ehlo' | 'xforward' | 'mail' | 'rcpt' | 'data' | 'dot';

export type Judgement = 'accepted' | 'refused' | 'temporary' | 'misconfigured';

/**
 * Rule R6: `refused` only where a 5xx speaks of this message or recipient: 55x to RCPT with 5.1.x, 5.2.x or 5.6.7;
 * 552 5.3.4; 55x to the final dot. Every other 5xx is a mistake in a configuration and must not bounce mail.
 */
export function judgeReply(stage: Stage, reply: PeerReply): Judgement {
  // Only DATA is answered by 354: a 3xx after the dot has accepted nothing, and after a 2xx nobody waits for a message.
  if (firstDigit(reply) === (stage === 'data' ? 3 : 2)) return 'accepted';
  if (firstDigit(reply) === 4) return 'temporary';
  if (!(reply.code >= 550 && reply.code <= 559) || reply.code === 555) return 'misconfigured';
  const enhanced = reply.enhanced ?? '';
  const aboutTransaction = stage === 'mail' || stage === 'rcpt' || stage === 'data' || stage === 'dot';
  if (reply.code === 552 && enhanced === '5.3.4' && aboutTransaction) return 'refused';
  if (stage === 'dot') return 'refused';
  if (stage === 'rcpt' && /^5\.(?:1\.\d+|2\.\d+|6\.7)$/.test(enhanced)) return 'refused';
  return 'misconfigured';
}

function firstDigit({ code }: { readonly code: number }): number {
  return Math.floor(code / 100);
}

/** One line, printable ASCII, at most 400 octets: what may stand in a reply line (RFC 5321 §4.5.3.1.5 allows 512). */
function safeText(text: string): string {
  return text
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .slice(0, 400)
    .trim();
}
