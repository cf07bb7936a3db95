/**
 * bayes-answer-command — `sluice bayes answer`: one question about held mail or lessons, on standard input; its answer.
 *
 * Started by the parts of `sluice bayes` that run as root, never by people; becomes the owner of the state folder first.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { openHistory } from '../filter/history.ts';
import { serveAsk } from '../workers/bayes-wire.ts';
import { silentLog } from '../workers/log.ts';
import { atDesk } from './at-desk.ts';
import { mailAnswerers } from './bayes-mail-answers.ts';
import type { Invocation } from './invocation.ts';
import { createJournal } from './journal.ts';

/** Answers what is asked on standard input; exit 0 answered, 1 refused, 69 failed. */
export function answerMail(invocation: Invocation): Promise<number> {
  return atDesk(invocation, async (desk, _actor, { config }) => {
    await using opened = new AsyncDisposableStack();
    const history = opened.adopt(
      await openHistory({ file: join(config.state, 'history.db'), log: silentLog, groupMs: 0 }),
      (one) => one.close(),
    );
    const answerers = mailAnswerers({
      ...desk,
      role: config.role,
      history,
      journal: createJournal(config.state),
      host: hostname(),
      now: Date.now,
      deadlineMs: config.limits.deadlineSeconds * 1000,
    });
    return await serveAsk(process.stdin as AsyncIterable<Buffer>, process.stdout, answerers);
  });
}
