/**
 * amavis-senders — whom amavisd-new white-lists, black-lists and scores, per recipient, as lists for policies.yaml.
 *
 * Hides wblist, the lists for everybody, those per recipient, and score_sender_maps, whose matching tables add up: every
 * list given here is whole, because in policies.yaml a nearer list replaces the farther one. Bounded by a number of
 * entries; what can't be said is noted. It never throws.
 */
import { chainOf, lookUp, shownScope } from './amavis-lookup.ts';
import type { Scope, Table } from './amavis-lookup.ts';
import { plain } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import type { SqlPolicies, SqlUser } from './amavis-sql.ts';
import type { PerlValue } from './perl-config.ts';

/** What amavisd-new knows of senders. */
export type SenderTables = {
  readonly sql: SqlPolicies | null;
  readonly white: readonly Table[];
  readonly black: readonly Table[];
  /** By recipient: values are tables of senders. */
  readonly whiteOf: readonly Table[];
  readonly blackOf: readonly Table[];
  /** By recipient: values are lists of tables of senders; all that match count. */
  readonly scores: readonly Table[];
  tablesOf(value: PerlValue, name: string): readonly Table[];
};

/** Senders by key of policies.yaml, each with its source. */
export type SenderLists = {
  readonly allow: ReadonlyMap<string, Source>;
  readonly block: ReadonlyMap<string, Source>;
  readonly score: ReadonlyMap<string, { readonly points: number; readonly source: Source }>;
};

type Applied = {
  readonly users: readonly SqlUser[];
  readonly white: readonly Table[];
  readonly black: readonly Table[];
  readonly scores: readonly (readonly Table[])[];
  readonly signature: string;
};
type Verdict = { readonly kind: 'allow' | 'block' | 'none'; readonly source: Source };

const entriesMax = 300_000;
const pointsMax = 1000;

/** Lists for recipients; scopes to which the same tables apply share one. */
export function createSenders(tables: SenderTables, notes: Notes) {
  const made = new Map<string, SenderLists>();
  const numbers = new Map<unknown, number>();
  const converted = new Map<PerlValue, readonly Table[]>();
  let count = 0;

  /** Recipients who have lists of their own. */
  function scopes(): readonly Scope[] {
    const own = [...tables.whiteOf, ...tables.blackOf, ...tables.scores].flatMap((table) => [
      ...table.scopes,
    ]);
    const sql = tables.sql === null ? [] : [...tables.sql.table('id').scopes];
    const withOpinions = sql.filter((scope) =>
      (tables.sql?.usersFor([scope]) ?? []).some((user) => user.opinions.size > 0),
    );
    return [...own, ...withOpinions];
  }

  function listsFor(scope: Scope): SenderLists {
    const applied = appliedTo(scope);
    const known = made.get(applied.signature);
    if (known !== undefined) return known;
    const lists = judged(applied);
    made.set(applied.signature, lists);
    return lists;
  }

  function numberOf(one: unknown): number {
    const known = numbers.get(one) ?? numbers.size;
    numbers.set(one, known);
    return known;
  }

  function appliedTo(scope: Scope): Applied {
    const chain = chainOf(scope);
    const users = (tables.sql?.usersFor(chain) ?? []).filter((user) => user.opinions.size > 0);
    const [white, black] = [tables.whiteOf, tables.blackOf].map((of) => lookUp(of, scope)?.value);
    const scores = tables.scores.flatMap((table) => table.findAll(chain).map(({ value }) => value));
    const signature = [...users.map(({ opinions }) => opinions), '|', white, '|', black, '|', ...scores]
      .map(numberOf)
      .join(' ');
    return {
      users,
      white: [...(white === undefined ? [] : tablesOf(white, 'whitelist per recipient')), ...tables.white],
      black: [...(black === undefined ? [] : tablesOf(black, 'blacklist per recipient')), ...tables.black],
      scores: scores.map((value) => tablesOf(value, '@score_sender_maps')),
      signature,
    };
  }

  /** Converted once, so that what can't be said is looked at once. */
  function tablesOf(value: PerlValue, name: string): readonly Table[] {
    const known = converted.get(value) ?? tables.tablesOf(value, name);
    converted.set(value, known);
    return known;
  }

  function judged(applied: Applied): SenderLists {
    const all = [...applied.white, ...applied.black, ...applied.scores.flat()].flatMap((table) => [
      ...table.scopes,
    ]);
    const senders = [...new Set([...all, ...applied.users.flatMap(({ opinions }) => [...opinions.keys()])])];
    const lists = {
      allow: new Map<string, Source>(),
      block: new Map<string, Source>(),
      score: new Map<string, { points: number; source: Source }>(),
    };
    count += senders.length;
    if (count > entriesMax) {
      notes.add(
        'lost',
        null,
        `more than ${entriesMax} senders in the lists of all recipients together`,
        'shorten the lists, then import again',
      );
      return lists;
    }
    const verdicts = new Map(senders.map((sender) => [sender, verdictOn(sender, applied)]));
    const points = new Map(senders.map((sender) => [sender, pointsFor(sender, applied)]));
    for (const sender of senders) {
      keepVerdict(sender, verdicts, lists);
      keepPoints(sender, points, lists.score);
    }
    return lists;
  }

  function keepVerdict(
    sender: Scope,
    verdicts: ReadonlyMap<Scope, Verdict | undefined>,
    lists: { allow: Map<string, Source>; block: Map<string, Source> },
  ): void {
    const verdict = verdicts.get(sender);
    const wider = nearestOther(sender, verdicts);
    if (verdict === undefined) return;
    if (verdict.kind === 'none') {
      if (wider === undefined || wider.kind === 'none') return;
      notes.add(
        'lost',
        verdict.source,
        `${verdict.source.name}: ${shownScope(sender)} is an exception from a list`,
        `senders has no exceptions: list what is meant instead of the wider entry`,
      );
    } else if (sender === '') {
      notes.add(
        'lost',
        verdict.source,
        `${verdict.source.name}: every sender is ${verdict.kind === 'allow' ? 'white' : 'black'}-listed`,
        'change the thresholds of these recipients instead',
      );
    } else lists[verdict.kind].set(senderKey(sender), verdict.source);
  }

  function keepPoints(
    sender: Scope,
    all: ReadonlyMap<Scope, { points: number; source: Source } | undefined>,
    score: Map<string, { points: number; source: Source }>,
  ): void {
    const found = all.get(sender);
    if (found === undefined) return;
    const { source } = found;
    if (sender === '') {
      if (found.points !== 0)
        notes.add(
          'lost',
          source,
          `${source.name}: ${found.points} points for every sender`,
          'move the thresholds of these recipients instead',
        );
      return;
    }
    // Nought is worth a line only where a wider entry would count otherwise.
    if (found.points === 0 && nearestOther(sender, all) === undefined) return;
    const points = Math.max(-pointsMax, Math.min(pointsMax, found.points));
    if (points !== found.points)
      notes.add(
        'changed',
        source,
        `${source.name}: ${found.points} points for ${sender} became ${points}`,
        `nothing: ${points} decides as much`,
      );
    score.set(senderKey(sender), { points, source });
  }

  /** What amavisd-new makes of a sender: the recipient's own opinions first, then the lists. White wins over black. */
  function verdictOn(sender: Scope, { users, white, black }: Applied): Verdict | undefined {
    for (const user of users) {
      const opinion = opinionOn(sender, user);
      if (opinion === undefined || isPoints(opinion.wb)) continue;
      const { source, wb } = opinion;
      if (/^[ \0]*$/.test(wb)) return { kind: 'none', source };
      return { kind: /^[BbNnFf] *$/.test(wb) ? 'block' : 'allow', source };
    }
    const [whiteEntry, blackEntry] = [lookUp(white, sender), lookUp(black, sender)];
    if (whiteEntry !== undefined && isTrue(whiteEntry.value))
      return { kind: 'allow', source: whiteEntry.source };
    if (blackEntry !== undefined && isTrue(blackEntry.value))
      return { kind: 'block', source: blackEntry.source };
    const entry = whiteEntry ?? blackEntry;
    return entry === undefined ? undefined : { kind: 'none', source: entry.source };
  }

  function pointsFor(
    sender: Scope,
    { users, scores }: Applied,
  ): { points: number; source: Source } | undefined {
    const own = users.map((user) => opinionOn(sender, user)).filter((opinion) => opinion !== undefined);
    const counted = own.slice(0, untilHard(own)).filter(({ wb }) => isPoints(wb));
    const [first] = counted;
    if (first !== undefined)
      return { points: rounded(counted.map(({ wb }) => Number(wb))), source: first.source };
    const entries = scores.map((of) => lookUp(of, sender)).filter((entry) => entry !== undefined);
    const numbered = entries.filter(({ value, source }) => {
      const isNumber = value.kind === 'text' && Number.isFinite(Number(value.text));
      if (!isNumber && value.kind !== 'undef')
        notes.add(
          'lost',
          source,
          `${source.name}: points for ${shownScope(sender)} that are no number`,
          'write the points under senders.score',
        );
      return isNumber;
    });
    const [nearest] = numbered;
    if (nearest === undefined) return undefined;
    return {
      points: rounded(numbered.map(({ value }) => (value.kind === 'text' ? Number(value.text) : 0))),
      source: nearest.source,
    };
  }

  return { scopes, listsFor };
}

/** The wider entry that would count for a sender without this one. */
function nearestOther<T>(sender: Scope, all: ReadonlyMap<Scope, T | undefined>): T | undefined {
  return chainOf(sender)
    .slice(1)
    .filter((scope) => scope !== '')
    .map((scope) => all.get(scope))
    .find((one) => one !== undefined);
}

function opinionOn(sender: Scope, user: SqlUser) {
  const found = chainOf(sender).flatMap((scope) => user.opinions.get(scope) ?? []);
  return found.toSorted((a, b) => b.priority - a.priority)[0];
}

/** Points are counted until a row that is no points ends the search. */
function untilHard(opinions: readonly { readonly wb: string }[]): number {
  const at = opinions.findIndex(({ wb }) => !isPoints(wb));
  return at < 0 ? opinions.length : at;
}

function isPoints(wb: string): boolean {
  return /^ *[+-]?\d+(?:\.\d*)? *$/.test(wb);
}

/** Perl's truth. */
export function isTrue(value: PerlValue): boolean {
  return value.kind === 'text' ? value.text !== '' && value.text !== '0' : value.kind !== 'undef';
}

function rounded(points: readonly number[]): number {
  return Math.round(points.reduce((sum, one) => sum + one, 0) * 1000) / 1000;
}

/** A sender's domain is written with @ in policies.yaml. */
function senderKey(sender: Scope): string {
  return plain(sender.includes('@') || sender.startsWith('.') ? sender : `@${sender}`);
}
