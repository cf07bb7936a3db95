/**
 * decide — from facts to one disposition per recipient: the only place where Sluice judges a message.
 *
 * Pure and total: same arguments, same answer; every recipient exactly once; it never throws. Each scanner's answer is
 * one side; infected ends the matter, else the graver side wins: defer > discard > quarantine > deliver. Recipients whose
 * copies would be identical share one disposition. No library and no clock: the browser uses this file too.
 */
import type {
  Disposition,
  DispositionKind,
  LastingReason,
  MailFacts,
  Marks,
  Reason,
  Recipient,
  ScanReport,
  Unchecked,
  Verdict,
  VirusResult,
} from './mail.ts';
import { outboundPolicyFor, policyForKeys, policyKeysOf } from './policy-for.ts';
import type { EffectivePolicy, Policies, Sourced, ThresholdName } from './policy-for.ts';
import { printable, reachedThreshold, rounded, scoredOf } from './score.ts';
import type { Scored, ScoredOrNot } from './score.ts';
import { virusAsSpamPoints } from './virus-name.ts';

export { explain, outboundPolicyFor, policyFor, thresholdsOf, virusAsSpamPatterns } from './policy-for.ts';
export type { EffectivePolicy, ExplainRow, HeldUnder, Policies, Sourced } from './policy-for.ts';

/** A judgement of one recipient's copy, before recipients with equal ones are put together. */
type Judgement = Omit<Disposition, 'recipients'>;
type Group = { readonly judgements: Judgement[]; readonly recipients: Recipient[] };

/** A message, what is known of it, and the policy under which it is judged. */
type Judged = { readonly mail: MailFacts; readonly report: ScanReport; readonly policy: EffectivePolicy };

/** What one scanner's answer asks for. */
type Side = { readonly kind: DispositionKind; readonly verdict: Verdict; readonly why: string };

/** Decides a message: who gets it, for whom it is held, dropped or deferred, and why. */
export function decide(mail: MailFacts, report: ScanReport, policies: Policies): readonly Disposition[] {
  // Recipients under the same keys have the same policy: 2,000 of one domain are judged once.
  const groupsByPolicy = new Map<string, Group>();
  const groups = new Map<string, Group>();
  for (const recipient of mail.envelope.recipients) {
    const keys = mail.direction === 'outbound' ? [] : policyKeysOf(recipient.address, policies);
    const policyKey = keys.join('\n');
    let group = groupsByPolicy.get(policyKey);
    if (group === undefined) {
      const judgement = judge(mail, report, keys, policies);
      const key = groupKeyOf(judgement);
      group = groups.get(key) ?? { judgements: [], recipients: [] };
      group.judgements.push(judgement);
      groups.set(key, group);
      groupsByPolicy.set(policyKey, group);
    }
    group.recipients.push(recipient);
  }
  return [...groups.values()].map(({ judgements, recipients }) => ({ ...joined(judgements), recipients }));
}

function judge(mail: MailFacts, report: ScanReport, keys: readonly string[], policies: Policies): Judgement {
  return mail.direction === 'outbound'
    ? judgeOutbound(mail, report, outboundPolicyFor(mail.envelope.sender, policies))
    : judgeInbound(mail, report, policyForKeys(keys, policies));
}

/**
 * Whether this report counts as an attempt on which a living scanner failed (`deferAtMost.attempts`): it answered
 * the connect and then gave no verdict. A scanner that is away, busy or no longer asked did not fail on this message.
 */
export function isFailedAttempt(report: ScanReport): boolean {
  return [report.virus, report.spam].some(
    (result) => result.kind === 'unchecked' && isOwnFailure(result.reason),
  );
}

function judgeInbound(mail: MailFacts, report: ScanReport, policy: EffectivePolicy): Judgement {
  const virus = virusSide({ mail, report, policy }, policy.virus);
  const scored = scoredOf(mail, report, policy);
  const spam =
    scored.kind === 'unchecked'
      ? uncheckedSide({ mail, report, policy }, 'spam', scored)
      : spamSide(scored.of, policy);
  const side = virus.verdict === 'virus' ? virus : graver(spam, virus);
  return { ...side, marks: marksOf(side, report, scored, policy), alarm: false };
}

/** What the site itself sends is never held or deferred for spam: the score only raises an alarm. */
function judgeOutbound(mail: MailFacts, report: ScanReport, policy: EffectivePolicy): Judgement {
  const virus = virusSide({ mail, report, policy }, policy['outbound.virus']);
  const scored = scoredOf(mail, report, policy);
  const alarm = policy['outbound.thresholds.alarm'];
  const score = scored.kind === 'scored' ? (scored.of?.score ?? null) : null;
  const verdict = scored.kind === 'unchecked' ? 'unchecked' : 'clean';
  const isAlarm = score !== null && alarm.value !== null && score >= alarm.value;
  const spam: Side = isAlarm
    ? { kind: 'deliver', verdict: 'spam', why: `score ${score} >= alarm ${alarm.value} (${alarm.origin})` }
    : { kind: 'deliver', verdict, why: score === null ? 'no spam score' : `score ${score} is below alarm` };
  const side = virus.verdict === 'virus' ? virus : graver(spam, virus);
  const marks: Marks = {
    spam: 'none',
    score,
    required: null,
    tests: [],
    spamReason: null,
    virus: virusMarkOf(report.virus, virus),
    subjectTag: null,
  };
  return { ...side, marks, alarm: isAlarm };
}

function virusSide(judged: Judged, held: Sourced<'quarantine' | 'discard'>): Side {
  const { virus } = judged.report;
  switch (virus.kind) {
    case 'infected': {
      const points = virusAsSpamPoints(virus.name, judged.policy.virusAsSpam.value);
      if (points !== null) return { kind: 'deliver', verdict: 'clean', why: '' };
      const why = `virus ${printable(virus.name)}: ${held.value} (${held.origin})`;
      return { kind: held.value, verdict: 'virus', why };
    }
    case 'unchecked':
      return uncheckedSide(judged, 'virus', virus);
    case 'clean':
    case 'off':
      return { kind: 'deliver', verdict: 'clean', why: '' };
    default:
      return assertNever(virus);
  }
}

/**
 * What the policy does with what a scanner could not tell. A reason that never clears up by waiting has its own key,
 * the same for either scanner: what poisons spamd has not been seen by it any more than what poisons clamd.
 */
function uncheckedSide(judged: Judged, scanner: 'virus' | 'spam', { reason }: Unchecked): Side {
  const field = isLasting(reason) ? (`onUnchecked.${reason}` as const) : (`onUnchecked.${scanner}` as const);
  const { value, origin } = judged.policy[field];
  const what = `${scanner} unchecked (${reason})`;
  const overdue = value === 'defer' ? overdueText(judged, reason) : null;
  // R13: nothing waits for ever. Unscanned for spam is a nuisance, unscanned for viruses a danger.
  const kind = overdue === null ? value : scanner === 'spam' ? 'deliver' : 'quarantine';
  return {
    kind,
    verdict: 'unchecked',
    why: `${what}: ${overdue === null ? '' : `${overdue}: `}${kind} (${origin})`,
  };
}

/** Why a message has been deferred long enough for this scanner, or null where it has not. A scanner that is away has only the hours. */
function overdueText({ mail, policy }: Judged, reason: Reason): string | null {
  const attempts = policy['deferAtMost.attempts'];
  const hours = policy['deferAtMost.hours'];
  const failed = mail.failedAttempts + 1;
  if (isOwnFailure(reason) && attempts.value !== null && failed >= attempts.value) {
    return `failed ${failed} times >= deferAtMost.attempts ${attempts.value} (${attempts.origin})`;
  }
  if (!(mail.waitedMs >= hours.value * 3_600_000)) return null;
  const waited = rounded(mail.waitedMs / 3_600_000);
  return `waited ${waited} h >= deferAtMost.hours ${hours.value} (${hours.origin})`;
}

/** Reasons that speak of this message: the scanner lived, and gave no verdict. */
function isOwnFailure(reason: Reason): boolean {
  return reason === 'timeout' || reason === 'protocol' || reason === 'failed';
}

function isLasting(reason: Reason): reason is LastingReason {
  return reason === 'encrypted' || reason === 'overLimit' || reason === 'ambiguous' || reason === 'poison';
}

function spamSide(scored: Scored | null, policy: EffectivePolicy): Side {
  if (scored === null) return { kind: 'deliver', verdict: 'clean', why: 'spam not scanned' };
  const reached = reachedThreshold(scored, policy);
  const notes = scored.notes.length === 0 ? '' : `; ${scored.notes.join('; ')}`;
  const why = `score ${scored.score} ${reached === null ? 'is below every threshold' : reachedText(reached, policy)}${notes}`;
  switch (reached) {
    case 'discard':
      return { kind: 'discard', verdict: 'spam', why };
    case 'quarantine':
      return { kind: 'quarantine', verdict: 'spam', why };
    case 'spam':
      return { kind: 'deliver', verdict: 'spam', why };
    case 'tag':
    case null:
      return { kind: 'deliver', verdict: 'clean', why };
    default:
      return assertNever(reached);
  }
}

function reachedText(name: ThresholdName, policy: EffectivePolicy): string {
  const { value, origin } = policy[`thresholds.${name}`];
  return `>= ${name} ${value} (${origin})`;
}

/** The graver of two sides; between equals the first, unless only the second has something to say. */
function graver(spam: Side, virus: Side): Side {
  const grave: readonly DispositionKind[] = ['deliver', 'quarantine', 'discard', 'defer'];
  const difference = grave.indexOf(virus.kind) - grave.indexOf(spam.kind);
  const why = [spam.why, virus.why].filter((text) => text !== '').join('; ');
  const virusDecides = difference > 0 || (difference === 0 && spam.verdict === 'clean');
  return { ...(virusDecides ? virus : spam), why };
}

function marksOf(side: Side, report: ScanReport, scored: ScoredOrNot, policy: EffectivePolicy): Marks {
  const virus = virusMarkOf(report.virus, side);
  const bare = { score: null, required: null, tests: [], spamReason: null, virus, subjectTag: null };
  if (scored.kind === 'unchecked') return { ...bare, spam: 'unchecked', spamReason: scored.reason };
  if (scored.of === null) return { ...bare, spam: 'none' };
  const { score, tests } = scored.of;
  const reached = reachedThreshold(scored.of, policy);
  if (reached === null) return { ...bare, spam: 'none', score };
  const required = scored.of.sender.allowed ? null : policy['thresholds.spam'].value;
  if (reached === 'tag') return { ...bare, spam: 'score', score, required, tests };
  // A held message that is released was judged by a person: its subject says nothing of spam.
  const subjectTag = side.kind === 'deliver' ? policy.subjectTag.value : null;
  return { ...bare, spam: 'flag', score, required, tests, subjectTag };
}

/** A virus that is released by force is neither clean nor unscanned: no line. */
function virusMarkOf(virus: VirusResult, side: Side): Marks['virus'] {
  if (virus.kind === 'unchecked') return virus.reason;
  return virus.kind === 'off' || side.verdict === 'virus' ? 'none' : 'clean';
}

/** What makes two copies differ. Where no score line is written, the score doesn't. */
function groupKeyOf({ kind, verdict, marks, alarm }: Judgement): string {
  const score = marks.spam === 'none' ? null : marks.score;
  const { spam, required, spamReason, virus, subjectTag } = marks;
  return JSON.stringify([kind, verdict, alarm, spam, score, required, spamReason, virus, subjectTag]);
}

/** One judgement for a group: every distinct reason, in an order that doesn't depend on the recipients', and the highest score. */
function joined(judgements: readonly Judgement[]): Judgement {
  const [first] = judgements;
  if (first === undefined) throw new TypeError('Cannot join judgements: none given');
  const whys = [...new Set(judgements.map((judgement) => judgement.why))].toSorted();
  const shown = whys.slice(0, 3).join(' | ');
  const why = whys.length > 3 ? `${shown} | and ${whys.length - 3} other reasons` : shown;
  const scores = judgements.map(({ marks }) => marks.score).filter((score) => score !== null);
  const score = scores.reduce((highest, next) => Math.max(highest, next), Number.NEGATIVE_INFINITY);
  return { ...first, why, marks: { ...first.marks, score: scores.length === 0 ? null : score } };
}

function assertNever(value: never): never {
  throw new TypeError(`Cannot decide: unknown ${JSON.stringify(value)}`);
}
