/**
 * rounds-child — one round of what `sluice run bayes` does every minute, in the namespace in which it runs.
 *
 * Standard output: what it came to, as JSON.
 */
import { goRound } from '../../review/bayes-rounds.ts';
import { silentLog } from '../../workers/log.ts';
import { readSite } from '../../workers/site.ts';

const [configFile, script = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const trips = await goRound({ site: readSite(configFile, {}), script, log: silentLog, signal });
process.stdout.write(JSON.stringify(trips));
