/**
 * each-item — a verb for one item or for many, one after the other, and what is told of each.
 *
 * Many are named one by one, or by a query: that one first only says how many it finds, and acts when it is given this
 * number. An item for which it does not work keeps nobody from the next; a database that is down ends it, and so does
 * Ctrl-C, behind the item under way.
 */
import { recipientStates } from '../filter/quarantine.ts';
import { PermFail, TempFail } from '../workers/fail.ts';
import { atDesk } from './at-desk.ts';
import { listenForInterruption } from './interruption.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { queryOf } from './quarantine-command.ts';
import { printable } from './table.ts';
import { type Actor, type Desk, searchAll } from './verbs.ts';

/** One line of an answer: which item, for whom, what became of it. */
type Line = { readonly recipient?: string; readonly kind: string; readonly detail: string };
/** What became of one item; its exit code when it is the only one. */
export type Done = { readonly lines: readonly Line[]; readonly code: number };

/** Does it for each item that the words or --all-matching name, and tells of each. */
export async function onEach(
  invocation: Invocation,
  what: string,
  words: readonly string[],
  act: (desk: Desk, actor: Actor, quarantineId: string, signal: AbortSignal) => Promise<Done>,
): Promise<number> {
  const matching = invocation.options['all-matching'];
  if ((matching === undefined) === (words.length === 0))
    throw new UsageError(`quarantine ${what}: name items by ID, or all of a query by --all-matching QUERY`);
  const query = matching === undefined ? null : queryOf(matching, recipientStates);
  return atDesk(invocation, async (desk, actor, { config }) => {
    invocation.status.say('looking for what matches');
    const ids =
      query === null ? words : await confirmed(invocation, what, await searchAll(actor, desk, query));
    if (ids === null) return 1;
    const deadlineMs = config.limits.deadlineSeconds * 1000;
    const run = { what, ids, isOnly: query === null && ids.length === 1 };
    return tell(invocation, run, (id, breakOff) =>
      act(desk, actor, id, AbortSignal.any([AbortSignal.timeout(deadlineMs), breakOff])),
    );
  });
}

/** The ids, where --confirm names their number; else says how many there are, and nothing is done. */
async function confirmed(
  { options, print, printJson }: Invocation,
  what: string,
  ids: readonly string[],
): Promise<readonly string[] | null> {
  if (options.confirm === String(ids.length) && ids.length > 0) return ids;
  if (options.json === true) printJson({ matching: ids.length, confirmed: false });
  else if (ids.length === 0) print('Nothing is found.');
  else
    print(
      `${ids.length} items match${options.confirm === undefined ? '' : `, not ${printable(options.confirm)}`}; ` +
        `nothing was done. Look at them with "quarantine search"; to ${what} them add --confirm ${ids.length}`,
    );
  return null;
}

/** What is to be done, with which items; `isOnly`: one that was named, so that its failure is the command's. */
type Run = { readonly what: string; readonly ids: readonly string[]; readonly isOnly: boolean };

/** One after the other; the exit code is the gravest: 69, 75, 1, 0; where it was interrupted, the signal's. */
async function tell(
  { options, status, print, printJson }: Invocation,
  { what, ids, isOnly }: Run,
  act: (quarantineId: string, breakOff: AbortSignal) => Promise<Done>,
): Promise<number> {
  const all: (Line & { quarantineId: string })[] = [];
  const codes = new Set<number>();
  let done = 0;
  using interruption = listenForInterruption(() => {
    status.clear();
    complain(`${what}: stopping after the message under way; once more breaks it off`);
  });
  for (const quarantineId of ids) {
    if (interruption.exitCode() === null) status.say(`${what}: ${done + 1} of ${ids.length}`);
    const doing = () => act(quarantineId, interruption.breakOff);
    const { lines, code } = isOnly ? await doing() : await tried(doing);
    done++;
    codes.add(code);
    all.push(...lines.map((line) => ({ quarantineId, ...line })));
    if (options.json !== true) for (const line of lines) print(lineText(isOnly ? null : quarantineId, line));
    // The next one would meet the same.
    if (code === down || interruption.exitCode() !== null) break;
  }
  if (options.json === true) printJson(all);
  const stopped = done < ids.length ? interruption.exitCode() : null;
  status.clear();
  if (stopped !== null) complain(`${what}: stopped after ${done} of ${ids.length}`);
  return stopped ?? [69, 75, 1].find((code) => codes.has(code) || (code === 75 && codes.has(down))) ?? 0;
}

function complain(text: string): void {
  process.stderr.write(`sluice: ${text}\n`);
}

function lineText(quarantineId: string | null, { recipient, kind, detail }: Line): string {
  const words = [quarantineId, recipient ?? null, kind, detail];
  return words.flatMap((word) => (word === null ? [] : [printable(word)])).join(': ');
}

const down = -1;

async function tried(act: () => Promise<Done>): Promise<Done> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof PermFail) && !(error instanceof TempFail)) throw error;
    const code = error instanceof PermFail ? 69 : down;
    return { lines: [{ kind: 'failed', detail: error.message }], code };
  }
}
