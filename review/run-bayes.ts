/**
 * run-bayes — `sluice run bayes`: the part that brings the Bayes database over every night, and says how that stands.
 *
 * Hides how it is put together and what ends it. It stays root where the others become the owner of the state folder (bayes-wanted.ts).
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { openNights } from '../filter/bayes-nights.ts';
import { openBayesPart } from '../workers/bayes-part.ts';
import { createLog, standardOutput } from '../workers/log.ts';
import { createNotice } from '../workers/notice.ts';
import { endOnUncaught, untilSignal } from '../workers/signals.ts';
import { ConfigurationError, type Site } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import { bayesDutiesOf } from './bayes-duties.ts';
import { bayesHere } from './bayes-here.ts';
import { wantsBayesPart } from './bayes-wanted.ts';

/** Runs the part until a signal ends it; resolves with its exit code. */
export async function runBayes(site: Site): Promise<number> {
  const { config } = site;
  if (!wantsBayesPart(config)) throw new ConfigurationError([nothingToDo]);
  const log = createLog({ name: 'bayes', level: config.log.level, destination: standardOutput() });
  endOnUncaught(log);
  const { folder } = bayesHere(config, {}, () => undefined);
  const nights = await openNights({ file: join(folder, 'nights.db'), log });
  const notice = createNotice({ address: config.reinject, hostname: hostname() });
  const duties = bayesDutiesOf(site, process.argv[1] ?? '', log);
  const part = await openBayesPart(config, { duties, nights, notice, log });
  const stopped = untilSignal(() => undefined, part.drain, log);
  log.info({ version, role: config.role, scheduled: part.schedule !== null }, 'Bayes part runs');
  return stopped;
}

const nothingToDo = {
  file: 'sluice.yaml',
  line: null,
  column: null,
  path: 'bayes.nodes',
  message: 'run bayes has nothing to do: write the backup nodes here, or role: backup on a backup',
};
