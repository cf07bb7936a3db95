/**
 * each-item — a verb for one item or for many, one after the other, and what is told of each.
 *
 * Many are named one by one, or by a query: that one first only says how many it finds, and acts when it is given this
 * number; where it says `to:`, other recipients' copies of the same messages are left alone. An item for which it does not work keeps nobody from the next; a database that is down ends it, and so does
 * Ctrl-C, behind the item under way.
 */
import { recipientStates } from '../filter/quarantine.ts';
import { PermFail, TempFail } from '../workers/fail.ts';
import { atDesk } from './at-desk.ts';
import { listenForInterruption } from './interruption.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { queryOf } from './quarantine-command.ts';
import { printable } from './table.ts';
import { type Actor, type Desk, type Match, searchAll } from './verbs.ts';

/** One line of an answer: which item, for whom, what became of it. */
type Line = { readonly recipient?: string; readonly kind: string; readonly detail: string };
/** What became of one item; its exit code when it is the only one. */
export type Done = { readonly lines: readonly Line[]; readonly code: number };

/** What is done: its name, and whether to copies, each recipient's alone, or to messages. */
export type Deed = { readonly what: string; readonly unit: 'copy' | 'message' };

/** One item, and whose copies of it; none named: everyone's. */
export type Aim = { readonly quarantineId: string; readonly recipients: readonly string[] };

/** Does it for each item that the words or --all-matching name, and tells of each. */
export async function onEach(
  invocation: Invocation,
  deed: Deed,
  words: readonly string[],
  act: (desk: Desk, actor: Actor, aim: Aim, signal: AbortSignal) => Promise<Done>,
): Promise<number> {
  const { 'all-matching': matching, recipient: recipients = [] } = invocation.options;
  const { what } = deed;
  if ((matching === undefined) === (words.length === 0))
    throw new UsageError(`quarantine ${what}: name items by ID, or all of a query by --all-matching QUERY`);
  const query = matching === undefined ? null : queryOf(matching, recipientStates);
  return atDesk(invocation, async (desk, actor, { config }) => {
    invocation.status.say('looking for what matches');
    const aims =
      query === null
        ? words.map((quarantineId) => ({ quarantineId, recipients }))
        : confirmed(invocation, deed, await searchAll(actor, desk, query));
    if (aims === null) return 1;
    const deadlineMs = config.limits.deadlineSeconds * 1000;
    const run = { what, aims, isOnly: query === null && aims.length === 1 };
    return tell(invocation, run, (aim, breakOff) =>
      act(desk, actor, aim, AbortSignal.any([AbortSignal.timeout(deadlineMs), breakOff])),
    );
  });
}

/** What is to be done to which, where --confirm names the number; else says how many there are, and nothing is done. */
function confirmed(
  { options, print, printJson }: Invocation,
  { what, unit }: Deed,
  matches: readonly Match[],
): readonly Aim[] | null {
  const aims = unit === 'message' ? matches : copiesOf(matches, options.recipient);
  const copies = aims.reduce((sum, { recipients }) => sum + recipients.length, 0);
  const count = unit === 'message' ? aims.length : copies;
  if (options.confirm === String(count) && count > 0) return aims;
  if (options.json === true) printJson({ matching: count, messages: aims.length, confirmed: false });
  else if (count === 0)
    print(matches.length === 0 ? 'Nothing is found.' : 'No copy of what is found waits for a decision.');
  else {
    const messages = counted(aims.length, 'message', 'messages');
    const found = unit === 'message' ? messages : `${counted(copies, 'copy', 'copies')} of ${messages}`;
    const given = options.confirm === undefined ? '' : `, not ${printable(options.confirm)}`;
    const left = unit === 'copy' ? leftAlone(matches, copies) : '';
    print(
      `${found} ${count === 1 ? 'matches' : 'match'}${given}; nothing was done${left}. ` +
        `Look at them with "quarantine search"; to ${what} them add --confirm ${count}`,
    );
  }
  return null;
}

/** Those with a copy that is meant; --recipient may mean fewer still. */
function copiesOf(matches: readonly Match[], only: readonly string[] = []): Aim[] {
  return matches
    .map(({ quarantineId, recipients }) => ({
      quarantineId,
      recipients: recipients.filter((one) => only.length === 0 || only.includes(one)),
    }))
    .filter(({ recipients }) => recipients.length > 0);
}

function leftAlone(matches: readonly Match[], copies: number): string {
  const waiting = matches.reduce((sum, { recipients, others }) => sum + recipients.length + others, 0);
  if (waiting === copies) return '';
  return `; ${counted(waiting - copies, 'copy', 'copies')} of the same for other recipients would stay`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** What is to be done, with which items; `isOnly`: one that was named, so that its failure is the command's. */
type Run = { readonly what: string; readonly aims: readonly Aim[]; readonly isOnly: boolean };

/** One after the other; the exit code is the gravest: 69, 75, 1, 0; where it was interrupted, the signal's. */
async function tell(
  { options, status, print, printJson }: Invocation,
  { what, aims, isOnly }: Run,
  act: (aim: Aim, breakOff: AbortSignal) => Promise<Done>,
): Promise<number> {
  const all: (Line & { quarantineId: string })[] = [];
  const codes = new Set<number>();
  let done = 0;
  using interruption = listenForInterruption(() => {
    status.clear();
    complain(`${what}: stopping after the message under way; once more breaks it off`);
  });
  for (const aim of aims) {
    const { quarantineId } = aim;
    if (interruption.exitCode() === null) status.say(`${what}: ${done + 1} of ${aims.length}`);
    const doing = () => act(aim, interruption.breakOff);
    const { lines, code } = isOnly ? await doing() : await tried(doing);
    done++;
    codes.add(code);
    all.push(...lines.map((line) => ({ quarantineId, ...line })));
    if (options.json !== true) for (const line of lines) print(lineText(isOnly ? null : quarantineId, line));
    // The next one would meet the same.
    if (code === down || interruption.exitCode() !== null) break;
  }
  if (options.json === true) printJson(all);
  const stopped = done < aims.length ? interruption.exitCode() : null;
  status.clear();
  if (stopped !== null) complain(`${what}: stopped after ${done} of ${aims.length}`);
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
