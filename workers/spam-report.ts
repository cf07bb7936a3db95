/**
 * spam-report — what SpamAssassin found, read from the header lines that rules/sluice.cf makes it add.
 *
 * Hides SpamAssassin's templates, folding and rounding. The score is the exact sum of the rules' scores and has to agree
 * with the rounded total beside it; where the two differ, or one is no number, the answer is `unchecked`, never 0.
 */
import { decodeWords } from '../rules/encoded-words.ts';
import { asciiOf, fieldsOf } from '../rules/header-block.ts';
import type { RuleHit, SpamResult, Unchecked } from '../rules/mail.ts';
import { protocolError, quote, type SpamcReply } from './spamc.ts';

/** What to do where spamd does not know rules/sluice.cf. */
export const missingRules =
  'spamd does not load sluice.cf: copy rules/sluice.cf beside its local.cf (Debian: /etc/spamassassin/) and restart spamd';

type Total = {
  readonly kind: 'total';
  readonly spam: boolean;
  readonly score: number;
  readonly threshold: number;
};

const descriptionCharactersMax = 300;

/** The scored result of a HEADERS reply; `truncated` says that spamd saw only the beginning of the message. */
export function parseReport(reply: SpamcReply, truncated: boolean): SpamResult {
  const total = parseTotal(reply.headers.get('spam') ?? '');
  if (total.kind === 'unchecked') return total;
  const tests = fieldOf(reply.body, 'x-spam-sluice-tests');
  if (tests === null) return { kind: 'unchecked', reason: 'failed', detail: missingRules };
  // Something has to follow, or the list of hits may have been cut. (No empty line: ham without a body has none.)
  if (!reply.headers.has('content-length') || tests.last) {
    return protocolError('Header block from spamd is cut short');
  }
  const hits = parseHits(tests.value);
  if (hits === null) return protocolError(`Cannot read the scores of spamd: ${quote(tests.value.trim())}`);
  const sum = round(hits.reduce((points, hit) => points + hit.score, 0));
  if (!agrees(sum, total)) {
    return protocolError(
      `Scores of spamd do not add up: its rules make ${sum}, its total says ${total.score}`,
    );
  }
  // Part of the rules only: a score that could be anything is none (time_limit in Mail::SpamAssassin::Conf(3)).
  if (hits.some(({ name }) => name === 'TIME_LIMIT_EXCEEDED')) {
    return { kind: 'unchecked', reason: 'timeout', detail: 'SpamAssassin ran out of its own time_limit' };
  }
  return scored(describe(hits, fieldOf(reply.body, 'x-spam-sluice-report')?.value ?? ''), truncated);
}

/** The envelope sender as SpamAssassin saw it; null where sluice.cf is not loaded. */
export function parseSenderSeen(reply: SpamcReply): string | null {
  return fieldOf(reply.body, 'x-spam-sluice-sender')?.value.trim() ?? null;
}

/**
 * What Bayes thinks of the message, 0…1, from a line that `add_header all Sluice-Bayes _BAYES_` adds; null where it has no
 * opinion (which SpamAssassin writes as `0.5`, an opinion as `0.5000`), undefined where there is no such line.
 */
export function parseProbability(reply: SpamcReply): number | null | undefined {
  const text = fieldOf(reply.body, 'x-spam-sluice-bayes')?.value.trim();
  if (text === '0.5') return null;
  return text !== undefined && /^[01]\.\d{4}$/.test(text) ? Number(text) : undefined;
}

function scored(hits: readonly RuleHit[], truncated: boolean): SpamResult {
  // The hash over a cut body cannot match: neither DKIM's verdict nor what is built on it says anything.
  const isVoid = (hit: RuleHit) => truncated && /^DKIM_|^DMARC_|_DKIM_/.test(hit.name);
  const tests = hits.filter((hit) => !isVoid(hit));
  const score = round(tests.reduce((points, hit) => points + hit.score, 0));
  const rounded = (hit: RuleHit) => ({ ...hit, score: round(hit.score) });
  return {
    kind: 'scored',
    score,
    tests: tests.map(rounded),
    truncated,
    ignored: hits.filter(isVoid).map(rounded),
  };
}

/** `True ; 12.3 / 5.0`: Perl may print NaN or Inf, which is no score. */
function parseTotal(text: string): Total | Unchecked {
  const match = /^(True|False) ; (-?\d+(?:\.\d+)?) \/ (-?\d+(?:\.\d+)?)$/.exec(text);
  if (match === null) return protocolError(`Cannot read the total of spamd: ${quote(text)}`);
  return { kind: 'total', spam: match[1] === 'True', score: Number(match[2]), threshold: Number(match[3]) };
}

/** `A=1,B=-0.001`, folded anywhere; `none` where no rule hit. Null where anything else stands there. */
function parseHits(field: string): RuleHit[] | null {
  const list = field.replaceAll(/\s+/g, '');
  if (list === 'none') return [];
  const hits: RuleHit[] = [];
  for (const item of list.split(',')) {
    const match = /^(\w+)=([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)$/.exec(item);
    if (match === null) return null;
    hits.push({ name: match[1] ?? '', score: Number(match[2]), description: null });
  }
  return hits.every((hit) => Number.isFinite(hit.score)) ? hits : null;
}

/**
 * The total is rounded to 0.1. Where rounding alone would lift ham to the threshold, SpamAssassin prints 0.1 less than
 * the threshold instead (Util.pm, get_tag_value_for_score).
 */
function agrees(sum: number, total: Total): boolean {
  if (Math.abs(sum - total.score) <= 0.06) return true;
  const lowered = !total.spam && Math.abs(total.score - (total.threshold - 0.1)) < 0.001;
  return lowered && sum > total.score && sum < total.threshold + 0.06;
}

/**
 * Puts the descriptions of `_REPORT_` to the hits: `* 1.0 NAME text`, continued by `*      text`. They are for
 * people only; parts of them come from the message (a URI that hit), so nothing is decided by them.
 */
function describe(hits: readonly RuleHit[], field: string): RuleHit[] {
  const names = new Set(hits.map((hit) => hit.name));
  const text = field.replaceAll(/\s*\n\s*/g, '\n').replaceAll(/\s\*\s{6}\s*/g, ' ');
  const starts = [...text.matchAll(/(?:^|\s)\*\s+-?\d+(?:\.\d+)? (\w+)(?=\s|$)/g)];
  const known = starts.filter((start) => names.has(start[1] ?? ''));
  const descriptions = new Map<string, string>();
  for (const [index, start] of known.entries()) {
    const name = start[1] ?? '';
    const raw = text.slice(start.index + start[0].length, known[index + 1]?.index ?? text.length);
    if (!descriptions.has(name)) descriptions.set(name, tidy(raw));
  }
  return hits.map((hit) => ({ ...hit, description: descriptions.get(hit.name) || null }));
}

function tidy(raw: string): string {
  const text = decodeWords(raw).replaceAll(/\s+/g, ' ').trim();
  return text === 'No description available.' ? '' : text.slice(0, descriptionCharactersMax);
}

/** The first field of that name (lower case); SpamAssassin puts its own in front of the message's. */
function fieldOf(block: Uint8Array, name: string): { value: string; last: boolean } | null {
  for (const field of fieldsOf(block)) {
    if (field.name !== name) continue;
    return { value: asciiOf(block.subarray(field.valueFrom, field.to)), last: field.to === block.length };
  }
  return null;
}

/** To 0.001, as SpamAssassin does with its total; adding 0 turns -0 into 0. */
function round(points: number): number {
  return Math.round(points * 1000) / 1000 + 0;
}
