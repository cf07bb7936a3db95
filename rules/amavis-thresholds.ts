/**
 * amavis-thresholds — amavisd-new's levels for one recipient as thresholds.
 *
 * Hides how levels, destiny, quarantine, lovers and bypasses act together: kill holds where the destiny does not pass, and
 * drops nothing that the sender was told of; a lover's mail is delivered. They come out in order (tag <= spam <=
 * quarantine <= discard), mended towards more mail delivered, and said so. It never throws.
 */
import { lookUp, shownScope } from './amavis-lookup.ts';
import type { Entry, Scope } from './amavis-lookup.ts';
import { plain, sourceText } from './amavis-notes.ts';
import type { Notes } from './amavis-notes.ts';
import { isTrue } from './amavis-senders.ts';
import { destinyText, quarantineOffFor, wish } from './amavis-settings.ts';
import type { AmavisField, AmavisSettings, Destiny, Wish } from './amavis-settings.ts';
import type { ThresholdName } from './policy-for.ts';

/** Thresholds that hold where amavisd-new's files set none, and the lowest cap that a role puts on each. */
export type Base = Readonly<
  Record<ThresholdName, { readonly value: number | null; readonly cap: number | null }>
>;

export type Thresholds = { [K in ThresholdName]?: Wish<number | null> };
type NumberFound = { readonly value: number | null; readonly entry: Entry };

const scoreMax = 1000;

/** Gives the thresholds for a scope; what amavisd-new does not set is not there. */
export function createThresholds(
  settings: AmavisSettings,
  base: Base,
  notes: Notes,
): (scope: Scope) => Thresholds {
  const { fields, destinies } = settings;

  function thresholdsFor(scope: Scope): Thresholds {
    const bypass = lookUp(fields.bypassSpam, scope);
    const isBypassed = bypass !== undefined && isTrue(bypass.value) && !settings.bypassedEverywhere.spam;
    return isBypassed ? allOff(bypass, scope) : mended(levels(scope), scope);
  }

  function levels(scope: Scope): Thresholds {
    const [tag, spam, kill] = [numberOf('tag', scope), numberOf('tag2', scope), numberOf('kill', scope)];
    const thresholds: Thresholds = {};
    // Without a level amavisd-new tags every message.
    if (tag !== undefined)
      thresholds.tag = wish(tag.value === null ? -scoreMax : bounded(tag, -scoreMax), tag.entry, scope);
    if (spam !== undefined) thresholds.spam = wish(bounded(spam, 0), spam.entry, scope);
    return { ...thresholds, ...evasive(kill, scope) };
  }

  /** What happens from the kill level on. */
  function evasive(kill: NumberFound | undefined, scope: Scope): Thresholds {
    const lover = lookUp(fields.spamLovers, scope);
    if (lover !== undefined && isTrue(lover.value)) {
      const comment = `${sourceText(lover.source)}: wants all spam`;
      return bothOff(comment, lover.scope === scope);
    }
    if (kill === undefined) return {};
    const explicit = kill.entry.scope === scope;
    const where = sourceText(kill.entry.source);
    const destiny = destinies.spam;
    if (kill.value === null) return bothOff(`${where}: undef, nothing is stopped`, explicit);
    if (destiny?.kind === 'pass') return passed(kill, destiny, scope, explicit);
    const value = bounded(kill, 0);
    const because = destiny === null ? 'held' : `held: ${destinyText('spam', destiny)}`;
    const thresholds: Thresholds = { quarantine: { value, comment: `${where}, ${because}`, explicit } };
    const discard = discardWish(value, scope, explicit);
    const isCopied = quarantineOffFor(settings, 'spam', scope) === null;
    if (!isCopied && value !== null) noteDropped(kill, value, scope);
    if (!isCopied) thresholds.discard = { value: null, comment: `${where}, ${because}`, explicit: false };
    else if (discard !== undefined) thresholds.discard = discard;
    return thresholds;
  }

  function passed(kill: NumberFound, destiny: Destiny, scope: Scope, explicit: boolean): Thresholds {
    const { source } = kill.entry;
    const text = `${source.name} ${kill.value}`;
    if (destiny.source === null) {
      notes.add(
        'changed',
        source,
        `${text}: $final_spam_destiny is not set in these files, so amavisd-new delivers (D_PASS) and nothing is held`,
        `if it is set elsewhere, import that file too; to hold: quarantine: ${kill.value}`,
      );
    } else if (quarantineOffFor(settings, 'spam', scope) === null) {
      notes.add(
        'changed',
        source,
        `${text}: amavisd-new delivered and kept a copy (D_PASS); Sluice delivers`,
        `nothing; to hold such mail instead of delivering it: quarantine: ${kill.value}`,
      );
    }
    return bothOff(
      `${sourceText(source)} is ${kill.value}, but ${destinyText('spam', destiny)}: delivered`,
      explicit,
    );
  }

  /** Dropped without a copy by amavisd-new; held here, because scores of another installation are not quite the same. */
  function noteDropped(kill: NumberFound, value: number, scope: Scope): void {
    const kind = destinies.spam?.kind;
    const what = kind === 'bounce' || kind === 'reject' ? 'sent back' : 'dropped';
    const remedy =
      what === 'dropped'
        ? `nothing; to drop as before: quarantine: null, discard: ${value}`
        : 'nothing: Sluice never bounces';
    const off = quarantineOffFor(settings, 'spam', scope);
    const why = off === null ? '' : ` (${sourceText(off)})`;
    notes.add(
      'changed',
      kill.entry.source,
      `${kill.entry.source.name} ${value}: amavisd-new ${what} such mail without a copy${why}; it is held`,
      remedy,
    );
  }

  /** Above the cutoff amavisd-new keeps no copy. What it told the sender of is never dropped in silence. */
  function discardWish(
    held: number | null,
    scope: Scope,
    explicit: boolean,
  ): Wish<number | null> | undefined {
    const cutoff = numberOf('cutoff', scope);
    if (cutoff === undefined) return undefined;
    const where = sourceText(cutoff.entry.source);
    const named = explicit || cutoff.entry.scope === scope;
    if (cutoff.value === null || held === null) return { value: null, comment: where, explicit: named };
    const kind = destinies.spam?.kind;
    const told = kind === 'bounce' ? (numberOf('dsnCutoff', scope)?.value ?? null) : null;
    if (kind === 'reject' || (kind === 'bounce' && told === null)) {
      notes.add(
        'changed',
        cutoff.entry.source,
        `${cutoff.entry.source.name} ${cutoff.value}: amavisd-new told the sender and kept no copy; it is held`,
        `nothing; to drop such mail in silence: discard: ${cutoff.value}`,
      );
      return { value: null, comment: `${where}: held, because nobody would be told`, explicit: named };
    }
    const above = Math.max(bounded(cutoff, 0) ?? Number.POSITIVE_INFINITY, told ?? 0, held);
    const value = above > scoreMax ? null : above;
    return { value, comment: `${where}: from here on no copy was kept`, explicit: named };
  }

  function allOff(bypass: Entry, scope: Scope): Thresholds {
    const off = {
      value: null,
      comment: `${sourceText(bypass.source)}: no spam check`,
      explicit: bypass.scope === scope,
    };
    return { tag: off, spam: off, quarantine: off, discard: { ...off, explicit: false } };
  }

  /** In order, towards more mail delivered: a level is raised, only `tag`, which judges nobody, is lowered. */
  function mended(found: Thresholds, scope: Scope): Thresholds {
    const thresholds = { ...found };
    const effective = (name: ThresholdName) => {
      const wished = thresholds[name];
      return wished === undefined ? base[name].value : wished.value;
    };
    let floor: { name: string; value: number } | null = null;
    for (const name of ['spam', 'quarantine', 'discard'] as const) {
      const value = effective(name);
      if (value !== null && floor !== null && value < floor.value) {
        thresholds[name] = changed(
          name,
          value,
          floor.value,
          `below ${floor.name} ${floor.value}`,
          found[name],
          scope,
        );
      }
      const now = effective(name);
      if (now !== null) floor = { name, value: now };
    }
    const lowest = (['spam', 'quarantine', 'discard'] as const)
      .flatMap((name) => [effective(name), base[name].cap].filter((value) => value !== null))
      .reduce((least, value) => Math.min(least, value), scoreMax);
    const tag = effective('tag');
    if (tag !== null && tag > lowest) {
      thresholds.tag = changed('tag', tag, lowest, `above a graver threshold, ${lowest}`, found.tag, scope);
    }
    return thresholds;
  }

  function changed(
    name: string,
    from: number,
    to: number,
    why: string,
    wished: Wish<number | null> | undefined,
    scope: Scope,
  ): Wish<number | null> {
    const verb = to > from ? 'raised' : 'lowered';
    const place = wished === undefined ? "Sluice's default" : wished.comment;
    notes.add(
      'changed',
      placeIn(place),
      `${name} ${from} for ${shownScope(scope)} is ${why}: ${verb} to ${to} (${place})`,
      'nothing, if that is right',
    );
    return {
      value: to,
      comment: `${place}; ${verb} from ${from} to ${to}, which was ${why}`,
      explicit: wished?.explicit ?? scope === '',
    };
  }

  function numberOf(field: AmavisField, scope: Scope): NumberFound | undefined {
    const entry = lookUp(fields[field], scope);
    if (entry === undefined) return undefined;
    const text = entry.value.kind === 'text' ? entry.value.text.trim() : null;
    if (entry.value.kind === 'undef' || text === '') return { value: null, entry };
    const value = text === null ? Number.NaN : Number(text);
    if (Number.isFinite(value)) return { value, entry };
    notes.add(
      'lost',
      entry.source,
      `${entry.source.name}: ${text === null ? 'a level that only Perl knows' : `"${plain(text)}", which is no number`}`,
      'write the threshold by hand',
    );
    return undefined;
  }

  /** Above every score: off. Below what policies.yaml takes: its least. */
  function bounded({ value, entry }: NumberFound, least: number): number | null {
    if (value === null || value > scoreMax) return null;
    if (value >= least) return value;
    if (least === 0)
      notes.add(
        'changed',
        entry.source,
        `${entry.source.name} ${value} became 0`,
        'write the threshold that is meant',
      );
    return least;
  }

  return thresholdsFor;
}

/** Nothing is held; that nothing is dropped either is worth a line only where something wider would drop it. */
function bothOff(comment: string, explicit: boolean): Thresholds {
  return {
    quarantine: { value: null, comment, explicit },
    discard: { value: null, comment, explicit: false },
  };
}

/** The file and line with which a comment begins. */
function placeIn(comment: string): { file: string; line: number } | null {
  const [, file, line] = /^(.+?):(\d+) /.exec(comment) ?? [];
  return file === undefined ? null : { file, line: Number(line) };
}
