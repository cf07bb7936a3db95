/**
 * loop-delay — measures inside a filter process, without a change to it, how long its event loop stalls.
 *
 * Loaded by NODE_OPTIONS=--import; plain JavaScript, so that no type stripper comes along into the memory measured. On
 * SIGUSR2 it writes what was measured since the last one (LoopDelay of contestants.ts) to the file that BENCH_LOOP_FILE
 * names, and begins anew. Threads (the stores) load it too and do nothing.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import { isMainThread } from 'node:worker_threads';

const resolutionMs = 20;

const file = process.env.BENCH_LOOP_FILE;
if (isMainThread && file !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  // The histogram counts from one round to the next: the time asked for is no stall.
  const stall = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
  process.on('SIGUSR2', () => {
    const [p50, p99] = [50, 99].map((percent) => stall(histogram.percentile(percent)));
    const text = JSON.stringify({ p50, p99, max: stall(histogram.max) });
    histogram.reset();
    // Renamed, so that nobody reads half of it.
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  });
}
