/**
 * heap — how V8 keeps the memory of a process that handles mail, where Node's defaults suit it badly.
 *
 * Hides flags that NODE_OPTIONS does not take. What must be set before V8 starts is in review/supervisor.ts and in the
 * units (`--max-semi-space-size`, MALLOC_…). The figures are in docs/decisions.md.
 */
import { setFlagsFromString } from 'node:v8';

/** Sets the flags for this process; to be called before it takes mail. */
export function keepHeapSmall(): void {
  // Nearly all garbage of a message dies young: threads that help to collect it cost more than they save.
  setFlagsFromString('--no-parallel-scavenge');
  // What left the young generation too early is garbage as well; by default it may be three times what lives.
  setFlagsFromString('--heap-growing-percent=100');
}
