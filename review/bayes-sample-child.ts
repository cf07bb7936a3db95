/**
 * bayes-sample-child — a process that reads the sample as the owner of the state folder, for a run that is root's.
 *
 * Reads one JSON value on standard input: what is wanted. Writes the ids as JSON, or the messages as parts, to standard output, and
 * ends with 0; else a line on standard error says why not. Reads no configuration, opens nothing before it is the owner.
 */
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { pickSample, readSample, type SampleWish } from '../filter/sample-source.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import { packParts } from '../workers/bayes-parts.ts';
import { messageOf } from '../workers/bayes-step.ts';
import { silentLog } from '../workers/log.ts';

/** What the parent asks: `ids` null: which messages there are; else these messages. */
export type SampleAsk = { readonly wish: SampleWish; readonly ids: readonly string[] | null };

async function answer(): Promise<void> {
  const { wish, ids } = JSON.parse(await text(process.stdin)) as SampleAsk;
  becomeOwner(wish.state, silentLog);
  if (ids === null) {
    process.stdout.end(JSON.stringify(await pickSample(wish, { log: silentLog })));
    return;
  }
  await pipeline(packParts(readSample(wish.state, ids, silentLog)), process.stdout);
}

if (process.argv[1] === import.meta.filename)
  try {
    await answer();
  } catch (cause) {
    process.stderr.write(`${messageOf(cause)}\n`);
    process.exitCode = 1;
  }
