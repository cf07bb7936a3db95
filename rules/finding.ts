/**
 * finding — one line of `sluice check`: what was looked at, how it stands, and what to do about it.
 *
 * Every part of the check (Postfix's files, scanners, folders, return smtpd) answers with a list of these; the command
 * prints them. Plain data, so that `--json` is the same list.
 */

/** `ok`: as it must be; `warn`: works, with a price that is named; `fail`: mail is lost, doubled, refused or unscanned. */
export type Finding = {
  readonly level: 'ok' | 'warn' | 'fail';
  /** One sentence: the thing and its current state. */
  readonly what: string;
  /** `file:line`, an address or a folder; null where there is no one place. */
  readonly where: string | null;
  /** What to write or do, in the imperative; null where the level is ok. */
  readonly remedy: string | null;
};

/** A finding that asks for nothing. */
export function ok(what: string, where: string | null = null): Finding {
  return { level: 'ok', what, where, remedy: null };
}

/** It works, with the price that `what` names. */
export function warn(what: string, where: string | null, remedy: string): Finding {
  return { level: 'warn', what, where, remedy };
}

/** Mail is lost, doubled, refused or unscanned. */
export function fail(what: string, where: string | null, remedy: string): Finding {
  return { level: 'fail', what, where, remedy };
}
