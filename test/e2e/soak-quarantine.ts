/**
 * soak-quarantine — the walk of test/e2e/quarantine-walk.test.ts with many items: `npm run soak:quarantine [-- ITEMS]`.
 *
 * 10,000 items unless told; takes some minutes. Ends with 0 when every item is accounted for.
 */
import { walk } from './walk.ts';

const count = Number(process.argv[2] ?? 10_000);
const started = Date.now();
const { kills, unconfirmed } = await walk(count, 60, Math.max(400, count * 0.6));
const total = Object.values(kills).reduce((sum, one) => sum + one, 0);
const seconds = Math.round((Date.now() - started) / 1000);
process.stdout.write(
  `${count} items accounted for after ${total} kills (last stage done before each: ${JSON.stringify(kills)}) in ${seconds} s: ` +
    `files and index agree, nothing lost, nothing doubled, ${unconfirmed} copies unconfirmed (W6)\n`,
);
