/**
 * nodes-desk — the mail sides of two nodes in this process: real quarantines, audits, histories and journals, and the wire.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { TestContext } from 'node:test';
import { type History, openHistory } from '../../filter/history.ts';
import { openQuarantine, type Quarantine } from '../../filter/quarantine.ts';
import { type Audit, openAudit } from '../../review/audit.ts';
import type { Call } from '../../workers/bayes-ssh.ts';
import { type MailDesk, mailAnswerers } from '../../review/bayes-mail-answers.ts';
import { createJournal } from '../../review/journal.ts';
import { outcomeOf, refused } from '../../workers/bayes-step.ts';
import { type Answerers, type Ask, packAsk, readAnswer, serveAsk } from '../../workers/bayes-wire.ts';
import { silentLog } from '../../workers/log.ts';
import type { LearnResult } from '../../workers/spamd.ts';
import { bytesOf } from '../filter/quarantine-rig.ts';
import { temporaryFolder } from '../folder.ts';

export type Node = MailDesk & {
  readonly quarantine: Quarantine;
  readonly history: History;
  readonly audit: Audit;
  readonly state: string;
  /** What the scanner was taught, with its class. */
  readonly lessons: string[];
  /** What the scanner says to a lesson. */
  answer: LearnResult;
  readonly call: Call;
};

/** A node whose clock `now` is; its name is its role. */
export async function openNode(
  t: TestContext,
  role: MailDesk['role'],
  now: () => number = Date.now,
): Promise<Node> {
  const state = join(temporaryFolder(t), role);
  mkdirSync(state, { mode: 0o700 });
  const log = silentLog;
  const paths = { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
  const quarantine = await openQuarantine({ ...paths, log, now });
  const audit = await openAudit({ file: join(state, 'review.db'), log, now });
  const history = await openHistory({ file: join(state, 'history.db'), log, groupMs: 0 });
  t.after(async () => {
    for (const each of [quarantine, audit, history]) await each.close();
  });
  const lessons: string[] = [];
  const node = {
    role,
    state,
    quarantine,
    audit,
    history,
    log,
    now,
    lessons,
    deadlineMs: 10_000,
    host: `${role}.example`,
    journal: createJournal(state, now),
    answer: { kind: 'learned' } as LearnResult,
    async learn(message: () => AsyncIterable<Uint8Array>, _size: number, as: string) {
      const octets = await bytesOf(message());
      if (node.answer.kind === 'learned') lessons.push(`${as} ${octets.toString('latin1')}`);
      return node.answer;
    },
    call: (ask: Ask) => overWire(mailAnswerers(node), ask),
  };
  return node;
}

/** One question as octets to the answerers of a node, and the answer back. */
export function overWire(answerers: Answerers, ask: Ask): ReturnType<Call> {
  return outcomeOf(
    () => undefined,
    async () => {
      const output = new PassThrough();
      const serving = serveAsk(packAsk(ask), output, answerers).then(() => output.end());
      const answer = await readAnswer(output as AsyncIterable<Buffer>, () =>
        refused('answer', 'nothing came', ''),
      );
      if (answer.payload === undefined) await serving;
      return answer;
    },
  );
}

/** The call, whose n-th question (from 0) is answered and the answer lost. */
export function losing(call: Call, which: number): Call {
  let asked = 0;
  return async (ask) => {
    const outcome = await call(ask);
    if (asked++ !== which) return outcome;
    if (!('kind' in outcome) && outcome.payload !== undefined) for await (const _ of outcome.payload) break; // as a connection that breaks off
    return { kind: 'failed', step: 'answer', message: 'the answer got lost', remedy: '' };
  };
}
