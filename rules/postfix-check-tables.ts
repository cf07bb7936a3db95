/**
 * postfix-check-tables — header_checks that drop the Received lines by which a message is known again.
 *
 * Hides where such lines are written: inline, or in a table of regular expressions. The texts of tables are arguments;
 * what was not given is said.
 */
import { type Finding, warn } from './finding.ts';
import { type ConfigText, parseMain } from './postfix-files.ts';
import type { Check } from './postfix-roles.ts';
import { effective, type PostfixSite } from './postfix-site.ts';

const parameters = ['header_checks', 'milter_header_checks'] as const;

/** Paths of the tables whose texts `checkPostfix` wants to see. */
export function tableFiles(main: ConfigText): string[] {
  return tablesOf({
    main: parseMain(main),
    master: { file: '', services: [], replaced: [], problems: [] },
  }).flatMap(({ path }) => (path === null ? [] : [path]));
}

/** Without Received lines two mails can look the same, and age and queue id of local mail are lost (R9, R13). */
export function checkTables({ site }: Check, tables: readonly ConfigText[]): Finding[] {
  return tablesOf(site).flatMap(({ path, spec, where }) => {
    if (path === null) return droppingLines({ file: where, text: spec }).map(() => dropping(where));
    const table = tables.find(({ file }) => file === path);
    if (table !== undefined) return droppingLines(table).map((line) => dropping(`${path}:${line}`));
    const what = `header_checks = ${spec} was not looked at: it must not drop Received lines`;
    return [warn(what, where, `look for IGNORE and STRIP of Received in ${path}`)];
  });
}

function dropping(where: string): Finding {
  const what = 'header_checks drop Received: the ledger can take two mails for one, and their age is unknown';
  return warn(what, where, 'keep the Received lines, or drop them behind the filter, in smtp_header_checks');
}

type Table = { readonly path: string | null; readonly spec: string; readonly where: string };

function tablesOf(site: PostfixSite): Table[] {
  return parameters.flatMap((name) => {
    const { value, where } = effective(site, null, name);
    return specsOf(value).map((spec) => {
      const path = /^(?:proxy:)?(?:regexp|pcre|pcre2):(\/.*)$/.exec(spec)?.[1] ?? null;
      return { path, spec, where: where ?? site.main.file };
    });
  });
}

/** Tables of a list; an inline one holds blanks within its braces. */
function specsOf(value: string): string[] {
  const specs: string[] = [];
  let depth = 0;
  for (const word of value.split(/[\s,]+/).filter((one) => one !== '')) {
    if (depth === 0) specs.push(word);
    else specs.push(`${specs.pop() ?? ''} ${word}`);
    depth += word.split('{').length - word.split('}').length;
  }
  return specs;
}

/** Numbers of the lines that drop Received; an `if` around them is not followed. */
function droppingLines({ text }: ConfigText): number[] {
  return text
    .split('\n')
    .flatMap((line, at) => (/^[^#]*received.*\b(?:IGNORE|STRIP)\b/i.test(line) ? [at + 1] : []));
}
