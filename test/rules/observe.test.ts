/**
 * observe — in `mode: observe` every copy is delivered, with the headers that tell what would have been done.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decide } from '../../rules/decide.ts';
import { formatMarks } from '../../rules/headers.ts';
import type { ScanReport } from '../../rules/mail.ts';
import { observed } from '../../rules/observe.ts';
import { clean, mailTo, policiesOf, reportOf, scored } from './policy-texts.ts';

const policies = policiesOf(
  'recipients: { drop.example: { thresholds: { discard: 20 }, virus: discard }, wait.example: { onUnchecked: { spam: defer } } }',
);
const infected = (name: string): ScanReport => ({
  ...reportOf(clean, scored(0)),
  virus: { kind: 'infected', name },
  spam: { kind: 'unchecked', reason: 'cancelled', detail: '' },
});

for (const [label, report, recipient, would, header] of [
  ['clean', reportOf(clean, scored(0)), 'a@example.com', 'deliver clean', /^X-Virus-Scanned: yes/],
  ['flagged', reportOf(clean, scored(7)), 'a@example.com', 'deliver spam', /^X-Spam-Flag: YES/],
  [
    'held',
    reportOf(clean, scored(12)),
    'a@example.com',
    'quarantine spam',
    /^X-Spam-Flag: YES\r\nX-Spam-Score: 12\.0\r\n/,
  ],
  [
    'dropped',
    reportOf(clean, scored(25)),
    'a@drop.example',
    'discard spam',
    /^X-Spam-Flag: YES\r\nX-Spam-Score: 25\.0\r\n/,
  ],
  [
    'a virus',
    infected('Eicar-Test'),
    'a@example.com',
    'quarantine virus',
    /X-Virus-Status: Infected \(Eicar-Test\)\r\n$/,
  ],
  [
    'a virus to drop',
    infected('A'),
    'a@drop.example',
    'discard virus',
    /X-Virus-Status: Infected \(A\)\r\n$/,
  ],
  [
    'a virus with a name that ends the line',
    infected('X)\r\nX-Spam-Flag: NO'),
    'a@example.com',
    'quarantine virus',
    /X-Virus-Status: Infected \(X___X-Spam-Flag:_NO\)\r\n$/,
  ],
  [
    'spam unchecked',
    { ...reportOf(clean, scored(0)), spam: { kind: 'unchecked', reason: 'busy', detail: '' } },
    'a@wait.example',
    'defer unchecked',
    /^X-Spam-Status: unchecked \(busy\)\r\n/,
  ],
  [
    'virus unchecked',
    { ...reportOf(clean, scored(0)), virus: { kind: 'unchecked', reason: 'timeout', detail: '' } },
    'a@example.com',
    'defer unchecked',
    /X-Virus-Scanned: no \(timeout\)\r\n$/,
  ],
] as const satisfies readonly (readonly [string, ScanReport, string, string, RegExp])[]) {
  test(`observed() delivers what is ${label}, marked`, () => {
    const decided = decide(mailTo([recipient]), report, policies);
    assert.deepEqual(
      decided.map(({ kind, verdict }) => `${kind} ${verdict}`),
      [would],
    );
    const [copy, ...others] = observed(decided, report);
    assert.ok(copy !== undefined && others.length === 0);
    const [{ kind: _, marks: __, ...same } = copy] = decided;
    const { kind, marks, ...rest } = copy;
    assert.deepEqual([kind, rest], ['deliver', same]);
    const lines = formatMarks(marks, { scanner: 'Sluice 1', hostname: 'mx.example' });
    assert.match(Buffer.from(lines).toString(), header);
  });
}

test('observed() changes nothing of what is delivered anyway', () => {
  const report = reportOf(clean, scored(7));
  const decided = decide(mailTo(['a@example.com']), report, policies);
  assert.deepEqual(observed(decided, report), decided);
});
