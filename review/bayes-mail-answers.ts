/**
 * bayes-mail-answers — what a node answers of its mail: what it held, and what people taught it.
 *
 * On a backup `held`, `moved`, `taught` and `learned`; on the primary `adopt` and `teach`. Runs as the owner of the state
 * folder, whose databases these are. Every answer may be asked again: what was done is done once.
 */
import { z } from 'zod';
import { itemStory } from '../filter/quarantine.ts';
import type { Answer, Answerer, Answerers } from '../workers/bayes-wire.ts';
import { type BayesFail, failed, refused } from '../workers/bayes-step.ts';
import { PermFail } from '../workers/fail.ts';
import type { Actor, Desk } from './verbs.ts';
import type { Journal, Taught } from './journal.ts';
import { adopt, movable, noteMoved, type Removal, takeOut } from './move.ts';

/** What the answers work with. */
export type MailDesk = Removal &
  Pick<Desk, 'learn'> & {
    readonly role: 'primary' | 'backup';
    readonly journal: Journal;
    /** For one lesson. */
    readonly deadlineMs: number;
  };

const name = z.string().min(1).max(300);
const id = z.string().regex(/^[0-9a-f]{32}$/);
const whoAsks = z.object({ by: name });
const which = z.object({ by: name, quarantineId: id });
const gone = which.extend({ arrival: z.enum(['adopted', 'already', 'expired']) });
const lessonName = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  as: z.enum(['spam', 'ham', 'forget']),
});
const lesson = lessonName.extend({
  by: name,
  at: z.number().int().nonnegative(),
  sizeBytes: z.number().int().nonnegative(),
}) satisfies z.ZodType<Taught>;

/** What a backup says of what waits. */
export const heldHead = z.object({ host: name, quarantineIds: z.array(id) });
export const storyHead = z.object({ story: itemStory.nullable() });
export const taughtHead = z.object({ host: name, lessons: z.array(lesson) });
/** What the primary says: null where it was only asked whether it listens. */
export const adoptHead = z.object({
  host: name,
  arrival: z.enum(['adopted', 'already', 'expired']).nullable(),
});
export const teachHead = z.object({ detail: z.string() });

/** Items named in one answer; the next run asks for more. */
const itemsMax = 200;

/** The answers of this node's role. */
export function mailAnswerers(desk: MailDesk): Answerers {
  return desk.role === 'backup'
    ? { held: held(desk), moved: moved(desk), taught: taught(desk), learned: learned(desk) }
    : { adopt: adopted(desk), teach: teach(desk) };
}

/** Without an id: which items wait. With one: that item, claimed, with its octets behind it. */
function held(desk: MailDesk): Answerer {
  return async (parameters) => {
    const asked = read(which, parameters);
    if (asked === null) {
      const quarantineIds = await movable(desk, itemsMax);
      return headOf(heldHead, { host: desk.host, quarantineIds });
    }
    const { by, quarantineId } = asked;
    const story = await takeOut(actorOf(by), desk, quarantineId);
    const answer = headOf(storyHead, { story });
    return story === null ? answer : { ...answer, payload: buffers(desk.quarantine.read(quarantineId)) };
  };
}

/** The primary holds this item. */
function moved(desk: MailDesk): Answerer {
  return async (parameters) => {
    const { by, quarantineId, arrival } = must(gone, parameters);
    const copies = await noteMoved(actorOf(by), desk, quarantineId, { to: by, arrival });
    return { head: { copies } };
  };
}

/** Without an item it says only that this door is open. */
function adopted(desk: MailDesk): Answerer {
  return async (parameters, payload) => {
    const story = read(itemStory, parameters);
    if (story === null) return headOf(adoptHead, { host: desk.host, arrival: null });
    const from = story.record.movedFrom?.node ?? 'unknown';
    const arrival = await adopt(actorOf(from), desk, story, once(payload));
    return headOf(adoptHead, { host: desk.host, arrival });
  };
}

/** Without a name: what was taught here. With one: the message of that lesson. */
function taught({ journal, host }: MailDesk): Answerer {
  return async (parameters) => {
    const asked = read(lessonName, parameters);
    if (asked === null) return headOf(taughtHead, { host, lessons: await journal.list() });
    const octets = await journal.read(asked);
    return { head: null, payload: buffers([octets]) };
  };
}

/** The primary was taught this. */
function learned({ journal }: MailDesk): Answerer {
  return async (parameters) => {
    await journal.remove(must(lessonName, parameters));
    return { head: null };
  };
}

/** Teaches the scanner here what was taught on a backup, through the door that people's lessons take. */
function teach(desk: MailDesk): Answerer {
  return async (parameters, payload) => {
    const { lesson: wanted, from } = must(z.object({ lesson, from: name }), parameters);
    const { sha256, as, by, at } = wanted;
    if (await desk.journal.isDone(wanted)) return headOf(teachHead, { detail: 'taught before' });
    const entry = {
      actor: actorOf(from).name,
      verb: 'teach',
      quarantineId: null,
      detail: { sha256, as, by, at },
    } as const;
    const detail = await desk.audit.during(
      entry,
      async () => {
        const signal = AbortSignal.timeout(desk.deadlineMs);
        const result = await desk.learn(once(payload), wanted.sizeBytes, as, signal);
        return judge(result, sha256);
      },
      (said) => said,
    );
    await desk.journal.noteDone(wanted);
    return headOf(teachHead, { detail });
  };
}

/** What SpamAssassin knows already is done too; what can't be taught now waits on the backup. */
function judge(result: Awaited<ReturnType<Desk['learn']>>, sha256: string): string {
  const { kind } = result;
  switch (kind) {
    case 'learned':
      return kind;
    case 'unchanged':
      return `unchanged: ${result.detail}`;
    case 'unchecked':
      // What is too large to be taught does not get smaller.
      if (result.reason === 'overLimit') return `not taught: ${result.detail}`;
      throw waits(sha256, `${result.reason}: ${result.detail}`, 'see that spamd runs there: sluice check');
    case 'disabled':
      throw waits(sha256, 'spamd may not learn', result.detail);
    case 'off':
      throw waits(sha256, 'there is no spam scanner', 'set scan.spam and spamd there');
  }
}

function waits(sha256: string, state: string, remedy: string): BayesFail {
  return failed('answer', `Cannot teach ${sha256}: ${state}`, remedy);
}

function actorOf(node: string): Actor {
  return { name: `node:${node}` };
}

function headOf<T>(_shape: z.ZodType<T>, head: T): Answer {
  return { head };
}

/** Null where it was asked without any. */
function read<T>(shape: z.ZodType<T>, parameters: unknown): T | null {
  const bare = parameters === null || whoAsks.strict().safeParse(parameters).success;
  return bare ? null : must(shape, parameters);
}

function must<T>(shape: z.ZodType<T>, parameters: unknown): T {
  const parsed = shape.safeParse(parameters);
  if (parsed.success) return parsed.data;
  const remedy = 'bring Sluice to one version on both nodes';
  throw refused('receive', 'Cannot answer: the question has another form', remedy);
}

/** A payload can be read only once: an item is written, a message taught, in one go. */
function once(payload: AsyncIterable<Buffer>): () => AsyncIterable<Buffer> {
  let isRead = false;
  return () => {
    if (isRead) throw new PermFail('Cannot read a payload a second time');
    isRead = true;
    return payload;
  };
}

async function* buffers(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
}
