/**
 * outcome — what became of one recipient at the return smtpd, and how a reply becomes that.
 *
 * Pure. The judgement itself is rule R6 in rules/replies.ts; here it is turned into a value that the pipeline answers
 * and logs from. A reply that is not understood never gets here: smtp-reply.ts throws.
 */
import { judgeReply, type OutcomeName, type PeerReply, type Stage } from '../rules/replies.ts';

/** What became of one recipient. `reply` is what the return smtpd said, where it said something about it. */
export type Outcome =
  | { readonly kind: 'accepted'; readonly reply: PeerReply; readonly queueIdOut: string | null }
  | { readonly kind: 'refused'; readonly reply: PeerReply }
  | TempFailed;

export type TempFailed = {
  readonly kind: 'tempfail';
  readonly outcome: OutcomeName;
  readonly reply: PeerReply | null;
  /** For the log: what happened, in one line. */
  readonly detail: string;
};

/** What a reply means where it decides (R6); a refusal of anything but this message is a tempfail. */
export function outcomeOf(stage: Stage, reply: PeerReply): Outcome {
  const detail = `return smtpd said ${quoteReply(reply)} to ${stage.toUpperCase()}`;
  const judgement = judgeReply(stage, reply);
  switch (judgement) {
    case 'accepted':
      return { kind: 'accepted', reply, queueIdOut: queueIdIn(reply) };
    case 'refused':
      return { kind: 'refused', reply };
    case 'temporary':
      return tempFailed('returnUnavailable', reply, detail);
    case 'misconfigured':
      return tempFailed('returnMisconfigured', reply, detail);
    default:
      return judgement satisfies never;
  }
}

function queueIdIn(reply: PeerReply): string | null {
  return /queued as ([A-Za-z0-9]{1,30})/.exec(reply.text)?.[1] ?? null;
}

/** The outcome of a recipient that was postponed and can't be tried any more. */
export function deferredBy(reply: PeerReply): TempFailed {
  return tempFailed('returnUnavailable', reply, `return smtpd said ${quoteReply(reply)} to RCPT`);
}

export function tempFailed(outcome: OutcomeName, reply: PeerReply | null, detail: string): TempFailed {
  return { kind: 'tempfail', outcome, reply, detail };
}

/** `"452 4.3.1 Insufficient system storage"`: for log lines. */
export function quoteReply(reply: PeerReply): string {
  const codes = reply.enhanced === null ? `${reply.code}` : `${reply.code} ${reply.enhanced}`;
  return `"${codes} ${reply.text.replaceAll('\n', ' / ').slice(0, 200)}"`;
}
