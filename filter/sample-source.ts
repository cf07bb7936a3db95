/**
 * sample-source — the sample that both nodes score, put together at a run: recent mail from the reservoir, spam from the quarantine.
 *
 * Delivered mail is hardly ever spam, so up to half of the sample is what is held as spam now. Runs as the owner of the state
 * folder. A quarantine that can't be asked is a warning: the rest of the sample is as good. Rejects where the reservoir's key
 * can't be used.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Part } from '../workers/bayes-parts.ts';
import { isExpired, listEntries, readEntry, sealOf } from '../workers/bayes-shelf.ts';
import { messageOf } from '../workers/bayes-step.ts';
import type { Log } from '../workers/log.ts';
import { openStateQuarantine } from './memory.ts';
import type { ItemRow, Quarantine } from './quarantine.ts';

export type SampleWish = {
  readonly state: string;
  /** Messages. */
  readonly count: number;
  /** Of one message. */
  readonly messageBytesMax: number;
};

/** Held items that are looked at, newest first. */
const lookedAt = 1000;

/** Ids of the messages of a new sample: `held:` and a quarantineId, or `recent:` and a name of the reservoir's own. */
export async function pickSample(
  wish: SampleWish,
  { log, now = Date.now(), random = Math.random }: { log: Log; now?: number; random?: () => number },
): Promise<{ ids: string[]; warnings: string[] }> {
  const warnings: string[] = [];
  const held = await withQuarantine(wish.state, log, (quarantine) => spamIn(quarantine, wish)).catch(
    (cause: unknown) => {
      warnings.push(`The sample has no spam of the quarantine: ${messageOf(cause)}`);
      return [];
    },
  );
  const spam = shuffled(held, random).slice(0, Math.floor(wish.count / 2));
  const recent = await recentIn(wish.state, wish.count - spam.length, now);
  return { ids: [...spam.map((id) => `held:${id}`), ...recent], warnings };
}

/** The messages of a sample that are still there, in turn; nothing of them is written anywhere. */
export async function* readSample(
  state: string,
  ids: readonly string[],
  log: Log,
): AsyncGenerator<Part, void> {
  const [held, recent] = [after('held:', ids), after('recent:', ids)];
  if (held.length > 0) yield* readHeld(state, held, log);
  yield* readRecent(state, recent);
}

/** The highest ranks: a fair sample of the reservoir, as that is of the mail. */
async function recentIn(state: string, count: number, now: number): Promise<string[]> {
  const seal = await sealOf(state);
  if (seal === null || count === 0) return [];
  const entries = (await listEntries(state)).filter(
    (entry) => entry.keyId === seal.keyId && !isExpired(entry, now),
  );
  return entries.slice(-count).map(({ name }) => `recent:${nameEnd(name)}`);
}

async function* readRecent(state: string, ids: readonly string[]): AsyncGenerator<Part, void> {
  const seal = await sealOf(state);
  if (seal === null) return;
  const names = new Map((await listEntries(state)).map(({ name }) => [nameEnd(name), name]));
  for (const id of ids) {
    const message = await readEntry(state, seal, names.get(id) ?? '');
    if (typeof message === 'string') continue;
    const { sender, bytes } = message;
    yield { head: { id: `recent:${id}`, sender }, sizeBytes: bytes.length, bytes: only(bytes) };
  }
}

async function* readHeld(state: string, ids: readonly string[], log: Log): AsyncGenerator<Part, void> {
  const quarantine = await openStateQuarantine(state, log);
  try {
    for (const id of ids) {
      const message = await readWhole(quarantine, id);
      if (message === null) continue;
      const { sender, bytes } = message;
      yield { head: { id: `held:${id}`, sender }, sizeBytes: bytes.length, bytes: only(bytes) };
    }
  } finally {
    await quarantine.close();
  }
}

/** Null where it was deleted or has expired meanwhile, or is not what was held. */
async function readWhole(
  quarantine: Quarantine,
  quarantineId: string,
): Promise<{ sender: string; bytes: Buffer } | null> {
  try {
    const { record } = await quarantine.get(quarantineId);
    const chunks: Uint8Array[] = [];
    for await (const chunk of quarantine.read(quarantineId)) chunks.push(chunk);
    return { sender: record.envelope.sender, bytes: Buffer.concat(chunks) };
  } catch {
    // A message that is missing is told of by its id; the others are compared.
    return null;
  }
}

async function spamIn(
  quarantine: Quarantine,
  { messageBytesMax }: Pick<SampleWish, 'messageBytesMax'>,
): Promise<string[]> {
  const isSpam = ({ slots, sizeBytes, virusName, flag, direction }: ItemRow) =>
    direction === 'inbound' &&
    virusName === null &&
    flag === null &&
    sizeBytes <= messageBytesMax &&
    slots.some(({ verdict, state }) => verdict === 'spam' && state === 'held');
  const rows = await quarantine.list({ state: 'held', limit: lookedAt });
  return rows.filter(isSpam).map(({ quarantineId }) => quarantineId);
}

/** Opens nothing, and above all makes nothing, where there is no quarantine yet. */
async function withQuarantine<T>(
  state: string,
  log: Log,
  act: (quarantine: Quarantine) => Promise<T[]>,
): Promise<T[]> {
  if (!existsSync(join(state, 'quarantine.db'))) return [];
  const quarantine = await openStateQuarantine(state, log);
  try {
    return await act(quarantine);
  } finally {
    await quarantine.close();
  }
}

/** Fisher and Yates. */
function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const mixed = [...list];
  for (let at = mixed.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [mixed[at], mixed[other]] = [mixed[other] as T, mixed[at] as T];
  }
  return mixed;
}

function after(prefix: string, ids: readonly string[]): string[] {
  return ids.filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length));
}

/** An entry's random part; the rest of its name is nobody's business. */
function nameEnd(name: string): string {
  return name.slice(name.lastIndexOf('-') + 1);
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
