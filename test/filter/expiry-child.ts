/**
 * expiry-child — a process that expires what is due in a quarantine at a given time, to be killed on the way.
 *
 * expiry-child FOLDER FILE NOW
 */
import { openQuarantine } from '../../filter/quarantine.ts';
import { recordingLog } from './store-rig.ts';

const [folder = '', file = '', now] = process.argv.slice(2);
const quarantine = await openQuarantine({ folder, file, log: recordingLog(), now: () => Number(now) });
process.stdout.write('ready\n');
await quarantine.expire(new AbortController().signal);
await quarantine.close();
process.stdout.write('done\n');
