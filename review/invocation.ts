/**
 * invocation — what the command line hands to a command, and the error for a line that can't be understood.
 */
import type { Site } from '../workers/site.ts';

/** Values of the options that were given; each command uses those that cli.ts lists for it. */
export type Options = {
  readonly config?: string | undefined;
  readonly json?: boolean | undefined;
  readonly to?: readonly string[] | undefined;
  readonly from?: string | undefined;
  readonly force?: boolean | undefined;
  readonly all?: boolean | undefined;
  readonly limit?: string | undefined;
  readonly recipient?: readonly string[] | undefined;
};

/** The words behind a command's name, its options, the checked site, and where lines for the reader go. */
export type Invocation = {
  readonly words: readonly string[];
  readonly options: Options;
  readonly site: Site;
  readonly print: (text: string) => void;
};

/** A command line that can't be understood: exit 64 (EX_USAGE). */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
