/**
 * policy-texts — the shipped policies as a text, policies parsed from a few lines, and messages to judge by them.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { explain, policyFor } from '../../rules/decide.ts';
import { formatProblem, type Problem } from '../../rules/document.ts';
import type { MailFacts, Recipient, RuleHit, ScanReport, SpamResult, VirusResult } from '../../rules/mail.ts';
import { parsePolicies, type Policies } from '../../rules/policy.ts';

export const shipped = {
  file: 'shipped.yaml',
  text: readFileSync(new URL('../../rules/policies.yaml', import.meta.url), 'utf8'),
};

/** Policies of a site that are known to be right. */
export function policiesOf(text: string, role: Policies['role'] = 'primary'): Policies {
  const { policies, problems } = parsePolicies(shipped, { file: 'policies.yaml', text }, role);
  assert.deepEqual(problems.map(formatProblem), []);
  assert.ok(policies !== null);
  return policies;
}

/** Every problem of a site's policies as a line. */
export function problemsOf(text: string, role: Policies['role'] = 'primary'): string[] {
  const { policies, problems } = parsePolicies(shipped, { file: 'policies.yaml', text }, role);
  assert.equal(policies === null, problems.length > 0);
  return problems.map((problem: Problem) => formatProblem(problem));
}

/** The fields of one recipient that differ from the shipped policies; `thresholds.` is left out. */
export function differingFields(text: string, recipient: string): Record<string, unknown> {
  const defaults = explain(policyFor('x@nowhere.invalid', policiesOf('')));
  const rows = explain(policyFor(recipient, policiesOf(text)));
  const found = rows.filter(({ value }, at) => JSON.stringify(value) !== JSON.stringify(defaults[at]?.value));
  return Object.fromEntries(found.map(({ field, value }) => [field.replace('thresholds.', ''), value]));
}

export function recipientOf(address: string): Recipient {
  return { address, notify: null, orcpt: null };
}

export function mailTo(
  addresses: readonly string[],
  facts: Partial<MailFacts> & { sender?: string } = {},
): MailFacts {
  const { sender = 'from@sender.example', ...rest } = facts;
  return {
    envelope: {
      sender,
      body: null,
      smtputf8: false,
      ret: null,
      envid: null,
      recipients: addresses.map(recipientOf),
      xforward: {},
    },
    direction: 'inbound',
    from: null,
    subject: null,
    messageId: null,
    waitedMs: 0,
    failedAttempts: 0,
    ...rest,
  };
}

export function hit(name: string, score = 0): RuleHit {
  return { name, score, description: null };
}

export function scored(score: number, tests: readonly RuleHit[] = []): SpamResult {
  return { kind: 'scored', score, tests, truncated: false, ignored: [] };
}

export function reportOf(virus: VirusResult, spam: SpamResult): ScanReport {
  return { virus, spam, virusMs: 1, spamMs: 2 };
}

export const clean: VirusResult = { kind: 'clean' };
