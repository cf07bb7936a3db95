/**
 * invocation — what the command line hands to a command, and the error for a line that can't be understood.
 */
import type { Site } from '../workers/site.ts';
import type { StatusLine } from './progress.ts';

/** Values of the options that were given; each command uses those that cli.ts lists for it. */
export type Options = {
  readonly config?: string | undefined;
  readonly json?: boolean | undefined;
  readonly to?: readonly string[] | undefined;
  readonly from?: string | undefined;
  readonly force?: boolean | undefined;
  readonly again?: boolean | undefined;
  readonly all?: boolean | undefined;
  readonly limit?: string | undefined;
  readonly before?: string | undefined;
  readonly output?: string | undefined;
  readonly 'all-matching'?: string | undefined;
  readonly confirm?: string | undefined;
  readonly scanners?: string | undefined;
  readonly feed?: string | undefined;
  readonly part?: string | undefined;
  readonly role?: string | undefined;
  readonly primary?: string | undefined;
  readonly recipient?: readonly string[] | undefined;
  readonly probe?: string | undefined;
  readonly 'clamd-config'?: string | undefined;
  readonly 'postfix-config'?: string | undefined;
  readonly 'spamd-user'?: string | undefined;
  readonly 'spamd-config'?: string | undefined;
  readonly sql?: readonly string[] | undefined;
  readonly write?: string | undefined;
  readonly now?: boolean | undefined;
  readonly node?: string | undefined;
  readonly keys?: boolean | undefined;
  readonly outbound?: boolean | undefined;
};

/** The words behind a command's name, its options, and what a command may ask for and answer with. */
export type Invocation = {
  readonly words: readonly string[];
  readonly options: Options;
  /** Reads and checks configuration and policies; throws ConfigurationError. */
  readonly site: () => Site;
  /** The configuration alone, for who is about to bring other policies; throws ConfigurationError. */
  readonly config: () => Site['config'];
  /** Who types: stands in the trail of what is changed. */
  readonly user: string;
  /** How wide a line of text for people may be; Infinity where nobody knows. */
  readonly columns: number;
  /** What is being done, for who waits; silent with --json. */
  readonly status: StatusLine;
  /** Text for people: what comes from mail must have gone through `printable` or `table`. */
  readonly print: (text: string) => void;
  /** One JSON value, for programs; harmless on a terminal as well. */
  readonly printJson: (value: unknown) => void;
};

/** A command line that can't be understood: exit 64 (EX_USAGE). */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
