/**
 * run-command — `sluice run [all|filter]`.
 *
 * `all` supervises one child process per part; only the filter exists so far. A part runs in this very process.
 */
import { createLog } from '../workers/log.ts';
import { runFilter } from '../filter/main.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { supervise } from './supervisor.ts';

/** Runs until a signal ends it; resolves with the exit code. */
export async function run(invocation: Invocation): Promise<number> {
  const part = invocation.words[0] ?? 'all';
  switch (part) {
    case 'filter':
      return runFilter(invocation.site());
    case 'all': {
      // Read here too, so that problems are told once and not by every child.
      const { configFile } = invocation.site();
      const configWords = configFile === null ? [] : ['--config', configFile];
      const script = process.argv[1] ?? '';
      return supervise(
        ['filter'],
        (name) => [script, 'run', name, ...configWords],
        createLog({ name: 'supervisor' }),
      );
    }
    default:
      throw new UsageError(`run: unknown part "${part}": write all or filter`);
  }
}
