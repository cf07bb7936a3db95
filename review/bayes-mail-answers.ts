/**
 * bayes-mail-answers — what a node answers of its mail: what it held, and what people taught it.
 *
 * On a backup `held`, `moved`, `taught` and `learned`; on the primary `adopt` and `teach`. Runs as the owner of the state
 * folder, whose databases these are. Every answer may be asked again: what was done is done once.
 */
import { z } from 'zod';
import { type ItemStory, itemStory } from '../filter/quarantine.ts';
import { packParts, type Part, unpackParts } from '../workers/bayes-parts.ts';
import type { Answer, Answerer, Answerers } from '../workers/bayes-wire.ts';
import { type BayesFail, failed, refused } from '../workers/bayes-step.ts';
import { PermFail } from '../workers/fail.ts';
import type { Actor, Desk } from './verbs.ts';
import type { Journal, Taught } from './journal.ts';
import { adopt, type Arrival, movable, noteMoved, type Removal, takeOut } from './move.ts';

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
const listed = z.object({ by: name });
const wanted = z.object({ by: name, quarantineIds: z.array(id).max(1000) });
const arrivals = z.array(z.object({ quarantineId: id, arrival: z.enum(['adopted', 'already', 'expired']) }));
const gone = z.object({ by: name, arrivals });
const lessonName = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  as: z.enum(['spam', 'ham', 'forget']),
});
const lessonNames = z.object({ by: name, lessons: z.array(lessonName).max(1000) });
const lesson = lessonName.extend({
  by: name,
  at: z.number().int().nonnegative(),
  sizeBytes: z.number().int().nonnegative(),
}) satisfies z.ZodType<Taught>;
const whose = z.object({ quarantineId: id });

/** What a backup says of what waits. */
export const heldHead = z.object({
  host: name,
  items: z.array(z.object({ quarantineId: id, sizeBytes: z.number() })),
  lessons: z.array(lesson),
});
/** What the primary did with what it was given; asked without a payload, nothing: it only says that it listens. */
export const adoptHead = z.object({ host: name, arrivals });
export const teachHead = z.object({ taught: z.number() });

/** Items named in one answer; the next run asks for more. */
const itemsMax = 1000;
const storyBytesMax = 16 * 1024 ** 2;

/** The answers of this node's role. */
export function mailAnswerers(desk: MailDesk): Answerers {
  return desk.role === 'backup'
    ? { held: held(desk), moved: moved(desk), taught: taught(desk), learned: learned(desk) }
    : { adopt: adopted(desk), teach: teach(desk) };
}

/** Without ids: which items and lessons wait, in one answer: it is asked every minute. With some: those items, claimed as they are sent. */
function held(desk: MailDesk): Answerer {
  return async (parameters) => {
    const { host } = desk;
    if (isBare(parameters)) {
      const items = await movable(desk, itemsMax);
      return headOf(heldHead, { host, items, lessons: await desk.journal.list() });
    }
    const { by, quarantineIds } = must(wanted, parameters);
    return { head: { host }, payload: packParts(stories(desk, by, quarantineIds)) };
  };
}

/** Two parts for each item that can leave: its story, its message. */
async function* stories(desk: MailDesk, by: string, ids: readonly string[]): AsyncGenerator<Part> {
  for (const quarantineId of ids) {
    const story = await takeOut(actorOf(by), desk, quarantineId);
    if (story === null) continue;
    const text = Buffer.from(JSON.stringify(story));
    yield { head: { quarantineId }, sizeBytes: text.length, bytes: buffers([text]) };
    const { sizeBytes } = story.record;
    yield { head: { quarantineId }, sizeBytes, bytes: buffers(desk.quarantine.read(quarantineId)) };
  }
}

/** The primary has these items. */
function moved(desk: MailDesk): Answerer {
  return async (parameters) => {
    const { by, arrivals: all } = must(gone, parameters);
    let copies = 0;
    for (const { quarantineId, arrival } of all)
      copies += await noteMoved(actorOf(by), desk, quarantineId, { to: by, arrival });
    return { head: { copies } };
  };
}

/** Takes items as `stories` sends them. */
function adopted(desk: MailDesk): Answerer {
  return async (_parameters, payload) => {
    const taken: z.infer<typeof arrivals> = [];
    let story: ItemStory | null = null;
    for await (const { head, sizeBytes, bytes } of unpackParts(payload)) {
      const { quarantineId } = must(whose, head);
      if (story === null) {
        story = must(itemStory, await jsonOf(sizeBytes, bytes));
        continue;
      }
      const arrival = await adoptOne(desk, story, quarantineId, bytes);
      taken.push({ quarantineId, arrival });
      story = null;
    }
    return headOf(adoptHead, { host: desk.host, arrivals: taken });
  };
}

async function adoptOne(
  desk: MailDesk,
  story: ItemStory,
  quarantineId: string,
  bytes: AsyncIterable<Buffer>,
): Promise<Arrival> {
  if (story.record.quarantineId !== quarantineId) throw otherForm();
  return adopt(actorOf(story.record.movedFrom?.node ?? 'unknown'), desk, story, once(bytes));
}

/** The messages of these lessons. */
function taught({ journal, host }: MailDesk): Answerer {
  return async (parameters) => {
    const { lessons } = must(lessonNames, parameters);
    return { head: { host }, payload: packParts(lessonParts(journal, lessons)) };
  };
}

async function* lessonParts(
  journal: Journal,
  names: readonly z.infer<typeof lessonName>[],
): AsyncGenerator<Part> {
  const kept = await journal.list();
  for (const { sha256, as } of names) {
    const found = kept.find((one) => one.sha256 === sha256 && one.as === as);
    if (found === undefined) continue;
    const octets = await journal.read(found);
    yield { head: found, sizeBytes: octets.length, bytes: buffers([octets]) };
  }
}

/** The primary was taught these. */
function learned({ journal }: MailDesk): Answerer {
  return async (parameters) => {
    for (const one of must(lessonNames, parameters).lessons) await journal.remove(one);
    return { head: null };
  };
}

/** Teaches the scanner here what was taught on a backup. */
function teach(desk: MailDesk): Answerer {
  return async (parameters, payload) => {
    const { by } = must(listed, parameters);
    let count = 0;
    for await (const { head, bytes } of unpackParts(payload)) {
      await teachOne(desk, by, must(lesson, head), bytes);
      count++;
    }
    return headOf(teachHead, { taught: count });
  };
}

/** Through the door that people's lessons take; not again where it was taught and only the answer got lost. */
async function teachOne(
  desk: MailDesk,
  from: string,
  one: Taught,
  bytes: AsyncIterable<Buffer>,
): Promise<void> {
  if (await desk.journal.isDone(one)) return;
  const { sha256, as, by, at, sizeBytes } = one;
  const detail = { sha256, as, by, at };
  await desk.audit.during(
    { actor: actorOf(from).name, verb: 'teach', quarantineId: null, detail },
    async () => {
      const signal = AbortSignal.timeout(desk.deadlineMs);
      return judge(await desk.learn(once(bytes), sizeBytes, as, signal), sha256);
    },
    (said) => said,
  );
  await desk.journal.noteDone(one);
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

/** Asked for a list only. */
function isBare(parameters: unknown): boolean {
  return parameters === null || listed.strict().safeParse(parameters).success;
}

function must<T>(shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  throw otherForm();
}

function otherForm(): BayesFail {
  const remedy = 'bring Sluice to one version on both nodes';
  return refused('receive', 'Cannot answer: what came has another form', remedy);
}

async function jsonOf(sizeBytes: number, bytes: AsyncIterable<Buffer>): Promise<unknown> {
  if (sizeBytes > storyBytesMax) throw otherForm();
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    // What is no JSON has another form, too.
    return null;
  }
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
