/**
 * amavis-policy — what amavisd-new does for one recipient, as fields of policies.yaml.
 *
 * Hides what becomes of viruses, of what could not be checked, and of subjects; thresholds have a file of their own. What
 * Sluice never does (deliver a virus) is noted. It never throws.
 */
import { lookUp, shownScope } from './amavis-lookup.ts';
import type { Scope } from './amavis-lookup.ts';
import { plain, sourceText } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import { isTrue } from './amavis-senders.ts';
import { destinyText, quarantineOffFor, wish } from './amavis-settings.ts';
import type { AmavisSettings, Destiny, Wish } from './amavis-settings.ts';
import { createThresholds } from './amavis-thresholds.ts';
import type { Base } from './amavis-thresholds.ts';
import type { PolicyFields } from './policy-for.ts';

type ImportedField = Exclude<keyof PolicyFields, `senders.${string}` | 'virusAsSpam' | `outbound.${string}`>;
export type Wishes = { readonly [K in ImportedField]?: Wish<PolicyFields[K]> };

/** Gives the fields for a scope; what amavisd-new does not set is not there. */
export function createPolicies(settings: AmavisSettings, base: Base, notes: Notes): (scope: Scope) => Wishes {
  const { fields, destinies } = settings;
  const thresholdsFor = createThresholds(settings, base, notes);

  function wishesFor(scope: Scope): Wishes {
    lovesViruses(scope);
    const wishes: Record<string, Wish<unknown> | undefined> = {
      virus: virusWish(scope),
      subjectTag: subjectWish(scope),
    };
    for (const [name, wish] of Object.entries(thresholdsFor(scope))) wishes[`thresholds.${name}`] = wish;
    if (scope === '' && destinies.unchecked !== null)
      Object.assign(wishes, uncheckedWishes(destinies.unchecked));
    return Object.fromEntries(Object.entries(wishes).filter(([, wish]) => wish !== undefined)) as Wishes;
  }

  function virusWish(scope: Scope): Wish<'quarantine' | 'discard'> | undefined {
    const destiny = destinies.virus;
    if (destiny === null || destiny.source === null) return undefined;
    const off = quarantineOffFor(settings, 'virus', scope);
    const text = destinyText('virus', destiny);
    if (destiny.kind === 'pass') {
      notes.add(
        'changed',
        destiny.source,
        `${text}: amavisd-new delivered viruses; Sluice never does, they are held`,
        'nothing',
      );
    }
    const explicit = scope === '' || lookUp(fields.virusQuarantineTo, scope)?.scope === scope;
    if (destiny.kind !== 'discard' || off === null)
      return { value: 'quarantine', comment: `${destinyPlace(destiny.source)} ${text}`, explicit };
    return {
      value: 'discard',
      comment: `${destinyPlace(destiny.source)} ${text}, and no copy was kept (${sourceText(off)})`,
      explicit,
    };
  }

  function lovesViruses(scope: Scope): void {
    for (const field of ['virusLovers', 'bypassVirus'] as const) {
      if (field === 'bypassVirus' && settings.bypassedEverywhere.virus) continue;
      const entry = lookUp(fields[field], scope);
      if (entry === undefined || !isTrue(entry.value) || entry.scope !== scope) continue;
      notes.add(
        'lost',
        entry.source,
        `${entry.source.name}: ${shownScope(scope)} ${field === 'virusLovers' ? 'gets viruses' : 'has no virus check'}`,
        'nothing: Sluice never delivers a virus; a held message can be released with --force',
      );
    }
  }

  function subjectWish(scope: Scope): Wish<string | null> | undefined {
    const [entry, modifies] = [lookUp(fields.subjectTag, scope), lookUp(fields.modifiesSubject, scope)];
    if (modifies !== undefined && !isTrue(modifies.value)) return wish(null, modifies, scope);
    if (entry === undefined) return undefined;
    if (entry.value.kind === 'undef' || (entry.value.kind === 'text' && entry.value.text === ''))
      return wish(null, entry, scope);
    const text = entry.value.kind === 'text' ? entry.value.text : null;
    if (text !== null && text.length <= 50 && plain(text) === text && !/_[A-Z]+(?:\(.*?\))?_|%/.test(text))
      return wish(text, entry, scope);
    notes.add(
      'lost',
      entry.source,
      `${entry.source.name}: ${text === null ? 'a subject tag that only Perl knows' : `the subject tag "${plain(text)}"`}`,
      'write subjectTag by hand: up to 50 characters, without macros like _SCORE_',
    );
    return undefined;
  }

  return wishesFor;
}

function uncheckedWishes(destiny: Destiny): Wishes {
  if (destiny.source === null) return {};
  const value = destiny.kind === 'pass' ? 'deliver' : 'quarantine';
  const wished: Wish<'deliver' | 'quarantine'> = {
    value,
    comment: `${destinyPlace(destiny.source)} ${destinyText('unchecked', destiny)}`,
    explicit: true,
  };
  return {
    'onUnchecked.encrypted': wished,
    'onUnchecked.overLimit': wished,
    'onUnchecked.ambiguous': wished,
  };
}

/** File and line alone: the name stands in what follows. */
function destinyPlace({ file, line }: Source): string {
  return plain(`${file}:${line}`);
}
