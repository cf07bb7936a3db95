/**
 * postfix-check — main.cf and master.cf against this configuration: every mistake with its line, its cost, its remedy.
 *
 * Hides the order: what Postfix can't read, the way to Sluice, the way back, where mail comes in, the instance. Pure: the
 * files are arguments. Says ok where there is nothing to say, so that silence never means "not looked at".
 */
import type { Config } from './config.ts';
import { fail, type Finding, warn } from './finding.ts';
import { type ConfigText, parseMain, parseMaster } from './postfix-files.ts';
import type { Policies } from './policy-for.ts';
import { checkBackup } from './postfix-check-backup.ts';
import { checkEntries, checkInstance } from './postfix-check-entry.ts';
import { checkFeed } from './postfix-check-feed.ts';
import { checkReturn } from './postfix-check-return.ts';
import { checkSizes } from './postfix-check-size.ts';
import { checkTables } from './postfix-check-tables.ts';
import { rolesOf } from './postfix-roles.ts';
import { type PostfixSite, serviceKey } from './postfix-site.ts';

/** The files of Postfix's configuration folder. `tables`: the files that `tableFiles` names, those that could be read. */
export type PostfixTexts = {
  readonly main: ConfigText;
  readonly master: ConfigText;
  readonly tables?: readonly ConfigText[];
};

/** Every finding about Postfix's files; without `policies` the shipped deferAtMost counts. */
export function checkPostfix(
  texts: PostfixTexts,
  config: Config,
  policies: Policies | null = null,
): Finding[] {
  const site = { main: parseMain(texts.main), master: parseMaster(texts.master) };
  const check = rolesOf(site, config, policies);
  return [
    ...checkReading(site),
    ...checkFeed(check),
    ...checkReturn(check),
    ...checkEntries(check),
    ...checkSizes(check),
    ...checkInstance(check),
    ...checkBackup(check),
    ...checkTables(check, texts.tables ?? []),
  ];
}

/** What Postfix itself can't read, or reads otherwise than it looks. */
function checkReading({ main, master }: PostfixSite): Finding[] {
  const repeated = master.replaced.map((service) => {
    const what = `${serviceKey(service)} stands twice in master.cf: the later entry counts`;
    return warn(what, service.where, 'take one of them out');
  });
  const overridden = main.replaced
    .filter(({ name }) => name === 'content_filter' || /^scan.*_destination_/.test(name))
    .map(({ name, value, where }) =>
      warn(`${name} = ${value} is overridden further down`, where, 'take this line out'),
    );
  return [
    ...[...main.problems, ...master.problems].map(({ what, where, remedy }) => fail(what, where, remedy)),
    ...repeated,
    ...overridden,
  ];
}
